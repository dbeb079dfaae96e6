#include "config/last_good.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "config/digest.h"
#include "config/files.h"

namespace edgemux::config {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view header = "# last good bytes of ";
constexpr std::string_view digest_header = "# digest ";
constexpr std::string_view idle = " of what was not in force";
constexpr std::size_t most_synced = 16;  // files of one load

std::string digest_of(std::string_view bytes) {
  Digest digest;
  digest.add(bytes);
  return digest.hex();
}

// The path that a kept file belongs to, and where what follows begins.
std::optional<std::pair<std::string, std::size_t>> read_header(std::string_view bytes) {
  if (bytes.substr(0, header.size()) != header) return std::nullopt;
  const auto end = bytes.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  return std::pair{std::string(bytes.substr(header.size(), end - header.size())), end + 1};
}

std::string digest_line(std::string_view bytes, bool in_force) {
  return digest_of(bytes).append(in_force ? std::string_view() : idle);
}

// The bytes behind the digest, if they are those that it was made of. Earlier versions wrote none.
std::optional<LastGood::Kept> whole(std::string_view rest) {
  if (rest.substr(0, digest_header.size()) != digest_header) return LastGood::Kept{std::string(rest), true};
  const auto end = rest.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const auto bytes = rest.substr(end + 1);
  const auto said = rest.substr(digest_header.size(), end - digest_header.size());
  const bool in_force = !said.ends_with(idle);
  if (said != digest_line(bytes, in_force)) return std::nullopt;
  return LastGood::Kept{std::string(bytes), in_force};
}

std::optional<std::string> slurp(const std::string& path, std::uint64_t most) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return std::nullopt;
  constexpr std::uint64_t longest_header = 16UL * 1024;
  const auto size = static_cast<std::streamoff>(in.tellg());
  if (size < 0 ||
      static_cast<std::uint64_t>(size) > std::min<std::uint64_t>(most, 2 * max_file_size) + longest_header) {
    return std::nullopt;
  }
  std::string bytes(static_cast<std::size_t>(size), '\0');
  in.seekg(0);
  if (!in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) return std::nullopt;
  return bytes;
}

core::Result<bool> write_file(const std::string& path, std::string_view head, std::string_view bytes, bool sync) {
  const std::string beside = path + ".new";
  const int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  const auto problem = [&](int error) {
    return core::fail("cannot write " + beside + ": " + std::error_code(error, std::generic_category()).message());
  };
  if (fd < 0) return problem(errno);
  int error = 0;
  for (auto part : {head, bytes}) {
    while (!part.empty() && error == 0) {
      const ssize_t n = ::write(fd, part.data(), part.size());
      if (n < 0) {
        if (errno != EINTR) error = errno;
      } else {
        part.remove_prefix(static_cast<std::size_t>(n));
      }
    }
  }
  if (error == 0 && sync && ::fdatasync(fd) != 0) error = errno;
  if (::close(fd) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(beside.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(beside.c_str());
    return problem(error);
  }
  return true;
}

}  // namespace

bool LastGood::set_directory(std::string state_dir) {
  if (!state_dir.empty()) state_dir += "/last-good";
  if (state_dir == directory_) return false;
  directory_ = std::move(state_dir);
  saved_.clear();
  (void)replaced();  // that is known
  return true;
}

bool LastGood::replaced() {
  struct stat info {};
  const bool there = !directory_.empty() && ::stat(directory_.c_str(), &info) == 0;
  const auto now = there ? std::pair<std::uint64_t, std::uint64_t>(info.st_dev, info.st_ino) : decltype(identity_){};
  return std::exchange(identity_, now) != now;
}

std::string LastGood::file_of(const std::string& path) const {
  std::string name = path.substr(path.rfind('/') + 1);
  if (name.size() > 100) name.resize(100);
  return directory_ + "/" + name + "-" + digest_of(path);
}

std::optional<LastGood::Kept> LastGood::load(const std::string& path, std::uint64_t most) const {
  if (directory_.empty()) return std::nullopt;
  const auto bytes = slurp(file_of(path), most);
  if (!bytes) return std::nullopt;
  const auto head = read_header(*bytes);
  if (!head || head->first != path) return std::nullopt;
  auto kept = whole(std::string_view(*bytes).substr(head->second));
  if (!kept || kept->bytes.size() > most) return std::nullopt;
  return kept;
}

core::Result<bool> LastGood::save(const std::string& path, const std::string& bytes, bool in_force) {
  if (directory_.empty() || path.find('\n') != std::string::npos) return false;
  const auto digest = digest_line(bytes, in_force);
  auto at = saved_.find(path);
  if (at == saved_.end()) {
    const auto kept = load(path);
    at = saved_.emplace(path, kept ? digest_line(kept->bytes, kept->in_force) : std::string()).first;
  }
  if (at->second == digest) return false;
  std::error_code error;
  if (!fs::exists(directory_, error)) {
    fs::create_directories(directory_, error);
    if (error) return core::fail("cannot make the directory " + directory_ + ": " + error.message());
    fs::permissions(directory_, fs::perms::owner_all, error);
    (void)replaced();  // by ourselves
  }
  const std::string head = std::string(header) + path + "\n" + std::string(digest_header) + digest + "\n";
  auto written = write_file(file_of(path), head, bytes, synced_++ < most_synced);
  if (written) at->second = digest;
  return written;
}

void LastGood::give_up(const std::string& path) {
  saved_.erase(path);
  if (!directory_.empty()) ::unlink(file_of(path).c_str());
}

void LastGood::forget(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 && errno == ENOENT) give_up(path);
}

// Calls `each` with a kept file and the path that it belongs to.
template <typename Each>
void LastGood::for_each(Each&& each) const {
  if (directory_.empty()) return;
  std::error_code error;
  for (fs::directory_iterator at(directory_, error), end; !error && at != end; at.increment(error)) {
    std::ifstream in(at->path(), std::ios::binary);
    std::string line;
    if (!std::getline(in, line)) continue;
    if (auto head = read_header(line + "\n")) each(at->path(), std::move(head->first));
  }
}

std::vector<std::string> LastGood::paths() const {
  std::vector<std::string> out;
  for_each([&](const fs::path&, std::string path) { out.push_back(std::move(path)); });
  return out;
}

void LastGood::prune(const std::unordered_set<std::string>& keep) {
  std::erase_if(saved_, [&](const auto& entry) { return keep.count(entry.first) == 0; });
  for_each([&](const fs::path& file, const std::string& path) {
    if (keep.count(path) != 0) return;
    struct stat info {};
    // Only what is certainly gone: an unmounted or unreadable folder is no deletion.
    if (::lstat(path.c_str(), &info) != 0 && errno == ENOENT) ::unlink(file.c_str());
  });
}

}  // namespace edgemux::config
