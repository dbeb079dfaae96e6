#include "routing/table/upstream_transport.h"

namespace edgemux::routing {

std::string UpstreamTransport::identity() const {
  std::string out;
  if (tls != nullptr) out += "|tls " + tls->identity;
  if (!refused.empty()) out += "|refused " + refused;
  if (proxy_protocol != core::ProxyVersion::off) out += proxy_protocol == core::ProxyVersion::v1 ? "|v1" : "|v2";
  if (source_address) out += "|from " + source_address->ip();
  return out;
}

}  // namespace edgemux::routing
