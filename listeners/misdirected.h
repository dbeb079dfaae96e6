#pragma once
// Whether a request came over a TLS connection that was made for its host (RFC 9110 15.5.20). The name in the handshake
// chose certificate and client rules; they hold for the hosts of one route only, and as that route was then. Pure.

#include <array>
#include <cstdint>
#include <string_view>
#include <variant>

#include "routing/table/host_table.h"
#include "routing/table/route.h"

namespace edgemux::listeners {

enum class MadeFor : std::uint8_t {
  it,        // this host, as it is
  it_once,   // this host, whose TLS settings are others by now: it is served, on a connection that ends soon
  stranger,  // this host, but clients have to show something else by now, or TLS ends elsewhere: 421, and it ends soon
  another,   // another route's host: 421
};

// `asked`: the route of the request's host, `made_for` that of the connection, `sni` the name in its handshake. After a
// reload the same route is a new value, told by the host that the handshake named.
inline MadeFor whom_it_was_made_for(const routing::HostTable& hosts, const routing::RoutePtr& asked,
                                    const routing::RoutePtr& made_for, std::string_view sni) {
  if (asked == made_for) return MadeFor::it;
  std::array<char, 256> buffer;
  const routing::RoutePtr* now = hosts.find(routing::normalise_host(sni, buffer.data()));
  if (now == nullptr || *now != asked) return MadeFor::another;
  const auto* host = std::get_if<routing::VirtualHost>(&asked->action);
  const auto* before = std::get_if<routing::VirtualHost>(&made_for->action);
  if (host == nullptr || before == nullptr) return MadeFor::stranger;
  if (host->tls->identity == before->tls->identity) return MadeFor::it;
  return host->tls->lets_in_clients_of(*before->tls) ? MadeFor::it_once : MadeFor::stranger;
}

}  // namespace edgemux::listeners
