#include "config/unit.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace edgemux::config {
namespace {

using Use = SourceFile::Use;

void append(std::vector<Diagnostic>& to, std::vector<Diagnostic> from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

void by_line(std::vector<Diagnostic>& diagnostics) {
  std::stable_sort(diagnostics.begin(), diagnostics.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tuple{a.rest != 0, a.origin.line, a.origin.column} <
           std::tuple{b.rest != 0, b.origin.line, b.origin.column};
  });
}

constexpr std::string_view cannot_be_used_either = "its last good version cannot be used either: ";
constexpr int most_tries = 3;    // of a file that fell with others
constexpr int most_passes = 32;  // then nothing of the unit's files changes

bool broken(const SourceFile& file) { return file.current == nullptr || !file.current->ok || !file.barred.empty(); }

}  // namespace

Unit::Unit(std::string tenant, TlsSeals& seals) : tenant_(std::move(tenant)), policies_(seals), upstream_tls_(seals) {}

void Unit::report_own(SourceFile& file) {
  if (file.current != nullptr) file.found = file.current->diagnostics;
  Problems problems(file.display, file.current == nullptr ? nullptr : file.current->bytes);
  if (!file.unreadable.empty()) problems.error({}, file.unreadable);
  if (!file.barred.empty()) problems.error({}, file.barred, file.barred_hint);
  append(file.found, problems.take());
  if (broken(file)) file.use = Use::out;
}

// A folder whose name is no tenant's.
void Unit::bar_unknown(SourceFile& file, const Tenancy& tenancy) const {
  if (!file.barred.empty() || tenant_.empty() || tenancy.find(tenant_) != nullptr) return;
  file.barred = "there is no tenant " + quote(tenant_) + ", whose folder this is";
  file.barred_hint = did_you_mean(tenant_, tenancy.names());
  if (file.barred_hint.empty()) file.barred_hint = "name it under 'tenants' in the main file";
}

std::uint64_t Unit::most(const Context& context) const {
  if (tenant_.empty()) return UINT64_MAX;
  const auto tenant = context.tenancy.find(tenant_);
  const auto limit = tenant == nullptr ? routing::TenantLimits().config_size : tenant->limits.config_size;
  return limit == 0 ? UINT64_MAX : limit;
}

// Last good versions count in the place of what was read. One that does not fit is given up, so that they are not piled
// up, here or on the disk.
void Unit::bound_in_force(const Context& context) {
  const std::uint64_t room = most(context);
  std::uint64_t taken = 0;
  for (SourceFile* file : files) {
    for (const Parsed* parsed = file->in_force(); parsed != nullptr; parsed = file->in_force()) {
      if (parsed->bytes->size() <= room - taken) {
        taken += parsed->bytes->size();
        break;
      }
      if (file->use == Use::current) {
        Problems problems(file->display, nullptr);
        problems.error({}, too_large_together(tenant_, room));
        fail(*file, problems.take(), context.last_good);
        if (file->use == Use::good) continue;
      } else {
        file->use = Use::out;
      }
      file->good = nullptr;
      file->asked_disk = file->lost = true;
    }
  }
}

void Unit::tell_of_loss(SourceFile& file) {
  Problems problems(file.display, nullptr);
  problems.warning({}, "its last good version did not fit beside the tenant's other files, and was given up");
  append(file.found, problems.take());
}

// Looks for its last good version, if none is known.
void Unit::recall(SourceFile& file, const LastGood& last_good) {
  if (file.good != nullptr || !file.barred.empty() || file.asked_disk) return;
  file.asked_disk = true;
  if (auto kept = last_good.load(file.path, loadable_)) {
    loadable_ -= kept->bytes.size();
    auto parsed =
        parse_file(std::make_shared<const std::string>(std::move(kept->bytes)), file.path, file.display, false);
    if (parsed->ok) file.good = std::move(parsed);
    if (file.good != nullptr && file.current != nullptr && *file.good->bytes == *file.current->bytes) {
      file.good = file.current;
    }
    file.good_served = kept->in_force;
  }
}

