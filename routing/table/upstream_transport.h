#pragma once
// UpstreamTransport: how a connection to an endpoint is made, before anything is said on it.
//
// Order on the wire: PROXY header, TLS handshake, the protocol.

#include <optional>
#include <string>

#include "core/base/address.h"
#include "core/proxy_protocol/proxy_header.h"
#include "core/tls/client_policy.h"

namespace edgemux::routing {

// Which HTTP an upstream speaks. automatic: HTTP/2 where TLS agrees on it, else HTTP/1.
enum class HttpVersion : std::uint8_t { http1, http2, automatic };

struct UpstreamTransport {
  HttpVersion version = HttpVersion::http1;
  core::TlsClientPolicyPtr tls{};  // null = plain
  // Not empty: the files of `tls` are broken, and nothing is ever sent to this upstream. Never plain instead.
  std::string refused{};
  core::ProxyVersion proxy_protocol = core::ProxyVersion::off;
  std::optional<core::SocketAddress> source_address{};  // port 0

  // Part of Upstream::identity: differs whenever two connections would.
  [[nodiscard]] std::string identity() const;
};

}  // namespace edgemux::routing
