#include "config/compiler.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string_view>
#include <unordered_map>

#include "config/inputs.h"
#include "config/last_good.h"
#include "config/linker.h"
#include "config/security_material.h"
#include "config/source_file.h"
#include "config/upstream_registry.h"
#include "config/upstream_tls.h"
#include "config/workers.h"

namespace edgemux::config {
namespace {

using Use = SourceFile::Use;

// A volume that is swapped just now is read again at once; beyond that the caller waits until it has settled.
constexpr int max_tries = 3;

void append(std::vector<Diagnostic>& to, std::vector<Diagnostic> from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

void by_line(std::vector<Diagnostic>& diagnostics) {
  std::stable_sort(diagnostics.begin(), diagnostics.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::pair{a.origin.line, a.origin.column} < std::pair{b.origin.line, b.origin.column};
  });
}

std::string default_state_dir() {
  const char* given = std::getenv("STATE_DIRECTORY");  // systemd; several are joined by ':'
  if (given == nullptr || *given == '\0') return "/var/lib/edgemux";
  const std::string list = given;
  return list.substr(0, list.find(':'));
}

}  // namespace

std::size_t Compiled::errors() const {
  return static_cast<std::size_t>(std::count_if(diagnostics.begin(), diagnostics.end(),
                                                [](const auto& d) { return d.severity == Severity::error; }));
}

std::size_t Compiled::warnings() const { return diagnostics.size() - errors(); }

struct Compiler::State {
  std::string main_as_given;
  std::string main_path;  // absolute
  CompilerOptions options;
  std::shared_ptr<Files> files;

  std::map<std::string, SourceFile> known;  // by path; the main file too
  CertificatePairs pairs;
  TlsPolicies policies;
  UpstreamTls upstream_tls;
  UpstreamRegistry registry;
  TenantRegistry tenants;
  LastGood last_good;
  std::set<std::string> listed_before;  // includes of the compile before

  // Of the compile at hand, in the order of precedence: the main file first.
  std::vector<SourceFile*> order;
  std::vector<Diagnostic> main_found;  // certificates, defaults, includes that are missing
  std::vector<std::string> missing;    // includes that are named and not there
  FolderOwners folders;
  Tenancy tenancy;

  // "routes.d/a.yaml" where the main file was given as "edgemux.yaml".
  std::string display_of(const std::string& path) const {
    const auto folder = main_path.substr(0, main_path.rfind('/') + 1);
    if (path.compare(0, folder.size(), folder) != 0) return path;
    const auto slash = main_as_given.rfind('/');
    return (slash == std::string::npos ? "" : main_as_given.substr(0, slash + 1)) + path.substr(folder.size());
  }

  Compiled compile_once() {
    order.clear();
    main_found.clear();
    missing.clear();
    folders = {};
    tenancy = {};
    Inputs inputs(*files);
    Compiled out;
    SourceFile& main = load(main_path, inputs, true);
    if (main.current != nullptr && main.current->settings) {
      last_good.set_directory(state_dir(*main.current->settings));
      load_includes(*main.current->settings, inputs);
      if (main.current->ok) {
        out.snapshot = link(*main.current->settings, inputs);
      } else {
        for (SourceFile* file : order) report_own(*file);
      }
    } else {
      report_own(main);
    }
    out.main_ok = out.snapshot != nullptr;
    finish(out, inputs);
    return out;
  }

  std::string state_dir(const Settings& settings) const {
    if (options.state_dir) return *options.state_dir;
    return settings.state_dir.text.empty() ? default_state_dir() : settings.state_dir.text;
  }

  SourceFile& load(const std::string& path, Inputs& inputs, bool is_main) {
    SourceFile& file = known[path];
    if (file.display == nullptr) {
      file.path = path;
      file.display = std::make_shared<const std::string>(is_main ? main_as_given : display_of(path));
    }
    file.use = Use::current;
    file.binding = {};
    file.barred.clear();
    file.barred_hint.clear();
    file.found.clear();
    file.linked.clear();
    order.push_back(&file);
    auto bytes = inputs.read(path);
    if (!bytes) {
      file.current = nullptr;
      Problems problems(file.display, nullptr);
      problems.error({}, "cannot read " + path + ": " + bytes.error().message);
      file.found = problems.take();
    } else if (file.current == nullptr || *file.current->bytes != *bytes) {
      file.current = parse_file(std::make_shared<const std::string>(std::move(*bytes)), path, file.display, is_main);
    }
    return file;
  }

