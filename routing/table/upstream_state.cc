#include "routing/table/upstream_state.h"

#include <unordered_set>

#include "core/base/log.h"

namespace edgemux::routing {

std::shared_ptr<EndpointState> UpstreamRuntime::endpoint(const core::SocketAddress& address, std::uint64_t now) {
  const std::lock_guard lock(mutex_);
  auto& state = endpoints_[address.to_string()];
  if (state == nullptr) {
    state = std::make_shared<EndpointState>();
    state->ramp_begins.store(now, std::memory_order_relaxed);
  }
  return state;
}

std::vector<std::shared_ptr<EndpointState>> UpstreamRuntime::ejected_beside(const EndpointSet& set) const {
  std::unordered_set<const EndpointState*> present;
  for (const Endpoint& endpoint : set.endpoints) present.insert(endpoint.state.get());
  std::vector<std::shared_ptr<EndpointState>> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [address, state] : endpoints_) {
    if (state->ejected.load(std::memory_order_relaxed) && !present.contains(state.get())) out.push_back(state);
  }
  return out;
}

void UpstreamRuntime::forget_unused(std::size_t wanted) {
  constexpr std::size_t kSpare = 64;
  const std::lock_guard lock(mutex_);
  if (endpoints_.size() <= 2 * wanted + kSpare) return;
  std::erase_if(endpoints_, [this](const auto& entry) {
    if (entry.second.use_count() > 1) return false;
    if (entry.second->ejected.load(std::memory_order_relaxed)) ejected.fetch_sub(1, std::memory_order_relaxed);
    return true;
  });
}

const std::shared_ptr<const EndpointSet>& UpstreamState::none() {
  static const auto empty = std::make_shared<const EndpointSet>();
  return empty;
}

void UpstreamState::make_runtime() {
  if (runtime_ == nullptr) runtime_ = std::make_shared<UpstreamRuntime>();
  runtime_made_.store(runtime_.get(), std::memory_order_release);
}

UpstreamRuntime& UpstreamState::runtime() {
  if (UpstreamRuntime* made = runtime_made_.load(std::memory_order_acquire); made != nullptr) return *made;
  const std::lock_guard lock(mutex_);
  make_runtime();
  return *runtime_;
}

std::shared_ptr<UpstreamRuntime> UpstreamState::shared_runtime() {
  const std::lock_guard lock(mutex_);
  make_runtime();
  return runtime_;
}

std::shared_ptr<const EndpointSet> UpstreamState::endpoints() {
  std::shared_ptr<const EndpointSet> old;  // freed outside the lock
  const std::lock_guard lock(mutex_);
  if (used_ || endpoints_->endpoints.empty()) return endpoints_;
  make_runtime();
  auto set = std::make_shared<EndpointSet>(*endpoints_);
  for (auto& endpoint : set->endpoints) endpoint.state = runtime_->endpoint(endpoint.address, came_);
  runtime_->forget_unused(set->endpoints.size());
  old = std::move(endpoints_);
  endpoints_ = std::move(set);
  used_ = ever_used_ = true;
  return endpoints_;
}

void UpstreamState::publish(std::shared_ptr<const EndpointSet> endpoints) {
  {
    const std::lock_guard lock(mutex_);
    // What follows on a set that was in use begins to serve now; whatever is there first has nothing to be compared to.
    came_ = ever_used_ ? core::log_clock() : 0;
    used_ = false;
    endpoints_.swap(endpoints);
  }
  version_.fetch_add(1, std::memory_order_release);
}

}  // namespace edgemux::routing
