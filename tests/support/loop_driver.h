#pragma once
// For tests over real sockets: runs an EventLoop on the calling thread until a condition holds, and makes loopback
// connections. Nothing sleeps; a condition that never holds ends after ten seconds and fails the test.

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <functional>
#include <utility>

#include "core/base/address.h"
#include "core/io/event_loop.h"

namespace edgemux::test {

// EventLoop::run() may be called once only, so a driver is used for the whole of a test: each step of it is a
// condition, and what to do when it holds.
class LoopDriver {
 public:
  explicit LoopDriver(core::EventLoop& loop)
      : loop_(loop),
        check_(
            loop, [](void* self) { static_cast<LoopDriver*>(self)->check(); }, this),
        deadline_([](void* self) { static_cast<LoopDriver*>(self)->give_up(); }, this),
        tick_([](void* self) { static_cast<LoopDriver*>(self)->again(); }, this) {
    std::signal(SIGPIPE, SIG_IGN);
  }

  // Runs the loop until `condition` holds at the end of a turn. Once per loop.
  void run_until(std::function<bool()> condition) {
    condition_ = std::move(condition);
    loop_.timers().arm(deadline_, loop_.now() + 10'000);
    check_.request();
    loop_.run();
    EXPECT_FALSE(gave_up_) << "the condition did not come true";
  }

 private:
  void check() {
    if (condition_()) return loop_.stop();
    loop_.timers().arm(tick_, loop_.now() + 1);
  }
  void again() { check_.request(); }
  void give_up() {
    gave_up_ = true;
    loop_.stop();
  }

  core::EventLoop& loop_;
  std::function<bool()> condition_;
  core::Deferred check_;
  core::Timer deadline_;
  core::Timer tick_;
  bool gave_up_ = false;
};

// A listening socket on a free port of 127.0.0.1.
class LoopbackListener {
 public:
  LoopbackListener() {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address_ = *core::SocketAddress::parse_ip("127.0.0.1", 0);
    if (bind(fd_, address_.data(), address_.size()) != 0 || listen(fd_, 64) != 0) ADD_FAILURE() << "cannot listen";
    sockaddr_storage storage;
    socklen_t size = sizeof storage;
    getsockname(fd_, reinterpret_cast<sockaddr*>(&storage), &size);
    address_ = core::SocketAddress::from(reinterpret_cast<const sockaddr*>(&storage), size);
  }
  ~LoopbackListener() { close_now(); }
  LoopbackListener(const LoopbackListener&) = delete;
  LoopbackListener& operator=(const LoopbackListener&) = delete;

  void close_now() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] const core::SocketAddress& address() const { return address_; }

 private:
  int fd_ = -1;
  core::SocketAddress address_;
};

struct SocketPair {
  int near = -1;  // blocking, the test's
  int far = -1;   // non-blocking, for a TcpStream
};

// Packets that this end of a connection has received, by the kernel's count.
inline unsigned packets_in(int fd) {
  // The C library knows the beginning of the kernel's structure only.
  struct {
    tcp_info known;
    std::array<std::uint64_t, 4> rates_and_bytes;
    std::uint32_t segments_out;
    std::uint32_t segments_in;
  } info{};
  socklen_t size = sizeof info;
  EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  return info.segments_in;
}

// A connected TCP pair over loopback. `buffer` caps the socket buffers; 0 = the kernel's.
inline SocketPair tcp_pair(int buffer = 0) {
  LoopbackListener listener;
  SocketPair pair;
  if (buffer > 0) setsockopt(listener.fd(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  pair.near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (buffer > 0) {
    setsockopt(pair.near, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    setsockopt(pair.near, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  }
  if (connect(pair.near, listener.address().data(), listener.address().size()) != 0) ADD_FAILURE() << "cannot connect";
  pair.far = accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (buffer > 0) setsockopt(pair.far, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  return pair;
}

}  // namespace edgemux::test