  void load_includes(const Settings& settings, Inputs& inputs) {
    const SourceFile& main = *order.front();
    Problems problems(main.display, main.current->bytes);
    std::map<std::string, const IncludeEntry*> seen{{main.path, nullptr}};
    folders.add(main.path.substr(0, main.path.rfind('/')), "");
    const auto take = [&](const std::string& path, const IncludeEntry& include) {
      Binding binding = binding_of(include, path);
      const auto [at, fresh] = seen.try_emplace(path, &include);
      if (!fresh) {
        if (at->second != nullptr && known[path].binding.tenant != binding.tenant)
          quarrel(path, binding, problems, include);
        return;
      }
      const auto wild = include.pattern.find_first_of("*?[");
      folders.add(binding.tenant.empty() ? include.pattern.substr(0, include.pattern.rfind('/', wild)) : binding.folder,
                  binding.tenant);
      load(path, inputs, false).binding = std::move(binding);
    };
    for (const auto& include : settings.includes) {
      inputs.watch_folders(include.pattern);
      if (include.literal()) {
        const bool fresh = seen.count(include.pattern) == 0;
        if (fresh && !files->exists(include.pattern)) {
          problems.error(include.place, "included file " + quote(include.text) + " does not exist");
          inputs.watch_file(include.pattern);
          inputs.note("missing " + include.pattern);
          missing.push_back(include.pattern);
        }
        take(include.pattern, include);
        // Its place in the main file says it better.
        if (fresh && !missing.empty() && missing.back() == include.pattern) order.back()->found.clear();
        continue;
      }
      const auto found = files->glob(include.pattern);
      if (!found) {
        problems.error(include.place, "cannot list " + quote(include.text) + ": " + found.error().message);
        continue;
      }
      for (const auto& path : *found) take(resolve_path(path, path), include);
    }
    folders.settle();
    for (SourceFile* file : order) {
      inputs.note(file->binding.tenant);
      if (!folders.own(file->binding.folder)) file->binding.folder.clear();
    }
    append(main_found, problems.take());
  }

  // Two entries say whose the file is, and not the same: it is nobody's.
  void quarrel(const std::string& path, const Binding& binding, Problems& problems, const IncludeEntry& include) {
    const auto name = [](const std::string& tenant) {
      return tenant.empty() ? std::string("the platform") : "tenant " + quote(tenant);
    };
    SourceFile& file = known[path];
    file.barred = "this file is included for " + name(file.binding.tenant) + " and for " + name(binding.tenant);
    problems.error(include.place, *file.display + " is included for " + name(file.binding.tenant) + " already",
                   "it is left out");
  }

  void report_own(SourceFile& file) {
    if (file.current != nullptr) append(file.found, file.current->diagnostics);
    if (!file.barred.empty()) {
      Problems problems(file.display, file.current == nullptr ? nullptr : file.current->bytes);
      problems.error({}, file.barred, file.barred_hint);
      append(file.found, problems.take());
    }
    if (file.current == nullptr || !file.current->ok || !file.barred.empty()) file.use = Use::out;
  }

  // The next best version of an include whose version in use cannot be.
  void set_aside(SourceFile& file) {
    if (file.use == Use::current && file.good == nullptr && !file.asked_disk) {
      file.asked_disk = true;
      if (auto bytes = last_good.load(file.path)) {
        auto kept = parse_file(std::make_shared<const std::string>(std::move(*bytes)), file.path, file.display, false);
        if (kept->ok) file.good = std::move(kept);
      }
    }
    const bool other = file.barred.empty() && file.good != nullptr && file.good != file.current;
    file.use = file.use == Use::current && other ? Use::good : Use::out;
  }

