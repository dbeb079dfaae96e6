#include "config/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <unordered_map>

#include "config/fingerprint.h"
#include "core/base/shortage.h"

namespace edgemux::config {
namespace {

namespace fs = std::filesystem;

std::string user_name() {
  std::string buffer(1024, '\0');
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
    return found->pw_name;
  return "uid " + std::to_string(geteuid());
}

std::string reason(int error) {
  if (error == EACCES) return "user " + user_name() + " may not read it (permission denied)";
  return std::error_code(error, std::generic_category()).message();
}

std::string why_closed(int error, const std::string& what) {
  if (error == EACCES) return "user " + user_name() + " may not write to " + what;
  return what + ": " + std::error_code(error, std::generic_category()).message();
}

bool hidden(const std::string& path) {
  const auto slash = path.rfind('/');
  const auto base = slash == std::string::npos ? 0 : slash + 1;
  return base < path.size() && path[base] == '.';
}

class DiskFiles final : public Files {
 public:
  void begin() override {
    Files::begin();
    volumes_.clear();
    read_.clear();
    ways_.clear();
  }

  std::vector<std::string> moved() override {
    ways_.clear();
    std::set<std::string> moved_on;  // volumes
    for (const auto& [folder, target] : volumes_) {
      if (data_link(folder) != target) moved_on.insert(folder);
    }
    std::vector<std::string> out;
    for (const auto& [path, read] : read_) {
      if (moved_on.count(path.substr(0, path.rfind('/'))) != 0 || stat_signature(read.from) != read.signature) {
        out.push_back(path);
      }
    }
    return out;
  }

  core::Result<std::string> read(const std::string& path, const std::string& folder) override {
    const std::string real = through_volume(path);
    read_[path] = {real, stat_signature(real)};
    struct Descriptor {
      int fd;
      ~Descriptor() {
        if (fd >= 0) ::close(fd);
      }
    };
    // Not blocking: a FIFO in the place of a file must not hold the compiler up.
    const Descriptor file{open_file(real, folder)};
    if (file.fd < 0 && errno == EXDEV)
      return core::fail("it is a link that leads out of the folder that it must lie in, " + folder);
    if (file.fd < 0) return failure(path, errno);
    struct stat info {};
    if (::fstat(file.fd, &info) != 0) return failure(path, errno);
    if (S_ISDIR(info.st_mode)) return core::fail("it is a directory");
    if (!S_ISREG(info.st_mode)) return core::fail("it is not a regular file");
    if ((info.st_mode & S_IWOTH) != 0)
      return core::fail("everybody may write to it, so it is not trusted; run chmod o-w");
    if (static_cast<std::uint64_t>(info.st_size) > max_file_size) return core::fail("it is larger than 64 MiB");
    std::string bytes(static_cast<std::size_t>(info.st_size) + 1, '\0');
    std::size_t used = 0;
    for (;;) {
      const ssize_t n = ::read(file.fd, bytes.data() + used, bytes.size() - used);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failure(path, errno);
      if (n == 0) break;
      used += static_cast<std::size_t>(n);
      if (used > max_file_size) return core::fail("it is larger than 64 MiB");
      if (used == bytes.size()) bytes.resize(bytes.size() * 2);
    }
    bytes.resize(used);
    return bytes;
  }

  bool exists(const std::string& path) override { return ::access(path.c_str(), F_OK) == 0; }

  std::string unwritable(const std::string& path, bool append) override {
    struct stat info {};
    const bool there = append && ::stat(path.c_str(), &info) == 0;
    if (there && S_ISDIR(info.st_mode)) return "it is a directory";
    if (there) return ::access(path.c_str(), W_OK) == 0 ? std::string() : why_closed(errno, "it");
    const std::string folder = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
    if (::stat(folder.c_str(), &info) != 0 && errno == ENOENT) return "there is no folder " + folder;
    return ::access((folder + "/").c_str(), W_OK | X_OK) == 0 ? std::string()
                                                              : why_closed(errno, "the folder " + folder);
  }

