#pragma once
// Endpoints of an upstream: as written, as they can be dialled, and what is known of each at run time.
//
// EndpointState is shared by all workers, the prober and status: atomics only. It is found by address in its upstream's
// UpstreamRuntime, so it is kept when a name server's answer or the configuration changes around it. Times are
// milliseconds of the monotonic clock.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/address.h"

namespace edgemux::routing {

// One endpoint as it was written. `address` is set where `host` is an IP address; a name is resolved by discovery.
struct EndpointSpec {
  std::string text;  // "argocd-server.argocd.svc:80", for logs and errors
  std::string host;
  std::uint16_t port = 0;
  std::optional<core::SocketAddress> address;
  std::uint32_t weight = 1;  // 0 = drained: takes nothing new
  bool service = false;      // "srv:host": ports and weights come with the answer
  std::uint32_t line = 0;    // where it was written, in the file of its upstream's origin; 0 = nowhere by itself
  std::uint32_t column = 0;
};

// What the active checks found. Unknown counts as healthy: a start waits for nobody.
enum class Health : std::uint8_t { unknown, healthy, unhealthy };

struct EndpointState {
  std::atomic<Health> health{Health::unknown};
  std::atomic<bool> ejected{false};           // by failures of real traffic (outlier.h)
  std::atomic<std::uint32_t> failures{0};     // in a row
  std::atomic<std::uint32_t> ejections{0};    // that followed each other closely: the next one lasts longer
  std::atomic<std::uint64_t> eject_ends{0};   // of the ejection under way, or of the latest
  std::atomic<std::uint64_t> ramp_begins{0};  // when it came into service; 0 = it was there from the start
  // The other family of its name stood first, long after it was begun with; until then that one is begun with.
  std::atomic<std::uint64_t> outpaced_until{0};
  std::atomic<std::uint32_t> active{0};  // requests and tunnels of all workers

  [[nodiscard]] bool usable() const {
    return health.load(std::memory_order_relaxed) != Health::unhealthy && !ejected.load(std::memory_order_relaxed);
  }
};

// An endpoint that can be dialled. `text` names it in logs: "10.0.0.7:80", for a resolved name "name:80 (10.0.0.7)".
// `state` is set in every published set.
struct Endpoint {
  core::SocketAddress address;
  std::string text;
  std::uint32_t weight = 1;
  std::shared_ptr<EndpointState> state = nullptr;
  std::string host{};  // as it was written, for TLS
};

// How many endpoints an upstream has at most, as written and after resolution.
inline constexpr std::size_t kMaxEndpoints = 4096;

// The endpoints that exist now, in the order that they were written, then in the order of the answers. Immutable;
// replaced as a whole by discovery. `problem` says why it is empty ("argocd.svc does not resolve: ..."), or that there
// are more than it has.
struct EndpointSet {
  std::vector<Endpoint> endpoints;
  std::string problem;
};

// For status and metrics.
inline constexpr std::array<std::string_view, 5> kStateNames{"healthy", "unchecked", "unhealthy", "ejected", "drained"};
inline std::string_view state_name(const Endpoint& endpoint) {
  if (endpoint.weight == 0) return "drained";
  if (endpoint.state == nullptr) return "unchecked";
  switch (endpoint.state->health.load(std::memory_order_relaxed)) {
    case Health::unhealthy:
      return "unhealthy";
    case Health::healthy:
      return endpoint.state->ejected.load(std::memory_order_relaxed) ? "ejected" : "healthy";
    case Health::unknown:
      break;
  }
  return endpoint.state->ejected.load(std::memory_order_relaxed) ? "ejected" : "unchecked";
}

}  // namespace edgemux::routing