  std::shared_ptr<routing::Snapshot> link(const Settings& settings, Inputs& inputs) {
    SourceFile& main = *order.front();
    Problems problems(main.display, main.current->bytes);
    auto snapshot = std::make_shared<routing::Snapshot>();
    tenancy = Tenancy(settings, folders, tenants, problems);
    snapshot->certificates = pairs.load(settings, folders, inputs, problems);
    const std::size_t before_tls = problems.errors();
    policies.begin(settings.tls, problems);
    upstream_tls.begin();
    bool main_ok = problems.errors() == before_tls;
    if (!settings.tokens_dir.text.empty() && !files->exists(settings.tokens_dir.text)) {
      problems.warning(settings.tokens_dir.place, "the directory " + settings.tokens_dir.text + " does not exist");
    }
    for (const auto& tenant : settings.tenants) {
      const auto& dir = tenant.tokens_dir;
      if (!dir.text.empty() && !files->exists(dir.text)) {
        problems.warning(dir.place, "the directory " + dir.text + " does not exist");
      }
    }
    for (SourceFile* file : order) {
      bar_unknown(*file);
      const bool broken = file->current == nullptr || !file->current->ok || !file->barred.empty();
      report_own(*file);
      if (!broken) continue;
      file->use = Use::current;
      set_aside(*file);
    }
    // A file that fails is taken back by a version, which changes what the others see: again, until nothing fails.
    // Every round but the last takes at least one version away.
    while (!link_pass(settings, inputs, *snapshot, main_ok)) {
    }
    if (main_ok && order.front()->current->spec.routes.empty() && snapshot->host_count == 0) {
      problems.warning({}, "there are no routes: every host is unknown");
    }
    append(main_found, problems.take());
    if (!main_ok) return nullptr;
    fill(settings, *snapshot);
    return snapshot;
  }

  // A folder whose name is no tenant's.
  void bar_unknown(SourceFile& file) {
    const auto& tenant = file.binding.tenant;
    if (!file.barred.empty() || tenant.empty() || tenancy.find(tenant) != nullptr) return;
    file.barred = "there is no tenant " + quote(tenant) + ", whose folder this is";
    file.barred_hint = did_you_mean(tenant, tenancy.names());
    if (file.barred_hint.empty()) file.barred_hint = "name it under 'tenants' in the main file";
  }

  Linker::Scope scope_of(const SourceFile& file) const {
    return {tenancy.find(file.binding.tenant), file.binding.folder, &file == order.front()};
  }

  // False: some include was set aside.
  bool link_pass(const Settings& settings, Inputs& inputs, routing::Snapshot& snapshot, bool& main_ok) {
    Linker::Shared shared{settings, registry, policies, upstream_tls, inputs, *snapshot.certificates, tenancy, {}};
    for (const SourceFile* file : order) {
      if (file->use == Use::current) continue;
      auto& doubt = shared.doubts[file->binding.tenant];
      if (file->current == nullptr || !file->current->readable) {
        doubt.any_name = true;
      } else {
        doubt.names.insert(file->current->spec.upstream_names.begin(), file->current->spec.upstream_names.end());
      }
    }
    Linker linker(std::move(shared));
    bool done = true;
    const auto admit = [&](SourceFile& file, auto&& step) {
      const Parsed* parsed = file.in_force();
      if (parsed == nullptr) return;
      Problems problems(file.display, parsed->bytes);
      const bool ok = step(parsed->spec, problems);
      auto diagnostics = problems.take();
      if (ok || &file == order.front()) {
        if (!ok) main_ok = false;
        append(file.linked, std::move(diagnostics));
        return;
      }
      fail(file, std::move(diagnostics));
      done = false;
    };
    for (SourceFile* file : order) {
      file->linked.clear();
      admit(*file, [&](const FileSpec& spec, Problems& p) { return linker.admit_upstreams(spec, scope_of(*file), p); });
    }
    // With a file's upstreams gone, what the routes would complain of is no fault of theirs.
    if (!done) return false;
    for (SourceFile* file : order) {
      admit(*file, [&](const FileSpec& spec, Problems& p) { return linker.admit_routes(spec, scope_of(*file), p); });
    }
    for (SourceFile* file : order) {
      if (!done || !main_ok || file->in_force() == nullptr) continue;
      Problems problems(file->display, file->in_force()->bytes);
      linker.remind_of_unused(file->in_force()->spec, problems);
      append(file->linked, problems.take());
    }
    if (done && main_ok) linker.finish(snapshot);
    return done;
  }

