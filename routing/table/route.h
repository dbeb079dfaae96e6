#pragma once
// Route: what a host (or several) gets. One Route per entry of `routes:`, immutable, shared by the hosts it names and
// by the sessions that follow it. A session that holds its Route pins nothing else of the snapshot.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/address.h"
#include "core/tls/policy.h"
#include "routing/table/origin.h"
#include "routing/table/upstream.h"

namespace edgemux::routing {

// ---- rules of a terminated host ----

struct Forward {
  UpstreamPtr upstream;
};

// The parts that are absent are taken from the request. `path` replaces the whole path, `prefix` the part that the rule
// matched; at most one of them is set. The query is kept.
struct Redirect {
  std::optional<std::string> scheme;
  std::optional<std::string> host;
  std::optional<std::uint16_t> port;
  std::optional<std::string> path;
  std::optional<std::string> prefix;
  std::uint16_t status = 302;
};

struct Respond {
  std::uint16_t status = 200;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
};

struct Rule {
  enum class Kind : std::uint8_t { exact, prefix };
  Kind kind = Kind::prefix;
  std::string path = "/";  // normalised; a prefix matches by path element, "/a" not "/ab"; a trailing '/' is dropped
  std::variant<Forward, Redirect, Respond> action;
  Origin origin;
};

enum class OnHttp : std::uint8_t { redirect, serve, off };

// Client networks. Deny beats allow; an empty allow list admits everybody.
struct AccessList {
  std::vector<core::Network> allow;
  std::vector<core::Network> deny;
  [[nodiscard]] bool admits(const core::SocketAddress& client) const;
};

// ---- the two kinds of route ----

struct Passthrough {
  UpstreamPtr upstream;
};

struct VirtualHost {
  std::vector<Rule> rules;  // in the order that they are tried: exact paths, then longer prefixes first, then as listed
  core::TlsPolicyPtr tls;   // never null
  std::uint64_t max_request_body = 0;  // bytes; 0 = no limit

  // The first rule that matches the normalised path (without query), or null.
  [[nodiscard]] const Rule* match(std::string_view path) const;
};

struct Route {
  std::string name;  // the first of its hosts, for logs
  std::string tenant;
  Origin origin;
  std::variant<Passthrough, VirtualHost> action;
  AccessList access;
  OnHttp on_http = OnHttp::redirect;  // passthrough routes: redirect or off
  UpstreamPtr acme_solver;            // null = none

  // Not empty: the route's security material is broken (a client CA that cannot be read), and every TLS connection to
  // its hosts is refused with this reason in the log. Never opened instead.
  std::string refused;
};

using RoutePtr = std::shared_ptr<const Route>;

}  // namespace edgemux::routing
