#include "config/listing.h"

#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace edgemux::config {
namespace {

class Lister {
 public:
  Lister(const Settings& settings, const std::string& main_path, const ListingHooks& hooks, Inputs& inputs,
         Problems& problems)
      : hooks_(hooks), inputs_(inputs), problems_(problems), sound_(settings.sound.includes) {
    for (const auto& tenant : settings.tenants) tenants_.insert(tenant.name.text);
    seen_.emplace(main_path, main_file);
    out_.folders.add(main_path.substr(0, main_path.rfind('/')), "");
  }

  void add(const IncludeEntry& include) {
    add_folders(include);
    if (include.literal()) return add_named(include);
    auto found = inputs_.files().glob(include.pattern, first_of_tenant(include));
    for (const auto& folder : found.folders) {
      inputs_.watch_folders(folder + "/.");
      if (const Binding at = binding_in(folder, include); tenants_.count(at.tenant) != 0) {
        out_.folders.add(at.folder, at.tenant);
      }
    }
    for (const auto& closed : found.closed) {
      closed.crowded ? add_crowded(closed, include, found.paths) : add_closed(closed, include, found.paths);
    }
    if (sound_ && found.paths.empty() && found.closed.empty()) remind_of_nothing(include);
    std::sort(found.paths.begin(), found.paths.end());
    for (const auto& path : found.paths) take(resolve_path(path, path), include);
  }

  Listing finish() {
    tell_of_closed();
    bound_tenants();
    out_.folders.settle();
    for (auto& file : out_.files) {
      if (!out_.folders.own(file.binding.folder)) file.binding.folder.clear();
    }
    return std::move(out_);
  }

 private:
  static constexpr std::size_t main_file = SIZE_MAX;
  static constexpr std::size_t most_told_closed = 3;  // of a tenant
  static constexpr const char* closed_hint =
      "until it can be read, the last good versions of its files stay; a folder that is to go is deleted";

  // The first component of the pattern whose folders are the tenant's; SIZE_MAX: none are.
  static std::size_t first_of_tenant(const IncludeEntry& include) {
    if (!include.tenant.empty()) return 0;
    return include.tenant_component == 0 ? SIZE_MAX : include.tenant_component;
  }

  // A tenant's folders are its own whatever is in them: who removes all files of his is not less confined.
  void add_folders(const IncludeEntry& include) {
    if (!include.tenant.empty()) {
      out_.folders.add(binding_of(include, include.pattern).folder, include.tenant);
      return;
    }
    if (include.tenant_component == 0) return;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < include.tenant_component; ++i) begin = include.pattern.find('/', begin) + 1;
    const std::string above = include.pattern.substr(0, begin);
    if (above.find_first_of("*?[") != std::string::npos) return;  // those that there are have been looked into
    for (const auto tenant : tenants_) out_.folders.add(above + std::string(tenant), std::string(tenant));
  }

  // Of what lies in a folder that an entry leads to. The tenant is empty where the folder is above those of tenants.
  static Binding binding_in(const std::string& folder, const IncludeEntry& include) {
    const auto depth = static_cast<std::size_t>(std::count(folder.begin(), folder.end(), '/'));
    if (include.tenant_component > depth) return {};
    return binding_of(include, folder + "/");
  }

  // The tenant's own doing: it is told as one of its files would be, and nobody else is concerned.
  void add_crowded(const Globbed::Closed& closed, const IncludeEntry& include, std::vector<std::string>& paths) {
    keep(closed.folder, include, paths);
    if (!seen_.try_emplace(closed.folder, out_.files.size()).second) return;
    out_.files.push_back({closed.folder, binding_of(include, closed.folder + "/"), closed.reason,
                          "no new file in it is read, and the last good versions stay; remove what is no configuration",
                          true});
  }