// The next best version of an include whose version in use cannot be.
void Unit::set_aside(SourceFile& file, const LastGood& last_good) {
  if (file.use == Use::current) recall(file, last_good);
  const bool other = file.barred.empty() && file.good != nullptr && file.good != file.current;
  file.use = file.use == Use::current && other ? Use::good : Use::out;
}

void Unit::fail(SourceFile& file, std::vector<Diagnostic> diagnostics, const LastGood& last_good) {
  if (file.use == Use::current) {
    append(file.found, std::move(diagnostics));
  } else if (!diagnostics.empty()) {
    by_line(diagnostics);
    Diagnostic note;
    note.severity = Severity::warning;
    note.origin.file = file.display;
    note.message = std::string(cannot_be_used_either) + diagnostics.front().message;
    file.found.push_back(std::move(note));
  }
  file.linked.clear();
  set_aside(file, last_good);
}

std::vector<Unit::Said> Unit::said() const {
  std::vector<Said> all;
  all.reserve(files.size());
  for (const SourceFile* file : files) all.push_back({file->path, file->content, file->binding, file->barred});
  return all;
}

bool Unit::stands() const {
  const auto to_recall = [](const SourceFile* file) {
    return file->use == SourceFile::Use::out && !file->asked_disk && file->good == nullptr && file->barred.empty();
  };
  return linked_ != nullptr && !clashes_ && said_ == said() && std::none_of(files.begin(), files.end(), to_recall);
}

bool Unit::tells() const {
  return std::any_of(files.begin(), files.end(), [](const SourceFile* file) { return !file->told.empty(); });
}

void Unit::report() {
  linked_ = nullptr;
  fresh_ = true;
  for (SourceFile* file : files) {
    file->use = Use::current;
    file->linked.clear();
    report_own(*file);
  }
}

bool Unit::link(const Context& context, Problems& problems) {
  linked_ = nullptr;
  said_ = said();
  clashes_ = false;
  tries_.clear();
  by_name_.clear();
  refused_.clear();
  passes_ = 0;
  fresh_ = true;
  material_.emplace(context.files, most(context));
  loadable_ = most(context);
  const std::size_t before = problems.errors();
  policies_.begin(context.settings.tls, problems);
  upstream_tls_.begin();
  bool main_ok = problems.errors() == before;
  for (SourceFile* file : files) {
    bar_unknown(*file, context.tenancy);
    file->use = Use::current;
    file->linked.clear();
    report_own(*file);
    if (!broken(*file)) continue;
    file->use = Use::current;
    set_aside(*file, context.last_good);
  }
  // Every pass but the last takes at least one version away, or tries one again, which is done most_tries times.
  while (!link_pass(context, main_ok)) {
  }
  return main_ok;
}

Linker::Doubt Unit::doubt(bool of_all) const {
  Linker::Doubt doubt;
  for (const SourceFile* file : files) {
    if (file->use == Use::current && !of_all) continue;
    if (file->current == nullptr || !file->current->readable) {
      doubt.any_name = true;
    } else {
      doubt.names.insert(file->current->spec.upstream_names.begin(), file->current->spec.upstream_names.end());
    }
  }
  return doubt;
}

SourceFile& Unit::file_named(const std::string& display) {
  if (by_name_.empty()) {
    for (SourceFile* file : files) by_name_.emplace(*file->display, file);
  }
  return *by_name_.at(display);
}

Linker::Held Unit::held(SourceFile& file, const Context& context) {
  clashes_ = true;
  Linker::Held held;
  recall(file, context.last_good);
  const auto served = context.in_force.find(file.path);
  const Parsed* now = context.first && file.good_served  ? file.good.get()
                      : served != context.in_force.end() ? served->second.get()
                                                         : nullptr;
  if (now != nullptr) {
    held.now = &now->spec;
  } else if (file.good != nullptr) {
    held.once = &file.good->spec;
  }
  return held;
}

