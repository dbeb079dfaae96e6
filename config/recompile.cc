// Compiler::State, the compile of what changed. It goes on from the latest good compile (Base) as long as nothing is
// different but files of units, and what they name. Whatever else it meets, it leaves to compile_all(), which reads and
// links everything anew; so both come to the same.
#include <algorithm>

#include "config/compiler_state.h"

namespace edgemux::config {

Compiler::State::Seen Compiler::State::see(const std::string& path) const {
  const Stamp stamp = files_->stamp(path);
  return {path, stamp, stamp.before(began_) && !files_->held(path)};
}

Compiler::State::AllSeen Compiler::State::see_all(const std::set<std::string>& paths) const {
  AllSeen all;
  all.reserve(paths.size());
  for (const auto& path : paths) all.push_back(see(path));
  return all;
}

bool Compiler::State::same(const AllSeen& seen) const {
  return std::all_of(seen.begin(), seen.end(),
                     [this](const Seen& one) { return stands(one.path, one.stamp, one.sure); });
}

// After a compile of everything that is stable and whose main file is good.
void Compiler::State::remember() {
  unsettled_ = {};
  // A volume's files change all at once, and have to be read in one version.
  if (files_->met_volume()) return;
  // Nothing tells when a folder can be looked into again.
  if (general_.listing.closed) return;
  Base base;
  // These stamps are taken after the reading: what was changed in between makes them newer than the beginning, so they
  // are not sure.
  base.general = see_all(general_.paths);
  std::set<std::string> folders = general_.folders;
  folders.insert(general_.pair_folders.begin(), general_.pair_folders.end());
  for (const SourceFile* file : order_) folders.insert(file->folders.begin(), file->folders.end());
  for (const auto& path : folders) {
    base.folders.push_back({see(path), files_->names(path), general_.pair_folders.count(path) != 0});
  }
  base_ = std::move(base);
}

// What is in force is what the base says, and belongs to everybody: the main file, certificates.
bool Compiler::State::sound() const {
  const SourceFile& file = main();
  return stands(file.path, file.stamp, file.sure) && same(base_->general);
}

bool Compiler::State::look_at_folders(bool& names_changed) {
  for (auto& folder : base_->folders) {
    if (folder.seen.sure && !touched_.contains(folder.seen.path)) continue;
    const Stamp stamp = files_->stamp(folder.seen.path);
    if (folder.seen.sure && stamp == folder.seen.stamp) continue;
    folder.seen.stamp = stamp;
    folder.seen.sure = stamp.before(began_);
    auto names = files_->names(folder.seen.path);
    if (names == folder.names) continue;
    if (folder.pairs) return false;
    folder.names = std::move(names);
    names_changed = true;
  }
  return true;
}

bool Compiler::State::look_at_listing(Changes& changes) {
  Inputs inputs(*files_);
  Problems problems(main().display, main().current->bytes);
  Listing now = list(*main().current->settings, inputs, problems);
  if (!(now.folders == general_.listing.folders) || now.reminders != general_.listing.reminders ||
      inputs.folders() != general_.folders || !inputs.paths().empty() || !problems.take().empty()) {
    return false;
  }
  std::map<std::string_view, const Listing::File*> before;
  for (const auto& file : general_.listing.files) before.emplace(file.path, &file);
  for (const auto& file : now.files) {
    const auto at = before.find(file.path);
    if (at == before.end()) {
      if (units_.count(file.binding.tenant) == 0 || !file.barred.empty()) return false;
      changes.units.insert(file.binding.tenant);
      known_file(file.path).sure = false;  // what is known of it may be from before it was gone, in a refused compile
      continue;
    }
    if (!(*at->second == file)) return false;
    before.erase(at);
  }
  for (const auto& [path, file] : before) {
    changes.units.insert(file->binding.tenant);
    changes.gone.emplace_back(path);
  }
  if (now == general_.listing) return true;
  watched_.reset();
  order_.resize(1);
  for (const auto& listed : now.files) {
    SourceFile& file = known_file(listed.path);
    if (file.folders.empty()) file.folders = files_->folders(file.path);
    file.binding = listed.binding;
    order_.push_back(&file);
  }
  general_.listing = std::move(now);
  return true;
}

std::vector<SourceFile*> Compiler::State::files_of(const std::string& tenant) const {
  std::vector<SourceFile*> files;
  for (SourceFile* file : order_) {
    if (file->binding.tenant == tenant) files.push_back(file);
  }
  return files;
}

void Compiler::State::look_at_files(Changes& changes) {
  std::vector<SourceFile*> again;
  std::set<std::string> tenants = changes.units;  // whose files together take more or less
  for (SourceFile* file : order_) {
    if (file == order_.front() || stands(file->path, file->stamp, file->sure)) continue;
    look_at(*file);
    again.push_back(file);
    tenants.insert(file->binding.tenant);
  }
  for (const auto& tenant : tenants) {
    const auto known = tenancy_.find(tenant);
    const auto limits = known == nullptr ? routing::TenantLimits() : known->limits;
    for (SourceFile* file : bound(tenant, limits.config_size, files_of(tenant))) {
      if (std::find(again.begin(), again.end(), file) == again.end()) again.push_back(file);
    }
  }
  for (SourceFile* file : again) {
    changes.read.push_back(file->path);
    if (!read(*file, false)) continue;
    auto folders = files_->folders(file->path);
    if (folders != file->folders) watched_.reset();
    file->folders = std::move(folders);
    changes.units.insert(file->binding.tenant);
  }
}

void Compiler::State::look_at_material(Changes& changes) {
  for (const auto& [tenant, seen] : material_) {
    if (!same(seen)) changes.units.insert(tenant);
  }
}

std::optional<Compiler::State::Changes> Compiler::State::look() {
  Changes changes = std::exchange(unsettled_, {});
  bool names_changed = false;
  if (!look_at_folders(names_changed)) return std::nullopt;
  if (names_changed && !look_at_listing(changes)) return std::nullopt;
  // Gone in a compile that was refused, and back.
  std::erase_if(changes.gone, [this](const std::string& path) {
    return std::any_of(order_.begin(), order_.end(), [&](const SourceFile* file) { return file->path == path; });
  });
  look_at_files(changes);
  look_at_material(changes);
  for (const auto& [tenant, unit] : units_) {
    if (!tenant.empty() && unit.clashes()) changes.units.insert(tenant);
  }
  const auto machine_problem = machine_problem_;
  if (!tenancy_.tenants().empty()) look_at_own(*main().current->settings);
  if (machine_problem_ != machine_problem) return std::nullopt;  // the main file is told of it
  const auto& lent = *linked_.at("")->upstreams;
  for (const auto& tenant : concerned_) {
    // The main file's own routes for it.
    const bool of_main = std::any_of(lent.begin(), lent.end(), [&](const routing::UpstreamPtr& upstream) {
      return upstream->tenant != nullptr && upstream->tenant->name == tenant;
    });
    if (of_main) return std::nullopt;
    if (units_.count(tenant) != 0) changes.units.insert(tenant);
  }
  if (files_->met_volume()) return std::nullopt;
  return changes;
}

bool Compiler::State::relink(const Changes& changes, const core::CertificateStore& certificates,
                             Assembly::Units& before) {
  const Settings& settings = *main().current->settings;
  Problems said(main().display, main().current->bytes);
  for (const auto& tenant : changes.units) {
    Unit& unit = units_.at(tenant);
    unit.files = files_of(tenant);
    // The tenant's last file is gone.
    if (unit.files.empty()) return false;
    const Linked* platform = tenant.empty() ? nullptr : linked_.at("").get();
    const auto paths = unit.material().paths();
    if (!unit.link(context(settings, certificates, platform), said)) return false;
    if (paths != unit.material().paths()) watched_.reset();
    before[tenant] = std::exchange(linked_.at(tenant), unit.linked());
  }
  return true;
}

std::optional<Compiled> Compiler::State::compile_changed() {
  if (!base_ || !sound()) return std::nullopt;
  auto changes = look();
  // The platform's unit tells what is wrong with the main file, too.
  if (!changes || changes->units.count("") != 0) return std::nullopt;
  changes_ = std::move(*changes);
  const auto last = std::exchange(last_, nullptr);  // linked_ is no more what made it
  Assembly::Units before;
  if (!relink(changes_, *last->certificates, before)) return std::nullopt;
  const Settings& settings = *main().current->settings;
  auto snapshot = std::make_shared<routing::Snapshot>();
  snapshot->certificates = last->certificates;
  snapshot->pair_places = last->pair_places;
  Assembly(settings, tenancy_, linked_).build_from(*last, before, *snapshot);
  fill(settings, *snapshot);
  // The main file is told of a table without hosts.
  if ((snapshot->host_count == 0) != (last->host_count == 0)) return std::nullopt;
  for (const auto& tenant : changes_.units) {
    units_.at(tenant).conclude({});
    const auto& paths = units_.at(tenant).material().paths();
    material_[tenant] = see_all(paths);
    changes_.read.insert(changes_.read.end(), paths.begin(), paths.end());
  }
  std::sort(changes_.read.begin(), changes_.read.end());
  changes_.read.erase(std::unique(changes_.read.begin(), changes_.read.end()), changes_.read.end());
  Compiled out;
  out.read_again = changes_.read;
  out.snapshot = std::move(snapshot);
  out.main_ok = true;
  finish(out);
  return out;
}

}  // namespace edgemux::config
