#include "core/io/tcp_stream.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/shortage.h"
#include "core/io/peer_window.h"
#include "core/io/socket_calls.h"

namespace edgemux::core {

namespace {

void set_option(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); }

// 0 = off
void set_keepalive(int fd, int seconds) {
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, seconds > 0 ? 1 : 0);
  if (seconds <= 0) return;
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
}

tl::unexpected<Error> fail_to_dial(const std::string& what, int error, Side side) {
  const bool shortage = is_shortage(error);
  std::string message = what + std::strerror(error);
  if (shortage) message += std::string("; ") + shortage_remedy(error);
  return tl::unexpected<Error>(Error{side, true, std::move(message), shortage});
}

}  // namespace

void apply_tcp_options(int fd, const TcpOptions& options) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_keepalive(fd, options.keepalive_seconds);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(options.user_timeout_ms));
}

Result<std::unique_ptr<TcpStream>> TcpStream::adopt(EventLoop& loop, int fd) {
  std::unique_ptr<TcpStream> stream(new TcpStream(loop, fd, Connect::done, NoDelay::on));
  if (auto watched = loop.watch(fd, *stream, Trigger::edge, kReadable); !watched)
    return tl::unexpected(watched.error());
  return stream;
}

namespace {

// 0, or errno.
int begin_to_connect(int fd, const SocketAddress& address) {
  if (!address.is_unix()) return ::connect(fd, address.data(), address.size()) == 0 ? 0 : errno;
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  const std::string_view path = address.unix_path();
  if (path.size() >= sizeof local.sun_path) return ENAMETOOLONG;
  std::memcpy(local.sun_path, path.data(), path.size());
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&local), sizeof local) == 0 ? 0 : errno;
}

}  // namespace

