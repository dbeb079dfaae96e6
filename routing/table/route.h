#pragma once
// Route: what a host (or several) gets. One Route per entry of `routes:`, immutable, shared by the hosts it names and
// by the sessions that follow it. A session that holds its Route pins nothing else of the snapshot.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/address.h"
#include "core/tls/policy.h"
#include "routing/table/origin.h"
#include "routing/table/rule_table.h"
#include "routing/table/tenant.h"
#include "routing/table/upstream.h"

namespace edgemux::routing {

enum class OnHttp : std::uint8_t { redirect, serve, off };

// Client networks. Deny beats allow; an empty allow list admits everybody.
struct AccessList {
  std::vector<core::Network> allow;
  std::vector<core::Network> deny;
  [[nodiscard]] bool admits(const core::SocketAddress& client) const;
};

// ---- the three kinds of route ----

// TLS is the upstream's.
struct Passthrough {
  UpstreamPtr upstream;
};

// TLS ends here; the bytes inside go to the upstream as they are.
struct Terminate {
  UpstreamPtr upstream;
  core::TlsPolicyPtr tls;  // never null
};

// TLS ends here; each HTTP request inside goes by the rules.
struct VirtualHost {
  RuleTable rules;
  core::TlsPolicyPtr tls;              // never null
  std::uint64_t max_request_body = 0;  // bytes; 0 = no limit

  [[nodiscard]] const Rule* match(const RequestFacts& request) const { return rules.match(request); }
  // A GET of the normalised path, without header fields and query.
  [[nodiscard]] const Rule* match(std::string_view path) const { return rules.match({.path = path}); }
};

struct Route {
  std::string name;         // the first of its hosts, for logs
  TenantPtr owner;          // null = the platform
  std::string_view tenant;  // its name, or empty
  Origin origin;
  std::variant<Passthrough, Terminate, VirtualHost> action;
  AccessList access;
  OnHttp on_http = OnHttp::redirect;  // without a VirtualHost: redirect or off
  UpstreamPtr acme_solver;            // null = none
  Origin solver_origin;               // where that is written

  // Not empty: the route's security material is broken (a client CA that cannot be read), and every TLS connection to
  // its hosts is refused with this reason in the log, every plain request with 503. Never opened instead.
  std::string refused;
};

using RoutePtr = std::shared_ptr<const Route>;

// What becomes of a request over plain http. `by_https`: a trusted proxy took it by https, so that a redirect would
// lead to where it came from. A host that requires client certificates has none from there, and redirects all the same.
OnHttp on_plain_http(const Route& route, bool by_https);

// Where the bytes of the route's connections go, whatever they are. Null: its requests go by rules.
inline const UpstreamPtr* upstream_of_bytes(const Route& route) {
  if (const auto* passthrough = std::get_if<Passthrough>(&route.action)) return &passthrough->upstream;
  if (const auto* terminate = std::get_if<Terminate>(&route.action)) return &terminate->upstream;
  return nullptr;
}

}  // namespace edgemux::routing
