#pragma once
// LastGood: the last good bytes of include files, kept in the state directory so that they outlive the process.
//
// One file per include, DIRECTORY/last-good/NAME-DIGEST, named after the include's path; the path itself is its first
// line and is compared when it is read. Written beside and renamed, only when the bytes have changed. The first files
// of a load are on the disk when save() returns; of many, such as at a first start, the others get there when the
// kernel sees fit, and a digest tells one that a crash cut short. Nothing here is needed to serve: a failure is the
// caller's to warn about.

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/base/result.h"

namespace edgemux::config {

class LastGood {
 public:
  // Empty: nothing is loaded or saved. True: it is another one than before.
  bool set_directory(std::string state_dir);

  struct Kept {
    std::string bytes;
    bool in_force;  // when they were saved
  };
  // Nothing if there are more than `most` bytes.
  [[nodiscard]] std::optional<Kept> load(const std::string& path, std::uint64_t most = UINT64_MAX) const;
  // Of all includes that are kept.
  [[nodiscard]] std::vector<std::string> paths() const;
  core::Result<bool> save(const std::string& path, const std::string& bytes, bool in_force);  // true: it was written
  // A load begins.
  void begin() { synced_ = 0; }
  // The directory is another one than the last time, or has come, or is gone: what lies there is not known any more.
  [[nodiscard]] bool replaced();
  // What lies there is looked at again.
  void distrust() { saved_.clear(); }
  // Forgets what is kept of an include.
  void give_up(const std::string& path);
  // The same, if it exists no more.
  void forget(const std::string& path);
  // Forgets the includes that exist no more, but for those in `keep`.
  void prune(const std::unordered_set<std::string>& keep);

 private:
  template <typename Each>
  void for_each(Each&& each) const;
  [[nodiscard]] std::string file_of(const std::string& path) const;

  std::string directory_;
  std::unordered_map<std::string, std::string> saved_;  // path -> the digest's line of what lies there
  std::pair<std::uint64_t, std::uint64_t> identity_;    // of the directory; none: zero
  std::size_t synced_ = 0;                              // files of this load
};

}  // namespace edgemux::config