  // Not glob(3), which takes a folder that it cannot look into for an empty one, but for the last wildcard's.
  Globbed glob(const std::string& pattern, std::size_t bounded) override {
    Globbed out;
    std::vector<Match> matching{{}};
    std::vector<Bounded> roots;
    bool wild = false;          // the component at hand
    std::size_t component = 0;  // that `matching` stands for, from 1
    for (std::size_t begin = 1; begin <= pattern.size(); ++component) {
      const auto end = std::min(pattern.find('/', begin), pattern.size());
      const Component next{pattern.substr(begin, end - begin), end == pattern.size()};
      begin = end + 1;
      wild = next.part.find_first_of("*?[\\") != std::string::npos;
      if (wild && component >= bounded && roots.empty()) {
        for (auto& folder : matching) {
          folder.root = roots.size();
          roots.push_back({folder.path});
        }
      }
      if (wild || !out.folders.empty()) {
        for (const auto& folder : matching) out.folders.push_back(folder.path);
      }
      matching = wild ? list_all(matching, next, roots, out) : step(std::move(matching), next);
    }
    for (const auto& match : matching) {
      if (!hidden(match.path) && (wild || is_there(match.path, out))) out.paths.push_back(match.path);
    }
    std::sort(out.paths.begin(), out.paths.end());
    return out;
  }

  std::vector<std::string> folders(const std::string& path) override {
    std::set<std::string> out;
    follow(path, out);
    return {out.begin(), out.end()};
  }

  core::Result<std::vector<core::PairFiles>> list_pairs(const std::string& directory, std::size_t most) override {
    auto listed = core::list_pairs(directory, most);
    if (!listed && listed.error().shortage) note_failure(directory);
    return listed;
  }

  core::Result<core::PairText> read_pair(const core::PairFiles& names, const core::PairFiles& folders) override {
    for (const auto& path : {names.cert, names.key}) read_[path] = {path, stat_signature(path)};
    auto text = core::read_pair(names, [&](const std::string& path) {
      return open_file(path, path == names.cert ? folders.cert : folders.key);
    });
    if (!text && text.error().shortage) note_failure(names.cert);
    return text;
  }

  Stamp stamp(const std::string& path) override {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return {};
    const auto number = [](auto value) { return static_cast<std::uint64_t>(value); };
    return {{number(info.st_dev), number(info.st_ino), number(info.st_size), number(info.st_mtim.tv_sec),
             number(info.st_mtim.tv_nsec), number(info.st_ctim.tv_sec), number(info.st_ctim.tv_nsec),
             number(info.st_mode), number(info.st_uid)},
            info.st_ctim};
  }

  std::vector<std::string> names(const std::string& folder) override { return names_in(folder); }

  bool met_volume() const override {
    return std::any_of(volumes_.begin(), volumes_.end(), [](const auto& entry) { return !entry.second.empty(); });
  }

  timespec now() const override { return Fingerprint::now(); }

 private:
  tl::unexpected<core::Error> failure(const std::string& path, int error) {
    if (core::may_pass(error)) note_failure(path);
    return core::fail(reason(error));
  }

  // -1 and errno; EXDEV: it leads out of the folder.
  static int open_file(const std::string& path, const std::string& folder) {
    constexpr int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    if (folder.empty()) return ::open(path.c_str(), flags);
    if (!path.starts_with(folder + "/")) {
      errno = EXDEV;
      return -1;
    }
    const int root = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return -1;
    // The kernel follows the links and refuses the one that leaves: nothing can be swapped between a check and a read.
    open_how how{};
    how.flags = static_cast<unsigned>(flags);
    how.resolve = RESOLVE_BENEATH;
    const auto fd = ::syscall(SYS_openat2, root, path.c_str() + folder.size() + 1, &how, sizeof how);
    const int error = errno;
    ::close(root);
    errno = error;
    return static_cast<int>(fd);
  }

  // A path that matches a pattern's components so far, and the bounded folder that it lies in.
  struct Match {
    std::string path;
    std::size_t root = SIZE_MAX;
  };
  struct Bounded {
    std::string folder;
    std::size_t names = 0;  // seen in it, and in the folders in it that the pattern leads to
    [[nodiscard]] bool crowded() const { return names > max_tenant_names; }
  };
  struct Component {
    std::string part;
    bool last;  // of the pattern
  };

  static std::vector<Match> step(std::vector<Match> matching, const Component& next) {
    for (auto& folder : matching) folder.path.append("/").append(next.part);
    return matching;
  }

