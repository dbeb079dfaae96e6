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

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir(path.c_str()));
  if (folder == nullptr) return names;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
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

void Fingerprint::add(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < size; ++i) digest_ = (digest_ ^ bytes[i]) * 1099511628211U;
}

bool Fingerprint::add_status(const char* path, bool follow, timespec& newest) {
  struct stat status {};
  if ((follow ? ::stat(path, &status) : ::lstat(path, &status)) != 0) {
    const auto code = static_cast<std::uint64_t>(errno);
    add(&code, sizeof code);
    return false;
  }
  const std::array<std::uint64_t, 8> parts{
      static_cast<std::uint64_t>(status.st_dev),         static_cast<std::uint64_t>(status.st_ino),
      static_cast<std::uint64_t>(status.st_size),        static_cast<std::uint64_t>(status.st_mode),
      static_cast<std::uint64_t>(status.st_mtim.tv_sec), static_cast<std::uint64_t>(status.st_mtim.tv_nsec),
      static_cast<std::uint64_t>(status.st_ctim.tv_sec), static_cast<std::uint64_t>(status.st_ctim.tv_nsec)};
  add(parts.data(), sizeof parts);
  raise(newest, status.st_ctim);
  return S_ISLNK(status.st_mode);
}

Fingerprint::Fingerprint(const std::vector<std::string>& files, const std::vector<std::string>& directories)
    : Fingerprint(files, directories, Fingerprint()) {}

Fingerprint::Fingerprint(const std::vector<std::string>& files, const std::vector<std::string>& directories,
                         const Fingerprint& before) {
  for (const auto& path : files) {
    add(path.c_str(), path.size() + 1);
    if (add_status(path.c_str(), false, newest_file_)) add_status(path.c_str(), true, newest_file_);
  }
  for (const auto& path : directories) {
    add(path.c_str(), path.size() + 1);
    add_names(path, before);
  }
}

void Fingerprint::add_names(const std::string& path, const Fingerprint& before) {
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
  const auto known = before.listed_.find(path);
  if (known != before.listed_.end() && known->second.sure && known->second.status == listed.status) {
    listed = known->second;
  } else {
    Digest names;
    for (const auto& name : names_in(path)) names.add(name);
    listed.names = names.number();
  }
  add(&listed.names, sizeof listed.names);
  listed_.emplace_hint(listed_.end(), path, listed);
}

bool Fingerprint::changed_since(const timespec& started) const { return !before(newest_file_, started); }

bool Fingerprint::names_changed_since(const timespec& started) const { return !before(newest_directory_, started); }

}  // namespace edgemux::config
