#include "routing/upstream/outlier.h"

#include <algorithm>

namespace edgemux::routing {

namespace {

constexpr std::uint32_t kMostDoublings = 4;
constexpr std::uint64_t kSoon = 10;  // times eject_for

bool take_place(UpstreamRuntime& runtime, const OutlierPolicy& policy, std::size_t endpoints) {
  const auto most = static_cast<std::uint32_t>(endpoints * policy.max_ejected / 100);
  std::uint32_t ejected = runtime.ejected.load(std::memory_order_relaxed);
  while (ejected < most) {
    if (runtime.ejected.compare_exchange_weak(ejected, ejected + 1, std::memory_order_relaxed)) return true;
  }
  return false;
}

}  // namespace

milliseconds note_failure(EndpointState& endpoint, UpstreamRuntime& runtime, const OutlierPolicy& policy,
                          std::size_t endpoints, std::uint64_t now) {
  if (policy.consecutive_failures == 0) return milliseconds(0);
  const std::uint32_t failures = endpoint.failures.fetch_add(1, std::memory_order_relaxed) + 1;
  if (failures < policy.consecutive_failures || endpoint.ejected.load(std::memory_order_relaxed)) {
    return milliseconds(0);
  }
  if (!take_place(runtime, policy, endpoints)) return milliseconds(0);
  const auto unit = static_cast<std::uint64_t>(policy.eject_for.count());
  const std::uint64_t before = endpoint.eject_ends.load(std::memory_order_relaxed);
  const bool soon = before != 0 && now < before + kSoon * unit;
  const std::uint32_t doublings = soon ? endpoint.ejections.load(std::memory_order_relaxed) : 0;
  const std::uint64_t lasts = unit << std::min(doublings, kMostDoublings);
  // Who comes second finds it ejected; what the first one stores is what counts.
  if (endpoint.ejected.exchange(true, std::memory_order_acq_rel)) {
    runtime.ejected.fetch_sub(1, std::memory_order_relaxed);
    return milliseconds(0);
  }
  endpoint.eject_ends.store(now + lasts, std::memory_order_relaxed);
  endpoint.ejections.store(doublings + 1, std::memory_order_relaxed);
  runtime.health_changed();
  return milliseconds(lasts);
}

bool end_ejection(EndpointState& endpoint, UpstreamRuntime& runtime, const OutlierPolicy& policy, std::uint64_t now) {
  if (!endpoint.ejected.load(std::memory_order_acquire)) return false;
  if (now < endpoint.eject_ends.load(std::memory_order_relaxed)) return false;
  endpoint.failures.store(policy.consecutive_failures == 0 ? 0 : policy.consecutive_failures - 1,
                          std::memory_order_relaxed);
  endpoint.ramp_begins.store(now, std::memory_order_relaxed);
  endpoint.ejected.store(false, std::memory_order_release);
  runtime.ejected.fetch_sub(1, std::memory_order_relaxed);
  runtime.health_changed();
  return true;
}

}  // namespace edgemux::routing