  void fail(SourceFile& file, std::vector<Diagnostic> diagnostics) {
    if (file.use == Use::current) {
      append(file.found, std::move(diagnostics));
    } else if (!diagnostics.empty()) {
      Diagnostic note;
      note.severity = Severity::warning;
      note.origin.file = file.display;
      note.message = "its last good version cannot be used either: " + diagnostics.front().message;
      file.found.push_back(std::move(note));
    }
    file.linked.clear();
    set_aside(file);
  }

  void fill(const Settings& settings, routing::Snapshot& snapshot) {
    snapshot.tenants = tenancy.tenants();
    snapshot.claims = tenancy.take_claims();
    snapshot.tokens_dir = settings.tokens_dir.text;
    snapshot.timeouts = settings.timeouts;
    snapshot.limits = settings.limits;
    snapshot.log = settings.log;
    snapshot.admin = settings.admin;
    snapshot.workers = settings.workers       ? *settings.workers
                       : options.auto_workers ? options.auto_workers()
                                              : auto_workers();
    snapshot.settle = settings.settle;
  }

  void finish(Compiled& out, Inputs& inputs) {
    std::unordered_map<std::string_view, std::uint32_t> set_aside;
    for (SourceFile* file : order) {
      auto all = std::move(file->found);
      file->found.clear();
      for (auto& diagnostic : file->linked) {
        if (file->use == Use::good) diagnostic.message = "in the last good version: " + diagnostic.message;
      }
      append(all, std::move(file->linked));
      file->linked.clear();
      if (file == order.front()) append(all, std::move(main_found));
      by_line(all);
      for (auto& diagnostic : all) diagnostic.tenant = file->binding.tenant;
      append(out.diagnostics, std::move(all));
      if (file != order.front() && file->use != Use::current) {
        out.set_aside.push_back(file->path);
        ++set_aside[file->binding.tenant];
      }
      // What is in force belongs to the fingerprint: after a repair elsewhere the same bytes may mean more.
      inputs.note(file->use == Use::current ? "current" : file->use == Use::good ? *file->good->bytes : "out");
    }
    for (const auto& tenant : tenancy.tenants()) tenant->state->files_set_aside = set_aside[tenant->name];
    out.files.assign(inputs.paths().begin(), inputs.paths().end());
    out.directories.assign(inputs.folders().begin(), inputs.folders().end());
    out.fingerprint = inputs.fingerprint();
  }

  // What was compiled is in force now: remember it, forget what is gone.
  void settle(Compiled& out) {
    std::set<std::string> listed;
    std::string problem;
    for (SourceFile* file : order) {
      listed.insert(file->path);
      if (file == order.front() || file->use != Use::current) continue;
      file->good = file->current;
      const auto saved = last_good.save(file->path, *file->current->bytes);
      if (!saved) problem = saved.error().message;
    }
    for (auto at = known.begin(); at != known.end();)
      at = listed.count(at->first) != 0 ? std::next(at) : known.erase(at);
    if (listed != listed_before) last_good.prune({listed.begin(), listed.end()});
    listed_before = std::move(listed);
    registry.prune();
    tenants.prune();
    if (problem.empty()) return;
    const SourceFile& main = *order.front();
    Problems problems(main.display, main.current->bytes);
    problems.warning(main.current->settings->state_dir.place, problem,
                     "after a restart a broken include has no last good version; see 'state_dir'");
    append(out.diagnostics, problems.take());
  }
};

Compiler::Compiler(std::string main_path, CompilerOptions options) : state_(std::make_unique<State>()) {
  std::error_code error;
  const auto here = std::filesystem::current_path(error).string();
  state_->main_path = resolve_path(here + "/.", main_path);
  state_->main_as_given = std::move(main_path);
  state_->files = options.files != nullptr ? options.files : disk_files();
  state_->options = std::move(options);
}

Compiler::~Compiler() = default;

Compiled Compiler::compile() {
  Compiled out;
  for (int tries = 0; tries < max_tries; ++tries) {
    state_->files->begin();
    out = state_->compile_once();
    out.unstable = !state_->files->settled();
    if (!out.unstable) break;
  }
  if (!out.unstable && out.snapshot != nullptr) state_->settle(out);
  return out;
}

}  // namespace edgemux::config
