#include "config/compiler.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <unordered_map>

#include "config/compiler_state.h"
#include "config/workers.h"

namespace edgemux::config {
namespace {

using Use = SourceFile::Use;

// A volume that is swapped just now is read again at once; beyond that the caller waits until it has settled.
constexpr int max_tries = 3;

constexpr std::size_t most_parsers = 8;  // threads

std::string default_state_dir() {
  const char* given = std::getenv("STATE_DIRECTORY");  // systemd; several are joined by ':'
  if (given == nullptr || *given == '\0') return "/var/lib/edgemux";
  const std::string list = given;
  return list.substr(0, list.find(':'));
}

}  // namespace

namespace {

std::size_t count(const std::vector<Diagnostic>& diagnostics, Severity severity) {
  std::size_t out = 0;
  for (const auto& diagnostic : diagnostics) {
    if (diagnostic.severity == severity) out += std::max<std::size_t>(1, diagnostic.rest);
  }
  return out;
}

}  // namespace

std::size_t Compiled::errors() const { return count(diagnostics, Severity::error); }

std::size_t Compiled::warnings() const { return count(diagnostics, Severity::warning); }

Compiler::State::State(std::string main_path, CompilerOptions options) : options_(std::move(options)) {
  std::error_code error;
  const auto here = std::filesystem::current_path(error).string();
  main_path_ = resolve_path(here + "/.", main_path);
  main_as_given_ = std::move(main_path);
  files_ = options_.files != nullptr ? options_.files : disk_files();
}

// "routes.d/a.yaml" where the main file was given as "edgemux.yaml".
std::string Compiler::State::display_of(const std::string& path) const {
  if (path == main_path_) return main_as_given_;
  const auto folder = main_path_.substr(0, main_path_.rfind('/') + 1);
  if (path.compare(0, folder.size(), folder) != 0) return path;
  const auto slash = main_as_given_.rfind('/');
  return (slash == std::string::npos ? "" : main_as_given_.substr(0, slash + 1)) + path.substr(folder.size());
}

std::string Compiler::State::state_dir(const Settings& settings) const {
  if (options_.state_dir) return *options_.state_dir;
  return settings.state_dir.text.empty() ? default_state_dir() : settings.state_dir.text;
}

Compiled Compiler::State::compile(Touched touched, const Accept& accept) {
  Compiled out;
  const auto before = accept ? good_versions() : std::vector<GoodVersion>();
  touched_ = std::move(touched);
  concerned_.clear();
  files_->hold(std::exchange(to_hold_, {}));
  if (last_good_.replaced()) distrust_disk();
  for (int tries = 0; tries < max_tries; ++tries) {
    if (tries > 0 || !base_) touched_.add_everything();
    files_->begin();
    began_ = files_->now();
    try {
      auto changed = compile_changed();
      if (!changed) {
        base_.reset();
        touched_.add_everything();
      }
      out = changed ? std::move(*changed) : compile_all();
    } catch (...) {
      base_.reset();  // nothing can go on from half a compile
      last_.reset();
      // What was read and not parsed is read again: it would pass for what has not changed.
      for (auto& [path, file] : known_) {
        if (file.current == nullptr && file.unreadable.empty()) file.content.clear();
      }
      throw;
    }
    out.moved = files_->moved();
    if (out.moved.empty() || accept) break;  // who accepts tries again
    base_.reset();
  }
  out.unfinished = files_->any_failed();
  if (out.snapshot == nullptr || (!out.moved.empty() && !accept)) return out;
  if (accept) out.refused = accept(out);
  out.refused.empty() ? settle(out) : refuse(out.snapshot, before);
  out.unfinished = out.unfinished || !unsaved_.empty();
  return out;
}

SourceFile& Compiler::State::known_file(const std::string& path) {
  SourceFile& file = known_[path];
  if (file.display == nullptr) {
    file.path = path;
    file.display = std::make_shared<const std::string>(display_of(path));
    // Deleted by a load that was not put in force.
    if (const auto version = in_force_.find(path); version != in_force_.end()) file.good = version->second;
  }
  return file;
}

void Compiler::State::look_at(SourceFile& file) const {
  file.stamp = files_->stamp(file.path);
  file.sure = file.stamp.before(began_) && !files_->held(file.path);
}

std::vector<SourceFile*> Compiler::State::bound(const std::string& tenant, std::uint64_t most,
                                                const std::vector<SourceFile*>& files) {
  std::vector<SourceFile*> changed;
  std::uint64_t taken = 0;
  for (SourceFile* file : files) {
    const bool fits = most == 0 || tenant.empty() || taken + file->stamp.size() <= most;
    if (fits) taken += file->stamp.size();
    auto excess = fits ? std::string() : too_large_together(tenant, most);
    if (excess == file->excess) continue;
    file->excess = std::move(excess);
    changed.push_back(file);
  }
  return changed;
}

bool Compiler::State::fetch(SourceFile& file, Parsing::Bytes& fresh) const {
  const std::string folder = file.binding.tenant.empty() ? std::string() : file.binding.folder;
  core::Result<std::string> bytes = !file.excess.empty()      ? core::fail(file.excess)
                                    : files_->held(file.path) ? core::fail(keeps_changing)
                                                              : files_->read(file.path, folder);
  // What counts is what it said.
  if (bytes && !file.binding.tenant.empty() && bytes->size() > file.stamp.size()) {
    bytes = core::fail("it is larger than its size was when it was looked at");
  }
  Digest digest;
  digest.add(bytes ? *bytes : bytes.error().message);
  digest.add(bytes ? "" : "unreadable");
  auto content = digest.hex();
  if (content == file.content) return false;
  file.content = std::move(content);
  file.current = nullptr;
  if (bytes) {
    file.unreadable.clear();
    fresh = std::make_shared<const std::string>(std::move(*bytes));
  } else {
    file.unreadable = file.excess.empty() ? "cannot read " + file.path + ": " + bytes.error().message : file.excess;
  }
  return true;
}

bool Compiler::State::read(SourceFile& file, bool is_main) {
  Parsing::Bytes bytes;
  if (!fetch(file, bytes)) return false;
  if (bytes != nullptr) file.current = parse_file(std::move(bytes), file.path, file.display, is_main);
  return true;
}

Listing Compiler::State::list(const Settings& settings, Inputs& inputs, Problems& problems) const {
  std::optional<std::vector<std::string>> on_disk;
  const auto kept = [&](const std::string& folder) {
    std::vector<std::string> out;
    const std::string below = folder + "/";
    for (auto at = known_.lower_bound(below); at != known_.end() && at->first.starts_with(below); ++at) {
      if (at->second.good != nullptr) out.push_back(at->first);
    }
    if (serving_) return out;  // what was on the disk is known since
    if (!on_disk) on_disk = last_good_.paths();
    for (const auto& path : *on_disk) {
      if (path.starts_with(below)) out.push_back(path);
    }
    return out;
  };
  return list_includes(settings, main_path_, {[this](const std::string& path) { return display_of(path); }, kept},
                       inputs, problems);
}

Unit& Compiler::State::unit_of(const std::string& tenant) {
  return units_.try_emplace(tenant, tenant, seals_).first->second;
}

Unit::Context Compiler::State::context(const Settings& settings, const core::CertificateStore& certificates,
                                       const Linked* platform) {
  return {settings,   *files_,   registry_, certificates, tenancy_, listened_,
          last_good_, in_force_, main(),    platform,     !settled_};
}

// Reads what was listed, and gives each unit its files.
void Compiler::State::take(const Listing& listing, Parsing& parsing) {
  std::map<std::string, std::vector<SourceFile*>> by_tenant;
  for (const auto& listed : listing.files) {
    SourceFile& file = known_file(listed.path);
    look_at(file);
    file.binding = listed.binding;
    order_.push_back(&file);
    by_tenant[file.binding.tenant].push_back(&file);
  }
  std::unordered_map<std::string_view, std::uint64_t> most;
  if (!listing.files.empty()) {
    for (const auto& tenant : main().current->settings->tenants) {
      most.emplace(tenant.name.text, tenant.limits.config_size);
    }
  }
  for (const auto& [tenant, files] : by_tenant) {
    const auto at = most.find(tenant);
    bound(tenant, at == most.end() ? routing::TenantLimits().config_size : at->second, files);
  }
  for (const auto& listed : listing.files) {
    SourceFile& file = known_file(listed.path);
    Parsing::Bytes bytes;
    if (fetch(file, bytes) && bytes != nullptr) parsing.add(file, std::move(bytes));
    file.folders = files_->folders(file.path);
    file.barred = listed.barred;
    file.barred_hint = listed.barred_hint;
    if (listed.told) file.unreadable.clear();
  }
  const bool help = !serving_ && parsing.size() >= 4 * most_parsers;
  if (help) parsing.start(std::min<std::size_t>(most_parsers, auto_workers()) - 1);
  for (auto& [tenant, unit] : units_) unit.files.clear();
  for (SourceFile* file : order_) unit_of(file->binding.tenant).files.push_back(file);
  std::erase_if(units_, [](const auto& entry) { return entry.second.files.empty(); });
}

Compiled Compiler::State::compile_all() {
  order_.clear();
  watched_.reset();
  tenancy_ = {};
  general_ = {};
  seals_.sweep();
  SourceFile& main = known_file(main_path_);
  look_at(main);
  read(main, true);
  main.folders = files_->folders(main.path);
  order_.push_back(&main);
  Problems problems(main.display, main.current == nullptr ? nullptr : main.current->bytes);
  Inputs listed(*files_);
  Inputs inputs(*files_);
  Compiled out;
  const bool readable = main.current != nullptr && main.current->settings;
  if (readable) {
    if (last_good_.set_directory(state_dir(*main.current->settings))) distrust_disk();
    general_.listing = list(*main.current->settings, listed, problems);
    for (const auto& one : general_.listing.reminders) problems.warning(one.place, one.message, one.hint);
  }
  Parsing parsing;
  take(general_.listing, parsing);
  if (readable && main.current->ok) out.snapshot = link(*main.current->settings, parsing, inputs, problems);
  parsing.need(order_);
  if (!readable || !main.current->ok) {
    for (auto& [tenant, unit] : units_) unit.report();
    const core::CertificateStore none;
    if (readable) {
      const Settings& settings = *main.current->settings;
      TenantRegistry strangers;
      if (settings.sound.tenants) {
        listened_ = listened_now(settings);
        warn_of_machine(problems);
        tenancy_ = Tenancy(settings, general_.listing.folders, own_, strangers, problems);
      }
      Problems said(main.display, nullptr);
      for (auto& [tenant, unit] : units_) {
        unit.examine(context(settings, none, nullptr), tenant.empty() ? problems : said);
      }
      CertificatePairs pairs = pairs_;  // what is in use stays known
      (void)pairs.load(settings, general_.listing.folders, inputs, problems);
      tenancy_ = {};
    }
  }
  for (auto& [tenant, unit] : units_) unit.conclude(tenant.empty() ? problems.take() : std::vector<Diagnostic>());
  out.main_ok = out.snapshot != nullptr;
  general_.paths = listed.paths();
  general_.paths.insert(inputs.paths().begin(), inputs.paths().end());
  general_.folders = listed.folders();
  general_.pair_folders = inputs.folders();
  general_.digest = listed.fingerprint() + inputs.fingerprint();
  finish(out);
  return out;
}

void Compiler::State::fill(const Settings& settings, routing::Snapshot& snapshot) const {
  snapshot.tenants = tenancy_.tenants();
  snapshot.tenant_places = tenancy_.places();
  if (!settings.tenants.empty()) {
    snapshot.listened = listened_;
    snapshot.own = own_;
  }
  snapshot.claims = tenancy_.shared_claims();
  snapshot.tokens_dir = settings.tokens_dir.text;
  snapshot.tokens_place = settings.tokens_place;
  snapshot.timeouts = settings.timeouts;
  snapshot.limits = settings.limits;
  snapshot.log = settings.log;
  snapshot.admin = settings.admin;
  snapshot.workers = settings.workers        ? *settings.workers
                     : options_.auto_workers ? options_.auto_workers()
                                             : auto_workers();
  snapshot.settle = settings.settle;
  snapshot.max_removed = settings.max_removed;
}

void Compiler::State::list_watched() {
  std::set<std::string> paths = general_.paths;
  std::set<std::string> folders = general_.folders;
  folders.insert(general_.pair_folders.begin(), general_.pair_folders.end());
  for (const SourceFile* file : order_) {
    paths.insert(file->path);
    folders.insert(file->folders.begin(), file->folders.end());
  }
  for (const auto& [tenant, unit] : units_) {
    if (unit.linked() == nullptr) continue;
    paths.insert(unit.material().paths().begin(), unit.material().paths().end());
    folders.insert(unit.material().folders().begin(), unit.material().folders().end());
  }
  watched_ = {{paths.begin(), paths.end()}, {folders.begin(), folders.end()}};
}

void Compiler::State::finish(Compiled& out) {
  Digest digest;
  digest.add(general_.digest);
  for (const SourceFile* file : order_) {
    out.diagnostics.insert(out.diagnostics.end(), file->told.begin(), file->told.end());
    if (file != order_.front() && file->use != Use::current) {
      out.set_aside.push_back(file->path);
      out.set_aside_named.push_back(*file->display);
    }
    for (const std::string* fact : {&file->path, &file->content, &file->binding.tenant}) digest.add(*fact);
    // What is in force belongs to the fingerprint: after a repair elsewhere the same bytes may mean more.
    digest.add(file->use == Use::current ? "current" : file->use == Use::good ? *file->good->bytes : "out");
  }
  for (const auto& [tenant, unit] : units_) {
    if (unit.linked() == nullptr) continue;
    digest.add(unit.material().fingerprint());
  }
  if (!watched_) list_watched();
  out.main_file = main_path_;
  out.files = watched_->files;
  out.directories = watched_->folders;
  out.fingerprint = digest.hex();
}

Compiler::Compiler(std::string main_path, CompilerOptions options)
    : state_(std::make_unique<State>(std::move(main_path), std::move(options))) {}

Compiler::~Compiler() = default;

Compiled Compiler::compile(Touched touched, const Accept& accept) {
  return state_->compile(std::move(touched), accept);
}

void Compiler::reread() { state_->reread(); }

void Compiler::published() { state_->published(); }

void Compiler::unpublished() { state_->unpublished(); }

void Compiler::hold(std::set<std::string> paths) { state_->hold(std::move(paths)); }

Kept Compiler::keep() { return state_->keep(); }

void Compiler::forget() { state_->forget(); }

}  // namespace edgemux::config
