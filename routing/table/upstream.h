#pragma once
// Upstream: where requests and connections of a route go, as an immutable value, and UpstreamState: what is known of it
// at run time, shared by all workers and kept over reloads.
//
// Two upstreams with equal `identity` are the same upstream: the compiler gives them the same UpstreamState and the
// same `id`, whatever snapshot they stand in. The identity holds everything that makes two connections different
// (endpoints' names, protocol, TLS name, client certificate, limits), so pools are never shared across such a
// difference.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "routing/table/origin.h"

namespace edgemux::routing {

using std::chrono::milliseconds;

// One endpoint as it was written. `address` is set where `host` is an IP address; a name is resolved by discovery.
struct EndpointSpec {
  std::string text;  // "argocd-server.argocd.svc:80", for logs and errors
  std::string host;
  std::uint16_t port = 0;
  std::optional<core::SocketAddress> address;
};

// An endpoint that can be dialled. `text` names it in logs: "10.0.0.7:80", for a resolved name "name:80 (10.0.0.7)".
struct Endpoint {
  core::SocketAddress address;
  std::string text;
};

// The endpoints that exist now, in the order that they were written, then in the order of the answers. Immutable;
// replaced as a whole by discovery. `problem` says why it is empty ("argocd.svc does not resolve: ...").
struct EndpointSet {
  std::vector<Endpoint> endpoints;
  std::string problem;
};

// Thread safe. Outlives every snapshot that names the upstream and every connection to it.
class UpstreamState {
 public:
  // The current set, never null. Readers compare `version()` first, so that the mutex is taken only after a change.
  [[nodiscard]] std::shared_ptr<const EndpointSet> endpoints() const {
    const std::lock_guard lock(mutex_);
    return endpoints_;
  }
  [[nodiscard]] std::uint64_t version() const { return version_.load(std::memory_order_acquire); }
  void publish(std::shared_ptr<const EndpointSet> endpoints) {
    {
      const std::lock_guard lock(mutex_);
      endpoints_.swap(endpoints);
    }
    version_.fetch_add(1, std::memory_order_release);
  }

  // Connections of all workers, for limits.connections.
  std::atomic<std::uint32_t> connections{0};

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const EndpointSet> endpoints_ = std::make_shared<EndpointSet>();
  std::atomic<std::uint64_t> version_{1};
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
  std::vector<EndpointSpec> endpoints;
  milliseconds connect_timeout{3'000};  // per attempt
  Keepalive keepalive;
  std::uint32_t max_connections = 0;     // whole process; 0 = no limit
  std::shared_ptr<UpstreamState> state;  // never null
};

using UpstreamPtr = std::shared_ptr<const Upstream>;

}  // namespace edgemux::routing
