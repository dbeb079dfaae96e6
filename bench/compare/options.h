#pragma once
// The arguments of compare_load; see there.

#include <string>
#include <string_view>

#include "bench/compare/socket.h"

namespace edgemux::compare {

struct Options {
  std::uint16_t port = 0;  // of 127.0.0.1
  std::string host;        // Host and server name
  std::string path = "/128";
  std::size_t expect = 128;  // bytes of a good answer
  int clients = 1;
  double seconds = 0;
  double warmup = 0;
  std::size_t requests = 0;  // instead of seconds
  double rate = 0;           // per second; 0: as fast as it goes
  std::string origin;        // what Origin takes; empty: another process is the origin
  bool close = false;
  bool tls = false;
  bool hello = false;
};

inline Options parse_options(int argc, char** argv) {
  const std::string usage =
      std::string("usage: ") + argv[0] +
      " --port N --host NAME [--path /128] [--expect 128] [--clients 1] [--seconds S | --requests N]\n"
      "       [--warmup S] [--rate N] [--origin HTTP_PORT:TUNNEL_PORT:BODIES] [--close] [--tls | --hello]";
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--close" || name == "--tls" || name == "--hello") {
      (name == "--close" ? options.close : name == "--tls" ? options.tls : options.hello) = true;
      continue;
    }
    if (i + 1 == argc) quit(usage);
    const char* value = argv[++i];
    if (name == "--port") {
      options.port = static_cast<std::uint16_t>(std::strtoul(value, nullptr, 10));
    } else if (name == "--host") {
      options.host = value;
    } else if (name == "--path") {
      options.path = value;
    } else if (name == "--expect") {
      options.expect = std::strtoull(value, nullptr, 10);
    } else if (name == "--clients") {
      options.clients = static_cast<int>(std::strtol(value, nullptr, 10));
    } else if (name == "--seconds") {
      options.seconds = std::strtod(value, nullptr);
    } else if (name == "--warmup") {
      options.warmup = std::strtod(value, nullptr);
    } else if (name == "--requests") {
      options.requests = std::strtoull(value, nullptr, 10);
    } else if (name == "--rate") {
      options.rate = std::strtod(value, nullptr);
    } else if (name == "--origin") {
      options.origin = value;
    } else {
      quit(usage);
    }
  }
  if (options.port == 0 || options.host.empty() || options.clients < 1 || (options.tls && options.hello)) quit(usage);
  return options;
}

}  // namespace edgemux::compare
