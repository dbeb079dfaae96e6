#pragma once
// Files: the compiler's one door to the file system. DiskFiles is the real one; MemoryFiles serves the fuzzer, the
// benchmark and tests that need no disk.
//
// Paths are absolute. A load is what happens between begin() and moved(): within one load a Kubernetes volume (a folder
// with a `..data` link) is read through one resolved `..data`, so that files of two versions never mix.

#include <array>
#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "core/tls/certificate_store.h"

namespace edgemux::config {

// What tells one state of a file or folder from another, links followed. All zero where there is none.
struct Stamp {
  std::array<std::uint64_t, 9> parts{};
  timespec changed{};
  // It cannot change unnoticed after `moment`, which came from Files::now(): a later change has a later stamp.
  [[nodiscard]] bool before(const timespec& moment) const {
    return std::pair(changed.tv_sec, changed.tv_nsec) < std::pair(moment.tv_sec, moment.tv_nsec);
  }
  // Of a file, in bytes.
  [[nodiscard]] std::uint64_t size() const { return parts[2]; }
  friend bool operator==(const Stamp& a, const Stamp& b) { return a.parts == b.parts; }
};

// What a pattern names.
struct Globbed {
  struct Closed {
    std::string folder;
    std::string reason;
    bool crowded = false;  // it can be looked into, and has too many names
  };
  std::vector<std::string> paths;  // sorted by name
  std::vector<Closed> closed;      // folders that are there and cannot be looked into: what they hold is not known
  std::vector<std::string>
      folders;  // to watch: those whose names the pattern's wildcards stand for, and what is in them
};

// Why a file that is held cannot be read.
inline constexpr const char* keeps_changing =
    "it keeps changing while it is read; it is read again when it has settled";

class Files {
 public:
  virtual ~Files() = default;

  virtual void begin() { failed_before_ = std::exchange(failed_, {}); }
  // Which of the files that were read since begin() are not as they were read any more, by the paths that they were
  // read by: they changed, or their volume moved on.
  virtual std::vector<std::string> moved() = 0;

  // From now on these count as unreadable, which whoever reads asks for. Replaces those before.
  void hold(std::set<std::string> paths) { held_ = std::move(paths); }
  [[nodiscard]] bool held(const std::string& path) const { return !held_.empty() && held_.count(path) != 0; }

  // The last try in this load, or in the one before it, to read this file or to look into this folder failed for a
  // reason that may be over although nothing of it changes, such as no free descriptor. It is to be tried again.
  [[nodiscard]] bool failed(const std::string& path) const {
    return failed_.count(path) != 0 || failed_before_.count(path) != 0;
  }
  // Since begin().
  [[nodiscard]] bool any_failed() const { return !failed_.empty(); }

  // The whole file. Errors name the reason, without the path. A file that everybody may write is refused.
  // With a `folder` it must be that one's, links followed: one that is absolute or leads out of it is an error.
  virtual core::Result<std::string> read(const std::string& path, const std::string& folder = {}) = 0;
  // Whether the path exists (a dangling link does not).
  virtual bool exists(const std::string& path) = 0;
  // Why this process could not make a file there, in words behind "cannot be written: ", or with `append` write to the
  // one that is there. Empty: nothing is known to be in the way.
  virtual std::string unwritable(const std::string& path, bool append) = 0;
  // What matches; names that begin with a dot are passed over, and folders where the pattern ends in '*': under a name
  // like x.yaml a file was meant, and reading it says what is wrong. Nothing matches: empty. `bounded`: a component of
  // the pattern, counted from 1. Where the first wildcard behind it begins, a folder with more than max_tenant_names in
  // all that the pattern leads through is not looked through.
  virtual Globbed glob(const std::string& pattern, std::size_t bounded = SIZE_MAX) = 0;
  // The folders to watch for this path: those that exist on the way to what it names, and those of the targets of
  // links.
  virtual std::vector<std::string> folders(const std::string& path) = 0;

  // With more than `most` names in it: an error.
  virtual core::Result<std::vector<core::PairFiles>> list_pairs(const std::string& directory, std::size_t most) = 0;
  // `folders`: where each of the two must lie, as for read().
  virtual core::Result<core::PairText> read_pair(const core::PairFiles& names, const core::PairFiles& folders) = 0;

  virtual Stamp stamp(const std::string& path) = 0;
  // As names_in() says.
  virtual std::vector<std::string> names(const std::string& folder) = 0;
  // Something since begin() was read from a Kubernetes volume.
  [[nodiscard]] virtual bool met_volume() const = 0;
  // For Stamp::before().
  [[nodiscard]] virtual timespec now() const = 0;

 protected:
  void note_failure(const std::string& path) { failed_.insert(path); }

 private:
  std::set<std::string> held_;
  std::set<std::string> failed_;  // since begin()
  std::set<std::string> failed_before_;
};

constexpr std::size_t max_tenant_names = 4096;  // in a folder of a tenant: twice its pairs, and as much again
constexpr std::size_t max_file_size = 64UL * 1024 * 1024;

std::shared_ptr<Files> disk_files();

// Files that exist in memory only: nothing of the disk is seen, no certificate can be loaded.
std::shared_ptr<Files> memory_files(std::map<std::string, std::string> contents);

// "routes.d/a.yaml" seen from "/etc/edgemux/edgemux.yaml" is "/etc/edgemux/routes.d/a.yaml". "." and ".." are folded.
std::string resolve_path(const std::string& file, const std::string& path);

}  // namespace edgemux::config
