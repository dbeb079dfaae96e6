#include "routing/table/route.h"

#include <algorithm>

namespace edgemux::routing {

bool AccessList::admits(const core::SocketAddress& client) const {
  const auto holds = [&client](const core::Network& network) { return network.contains(client); };
  if (std::any_of(deny.begin(), deny.end(), holds)) return false;
  return allow.empty() || std::any_of(allow.begin(), allow.end(), holds);
}

OnHttp on_plain_http(const Route& route, bool by_https) {
  if (!by_https || route.on_http != OnHttp::redirect) return route.on_http;
  const auto* host = std::get_if<VirtualHost>(&route.action);
  const bool certificates = host != nullptr && host->tls->client_auth == core::ClientAuth::require;
  return certificates ? OnHttp::redirect : OnHttp::serve;
}

}  // namespace edgemux::routing
