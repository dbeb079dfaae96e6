#pragma once
// PROXY protocol, versions 1 and 2: the header that a proxy puts in front of a connection, to say whose it is
// (HAProxy's proxy-protocol.txt). Pure: bytes in, verdict out; bytes out.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/base/address.h"

namespace edgemux::core {

enum class ProxyVersion : std::uint8_t { off, v1, v2 };

// The longest header that is taken. Version 1 has at most 107 bytes, version 2 could have 64 KiB of extras.
inline constexpr std::size_t kMaxProxyHeader = 4096;

struct ProxyHeader {
  enum class Verdict : std::uint8_t {
    need_more,  // a proper beginning; nothing can be said before `bytes_needed` bytes are there, unless it is bad news
    header,     // whole: the first `size` bytes
    absent,     // the first bytes begin no header
    malformed,  // they do, but it is none that the specification allows; `reason` says what
  };
  Verdict verdict = Verdict::need_more;
  std::size_t bytes_needed = 1;
  std::size_t size = 0;
  const char* reason = "";  // for logs; a literal

  // Invalid: the sender speaks for itself (LOCAL, a health check) or does not say (UNKNOWN, UNSPEC, a Unix socket);
  // then the connection's own addresses count.
  SocketAddress source;
  SocketAddress destination;
  // Of version 2; they point into the caller's bytes, and are what the sender says: unchecked. Empty = not given.
  std::string_view authority;
  std::string_view alpn;
};

// `bytes`: everything received so far. The cost of asking again is that of the header, at most kMaxProxyHeader.
ProxyHeader parse_proxy_header(std::span<const char> bytes);

// What write_proxy_header needs at most: a header with both extras.
inline constexpr std::size_t kMaxProxyWritten = 16 + 36 + 2 * (3 + 255);

struct ProxyLine {
  SocketAddress source;
  SocketAddress destination;
  std::string_view authority;  // version 2 only, like alpn; longer than 255 bytes is left out
  std::string_view alpn;
  bool local = false;  // nobody's: the proxy itself asks (a health check); version 1 has no word for it but UNKNOWN
};

// Writes a header and returns its size; 0 for `off`. IPv4 in an IPv6 socket's clothes is IPv4 here (SocketAddress sees
// to it). A destination of the other family is written as "any address" with its port: it is the source that counts.
std::size_t write_proxy_header(ProxyVersion version, const ProxyLine& line, std::span<char, kMaxProxyWritten> out);

}  // namespace edgemux::core
