#pragma once
// What the two floor programs have in common: their arguments and their sockets. They relay bytes and parse nothing;
// they show what the kernel alone costs, so that a proxy's own share can be told. Not part of edgemux.
//
//   floor_relay --listen PORT --upstream HOST:PORT [--splice]
//
// HOST is an address. Each accepted connection gets one upstream connection. On a failure to start: a message, exit 1.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "core/base/address.h"

namespace edgemux::floor {

struct Options {
  std::uint16_t listen = 0;
  core::SocketAddress upstream;
  bool splice = false;
};

[[noreturn]] inline void quit(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

inline Options parse_options(int argc, char** argv, bool may_splice) {
  const std::string usage =
      std::string("usage: ") + argv[0] + " --listen PORT --upstream HOST:PORT" + (may_splice ? " [--splice]" : "");
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (may_splice && argument == "--splice") {
      options.splice = true;
    } else if (argument == "--listen" && value != nullptr) {
      options.listen = static_cast<std::uint16_t>(std::strtoul(value, nullptr, 10));
      ++i;
    } else if (argument == "--upstream" && value != nullptr) {
      const auto parts = core::parse_host_port(value);
      if (!parts.has_value()) quit(parts.error().message);
      if (const auto address = core::SocketAddress::parse_ip(parts->host, parts->port)) options.upstream = *address;
      ++i;
    } else {
      quit(usage);
    }
  }
  if (options.listen == 0 || !options.upstream.valid()) quit(usage);
  return options;
}

// A non-blocking listening socket on loopback. What it accepts inherits TCP_NODELAY.
inline int listen_on(std::uint16_t port) {
  std::signal(SIGPIPE, SIG_IGN);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || listen(fd, 4096) != 0) {
    quit("cannot listen on port " + std::to_string(port) + ": " + std::strerror(errno));
  }
  return fd;
}

// Starts a non-blocking connect; -1 where it fails at once.
inline int connect_to(const core::SocketAddress& address) {
  const int fd = socket(address.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(fd, address.data(), address.size()) == 0 || errno == EINPROGRESS) return fd;
  close(fd);
  return -1;
}

}  // namespace edgemux::floor
