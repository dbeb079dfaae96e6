// compare_origin: what stands behind the tunnels of ./dev compare. It drops one TLS record (the ClientHello that made
// the proxy choose) and then answers plain HTTP, so that no cipher is paid for at either end and the proxy is what is
// busy.
//
//   compare_origin --listen PORT
//
// GET /N is answered with N bytes, N up to 1 MiB; with `Connection: close` it closes first. One thread, loopback only.
#include <sys/epoll.h>

#include <array>
#include <charconv>
#include <map>
#include <string_view>

#include "bench/compare/socket.h"

namespace edgemux::compare {
namespace {

constexpr std::size_t kRecordHeader = 5;
constexpr std::size_t kLargest = 1024 * 1024;

struct Connection {
  int fd = -1;
  bool hello_seen = false;
  bool closing = false;                  // after what is pending
  std::string in;                        // a request, or the record, that is not complete
  const std::string* pending = nullptr;  // the answer on its way
  std::size_t sent = 0;
};

class Origin {
 public:
  explicit Origin(std::uint16_t port) : epoll_(epoll_create1(EPOLL_CLOEXEC)), listener_(new_socket()) {
    const int on = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in address = loopback(port);
    if (bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_, 4096) != 0) {
      quit("cannot listen on port " + std::to_string(port) + ": " + std::strerror(errno));
    }
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
  }

  [[noreturn]] void run() {
    std::array<epoll_event, 256> events;
    for (;;) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        auto* connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (connection == nullptr) {
          accept_some();
        } else if (!serve(*connection)) {
          close(connection->fd);
          delete connection;
        }
      }
    }
  }

 private:
  void accept_some() {
    for (int i = 0; i < 64; ++i) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      auto* connection = new Connection;
      connection->fd = fd;
      epoll_event event{};
      event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | static_cast<std::uint32_t>(EPOLLET);
      event.data.ptr = connection;
      epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    }
  }

  // False: the connection is over.
  bool serve(Connection& c) {
    for (;;) {
      while (c.pending != nullptr) {
        const ssize_t sent = send(c.fd, c.pending->data() + c.sent, c.pending->size() - c.sent, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN;
        c.sent += static_cast<std::size_t>(sent);
        if (c.sent == c.pending->size()) c.pending = nullptr;
      }
      if (c.closing) return false;
      if (!c.in.empty()) {
        if (!parse(c)) return false;
        if (c.pending != nullptr) continue;
      }
      const ssize_t got = recv(c.fd, buffer_.data(), buffer_.size(), 0);
      if (got == 0) return false;
      if (got < 0) return errno == EAGAIN;
      c.in.append(buffer_.data(), static_cast<std::size_t>(got));
    }
  }

  // Takes the record or one request off `in`, if it is there as a whole. False: not what it should be.
  bool parse(Connection& c) {
    if (!c.hello_seen) {
      if (c.in.size() < kRecordHeader) return true;
      const std::size_t size = kRecordHeader + static_cast<std::size_t>(static_cast<unsigned char>(c.in[3])) * 256 +
                               static_cast<unsigned char>(c.in[4]);
      if (c.in[0] != 22) return false;
      if (c.in.size() < size) return true;
      c.in.erase(0, size);
      c.hello_seen = true;
    }
    const std::size_t end = c.in.find("\r\n\r\n");
    if (end == std::string::npos) return true;
    const std::string_view head(c.in.data(), end);
    std::size_t size = 0;
    if (!head.starts_with("GET /")) return false;
    const auto number = std::from_chars(head.data() + 5, head.data() + head.size(), size);
    if (number.ec != std::errc{} || *number.ptr != ' ' || size > kLargest) return false;
    c.closing = head.find("\r\nConnection: close") != std::string_view::npos;
    c.pending = &answer(size);
    c.sent = 0;
    c.in.erase(0, end + 4);
    return true;
  }

  const std::string& answer(std::size_t size) {
    std::string& text = answers_[size];
    if (text.empty()) {
      text =
          "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(size) +
          "\r\n\r\n" + std::string(size, 'x');
    }
    return text;
  }

  int epoll_;
  int listener_;
  std::array<char, 64 * 1024> buffer_{};
  std::map<std::size_t, std::string> answers_;
};

}  // namespace
}  // namespace edgemux::compare

int main(int argc, char** argv) {
  if (argc != 3 || std::string_view(argv[1]) != "--listen") {
    edgemux::compare::quit(std::string("usage: ") + argv[0] + " --listen PORT");
  }
  edgemux::compare::Origin origin(static_cast<std::uint16_t>(std::strtoul(argv[2], nullptr, 10)));
  origin.run();
}
