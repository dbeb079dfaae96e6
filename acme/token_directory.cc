#include "acme/token_directory.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "acme/challenge.h"

namespace edgemux::acme {

namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

constexpr int folder_flags = O_PATH | O_DIRECTORY | O_CLOEXEC;

TokenAnswer not_found() { return {}; }

TokenAnswer error(const std::string& path, const std::string& what) {
  return {TokenAnswer::Kind::error, "ACME token " + path + ": " + what};
}

// ENOENT and its kin are an answer, everything else is worth a line in the log.
TokenAnswer failed_with(int code, const std::string& path) {
  if (code == ENOENT || code == ENOTDIR || code == ENAMETOOLONG) return not_found();
  if (code == EXDEV) return error(path, "is a symbolic link that leads out of the tenant's folder");
  if (code == ELOOP) return error(path, "is a symbolic link; links are not followed here");
  return error(path, std::generic_category().message(code));
}

TokenAnswer read_file(int folder, const std::string& token, const std::string& shown) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const Descriptor file(::openat(folder, token.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file.valid()) return failed_with(errno, shown);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return failed_with(errno, shown);
  if (!S_ISREG(status.st_mode)) return error(shown, "is not a regular file");

  std::array<char, max_token_file + 1> buffer;
  std::size_t size = 0;
  while (size < buffer.size()) {
    const ssize_t got = ::read(file.get(), buffer.data() + size, buffer.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed_with(errno, shown);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > max_token_file) return error(shown, "is larger than " + std::to_string(max_token_file) + " bytes");
  // RFC 8555 8.3: the CA ignores white space at the end; editors and echo leave some.
  const std::string_view content(buffer.data(), size);
  const auto last = content.find_last_not_of(" \t\r\n");
  if (last == std::string_view::npos) return not_found();
  return {TokenAnswer::Kind::found, std::string(content.substr(0, last + 1))};
}

}  // namespace

// -1 and errno.
int TokenDirectory::open() const {
  if (root_.empty()) return ::open(path_.c_str(), folder_flags);
  if (!path_.starts_with(root_ + "/")) {
    errno = EXDEV;
    return -1;
  }
  const Descriptor root(::open(root_.c_str(), folder_flags));
  if (!root.valid()) return -1;
  open_how how{};
  how.flags = static_cast<unsigned>(folder_flags);
  how.resolve = RESOLVE_BENEATH;
  return static_cast<int>(::syscall(SYS_openat2, root.get(), path_.c_str() + root_.size() + 1, &how, sizeof how));
}

TokenAnswer TokenDirectory::read(std::string_view token) const {
  if (path_.empty() || !is_token(token)) return not_found();
  const std::string name(token);
  const Descriptor directory(open());
  if (!directory.valid()) return failed_with(errno, path_);

  TokenAnswer flat = read_file(directory.get(), name, path_ + "/" + name);
  if (flat.kind == TokenAnswer::Kind::found) return flat;
  // Element by element, because O_NOFOLLOW is about the last one only.
  const Descriptor well_known(::openat(directory.get(), ".well-known", folder_flags | O_NOFOLLOW));
  if (!well_known.valid()) return flat;
  const Descriptor webroot(::openat(well_known.get(), "acme-challenge", folder_flags | O_NOFOLLOW));
  if (!webroot.valid()) return flat;
  TokenAnswer nested = read_file(webroot.get(), name, path_ + std::string(challenge_prefix) + name);
  return nested.kind == TokenAnswer::Kind::not_found ? flat : nested;
}

}  // namespace edgemux::acme
