#pragma once
// Fingerprint: what a set of paths looks like on disk, without reading a byte of content. Two uses:
// - equal to an earlier one of the same paths: nothing has changed that the file system tells of (the 30 s rescan);
// - taken after a load that began at `started`: changed_since(started) says which files may have changed while they
//   were read or since, so that the load has to be repeated. A half-written file can parse as a smaller table.
//
// Of a file: its link's and its target's device, inode, size, mode, mtime and ctime, or the error. Of a directory: the
// names in it that do not begin with a dot.

#include <ctime>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace edgemux::config {

// What is in the folder, but for names that begin with a dot; sorted. Empty where there is none. Of a folder with more
// than `most` a single text, which differs whenever the folder's status has changed.
std::vector<std::string> names_in(const std::string& folder, std::size_t most = 65536);

class Fingerprint {
 public:
  Fingerprint() = default;
  Fingerprint(const std::vector<std::string>& files, const std::vector<std::string>& directories);
  // The same; a directory that `before` knows, and whose own status has not changed since, is not listed again.
  Fingerprint(const std::vector<std::string>& files, const std::vector<std::string>& directories,
              const Fingerprint& before);

  // Of the same paths, but only these files and the directories that hold them are looked at again;
  // names_changed_since() speaks of those.
  void look_again(const std::vector<std::string>& files);

  // A moment to give to changed_since(): no file that changes after it bears an earlier stamp.
  static timespec now();

  // The files whose ctime lies between `started` (from now()) and the moment this fingerprint was taken. Those as well
  // that changed just before `started`, within one tick of that clock. A ctime in the future is a wrong clock, not a
  // change.
  [[nodiscard]] std::vector<std::string> changed_since(const timespec& started) const;
  // A name came to one of the directories or went, as far as they were looked at.
  [[nodiscard]] bool names_changed_since(const timespec& started) const;

  friend bool operator==(const Fingerprint& a, const Fingerprint& b) {
    return a.files_ == b.files_ && a.directories_ == b.directories_;
  }

 private:
  struct Listed {
    std::array<std::uint64_t, 4> status{};  // device, inode, ctime
    std::uint64_t names = 0;                // a digest
    bool sure = false;                      // an equal status means equal names
    friend bool operator==(const Listed& a, const Listed& b) { return a.names == b.names; }
  };
  struct Looked {
    std::uint64_t digest = 0;  // tells changes apart, defends against nobody
    timespec newest{};         // ctime, of the link or of its target
    friend bool operator==(const Looked& a, const Looked& b) { return a.digest == b.digest; }
  };
  [[nodiscard]] static Looked look_at_file(const std::string& path);
  [[nodiscard]] Listed look_at_directory(const std::string& path, const Listed* before);

  std::map<std::string, Looked, std::less<>> files_;
  std::map<std::string, Listed, std::less<>> directories_;
  timespec newest_directory_{};
};

}  // namespace edgemux::config
