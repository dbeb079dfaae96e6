#include "config/listing.h"

#include <unordered_map>

namespace edgemux::config {
namespace {

class Lister {
 public:
  Lister(const std::string& main_path, const std::function<std::string(const std::string&)>& display, Inputs& inputs,
         Problems& problems)
      : display_(display), inputs_(inputs), problems_(problems) {
    seen_.emplace(main_path, main_file);
    out_.folders.add(main_path.substr(0, main_path.rfind('/')), "");
  }

  void add(const IncludeEntry& include) {
    inputs_.watch_folders(include.pattern);
    if (include.literal()) return add_named(include);
    const auto found = inputs_.files().glob(include.pattern);
    if (!found) {
      problems_.error(include.place, "cannot list " + quote(include.text) + ": " + found.error().message);
      return;
    }
    for (const auto& path : *found) take(resolve_path(path, path), include);
  }

  Listing finish() {
    out_.folders.settle();
    for (auto& file : out_.files) {
      if (!out_.folders.own(file.binding.folder)) file.binding.folder.clear();
    }
    return std::move(out_);
  }

 private:
  static constexpr std::size_t main_file = SIZE_MAX;

  void add_named(const IncludeEntry& include) {
    const bool missing = seen_.count(include.pattern) == 0 && !inputs_.files().exists(include.pattern);
    if (missing) {
      problems_.error(include.place, "included file " + quote(include.text) + " does not exist");
      inputs_.watch_file(include.pattern);
      inputs_.note("missing " + include.pattern);
    }
    take(include.pattern, include);
    if (missing) out_.files.back().missing = true;
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
    out_.files.push_back({path, std::move(binding), {}});
  }

  // Two entries say whose the file is, and not the same: it is nobody's.
  void quarrel(Listing::File& file, const Binding& binding, const IncludeEntry& include) {
    const auto name = [](const std::string& tenant) {
      return tenant.empty() ? std::string("the platform") : "tenant " + quote(tenant);
    };
    file.barred = "this file is included for " + name(file.binding.tenant) + " and for " + name(binding.tenant);
    problems_.error(include.place, display_(file.path) + " is included for " + name(file.binding.tenant) + " already",
                    "it is left out");
  }

  const std::function<std::string(const std::string&)>& display_;
  Inputs& inputs_;
  Problems& problems_;
  std::unordered_map<std::string, std::size_t> seen_;  // into out_.files
  Listing out_;
};

}  // namespace

Listing list_includes(const Settings& settings, const std::string& main_path,
                      const std::function<std::string(const std::string&)>& display, Inputs& inputs,
                      Problems& problems) {
  Lister lister(main_path, display, inputs, problems);
  for (const auto& include : settings.includes) lister.add(include);
  return lister.finish();
}

}  // namespace edgemux::config
