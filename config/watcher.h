#pragma once
// Watcher: says that something of the configuration on disk may have changed. Plain inotify, no loop: the owner polls
// fd() for reading and calls drain().
//
// Paths are absolute and need not exist. Every path is followed element by element, through links, and each folder on
// the way is watched for the name of the next element. So a replaced file, a link that is swung (Kubernetes swings
// `..data`), a folder that is replaced, and one that appears later are all seen. What counts in a folder:
// - a file or link that leads to one of `files` is written and closed, created, removed, renamed, or changes its mode;
// - in one of `directories` any name, except those that begin with a dot (editors' and mkstemp's files, which globs
// pass over);
// - the folder itself goes away, or the kernel's queue overflowed.
// A file that is written and not closed, and changes behind a network file system, are not seen: the owner rescans.
//
// One thread. Not seen: what happened between reading a path and set() (see Fingerprint for that).

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/touched.h"

namespace edgemux::config {

class Watcher {
 public:
  Watcher();
  ~Watcher();
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  // -1 where the kernel gave no inotify instance; problem() says why.
  [[nodiscard]] int fd() const { return fd_; }

  // Replaces what is watched. Folders that stay are watched without a gap. The same again costs nothing.
  void set(std::vector<std::string> files, std::vector<std::string> directories);

  // Reads all that has happened; never waits. True: something that counts was among it.
  bool drain();

  // Which of the paths given to set() what drain() has read concerns, since the last time; everything where that cannot
  // be told: ways moved, the kernel's queue overflowed, there is a problem().
  Touched take();

  // Why not everything is watched (a limit of the kernel, a folder that may not be read); empty when it is.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  struct Folder {
    std::set<std::string, std::less<>> steps;  // links and folders on the way to something
    std::set<std::string, std::less<>> files;
    std::set<std::string, std::less<>> links;  // those of `files` that are links
    bool every_name = false;
    bool several = false;  // paths lead here without a link
    std::string path;
  };
  // How paths are written that lead to one that has other links on its way; by that one.
  using Aliases = std::map<std::string, std::set<std::string>>;
  using Plan = std::map<std::string, Folder>;  // by the folder's path without links
  class Walk;

  void apply();
  void touch(const std::string& path);
  // What one event means: whether it counts, and whether the ways have to be walked again.
  struct Meaning {
    bool counts = false;
    bool ways = false;
  };
  Meaning meaning(int watch, unsigned mask, std::string_view name);
  // The name was a link when the ways were walked, or is one now.
  static bool may_lead(const Folder& folder, std::string_view name);

  int fd_ = -1;
  std::vector<std::string> files_;
  std::vector<std::string> directories_;
  std::map<int, Folder> folders_;  // by watch descriptor
  Aliases aliases_;
  Touched touched_ = Touched::everything();
  std::string problem_;
};

}  // namespace edgemux::config
