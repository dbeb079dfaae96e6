#include "config/watcher.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>
#include <system_error>
#include <unordered_map>

namespace edgemux::config {

namespace {

constexpr std::uint32_t interesting = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |
                                      IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB | IN_ONLYDIR | IN_EXCL_UNLINK;
constexpr int most_links = 40;      // as the kernel follows
constexpr int most_elements = 256;  // of one path

std::string message_of(int code) { return std::generic_category().message(code); }

// "/a/b" is "/a" and "b"; slashes at the end do not count.
std::pair<std::string, std::string> folder_and_name(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const auto slash = path.rfind('/');
  std::string_view folder = path.substr(0, slash);
  while (folder.size() > 1 && folder.back() == '/') folder.remove_suffix(1);
  return {folder.empty() ? "/" : std::string(folder), std::string(path.substr(slash + 1))};
}

std::string join(const std::string& folder, std::string_view name) {
  return (folder == "/" ? "" : folder) + "/" + std::string(name);
}

// Where the link points, absolute; nothing when the path is no link.
std::optional<std::string> link_target(const std::string& folder, const std::string& path) {
  std::array<char, PATH_MAX> buffer;
  const ssize_t size = ::readlink(path.c_str(), buffer.data(), buffer.size());
  if (size <= 0) return std::nullopt;
  const std::string_view target(buffer.data(), static_cast<std::size_t>(size));
  return target.front() == '/' ? std::string(target) : join(folder, target);
}

}  // namespace

// One look at the disk: which folders have to be watched for which names.
class Watcher::Walk {
 public:
  void file(const std::string& path) { file(path, path, 0); }

  void directory(const std::string& path) {
    if (path.empty() || path.front() != '/') return;
    const auto real = folder(path, 0, 0);
    if (!real) return;
    plan_[*real].every_name = true;
    if (*real != path) aliases_[*real].insert(path);
  }

  Plan take() { return std::move(plan_); }
  Aliases take_aliases() { return std::move(aliases_); }

 private:
  // What `written` leads to.
  void file(const std::string& path, const std::string& written, int links) {
    if (path.empty() || path.front() != '/' || links > most_links) return;
    const auto [parent, name] = folder_and_name(path);
    const auto real = folder(parent, links, 0);
    if (!real || name.empty()) return;
    Folder& mine = plan_[*real];
    mine.files.insert(name);
    const auto here = join(*real, name);
    if (here != written) aliases_[here].insert(written);
    const auto target = link_target(*real, here);
    if (!target) return;
    mine.links.insert(name);
    file(*target, written, links + 1);
  }

  // The folder's path without links, nothing when it does not exist. Notes every step of the way.
  std::optional<std::string> folder(const std::string& path, int links, int depth) {
    if (path == "/") return path;
    if (links > most_links || depth > most_elements) return std::nullopt;
    if (const auto known = known_.find(path); known != known_.end()) return known->second;
    auto found = step(path, links, depth);
    known_.emplace(path, found);
    return found;
  }