  std::vector<Match> list_all(const std::vector<Match>& matching, const Component& next, std::vector<Bounded>& roots,
                              Globbed& out) {
    std::vector<Match> to;
    for (const auto& folder : matching) {
      Bounded* root = folder.root < roots.size() ? &roots[folder.root] : nullptr;
      if (root != nullptr && root->crowded()) continue;
      list_matching(folder, next, root, to, out);
      if (root == nullptr || !root->crowded()) continue;
      std::erase_if(to, [&](const Match& one) { return one.root == folder.root; });
      const char* where = root->folder == folder.path ? " names in it" : " names in it and its folders";
      out.closed.push_back({root->folder, "there are more than " + std::to_string(max_tenant_names) + where, true});
    }
    return to;
  }

  void list_matching(const Match& folder, const Component& next, Bounded* root, std::vector<Match>& to, Globbed& out) {
    const bool files_only = next.last && next.part.ends_with('*');
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir((folder.path + "/").c_str()), ::closedir);
    if (open == nullptr) return note_closed(folder.path, errno, out);
    errno = 0;
    while (const dirent* entry = ::readdir(open.get())) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (root != nullptr && ++root->names > max_tenant_names) return;
      if (::fnmatch(next.part.c_str(), entry->d_name, FNM_PERIOD) != 0) continue;
      auto path = folder.path + "/" + entry->d_name;
      std::error_code error;
      if (!files_only || entry->d_type == DT_REG || !fs::is_directory(path, error)) {
        to.push_back({std::move(path), folder.root});
      }
      errno = 0;
    }
    if (errno != 0) note_closed(folder.path, errno, out);
  }

  bool is_there(const std::string& path, Globbed& out) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) == 0) return true;
    note_closed(path.substr(0, path.rfind('/')), errno, out);
    return false;
  }

  void note_closed(const std::string& folder, int error, Globbed& out) {
    struct stat info {};
    if (error == ENOTDIR) return;
    if (core::may_pass(error)) note_failure(folder);
    // Absent is empty; a link to nothing is no less there than a file that is one.
    if (error == ENOENT && (::lstat(folder.c_str(), &info) != 0 || ::stat(folder.c_str(), &info) == 0)) return;
    out.closed.push_back({folder, reason(error), false});
  }

  static std::string stat_signature(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return {};
    std::string out;
    for (const auto part :
         {static_cast<std::int64_t>(info.st_dev), static_cast<std::int64_t>(info.st_ino),
          static_cast<std::int64_t>(info.st_size), static_cast<std::int64_t>(info.st_mtim.tv_sec),
          static_cast<std::int64_t>(info.st_mtim.tv_nsec), static_cast<std::int64_t>(info.st_ctim.tv_sec),
          static_cast<std::int64_t>(info.st_ctim.tv_nsec), static_cast<std::int64_t>(info.st_mode),
          static_cast<std::int64_t>(info.st_uid)}) {
      out += std::to_string(part) + ".";
    }
    return out;
  }

  static std::string data_link(const std::string& folder) {
    std::array<char, PATH_MAX> target;
    const ssize_t size = ::readlink((folder + "/..data").c_str(), target.data(), target.size());
    return size <= 0 ? std::string() : std::string(target.data(), static_cast<std::size_t>(size));
  }

  // A file of a mounted volume is a link through `..data`: read it in the version that this load has begun with.
  std::string through_volume(const std::string& path) {
    const auto slash = path.rfind('/');
    const std::string folder = path.substr(0, slash);
    auto at = volumes_.find(folder);
    if (at == volumes_.end()) at = volumes_.emplace(folder, data_link(folder)).first;
    if (at->second.empty()) return path;
    std::error_code error;
    const auto link = fs::read_symlink(path, error).string();
    constexpr std::string_view through = "..data/";
    if (link.compare(0, through.size(), through) != 0) return path;
    const std::string version = at->second.front() == '/' ? at->second : folder + "/" + at->second;
    return version + "/" + link.substr(through.size());
  }

  // Walks the path by component, as the kernel does, and notes the folder of each link and of the end. Where a folder
  // is missing, the one that lacks it is noted: it tells when the missing one appears.
  void follow(const std::string& path, std::set<std::string>& out) {
    std::vector<std::string> rest;
    const auto push = [&rest](const std::string& text) {
      std::vector<std::string> parts;
      for (std::size_t at = 0; at <= text.size();) {
        const auto end = std::min(text.find('/', at), text.size());
        if (end > at) parts.push_back(text.substr(at, end - at));
        at = end + 1;
      }
      rest.insert(rest.end(), parts.rbegin(), parts.rend());
    };
    push(path);
    std::string at;  // resolved; "" is the root
    for (int links = 0; !rest.empty();) {
      const std::string part = rest.back();
      rest.pop_back();
      if (part == ".") continue;
      if (part == "..") {
        at.erase(std::min(at.size(), at.rfind('/')));
        continue;
      }
      std::string next = at;
      next.append("/").append(part);
      const Way& way = way_at(next);
      if (!way.target.empty()) {
        out.insert(at.empty() ? "/" : at);
        if (++links > 40) break;
        if (way.target.front() == '/') at.clear();
        push(way.target);
        continue;
      }
      if (!way.folder) break;
      at = next;
    }
    out.insert(at.empty() ? "/" : at);
  }

  // Many files share their way: each step is looked at once in a load.
  struct Way {
    bool folder = false;
    std::string target;  // of a link
  };
  const Way& way_at(const std::string& path) {
    const auto [at, fresh] = ways_.try_emplace(path);
    struct stat info {};
    if (!fresh || ::lstat(path.c_str(), &info) != 0) return at->second;
    at->second.folder = S_ISDIR(info.st_mode);
    std::error_code error;
    if (S_ISLNK(info.st_mode)) at->second.target = fs::read_symlink(path, error).string();
    return at->second;
  }

  std::map<std::string, std::string> volumes_;  // folder -> what its ..data led to; empty = it has none
  struct Read {
    std::string from;       // the path in its volume
    std::string signature;  // before
  };
  std::map<std::string, Read> read_;
  std::unordered_map<std::string, Way> ways_;  // of the load at hand
};