bool Unit::give_way(const Context& context, const Linker& linker) {
  std::map<SourceFile*, std::vector<Linker::Clash>> told;
  for (const auto& one : linker.giving_way()) {
    told[&file_named(*one.file)].push_back({one.place, one.message});
  }
  for (auto& [file, clashes] : told) refuse(*file, {}, clashes, context.last_good);
  return !told.empty();
}

void Unit::refuse(SourceFile& file, std::vector<Diagnostic> diagnostics, const std::vector<Linker::Clash>& clashes,
                  const LastGood& last_good) {
  Problems problems(file.display, file.in_force()->bytes);
  for (const auto& clash : clashes) problems.error(clash.place, clash.message);
  const bool current = file.use == Use::current;
  if (current) {
    refused_[&file] = problems.take();
  } else {
    append(diagnostics, problems.take());
  }
  fail(file, std::move(diagnostics), last_good);
}

// So many want what others had that it would take for ever to find out: what is in force stays as it is.
void Unit::end_it(const Context& context) {
  for (SourceFile* file : files) {
    if (file == &context.main || file->use != Use::current) continue;
    const auto served = context.in_force.find(file->path);
    if (served != context.in_force.end() && served->second == file->current) continue;
    Problems problems(file->display, nullptr);
    problems.error({}, "it is left as it was: too many files here want what others have, one after the other",
                   "change fewer of them at a time");
    fail(*file, problems.take(), context.last_good);
  }
}

// A version that fell, while others did, over what is not so in the end is tried again. False: there is none.
bool Unit::try_again(Linker& linker, const Context& context, const std::set<const SourceFile*>& sound) {
  bool any = false;
  for (SourceFile* file : files) {
    if (file->use == Use::current || tries_[file] == most_tries) continue;
    if (sound.count(file) != 0) {
      file->use = Use::current;
      report_own(*file);
    } else if (file->use == Use::out && file->barred.empty() && file->good != nullptr && file->good != file->current &&
               admissible(*file, *file->good, linker, context)) {
      file->use = Use::good;
      std::erase_if(file->found, [](const Diagnostic& one) { return one.message.starts_with(cannot_be_used_either); });
    } else {
      continue;
    }
    ++tries_[file];
    any = true;
  }
  return any;
}

bool Unit::admissible(const SourceFile& file, const Parsed& version, Linker& linker, const Context& context) {
  Problems problems(file.display, version.bytes);
  return linker.examine(version.spec, {context.tenancy.find(file.binding.tenant), file.binding.folder, false, true},
                        problems);
}

