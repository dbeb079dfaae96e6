#pragma once
// What stands behind the proxies of ./dev compare: compare_origin, and compare_load where client and origin are one
// thread. It costs as little as it can, so that the proxy is what is busy: one read and one write for a request.
//
// On one port it speaks plain HTTP. On the other, the tunnels', one TLS record comes first (the ClientHello that made
// the proxy choose) and is dropped, so that no cipher is paid for at either end. GET /N is answered with the file
// BODIES/N, up to 1 MiB; with `Connection: close` it closes first. Loopback only.
#include <sys/epoll.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "bench/compare/socket.h"

namespace edgemux::compare {

class Origin {
 public:
  // `where` is HTTP_PORT:TUNNEL_PORT:BODIES.
  explicit Origin(const std::string& where) : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    char* end = nullptr;
    const auto http_port = static_cast<std::uint16_t>(std::strtoul(where.c_str(), &end, 10));
    const auto tunnel_port = static_cast<std::uint16_t>(*end == ':' ? std::strtoul(end + 1, &end, 10) : 0);
    if (http_port == 0 || tunnel_port == 0 || *end != ':') quit(where + ": not HTTP_PORT:TUNNEL_PORT:BODIES");
    bodies_ = end + 1;
    listen_on(http_, http_port);
    listen_on(tunnels_, tunnel_port);
  }

  // One round of events; waits for them so long at most, without end if it is negative.
  void turn(int milliseconds) {
    std::array<epoll_event, 256> events;
    const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), milliseconds);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      void* const what = event.data.ptr;
      auto* connection = static_cast<Connection*>(what);
      if (what == &http_ || what == &tunnels_) {
        accept_some(*static_cast<int*>(what));
      } else if (!serve(*connection, (event.events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0)) {
        close(connection->fd);
        delete connection;
      }
    }
  }

 private:
  static constexpr std::size_t kRecordHeader = 5;
  static constexpr std::size_t kLargest = 1024 * 1024;

  struct Connection {
    int fd = -1;
    bool awaits_hello = false;
    bool closing = false;                  // after what is pending
    std::string in;                        // a request, or the record, that is not complete
    const std::string* pending = nullptr;  // the answer on its way
    std::size_t sent = 0;
  };

  void listen_on(int& listener, std::uint16_t port) {
    listener = new_socket();
    const int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in address = loopback(port);
    if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener, 4096) != 0) {
      quit("cannot listen on port " + std::to_string(port) + ": " + std::strerror(errno));
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &listener;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, listener, &event);
  }

  void accept_some(const int& listener) {
    for (int i = 0; i < 64; ++i) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      auto* connection = new Connection;
      connection->fd = fd;
      connection->awaits_hello = &listener == &tunnels_;
      // What came with the connection is answered at once, as often as not the only request.
      if (!serve(*connection, false)) {
        close(fd);
        delete connection;
        continue;
      }
      epoll_event event{};
      event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | static_cast<std::uint32_t>(EPOLLET);
      event.data.ptr = connection;
      epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    }
  }

  // False: the connection is over. A short read found all there is, unless `ends`: then the end is behind it.
  bool serve(Connection& c, bool ends) {
    bool drained = false;
    for (;;) {
      while (c.pending != nullptr) {
        // An end that follows goes in the same packet.
        const int flags = c.closing ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
        const ssize_t sent = send(c.fd, c.pending->data() + c.sent, c.pending->size() - c.sent, flags);
        if (sent < 0) return errno == EAGAIN;
        c.sent += static_cast<std::size_t>(sent);
        if (c.sent == c.pending->size()) c.pending = nullptr;
      }
      if (c.closing) return false;
      if (!c.in.empty()) {
        if (!parse(c)) return false;
        if (c.pending != nullptr) continue;
      }
      if (drained) return true;
      const ssize_t got = recv(c.fd, buffer_.data(), buffer_.size(), 0);
      if (got == 0) return false;
      if (got < 0) return errno == EAGAIN;
      c.in.append(buffer_.data(), static_cast<std::size_t>(got));
      drained = !ends && static_cast<std::size_t>(got) < buffer_.size();
    }
  }

  // Takes the record or one request off `in`, if it is there as a whole. False: not what it should be.
  bool parse(Connection& c) {
    if (c.awaits_hello) {
      if (c.in.size() < kRecordHeader) return true;
      const std::size_t size = kRecordHeader + static_cast<std::size_t>(static_cast<unsigned char>(c.in[3])) * 256 +
                               static_cast<unsigned char>(c.in[4]);
      if (c.in[0] != 22) return false;
      if (c.in.size() < size) return true;
      c.in.erase(0, size);
      c.awaits_hello = false;
    }
    const std::size_t end = c.in.find("\r\n\r\n");
    if (end == std::string::npos) return true;
    const std::string_view head(c.in.data(), end);
    std::size_t size = 0;
    if (!head.starts_with("GET /")) return false;
    const auto number = std::from_chars(head.data() + 5, head.data() + head.size(), size);
    if (number.ec != std::errc{} || *number.ptr != ' ' || size > kLargest) return false;
    c.closing = head.find("\r\nConnection: close") != std::string_view::npos;
    c.pending = &answer(size, c.closing);
    c.sent = 0;
    c.in.erase(0, end + 4);
    return true;
  }

  // With the fields that nginx puts into an answer from a file.
  const std::string& answer(std::size_t size, bool closing) {
    std::string& text = answers_[{size, closing}];
    if (text.empty()) {
      std::ifstream file(bodies_ + "/" + std::to_string(size), std::ios::binary);
      const std::string body{std::istreambuf_iterator<char>(file), {}};
      if (body.size() != size) quit("no body of " + std::to_string(size) + " bytes in " + bodies_);
      text =
          "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sat, 28 Nov 2026 12:00:00 GMT\r\n"
          "Content-Type: text/plain\r\nContent-Length: " +
          std::to_string(size) +
          "\r\nLast-Modified: Sat, 28 Nov 2026 11:00:00 GMT\r\nConnection: " + (closing ? "close" : "keep-alive") +
          "\r\nAccept-Ranges: bytes\r\n\r\n" + body;
    }
    return text;
  }

  int epoll_;
  int http_ = -1;
  int tunnels_ = -1;
  std::string bodies_;
  std::array<char, 64 * 1024> buffer_{};
  std::map<std::pair<std::size_t, bool>, std::string> answers_;
};

}  // namespace edgemux::compare
