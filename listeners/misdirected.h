#pragma once
// Whether a request came over a TLS connection that was made for another host (421, RFC 9110 15.5.20). The name in the
// handshake chose certificate and client rules; they hold for the hosts of one route only. Pure.

#include <array>
#include <string_view>
#include <variant>

#include "routing/table/host_table.h"
#include "routing/table/route.h"

namespace edgemux::listeners {

// `asked`: the route of the request's host, `made_for` that of the connection, `sni` the name in its handshake. After a
// reload the same route is a new value, told by the host that the handshake named.
inline bool misdirected(const routing::HostTable& hosts, const routing::RoutePtr& asked,
                        const routing::RoutePtr& made_for, std::string_view sni) {
  if (asked == made_for) return false;
  std::array<char, 256> buffer;
  const routing::RoutePtr* now = hosts.find(routing::normalise_host(sni, buffer.data()));
  if (now == nullptr || *now != asked) return true;
  const auto* host = std::get_if<routing::VirtualHost>(&asked->action);
  const auto* before = std::get_if<routing::VirtualHost>(&made_for->action);
  return host == nullptr || before == nullptr || host->tls->identity != before->tls->identity;
}

}  // namespace edgemux::listeners