// False: some include was set aside.
bool Unit::link_pass(const Context& context, bool& main_ok) {
  if (++passes_ == most_passes) end_it(context);
  bound_in_force(context);
  Patterns patterns(tenant_.empty() ? Patterns::kNoLimit : Patterns::kMost, &patterns_);
  Linker linker({context.settings, context.registry, policies_, upstream_tls_, *material_, context.certificates,
                 context.tenancy, context.listened, patterns, doubt(), context.platform,
                 [&](const std::string& display) { return held(file_named(display), context); }});
  bool done = true;
  const auto admit = [&](SourceFile& file, auto&& step) {
    const Parsed* parsed = file.in_force();
    if (parsed == nullptr) return;
    Problems problems(file.display, parsed->bytes);
    const Linker::Scope scope{context.tenancy.find(file.binding.tenant), file.binding.folder, &file == &context.main,
                              file.use == Use::good};
    const bool ok = step(parsed->spec, scope, problems);
    auto diagnostics = problems.take();
    if (ok || scope.main) {
      if (!ok) main_ok = false;
      append(file.linked, std::move(diagnostics));
      return;
    }
    refuse(file, std::move(diagnostics), linker.clashes(), context.last_good);
    done = false;
  };
  for (SourceFile* file : files) {
    file->linked.clear();
    admit(*file, [&](const FileSpec& spec, const Linker::Scope& scope, Problems& problems) {
      return linker.admit_upstreams(spec, scope, problems);
    });
  }
  if (give_way(context, linker)) done = false;
  // With a file's upstreams gone, what the routes would complain of is no fault of theirs.
  if (!done) return false;
  for (SourceFile* file : files) {
    admit(*file, [&](const FileSpec& spec, const Linker::Scope& scope, Problems& problems) {
      return linker.admit_routes(spec, scope, problems);
    });
  }
  if (give_way(context, linker) || !done) return false;
  std::map<SourceFile*, Examined> examined;
  std::set<const SourceFile*> sound;
  for (SourceFile* file : files) {
    if (file->use == Use::current) continue;
    const auto at = examined.emplace(file, examine(*file, linker, context)).first;
    if (at->second.sound) sound.insert(file);
  }
  if (passes_ < most_passes && try_again(linker, context, sound)) return false;
  for (auto& [file, told] : examined) {
    tell(*file, std::move(told));
    if (!any_error(file->found) && refused_.count(file) != 0) append(file->found, refused_[file]);
  }
  if (!main_ok) return done;
  std::vector<std::shared_ptr<const Parsed>> sources;
  for (SourceFile* file : files) {
    if (file->in_force() == nullptr) continue;
    sources.push_back(file->use == Use::current ? file->current : file->good);
    Problems problems(file->display, sources.back()->bytes);
    linker.remind_of_unused(sources.back()->spec, problems);
    linker.remind_of_redirects(sources.back()->spec, problems);
    append(file->linked, problems.take());
  }
  linked_ = linker.take(std::move(sources));
  patterns.settle();
  patterns_ = std::move(patterns);
  return true;
}

Unit::Examined Unit::examine(const SourceFile& file, Linker& linker, const Context& context) {
  if (file.current == nullptr || !file.current->readable || !file.barred.empty()) return {};
  Problems problems(file.display, file.current->bytes);
  const bool admissible = linker.examine(
      file.current->spec,
      {context.tenancy.find(file.binding.tenant), file.binding.folder, &file == &context.main, false}, problems);
  return {problems.take(), admissible && file.current->ok};
}

void Unit::tell(SourceFile& file, Examined examined) {
  // It may have come as far as to be told some of it.
  for (auto& diagnostic : examined.diagnostics) {
    if (std::find(file.found.begin(), file.found.end(), diagnostic) == file.found.end()) {
      file.found.push_back(std::move(diagnostic));
    }
  }
}

void Unit::examine(const Context& context, Problems& problems) {
  Inputs material(context.files, most(context));
  Patterns patterns(tenant_.empty() ? Patterns::kNoLimit : Patterns::kMost);
  TlsPolicies policies = policies_;
  UpstreamTls upstream_tls = upstream_tls_;  // what is in use stays known
  policies.begin(context.settings.tls, problems);
  upstream_tls.begin();
  Linker::Doubt names = doubt(true);
  names.any_name = names.any_name || !context.settings.sound.includes;
  Linker linker({context.settings, context.registry, policies, upstream_tls, material, context.certificates,
                 context.tenancy, context.listened, patterns, std::move(names), context.platform, nullptr});
  for (SourceFile* file : files) tell(*file, examine(*file, linker, context));
}

void Unit::conclude(std::vector<Diagnostic> more) {
  if (!std::exchange(fresh_, false)) return;
  set_aside_ = 0;
  for (SourceFile* file : files) {
    if (file->lost && file->use != Use::current) tell_of_loss(*file);
    file->told = std::move(file->found);
    file->found.clear();
    for (auto& diagnostic : file->linked) {
      if (file->use == Use::good) diagnostic.message = "in the last good version: " + diagnostic.message;
    }
    append(file->told, std::move(file->linked));
    file->linked.clear();
    append(file->told, std::exchange(more, {}));
    by_line(file->told);
    for (auto& diagnostic : file->told) diagnostic.tenant = file->binding.tenant;
    if (file->use != Use::current) ++set_aside_;
  }
}

}  // namespace edgemux::config
