#pragma once
// Upstream: where requests and connections of a route go, as an immutable value.
//
// Two upstreams with equal `identity` are the same upstream: the compiler gives them the same UpstreamState and the
// same `id`, whatever snapshot they stand in. The identity holds everything that was written of it: its name, if it has
// one (two names are two upstreams, with limits and health of their own, equal as the rest may be), what makes two
// connections different (endpoints' names, protocol, TLS name, client certificate), so that pools are never shared
// across such a difference, and its parameters. A named upstream whose parameters change gets a new identity and pool,
// but keeps its UpstreamRuntime.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "routing/table/endpoint.h"
#include "routing/table/origin.h"
#include "routing/table/tenant.h"
#include "routing/table/upstream_state.h"
#include "routing/table/upstream_transport.h"

namespace edgemux::routing {

using std::chrono::milliseconds;

enum class Balance : std::uint8_t { round_robin, least_connections, random_two, source_hash };

// Active checks: who asks, how often, and how many answers in a row change the mind.
struct HealthCheck {
  enum class Kind : std::uint8_t { tcp, tls, http };
  Kind kind = Kind::tcp;
  std::string path;                        // http
  std::string host;                        // http: the Host field; empty = the endpoint as it was written
  std::vector<std::uint16_t> expect{200};  // http
  std::string expect_body;                 // http: the body contains it; empty = any body
  milliseconds interval{5'000};
  milliseconds timeout{2'000};  // of the whole check
  std::uint32_t unhealthy_after = 3;
  std::uint32_t healthy_after = 2;
  friend bool operator==(const HealthCheck&, const HealthCheck&) = default;
};

// Passive ejection; see outlier.h.
struct OutlierPolicy {
  std::uint32_t consecutive_failures = 0;  // 0 = off
  milliseconds eject_for{30'000};          // the first time; longer when it fails again soon
  std::uint32_t max_ejected = 50;          // percent of the endpoints
  friend bool operator==(const OutlierPolicy&, const OutlierPolicy&) = default;
};

// What a balancer needs to know.
struct BalancePolicy {
  Balance kind = Balance::round_robin;
  milliseconds slow_start{0};          // 0 = off
  std::uint32_t panic_threshold = 50;  // percent: when fewer are usable, all are used
  friend bool operator==(const BalancePolicy&, const BalancePolicy&) = default;
};

// Bounds of what an answer says of its own life; 0 = the usual ones (1 s and 5 minutes).
struct DnsPolicy {
  milliseconds min_ttl{0};
  milliseconds max_ttl{0};
  friend bool operator==(const DnsPolicy&, const DnsPolicy&) = default;
};

struct Keepalive {
  milliseconds idle{60'000};
  milliseconds max_age{600'000};    // 0 = no limit
  std::uint64_t max_requests = 0;   // 0 = no limit
  std::uint32_t connections = 256;  // idle ones kept, per worker
};

struct Upstream {
  std::string name;      // as configured; for an inline one the text of its endpoints
  std::string identity;  // see above
  std::uint32_t id = 0;  // small, unique per identity in this process, never reused while the identity is in use
  Origin origin;
  TenantPtr tenant;  // whose it is: says where its endpoints may be; null = the platform's, anywhere
  std::vector<EndpointSpec> endpoints;
  std::optional<milliseconds> connect_timeout;  // per attempt; none = the snapshot's timeouts.connect
  Keepalive keepalive;
  UpstreamTransport transport;
  // Limits hold over the whole process.
  std::uint32_t max_connections = 0;  // 0 = no limit
  bool missing = false;               // only named: the file that defines it is set aside
  std::uint32_t max_requests = 0;     // in flight; 0 = no limit
  std::uint32_t max_pending = 0;      // that wait for a connection; 0 = nothing waits
  milliseconds pending_timeout{1'000};
  BalancePolicy balance;
  std::shared_ptr<const HealthCheck> health_check = nullptr;  // null = none
  OutlierPolicy outlier;
  DnsPolicy dns;
  std::shared_ptr<UpstreamState> state;  // never null

  // Empty: the platform's.
  [[nodiscard]] std::string_view tenant_name() const { return tenant == nullptr ? std::string_view() : tenant->name; }
  // As the process log calls it: "upstream app", "tenant shop: upstream app".
  [[nodiscard]] std::string title() const {
    return (tenant == nullptr ? std::string() : "tenant " + tenant->name + ": ") + "upstream " + name;
  }
};

using UpstreamPtr = std::shared_ptr<const Upstream>;

}  // namespace edgemux::routing
