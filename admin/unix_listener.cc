#include "admin/unix_listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace edgemux::admin {

namespace {

core::Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return core::fail("admin socket '" + path + "': the path of a Unix socket has 1 to 107 bytes");
  }
  path.copy(address.sun_path, path.size());
  return address;
}

const sockaddr* generic(const sockaddr_un& address) { return reinterpret_cast<const sockaddr*>(&address); }

// Removes what a dead process left; the error says why it may not be removed.
core::Result<void> remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return {};  // gone by itself
  if (!S_ISSOCK(info.st_mode)) {
    return core::fail("admin socket '" + path +
                      "': there is a file that is no socket; remove it or choose another path");
  }
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const bool refused = probe >= 0 && ::connect(probe, generic(address), sizeof address) != 0 && errno == ECONNREFUSED;
  if (probe >= 0) ::close(probe);
  if (!refused) {
    return core::fail("admin socket '" + path + "' is in use by another process; stop it or choose another path");
  }
  if (::unlink(path.c_str()) != 0) {
    return core::fail("admin socket '" + path +
                      "': cannot remove the one a dead process left: " + std::strerror(errno));
  }
  return {};
}

std::string explain(const std::string& path, int error) {
  const std::string folder = std::filesystem::path(path).parent_path();
  std::string text = "admin socket '" + path + "': " + std::strerror(error);
  if (error == ENOENT) text += "; make the folder '" + folder + "', or let systemd do it with RuntimeDirectory=edgemux";
  if (error == EACCES) text += "; the folder '" + folder + "' must be writable by the user that edgemux runs as";
  return text;
}

}  // namespace

core::Result<UnixListener> UnixListener::open(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return tl::unexpected(address.error());
  UnixListener listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), path);
  // The mode of the descriptor becomes the mode of the file: there is no moment when others could connect.
  if (listener.fd_ < 0 || ::fchmod(listener.fd_, 0600) != 0) return core::fail(explain(path, errno));
  int failed = ::bind(listener.fd_, generic(*address), sizeof *address);
  if (failed != 0 && errno == EADDRINUSE) {
    if (auto removed = remove_stale(path, *address); !removed) return tl::unexpected(removed.error());
    failed = ::bind(listener.fd_, generic(*address), sizeof *address);
  }
  struct stat info {};
  if (failed != 0 || ::listen(listener.fd_, 64) != 0 || ::lstat(path.c_str(), &info) != 0) {
    return core::fail(explain(path, errno));
  }
  listener.device_ = info.st_dev;
  listener.inode_ = info.st_ino;
  return listener;
}

UnixListener::UnixListener(UnixListener&& other) noexcept
    : fd_(other.fd_), path_(std::move(other.path_)), device_(other.device_), inode_(other.inode_) {
  other.fd_ = -1;
}

bool UnixListener::in_place() const {
  struct stat info {};
  return inode_ != 0 && ::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_;
}

UnixListener::~UnixListener() {
  if (fd_ < 0) return;
  if (in_place()) ::unlink(path_.c_str());
  ::close(fd_);
}

}  // namespace edgemux::admin
