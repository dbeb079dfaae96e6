#include "core/io/tcp_stream.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace edgemux::core {

namespace {

void set_option(int fd, int level, int name, int value) { setsockopt(fd, level, name, &value, sizeof value); }

}  // namespace

void apply_tcp_options(int fd, const TcpOptions& options) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, options.keepalive_seconds > 0 ? 1 : 0);
  if (options.keepalive_seconds > 0) {
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, options.keepalive_seconds);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, options.keepalive_seconds);
  }
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(options.user_timeout_ms));
}

Result<std::unique_ptr<TcpStream>> TcpStream::adopt(EventLoop& loop, int fd) {
  std::unique_ptr<TcpStream> stream(new TcpStream(loop, fd, Connect::done));
  if (auto watched = loop.watch(fd, *stream, Trigger::edge, kReadable); !watched)
    return tl::unexpected(watched.error());
  return stream;
}

Result<std::unique_ptr<TcpStream>> TcpStream::connect(EventLoop& loop, const SocketAddress& address,
                                                      const TcpOptions& options) {
  const int fd = socket(address.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail("cannot make a socket: " + std::string(std::strerror(errno)), Side::internal, true);
  if (options == TcpOptions{}) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // the rest is the kernel's default already
  } else {
    apply_tcp_options(fd, options);
  }
  std::unique_ptr<TcpStream> stream(new TcpStream(loop, fd, Connect::pending));
  if (::connect(fd, address.data(), address.size()) != 0 && errno != EINPROGRESS) {
    return fail(std::strerror(errno), Side::upstream, true);
  }
  if (auto watched = loop.watch(fd, *stream, Trigger::edge, kReadable | kWritable); !watched) {
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
  if (observer_ != nullptr) observer_->on_ready(*this);
}

IoResult TcpStream::read(std::span<char> buffer) {
  for (;;) {
    const ssize_t n = recv(fd_, buffer.data(), buffer.size(), 0);
    if (n > 0) {
      // A short read has emptied the socket; the kernel will say when there is more. Unless the end is known to follow.
      if (static_cast<std::size_t>(n) < buffer.size() && !peer_closed_) readable_ = false;
      return {IoStatus::ok, static_cast<std::size_t>(n), 0};
    }
    if (n == 0) {
      peer_closed_ = true;
      readable_ = true;
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

void TcpStream::await_writable() {
  writable_ = false;
  if (watches_writable_) return;
  watches_writable_ = true;
  // Changing the interest reports the present readiness again, so nothing is lost between the failed write and this.
  (void)loop_.watch(fd_, *this, Trigger::edge, kReadable | kWritable);
}

IoResult TcpStream::write(std::span<const iovec> pieces) {
  if (!writable_) return {IoStatus::again, 0, 0};
  std::size_t wanted = 0;
  for (const auto& piece : pieces) wanted += piece.iov_len;
  for (;;) {
    ssize_t n = 0;
    if (pieces.size() == 1) {
      n = send(fd_, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(pieces.data());
      message.msg_iovlen = pieces.size();
      n = sendmsg(fd_, &message, MSG_NOSIGNAL);
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

void TcpStream::abort() {
  const linger reset{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

}  // namespace edgemux::core
