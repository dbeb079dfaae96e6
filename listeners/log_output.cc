#include "listeners/log_output.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace edgemux::listeners {

namespace {

// POSIX: a pipe that is writable at all takes this much without blocking.
constexpr std::size_t kPipeChunk = 4096;

std::string reason_of(int error, const std::string& path) {
  if (error == ENXIO) return "'" + path + "' is a named pipe that nobody reads";
  return "cannot open '" + path + "': " + std::strerror(error);
}

}  // namespace

core::Result<LogOutput> LogOutput::open(const std::string& path) {
  LogOutput output;
  output.path_ = path;
  const bool standard = path == "stdout" || path == "stderr";
  if (standard) {
    output.fd_ = path == "stdout" ? STDOUT_FILENO : STDERR_FILENO;
  } else {
    output.fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
    output.owned_ = true;
  }
  struct stat info {};
  if (output.fd_ < 0 || ::fstat(output.fd_, &info) != 0) {
    const int error = errno;
    output.fd_ = -1;
    return core::fail("access log: " + (standard ? path + " is closed" : reason_of(error, path)));
  }
  if (S_ISSOCK(info.st_mode)) {
    output.kind_ = Kind::socket;
  } else if (standard && !S_ISREG(info.st_mode)) {
    // An own open description, so that non-blocking stays our own affair. It may be refused: the pipe can be another
    // user's.
    const std::string self = "/proc/self/fd/" + std::to_string(output.fd_);
    const int own = ::open(self.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (own >= 0) {
      output.fd_ = own;
      output.owned_ = true;
    } else {
      output.kind_ = Kind::shared;
    }
  }
  return output;
}

LogOutput::~LogOutput() {
  if (owned_ && fd_ >= 0) ::close(fd_);
}

void LogOutput::swap(LogOutput& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(owned_, other.owned_);
  std::swap(kind_, other.kind_);
  path_.swap(other.path_);
}

std::ptrdiff_t LogOutput::write(std::span<const iovec> pieces) {
  for (;;) {
    ssize_t done = -1;
    if (kind_ == Kind::socket) {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(pieces.data());
      message.msg_iovlen = pieces.size();
      done = ::sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (kind_ == Kind::plain) {
      done = ::writev(fd_, pieces.data(), static_cast<int>(pieces.size()));
    } else {
      pollfd waiting{fd_, POLLOUT, 0};
      if (::poll(&waiting, 1, 0) <= 0) return -EAGAIN;
      done = ::write(fd_, pieces[0].iov_base, std::min(pieces[0].iov_len, kPipeChunk));
    }
    if (done > 0) return done;
    if (done == 0) return -EIO;
    if (errno == EINTR) continue;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
  }
}

void LogOutput::wait_writable(int ms) const {
  pollfd waiting{fd_, POLLOUT, 0};
  ::poll(&waiting, 1, ms);
}

}  // namespace edgemux::listeners
