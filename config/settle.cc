// Compiler::State, what a compile leaves behind: what is in force, the last good versions, in memory and in the state
// directory, and what is forgotten.
#include <algorithm>

#include "config/compiler_state.h"

namespace edgemux::config {
namespace {

using Use = SourceFile::Use;

constexpr std::size_t most_kept = 16;  // files of one keep()

}  // namespace

std::vector<Compiler::State::GoodVersion> Compiler::State::good_versions() {
  std::vector<GoodVersion> all;
  all.reserve(known_.size());
  for (auto& [path, file] : known_) all.push_back({&file, file.good, file.asked_disk, file.lost});
  return all;
}

void Compiler::State::refuse(const routing::SnapshotPtr& made, const std::vector<GoodVersion>& before) {
  last_ = made;  // the units are linked for it
  for (const GoodVersion& one : before) {
    if (one.file->lost == one.lost) continue;
    // Linked without its good version, it has to be linked anew.
    last_ = nullptr;
    one.file->good = one.good;
    one.file->asked_disk = one.asked_disk;
    one.file->lost = one.lost;
  }
  // The next one that is accepted settles this one's changes with its own, or everything.
  if (last_ == nullptr) base_.reset();
  if (base_) unsettled_ = std::move(changes_);
}

void Compiler::State::published() {
  for (auto& [path, version] : delivered_) {
    if (version == nullptr) {
      in_force_.erase(path);
    } else {
      in_force_[path] = std::move(version);
    }
  }
  delivered_.clear();
}

void Compiler::State::unpublished() {
  base_.reset();  // the next one settles everything
  delivered_.clear();
  last_good_.begin();
  for (auto& [path, file] : known_) {
    if (path == main_path_) continue;
    const auto version = in_force_.find(path);
    if (version != in_force_.end()) file.good = version->second;
    // Nothing is lost if it cannot be written: the next compile tells.
    if (file.good != nullptr) (void)last_good_.save(path, *file.good->bytes, version != in_force_.end());
  }
}

// It is to be in force.
void Compiler::State::serve(const SourceFile& file) {
  delivered_[file.path] = file.use == Use::current ? file.current : file.use == Use::good ? file.good : nullptr;
}

void Compiler::State::save(SourceFile& file, std::string& problem) {
  if (file.lost) {
    last_good_.give_up(file.path);
    later_.erase(file.path);
    unsaved_.erase(file.path);
  }
  if (&file == order_.front()) return;
  if (file.use == Use::current) {
    file.good = file.current;
    file.lost = false;
  }
  // Also what serves in the place of a broken file: the state directory may be another one now, or mended; and that a
  // file serves no more.
  if (file.good != nullptr) write(file, problem);
}

void Compiler::State::reread() {
  base_.reset();
  distrust_disk();
  for (auto& [tenant, all] : material_) {
    for (Seen& seen : all) seen.sure = false;
  }
}

void Compiler::State::distrust_disk() {
  base_.reset();
  distrusted_ = true;
  last_good_.distrust();
  for (auto& [path, file] : known_) {
    if (file.good == nullptr && !file.lost) file.asked_disk = false;
  }
}

void Compiler::State::write(const SourceFile& file, std::string& problem) {
  const auto saved = last_good_.save(file.path, *file.good->bytes, file.use != Use::out);
  later_.erase(file.path);
  if (saved) {
    unsaved_.erase(file.path);
  } else {
    unsaved_.insert(file.path);
    problem = saved.error().message;
  }
}

Kept Compiler::State::keep() {
  std::string problem;
  for (std::size_t n = 0; n < most_kept && !later_.empty() && problem.empty(); ++n) {
    const SourceFile& file = known_.at(*later_.begin());
    if (file.good == nullptr) {
      later_.erase(later_.begin());
    } else {
      write(file, problem);
    }
  }
  if (!problem.empty()) unsaved_.merge(later_);  // the next compile tries again, and tells
  if (problem.empty() && !later_.empty()) return Kept::some;
  later_.clear();
  if (std::exchange(prune_later_, false)) last_good_.prune({listed_before_.begin(), listed_before_.end()});
  return problem.empty() ? Kept::all : Kept::failed;
}

void Compiler::State::settle(Compiled& out) {
  std::string problem;
  last_good_.begin();
  if (base_) {
    settle_changed(problem);
  } else {
    settle_all(*out.snapshot, problem);
    remember();
  }
  for (const auto& tenant : tenancy_.tenants()) {
    const auto unit = units_.find(tenant->name);
    tenant->state->files_set_aside = unit == units_.end() ? 0 : unit->second.set_aside();
  }
  last_ = out.snapshot;
  if (!options_.confirmed) published();
  serving_ = settled_ = true;
  if (problem.empty()) return;
  Problems problems(main().display, main().current->bytes);
  problems.warning(main().current->settings->state_dir.place, problem,
                   "after a restart a broken include has no last good version; see 'state_dir'");
  auto told = problems.take();
  out.diagnostics.insert(out.diagnostics.end(), told.begin(), told.end());
}

void Compiler::State::settle_all(const routing::Snapshot& made, std::string& problem) {
  const bool wait = options_.keep_later && (!serving_ || distrusted_);
  distrusted_ = false;
  std::set<std::string> listed;
  const auto unsaved = std::exchange(unsaved_, {});
  for (SourceFile* file : order_) {
    listed.insert(file->path);
    serve(*file);
    if (!wait || file->lost || unsaved.count(file->path) != 0) {
      save(*file, problem);
    } else if (file != order_.front()) {
      if (file->use == Use::current) file->good = file->current;
      if (file->good != nullptr) later_.insert(file->path);
    }
  }
  const auto gone = [&](const std::string& path) { return listed.count(path) == 0; };
  for (const auto& [path, version] : in_force_) {
    if (gone(path)) delivered_[path] = nullptr;
  }
  std::erase_if(known_, [&](const auto& entry) { return gone(entry.first); });
  std::erase_if(later_, gone);
  prune_later_ = prune_later_ || listed != listed_before_;
  listed_before_ = std::move(listed);
  if (!wait && std::exchange(prune_later_, false)) {
    last_good_.prune({listed_before_.begin(), listed_before_.end()});
  }
  pairs_.settle();
  for (auto& [tenant, unit] : units_) unit.settle();
  registry_.prune(made.upstreams.size());
  tenants_.prune();
}

void Compiler::State::settle_changed(std::string& problem) {
  for (const auto& tenant : changes_.units) {
    units_.at(tenant).settle();
    for (SourceFile* file : units_.at(tenant).files) {
      listed_before_.insert(file->path);
      serve(*file);
      save(*file, problem);
    }
  }
  for (const auto& path : changes_.gone) {
    delivered_[path] = nullptr;
    known_.erase(path);
    listed_before_.erase(path);
    unsaved_.erase(path);
    later_.erase(path);
    last_good_.forget(path);
  }
  const auto again = unsaved_;
  for (const auto& path : again) {
    if (problem.empty()) write(known_.at(path), problem);
  }
  registry_.prune_soon();
  seals_.sweep_full();
}

}  // namespace edgemux::config