  std::optional<std::string> step(const std::string& path, int links, int depth) {
    const auto [parent, name] = folder_and_name(path);
    const auto real = folder(parent, links, depth + 1);
    if (!real || name.empty() || name == ".") return real;
    if (name == "..") return folder_and_name(*real).first;
    plan_[*real].steps.insert(name);
    const std::string here = join(*real, name);
    if (const auto target = link_target(*real, here)) return folder(*target, links + 1, depth + 1);
    struct stat status {};
    if (::lstat(here.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return std::nullopt;
    return here;
  }

  Plan plan_;
  Aliases aliases_;
  std::unordered_map<std::string, std::optional<std::string>> known_;
};

Watcher::Watcher() : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  if (fd_ < 0) problem_ = "inotify is not available: " + message_of(errno);
}

Watcher::~Watcher() {
  if (fd_ >= 0) ::close(fd_);
}

void Watcher::set(std::vector<std::string> files, std::vector<std::string> directories) {
  // While the lists are the same, drain() alone tells when the ways have to be walked again.
  const bool same = files == files_ && directories == directories_ && !folders_.empty() && problem_.empty();
  files_ = std::move(files);
  directories_ = std::move(directories);
  if (!same) apply();
}

void Watcher::apply() {
  if (fd_ < 0) return;
  // What moves while the ways are walked is caught by walking them again once the new folders are watched.
  for (int turn = 0; turn < 4; ++turn) {
    Walk walk;
    for (const auto& file : files_) walk.file(file);
    for (const auto& directory : directories_) walk.directory(directory);

    problem_.clear();
    bool again = false;
    std::map<int, Folder> next;
    for (auto& [path, folder] : walk.take()) {
      const int watch = ::inotify_add_watch(fd_, path.c_str(), interesting);
      if (watch < 0) {
        const int code = errno;
        if (code == ENOENT || code == ENOTDIR) {
          again = true;
        } else if (code != EACCES || folder.every_name || !folder.files.empty()) {
          problem_ = "cannot watch " + path + ": " +
                     (code == ENOSPC ? "the limit fs.inotify.max_user_watches is reached" : message_of(code));
        }
        continue;
      }
      again = again || folders_.find(watch) == folders_.end();
      // Two paths may be one folder (a bind mount): the descriptor is the same then.
      Folder& mine = next[watch];
      mine.several = !mine.path.empty();
      mine.steps.merge(folder.steps);
      mine.files.merge(folder.files);
      mine.links.merge(folder.links);
      mine.path = path;
      mine.every_name = mine.every_name || folder.every_name;
    }
    for (const auto& [watch, folder] : folders_) {
      if (next.find(watch) == next.end()) ::inotify_rm_watch(fd_, watch);
    }
    folders_ = std::move(next);
    aliases_ = walk.take_aliases();
    if (!again) return;
  }
}

Watcher::Meaning Watcher::meaning(int watch, unsigned mask, std::string_view name) {
  if ((mask & IN_Q_OVERFLOW) != 0) return {true, true};
  const auto found = folders_.find(watch);
  if (found == folders_.end()) return {};  // a folder that was let go since
  const Folder& folder = found->second;
  if ((mask & IN_IGNORED) != 0) {
    folders_.erase(found);
    return {true, true};
  }
  if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) != 0) return {true, true};
  const bool listed = folder.every_name && !name.empty() && name.front() != '.';
  const bool named = folder.files.contains(name);
  if (listed) touch(folder.path);
  if (named) touch(join(folder.path, name));
  if (name.empty() || folder.several) touched_.add_everything();
  if (name.empty()) return {folder.every_name || !folder.files.empty(), false};  // the folder's own mode
  if (folder.steps.contains(name)) return {true, (mask & IN_CLOSE_WRITE) == 0};
  if (named) return {true, (mask & IN_CLOSE_WRITE) == 0 && may_lead(folder, name)};
  return {listed, false};
}

void Watcher::touch(const std::string& path) {
  touched_.add(path);
  if (const auto found = aliases_.find(path); found != aliases_.end()) {
    for (const auto& written : found->second) touched_.add(written);
  }
}

Touched Watcher::take() {
  if (fd_ < 0 || !problem_.empty()) touched_.add_everything();
  return std::exchange(touched_, {});
}

bool Watcher::may_lead(const Folder& folder, std::string_view name) {
  if (folder.links.contains(name)) return true;
  struct stat status {};
  return ::lstat(join(folder.path, name).c_str(), &status) == 0 && S_ISLNK(status.st_mode);
}

bool Watcher::drain() {
  if (fd_ < 0) return false;
  alignas(inotify_event) std::array<char, 16 * 1024> buffer;
  Meaning all;
  // Bounded, so that a storm of events cannot keep the thread: the descriptor stays readable.
  for (int reads = 0; reads < 64; ++reads) {
    const ssize_t size = ::read(fd_, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* name = buffer.data() + at + sizeof event;
      const Meaning one = meaning(event.wd, event.mask, {name, event.len == 0 ? 0 : ::strnlen(name, event.len)});
      all.counts = all.counts || one.counts;
      all.ways = all.ways || one.ways;
      at += sizeof event + event.len;
    }
  }
  if (all.ways) {
    touched_.add_everything();
    apply();
  }
  return all.counts;
}

}  // namespace edgemux::config
