// floor_relay: the least a relay can do. One thread, one edge-triggered epoll set, one epoll_ctl per socket, one
// receive and one send per message. With --splice a direction that moves bulk goes over to a pipe and splice.
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "bench/floor/options.h"

namespace edgemux::floor {
namespace {

constexpr std::size_t kBuffer = 64 * 1024;
constexpr int kPipe = 1024 * 1024;  // at least 256 KiB is what makes splice pay
constexpr int kFullReads = 4;       // this many full buffers in a row are bulk

struct Connection;

// One socket, and the direction that it is the source of.
struct End {
  Connection* connection = nullptr;
  End* peer = nullptr;
  int fd = -1;
  bool connected = true;
  bool readable = false;
  bool ending = false;    // the source said FIN: read until 0
  bool finished = false;  // FIN was passed on
  int full_reads = 0;
  std::vector<char> tail;  // read, not sent
  std::array<int, 2> pipe{-1, -1};
  std::size_t in_pipe = 0;
};

struct Connection {
  End client;
  End upstream;
  bool closed = false;
};

class Relay {
 public:
  explicit Relay(const Options& options) : options_(options), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    listener_ = listen_on(options.listen);
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
  }

  [[noreturn]] void run() {
    std::array<epoll_event, 256> events;
    for (;;) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const auto& event = events[static_cast<std::size_t>(i)];
        if (event.data.ptr == nullptr) {
          accept_some();
        } else {
          on_event(*static_cast<End*>(event.data.ptr), event.events);
        }
      }
      closed_.clear();
    }
  }

 private:
  void accept_some() {
    for (int i = 0; i < 16; ++i) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int upstream = connect_to(options_.upstream);
      if (upstream < 0) {
        close(fd);
        continue;
      }
      auto* connection = new Connection;
      connection->client.peer = &connection->upstream;
      connection->upstream.peer = &connection->client;
      connection->upstream.connected = false;
      add(*connection, connection->client, fd);
      add(*connection, connection->upstream, upstream);
    }
  }

  void add(Connection& connection, End& end, int fd) {
    end.connection = &connection;
    end.fd = fd;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | static_cast<std::uint32_t>(EPOLLET);
    event.data.ptr = &end;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }

  void on_event(End& end, std::uint32_t events) {
    Connection& connection = *end.connection;
    if (connection.closed) return;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) end.ending = end.readable = true;
    if ((events & EPOLLRDHUP) != 0) end.ending = true;
    if ((events & (EPOLLIN | EPOLLRDHUP)) != 0) end.readable = true;
    if ((events & EPOLLOUT) != 0 && !end.connected) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(end.fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return close_both(connection);
      end.connected = true;
    }
    bool good = pump(end);
    if (good && ((events & EPOLLOUT) != 0)) good = pump(*end.peer);
    if (!good || (end.finished && end.peer->finished)) close_both(connection);
  }

  // Moves what can be moved from `from` to its peer. False: the connection is broken.
  bool pump(End& from) {
    End& to = *from.peer;
    if (!to.connected || from.finished) return true;
    for (;;) {
      if (!flush(from)) return false;
      if (!from.tail.empty() || from.in_pipe != 0) return true;  // EPOLLOUT of `to` comes back here
      if (!from.readable) return true;
      const ssize_t got =
          from.pipe[0] >= 0 ? splice(from.fd, nullptr, from.pipe[1], nullptr, kPipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
                            : recv(from.fd, buffer_.data(), buffer_.size(), 0);
      if (got < 0) {
        from.readable = false;
        return errno == EAGAIN;
      }
      if (got == 0) {
        from.finished = true;
        shutdown(to.fd, SHUT_WR);
        return true;
      }
      const auto size = static_cast<std::size_t>(got);
      if (from.pipe[0] >= 0) {
        from.in_pipe = size;
        continue;
      }
      // Less than asked for: nothing is left, and the next byte is a new edge. But a FIN has been told already.
      from.readable = size == buffer_.size() || from.ending;
      from.full_reads = size == buffer_.size() ? from.full_reads + 1 : 0;
      if (options_.splice && from.full_reads == kFullReads) open_pipe(from);
      const ssize_t sent = send(to.fd, buffer_.data(), size, MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      const std::size_t done = sent < 0 ? 0 : static_cast<std::size_t>(sent);
      from.tail.assign(buffer_.data() + done, buffer_.data() + size);
      if (done < size) return true;
    }
  }

  // What was read and not sent.
  static bool flush(End& from) {
    while (!from.tail.empty()) {
      const ssize_t sent = send(from.peer->fd, from.tail.data(), from.tail.size(), MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN;
      from.tail.erase(from.tail.begin(), from.tail.begin() + sent);
    }
    while (from.in_pipe != 0) {
      const ssize_t sent =
          splice(from.pipe[0], nullptr, from.peer->fd, nullptr, from.in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (sent < 0) return errno == EAGAIN;
      from.in_pipe -= static_cast<std::size_t>(sent);
    }
    return true;
  }

  static void open_pipe(End& end) {
    if (pipe2(end.pipe.data(), O_NONBLOCK | O_CLOEXEC) != 0) {
      end.pipe = {-1, -1};
      return;
    }
    fcntl(end.pipe[1], F_SETPIPE_SZ, kPipe);
  }

  void close_both(Connection& connection) {
    connection.closed = true;
    for (const End* end : {&connection.client, &connection.upstream}) {
      for (const int fd : {end->fd, end->pipe[0], end->pipe[1]}) {
        if (fd >= 0) close(fd);
      }
    }
    closed_.emplace_back(&connection);
  }

  Options options_;
  int epoll_;
  int listener_ = -1;
  std::array<char, kBuffer> buffer_;
  std::vector<std::unique_ptr<Connection>> closed_;  // freed after the events that may still name them
};

}  // namespace
}  // namespace edgemux::floor

int main(int argc, char** argv) {
  const auto relay = std::make_unique<edgemux::floor::Relay>(edgemux::floor::parse_options(argc, argv, true));
  relay->run();
}
