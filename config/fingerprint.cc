#include "config/fingerprint.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "config/digest.h"

namespace edgemux::config {

namespace {

bool before(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

timespec fine_now() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return time;
}

// Only stamps that have come: one of a clock that ran ahead must not hide the others.
void raise(timespec& newest, const timespec& stamp) {
  if (before(newest, stamp) && !before(fine_now(), stamp)) newest = stamp;
}

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

}  // namespace

std::vector<std::string> names_in(const std::string& path, std::size_t most) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir(path.c_str()));
  if (folder == nullptr) return names;
  // Before the names: what changes while they are read makes another text.
  struct stat status {};
  ::fstat(::dirfd(folder.get()), &status);
  const std::string changed =
      "as of " + std::to_string(status.st_ctim.tv_sec) + "." + std::to_string(status.st_ctim.tv_nsec);
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] == '.') continue;
    if (names.size() == most) return {changed};
    names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Kernels stamp with the coarse clock, since 6.13 with the fine one where somebody looked in between. So no stamp made
// after this moment is earlier than the coarse clock, and none made before it is later than the fine one.
timespec Fingerprint::now() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &time);
  return time;
}

Fingerprint::Looked Fingerprint::look_at_file(const std::string& path) {
  Looked looked;
  Digest digest;
  for (const bool follow : {false, true}) {
    struct stat status {};
    if ((follow ? ::stat(path.c_str(), &status) : ::lstat(path.c_str(), &status)) != 0) {
      digest.add(std::to_string(errno));
      break;
    }
    const std::array<std::uint64_t, 8> parts{
        static_cast<std::uint64_t>(status.st_dev),         static_cast<std::uint64_t>(status.st_ino),
        static_cast<std::uint64_t>(status.st_size),        static_cast<std::uint64_t>(status.st_mode),
        static_cast<std::uint64_t>(status.st_mtim.tv_sec), static_cast<std::uint64_t>(status.st_mtim.tv_nsec),
        static_cast<std::uint64_t>(status.st_ctim.tv_sec), static_cast<std::uint64_t>(status.st_ctim.tv_nsec)};
    digest.add({reinterpret_cast<const char*>(parts.data()), sizeof parts});
    raise(looked.newest, status.st_ctim);
    if (!S_ISLNK(status.st_mode)) break;
  }
  looked.digest = digest.number();
  return looked;
}

Fingerprint::Listed Fingerprint::look_at_directory(const std::string& path, const Listed* before) {
  const timespec started = now();
  struct stat status {};
  Listed listed;
  if (::stat(path.c_str(), &status) == 0) {
    raise(newest_directory_, status.st_ctim);
    listed.status = {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
                     static_cast<std::uint64_t>(status.st_ctim.tv_sec),
                     static_cast<std::uint64_t>(status.st_ctim.tv_nsec)};
    listed.sure = edgemux::config::before(status.st_ctim, started);
  }
  if (before != nullptr && before->sure && before->status == listed.status) return *before;
  Digest names;
  for (const auto& name : names_in(path)) names.add(name);
  listed.names = names.number();
  return listed;
}

Fingerprint::Fingerprint(const std::vector<std::string>& files, const std::vector<std::string>& directories)
    : Fingerprint(files, directories, Fingerprint()) {}

Fingerprint::Fingerprint(const std::vector<std::string>& files, const std::vector<std::string>& directories,
                         const Fingerprint& before) {
  for (const auto& path : files) files_.insert_or_assign(files_.end(), path, look_at_file(path));
  for (const auto& path : directories) {
    const auto known = before.directories_.find(path);
    const Listed* listed = known == before.directories_.end() ? nullptr : &known->second;
    directories_.insert_or_assign(directories_.end(), path, look_at_directory(path, listed));
  }
}

void Fingerprint::look_again(const std::vector<std::string>& files) {
  newest_directory_ = {};
  for (const auto& path : files) {
    files_.insert_or_assign(path, look_at_file(path));
    const auto folder = directories_.find(std::string_view(path).substr(0, path.rfind('/')));
    if (folder != directories_.end()) folder->second = look_at_directory(folder->first, &folder->second);
  }
}

std::vector<std::string> Fingerprint::changed_since(const timespec& started) const {
  std::vector<std::string> out;
  for (const auto& [path, looked] : files_) {
    if (!before(looked.newest, started)) out.push_back(path);
  }
  return out;
}

bool Fingerprint::names_changed_since(const timespec& started) const { return !before(newest_directory_, started); }

}  // namespace edgemux::config
