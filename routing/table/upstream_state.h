#pragma once
// UpstreamState: the endpoints that an upstream has now, shared by all workers and kept over reloads; and
// UpstreamRuntime, the part that even outlives a change of the upstream's parameters: what is known of its endpoints,
// its counters, its retry budget.
//
// Thread safe. Both outlive every snapshot that names the upstream and every connection to it. A table may name a
// hundred thousand upstreams of which few are ever used, so the runtime is made when somebody asks for it.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "routing/table/endpoint.h"
#include "routing/table/place_board.h"
#include "routing/table/retry_budget.h"

namespace edgemux::routing {

class UpstreamRuntime {
 public:
  // The state of the endpoint at `address`, made when there is none. `now`: when it came; 0 = it was there first.
  std::shared_ptr<EndpointState> endpoint(const core::SocketAddress& address, std::uint64_t now);
  // Some were in use.
  [[nodiscard]] bool knows_endpoints() const {
    const std::lock_guard lock(mutex_);
    return !endpoints_.empty();
  }
  // Those that are ejected, and not in `set`: they failed once they had left it.
  [[nodiscard]] std::vector<std::shared_ptr<EndpointState>> ejected_beside(const EndpointSet& set) const;
  // Forgets endpoints that nobody holds, once they are many more than `wanted`.
  void forget_unused(std::size_t wanted);

  // Overflows since the call before: for who adds up those of several upstreams, which come and go.
  std::uint64_t take_overflows() {
    const std::uint64_t now = overflows.load(std::memory_order_relaxed);
    return now - overflows_taken_.exchange(now, std::memory_order_relaxed);
  }

  // An endpoint began or ceased to be usable: whoever picks looks again.
  void health_changed() { health_version.fetch_add(1, std::memory_order_release); }

  std::atomic<std::uint64_t> health_version{0};
  std::atomic<std::uint32_t> connections{0};  // of all workers, for limits.connections
  std::atomic<std::uint32_t> requests{0};     // in flight, for limits.requests
  std::atomic<std::uint32_t> pending{0};      // that wait for a connection, for limits.pending
  std::atomic<std::uint32_t> ejected{0};      // endpoints
  std::atomic<std::uint64_t> overflows{0};    // requests and tunnels that met a limit
  RetryBudget retries;
  PlaceBoard places;  // of pools whose connections are limited

 private:
  std::atomic<std::uint64_t> overflows_taken_{0};
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<EndpointState>> endpoints_;
};

class UpstreamState {
 public:
  UpstreamState() = default;
  // Goes on with the runtime of the upstream that this one replaces.
  explicit UpstreamState(std::shared_ptr<UpstreamRuntime> runtime)
      : runtime_(std::move(runtime)),
        runtime_made_(runtime_.get()),
        ever_used_(runtime_ != nullptr && runtime_->knows_endpoints()) {}

  // The current set, never null, every endpoint with its state. Readers compare `version()` first, so that the mutex is
  // taken only after a change.
  [[nodiscard]] std::shared_ptr<const EndpointSet> endpoints();
  // The same, perhaps without states: for comparing and showing.
  [[nodiscard]] std::shared_ptr<const EndpointSet> published() const {
    const std::lock_guard lock(mutex_);
    return endpoints_;
  }
  // Changes with the set and with the health of any of its endpoints.
  [[nodiscard]] std::uint64_t version() const {
    const UpstreamRuntime* runtime = runtime_made_.load(std::memory_order_acquire);
    return version_.load(std::memory_order_acquire) +
           (runtime == nullptr ? 0 : runtime->health_version.load(std::memory_order_acquire));
  }
  void publish(std::shared_ptr<const EndpointSet> endpoints);

  // ---- which tables have it
  // One thread's. A list that is in force has the upstream once more, or once less.
  void enter_table() {
    ++tables_;
    gone_.store(false, std::memory_order_relaxed);
  }
  void leave_table() { gone_.store(--tables_ == 0, std::memory_order_relaxed); }
  // It was in one, and is in none any more: its connections are not kept.
  [[nodiscard]] bool gone() const { return gone_.load(std::memory_order_relaxed); }

  [[nodiscard]] UpstreamRuntime& runtime();
  [[nodiscard]] std::shared_ptr<UpstreamRuntime> shared_runtime();
  // Null: nobody has used the upstream yet.
  [[nodiscard]] const UpstreamRuntime* known_runtime() const { return runtime_made_.load(std::memory_order_acquire); }

 private:
  void make_runtime();

  mutable std::mutex mutex_;
  std::shared_ptr<const EndpointSet> endpoints_ = none();
  std::shared_ptr<UpstreamRuntime> runtime_;
  std::atomic<UpstreamRuntime*> runtime_made_{nullptr};
  std::atomic<std::uint64_t> version_{1};
  std::size_t tables_ = 0;
  std::atomic<bool> gone_{false};
  std::uint64_t came_ = 0;  // when endpoints of the set came that have no state yet
  bool used_ = false;       // endpoints_ has states
  bool ever_used_ = false;  // it, or the upstream that it replaces

  static const std::shared_ptr<const EndpointSet>& none();
};

}  // namespace edgemux::routing
