#pragma once
// SocketAddress and Network: addresses as values. Pure: nothing here resolves a name or opens a socket.

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace edgemux::core {

// An IPv4 or IPv6 address with a port, 28 bytes. An IPv4 client that arrives on an IPv6 socket (::ffff:a.b.c.d) is
// stored as IPv4, so that it prints, matches and is forwarded as what it is.
class SocketAddress {
 public:
  SocketAddress() { v6_ = {}; }
  static SocketAddress from(const sockaddr* address, socklen_t length);
  // Parses an address without a port: "10.0.0.1", "::1". Nothing else (no names, no zones).
  static std::optional<SocketAddress> parse_ip(std::string_view text, std::uint16_t port);

  [[nodiscard]] bool is_v4() const { return v6_.sin6_family == AF_INET; }
  [[nodiscard]] bool is_v6() const { return v6_.sin6_family == AF_INET6; }
  [[nodiscard]] bool valid() const { return v6_.sin6_family != 0; }
  [[nodiscard]] std::uint16_t port() const;
  void set_port(std::uint16_t port);

  [[nodiscard]] const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&v6_); }
  [[nodiscard]] socklen_t size() const { return is_v4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6); }
  // The address in network order: 4 or 16 bytes.
  [[nodiscard]] std::string_view bytes() const;

  // "10.0.0.1", "::1"
  [[nodiscard]] std::string ip() const;
  // "10.0.0.1:80", "[::1]:80"
  [[nodiscard]] std::string to_string() const;
  // Writes ip() into `out`, which holds at least INET6_ADDRSTRLEN bytes; returns the length.
  std::size_t write_ip(char* out) const;

  friend bool operator==(const SocketAddress& a, const SocketAddress& b) {
    return a.v6_.sin6_family == b.v6_.sin6_family && a.port() == b.port() && a.bytes() == b.bytes();
  }

 private:
  union {
    sockaddr_in v4_;
    sockaddr_in6 v6_;
  };
};

// A network in CIDR form. A bare address is a network of one.
class Network {
 public:
  static Result<Network> parse(std::string_view text);
  [[nodiscard]] bool contains(const SocketAddress& address) const;
  // Every address of this one lies in `other`.
  [[nodiscard]] bool within(const Network& other) const { return prefix_ >= other.prefix_ && other.contains(base_); }
  // One address alone.
  [[nodiscard]] bool single() const { return prefix_ == (base_.is_v4() ? 32 : 128); }
  [[nodiscard]] std::string to_string() const;
  friend bool operator==(const Network& a, const Network& b) { return a.prefix_ == b.prefix_ && a.base_ == b.base_; }

 private:
  SocketAddress base_;
  std::uint8_t prefix_ = 0;
};

// "host:port" taken apart, the host without brackets. The port is required and 1..65535; an empty host is allowed
// only where `allow_empty_host` says so (a bind address ":80"). Errors say what is missing.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};
Result<HostPort> parse_host_port(std::string_view text, bool allow_empty_host = false);

}  // namespace edgemux::core