class MemoryFiles final : public Files {
 public:
  explicit MemoryFiles(std::map<std::string, std::string> contents) : contents_(std::move(contents)) {}

  std::vector<std::string> moved() override { return {}; }
  core::Result<std::string> read(const std::string& path, const std::string&) override {
    const auto found = contents_.find(path);
    if (found == contents_.end()) return core::fail(reason(ENOENT));
    return found->second;
  }
  bool exists(const std::string& path) override { return contents_.count(path) != 0; }
  std::string unwritable(const std::string&, bool) override { return {}; }
  Globbed glob(const std::string& pattern, std::size_t /*bounded*/) override {
    Globbed out;
    for (const auto& [path, bytes] : contents_) {
      if (::fnmatch(pattern.c_str(), path.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0) out.paths.push_back(path);
    }
    return out;
  }
  std::vector<std::string> folders(const std::string&) override { return {}; }
  core::Result<std::vector<core::PairFiles>> list_pairs(const std::string&, std::size_t) override {
    return core::fail(reason(ENOENT));
  }
  core::Result<core::PairText> read_pair(const core::PairFiles& names, const core::PairFiles&) override {
    return core::fail(names.cert + ": " + reason(ENOENT));
  }
  Stamp stamp(const std::string& path) override {
    const auto found = contents_.find(path);
    if (found == contents_.end()) return {};
    return {{1, std::hash<std::string>{}(found->second), found->second.size()}, {}};
  }
  std::vector<std::string> names(const std::string&) override { return {}; }
  bool met_volume() const override { return false; }
  timespec now() const override { return {1, 0}; }

 private:
  std::map<std::string, std::string> contents_;
};

}  // namespace

std::shared_ptr<Files> disk_files() { return std::make_shared<DiskFiles>(); }

std::shared_ptr<Files> memory_files(std::map<std::string, std::string> contents) {
  return std::make_shared<MemoryFiles>(std::move(contents));
}

std::string resolve_path(const std::string& file, const std::string& path) {
  const fs::path out = fs::path(path).is_absolute() ? fs::path(path) : fs::path(file).parent_path() / path;
  auto text = out.lexically_normal().string();
  if (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

}  // namespace edgemux::config