Result<std::unique_ptr<TcpStream>> TcpStream::connect(EventLoop& loop, const SocketAddress& address,
                                                      const TcpOptions& options, const SocketAddress* source) {
  const int fd = socket(address.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail_to_dial("cannot make a socket: ", errno, Side::internal);
  const bool keeps_defaults = options.keepalive_seconds == 0 && options.user_timeout_ms == 0;
  if (!keeps_defaults) apply_tcp_options(fd, options);
  // Before the connection stands this means: hold the handshake's last ACK back for a moment (and no more than that).
  if (options.speaks_first) set_option(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
  std::unique_ptr<TcpStream> stream(
      new TcpStream(loop, fd, Connect::pending, keeps_defaults ? NoDelay::off : NoDelay::on));
  if (source != nullptr && !address.is_unix()) {
    if (source->is_v4() != address.is_v4()) {
      return fail("the source address " + source->ip() + " is of the other family", Side::internal, true);
    }
    // The port is chosen when the other end is known, so that as many connections fit as without it.
    set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (bind(fd, source->data(), source->size()) != 0) {
      return fail_to_dial("cannot come from " + source->ip() + ": ", errno, Side::internal);
    }
  }
  if (const int error = begin_to_connect(fd, address); error != 0 && error != EINPROGRESS) {
    // A Unix socket whose queue is full says so at once.
    if (error == EAGAIN) return fail("its queue is full", Side::upstream, true);
    return fail_to_dial("", error, Side::upstream);
  }
  if (auto watched = loop.watch(fd, *stream, Trigger::edge, kReadable | kWritable); !watched) {
    watched.error().shortage = true;  // of memory, or of watches
    return tl::unexpected(watched.error());
  }
  stream->watches_writable_ = true;
  stream->writable_ = false;
  return stream;
}

TcpStream::~TcpStream() {
  loop_.forget(*this);
  close(fd_);
}

// The observer, which is a part of whoever owns this connection: sessions and upstream connections have some 700 bytes.
void TcpStream::prefetch() const {
  if (observer_ == nullptr) return;
  constexpr std::ptrdiff_t kLine = 64;
  const auto* const at = reinterpret_cast<const char*>(observer_);
  for (std::ptrdiff_t i = -1; i < 10; ++i) __builtin_prefetch(at + i * kLine);
}

void TcpStream::on_io(std::uint32_t ready) {
  if (connect_ == Connect::pending) {
    if ((ready & kBroken) != 0) {
      socklen_t size = sizeof error_;
      getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error_, &size);
      if (error_ == 0) error_ = ECONNRESET;
      connect_ = Connect::failed;
    } else if ((ready & kWritable) != 0) {
      connect_ = Connect::done;
    } else {
      return;
    }
  }
  if ((ready & kReadable) != 0) readable_ = true;
  if ((ready & kWritable) != 0) writable_ = true;
  if ((ready & kPeerClosed) != 0) peer_closed_ = true;
  if ((ready & kBroken) != 0) broken_ = true;
  if ((ready & kUrgent) != 0) urgent_ = true;
  if ((ready & kComplete) != 0) complete_ = true;
  if (observer_ != nullptr) observer_->on_ready(*this);
}

IoResult TcpStream::read(std::span<char> buffer) {
  if (ended_) return {IoStatus::eof, 0, 0};
  for (;;) {
    const ssize_t n = socket_calls::receive(fd_, buffer.data(), buffer.size(), 0);
    if (n > 0) {
      // A short read has emptied the socket; the kernel will say when there is more. Where the end had come before it,
      // it is the last. (It also stops in front of urgent data.)
      if (static_cast<std::size_t>(n) < buffer.size()) {
        if (complete_) ended_ = true;
        if (!peer_closed_ && !urgent_) readable_ = false;
      }
      return {IoStatus::ok, static_cast<std::size_t>(n), 0};
    }
    if (n == 0) {
      peer_closed_ = true;
      readable_ = true;
      ended_ = true;
      return {IoStatus::eof, 0, 0};
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      readable_ = false;
      return {IoStatus::again, 0, 0};
    }
    return {IoStatus::error, 0, errno};
  }
}

bool TcpStream::find_end() {
  int unread = 0;
  if (complete_ && !ended_ && ioctl(fd_, SIOCINQ, &unread) == 0 && unread == 0) ended_ = true;
  return ended_;
}

void TcpStream::spare_closed_window(unsigned user_timeout_ms) {
  const auto state = send_state(fd_);
  if (!state) return;
  const bool closed = keeps_window_closed(*state);
  if (closed == window_spared_) return;
  window_spared_ = closed;
  set_option(fd_, IPPROTO_TCP, TCP_USER_TIMEOUT, closed ? 0 : static_cast<int>(user_timeout_ms));
}

void TcpStream::send_at_once() {
  if (no_delay_ == NoDelay::on) return;
  no_delay_ = NoDelay::on;
  set_option(fd_, IPPROTO_TCP, TCP_NODELAY, 1);
}

void TcpStream::await_writable() {
  writable_ = false;
  if (watches_writable_) return;
  watches_writable_ = true;
  // Changing the interest reports the present readiness again, so nothing is lost between the failed write and this.
  (void)loop_.watch(fd_, *this, Trigger::edge, kReadable | kWritable);
}

SocketAddress TcpStream::local_address() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return SocketAddress::from(reinterpret_cast<const sockaddr*>(&address), size);
}

IoResult TcpStream::write(std::span<const iovec> pieces) {
  if (!writable_) return {IoStatus::again, 0, 0};
  if (no_delay_ == NoDelay::off_but_written) send_at_once();
  if (no_delay_ == NoDelay::off) no_delay_ = NoDelay::off_but_written;
  const int flags = end_follows_ ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
  std::size_t wanted = 0;
  for (const auto& piece : pieces) wanted += piece.iov_len;
  for (;;) {
    ssize_t n = 0;
    if (pieces.size() == 1) {
      n = socket_calls::send(fd_, pieces[0].iov_base, pieces[0].iov_len, flags);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(pieces.data());
      message.msg_iovlen = pieces.size();
      n = socket_calls::send(fd_, message, flags);
    }
    if (n >= 0) {
      if (static_cast<std::size_t>(n) < wanted) await_writable();
      return {IoStatus::ok, static_cast<std::size_t>(n), 0};
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      await_writable();
      return {IoStatus::again, 0, 0};
    }
    return {IoStatus::error, 0, errno};
  }
}

void TcpStream::shutdown_write() {
  if (shut_) return;
  shut_ = true;
  shutdown(fd_, SHUT_WR);
}

void TcpStream::keep_alive(int seconds) { set_keepalive(fd_, seconds); }

void TcpStream::abort() {
  const linger reset{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

}  // namespace edgemux::core