  void keep(const std::string& folder, const IncludeEntry& include, std::vector<std::string>& paths) const {
    for (auto& path : hooks_.kept(folder)) {
      if (::fnmatch(include.pattern.c_str(), path.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0) paths.push_back(path);
    }
  }

  // A folder that is not mounted, or a slip of the pen.
  void remind_of_nothing(const IncludeEntry& include) {
    const auto wild = include.pattern.find_first_of("*?[");
    const std::string folder = include.pattern.substr(0, include.pattern.rfind('/', wild));
    if (!inputs_.files().exists(folder + "/.")) {
      out_.reminders.push_back({include.place, "there is no folder " + display(folder) + " for " + quote(include.text),
                                "nothing is included until there is"});
    } else if (unclosed(include.pattern)) {
      out_.reminders.push_back({include.place, quote(include.text) + " has a '[' without a ']' behind it",
                                "it stands for itself there; nothing is included"});
    }
  }

  static bool unclosed(const std::string& pattern) {
    for (auto open = pattern.find('['); open != std::string::npos; open = pattern.find('[', open + 1)) {
      // A ']' that comes first is one of the characters.
      const auto close = pattern.find_first_of("/]", open + 2);
      if (close == std::string::npos || pattern[close] == '/') return true;
      open = close;
    }
    return false;
  }

  void add_closed(const Globbed::Closed& closed, const IncludeEntry& include, std::vector<std::string>& paths) {
    // Nothing in the folder of nobody would be served: a lost+found, say.
    const Binding at = binding_in(closed.folder, include);
    if (include.tenant_component != 0 && !at.folder.empty() && tenants_.count(at.tenant) == 0) return;
    out_.closed = true;
    Closed& closed_so_far = closed_[at.tenant];
    closed_so_far.place = include.place;
    if (++closed_so_far.count <= most_told_closed || at.tenant.empty()) {
      problems_.error(include.place, "cannot list " + display(closed.folder) + ": " + closed.reason, closed_hint);
    }
    keep(closed.folder, include, paths);
  }

  // A tenant can make any number of them, and must not hide what is wrong with others.
  void tell_of_closed() {
    for (const auto& [tenant, closed] : closed_) {
      if (tenant.empty() || closed.count <= most_told_closed) continue;
      problems_.error(
          closed.place,
          "cannot list " + std::to_string(closed.count - most_told_closed) + " more folders of tenant " + quote(tenant),
          closed_hint);
    }
  }

  [[nodiscard]] std::string display(const std::string& path) const { return hooks_.display(path); }

  void bound_tenants() {
    std::map<std::string_view, std::vector<Listing::File*>> by_tenant;
    for (auto& file : out_.files) {
      if (!file.binding.tenant.empty()) by_tenant[file.binding.tenant].push_back(&file);
    }
    std::unordered_set<const Listing::File*> out;
    for (const auto& [tenant, files] : by_tenant) {
      if (files.size() > max_tenant_files) bound(tenant, files, out);
    }
    if (out.empty()) return;
    std::vector<Listing::File> left;
    for (auto& file : out_.files) {
      if (out.count(&file) == 0) left.push_back(std::move(file));
    }
    out_.files = std::move(left);
  }

  // Too many files: those that are good already have their places before others. The first of the rest tells, and is
  // barred; `out`: the others.
  void bound(std::string_view tenant, const std::vector<Listing::File*>& files,
             std::unordered_set<const Listing::File*>& out) const {
    std::set<std::string> folders;
    for (const auto* file : files) folders.insert(file->binding.folder);
    std::unordered_set<std::string> good;
    for (const auto& folder : folders) {
      for (auto& path : hooks_.kept(folder)) good.insert(std::move(path));
    }
    std::unordered_set<const Listing::File*> chosen;
    for (const bool wanted : {true, false}) {
      for (const auto* file : files) {
        if (chosen.size() < max_tenant_files && (good.count(file->path) != 0) == wanted) chosen.insert(file);
      }
    }
    bool told = false;
    for (auto* file : files) {
      if (chosen.count(file) != 0) continue;
      if (std::exchange(told, true)) {
        out.insert(file);
        continue;
      }
      file->barred = "tenant " + quote(tenant) + " has " + std::to_string(files.size()) + " files, and " +
                     std::to_string(max_tenant_files) + " at most are read: this one is left out";
      if (const auto more = files.size() - max_tenant_files - 1; more != 0) {
        file->barred += ", with " + std::to_string(more) + " others";
      }
      file->barred_hint = "put more routes into a file";
    }
  }

  void add_named(const IncludeEntry& include) {
    inputs_.watch_folders(include.pattern);
    const bool missing = seen_.count(include.pattern) == 0 && !inputs_.files().exists(include.pattern);
    if (missing) {
      problems_.error(include.place, "included file " + quote(include.text) + " does not exist");
      inputs_.watch_file(include.pattern);
      inputs_.note("missing " + include.pattern);
    }
    take(include.pattern, include);
    if (missing) out_.files.back().told = true;
  }

  void take(const std::string& path, const IncludeEntry& include) {
    Binding binding = binding_of(include, path);
    const auto [at, fresh] = seen_.try_emplace(path, out_.files.size());
    if (!fresh) {
      if (at->second != main_file && out_.files[at->second].binding.tenant != binding.tenant)
        quarrel(out_.files[at->second], binding, include);
      return;
    }
    const auto wild = include.pattern.find_first_of("*?[");
    out_.folders.add(
        binding.tenant.empty() ? include.pattern.substr(0, include.pattern.rfind('/', wild)) : binding.folder,
        binding.tenant);
    out_.files.push_back({path, std::move(binding), {}, {}});
  }

  // Two entries say whose the file is, and not the same: it is nobody's.
  void quarrel(Listing::File& file, const Binding& binding, const IncludeEntry& include) {
    const auto name = [](const std::string& tenant) {
      return tenant.empty() ? std::string("the platform") : "tenant " + quote(tenant);
    };
    file.barred = "this file is included for " + name(file.binding.tenant) + " and for " + name(binding.tenant);
    problems_.error(include.place, display(file.path) + " is included for " + name(file.binding.tenant) + " already",
                    "it is left out");
  }

  const ListingHooks& hooks_;
  Inputs& inputs_;
  Problems& problems_;
  bool sound_;  // no entry of include is wrong in itself
  std::unordered_set<std::string_view> tenants_;
  std::unordered_map<std::string, std::size_t> seen_;  // into out_.files
  struct Closed {
    std::size_t count = 0;
    Place place;
  };
  std::map<std::string, Closed> closed_;  // by tenant
  Listing out_;
};

}  // namespace

Listing list_includes(const Settings& settings, const std::string& main_path, const ListingHooks& hooks, Inputs& inputs,
                      Problems& problems) {
  Lister lister(settings, main_path, hooks, inputs, problems);
  for (const auto& include : settings.includes) lister.add(include);
  return lister.finish();
}

}  // namespace edgemux::config
