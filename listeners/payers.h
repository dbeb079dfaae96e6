#pragma once
// Payers: whose bandwidth the bytes of a connection or request are charged to: its client's address
// (limits.bandwidth_per_source), and its tenant (limits.bandwidth of the tenant). Made where it is needed, from what
// outlives it.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "listeners/source_rates.h"
#include "routing/table/tenant.h"

namespace edgemux::listeners {

struct Payers {
  SourceRates& sources;
  const core::SocketAddress& client;
  routing::TenantState* tenant;  // null = the platform

  [[nodiscard]] bool limited() const {
    return (tenant != nullptr && tenant->bandwidth_limited()) || sources.bandwidth_limited();
  }
  // Milliseconds to wait before more bytes are moved; 0 = none.
  [[nodiscard]] std::uint64_t wait(std::uint64_t now) const {
    const std::uint64_t own = tenant == nullptr ? 0 : tenant->bandwidth_wait(now);
    return sources.bandwidth_limited() ? std::max(own, sources.bandwidth_wait(client, now)) : own;
  }
  // How much may be moved in one go; where it is limited().
  [[nodiscard]] std::size_t step() const {
    const bool of_tenant = tenant != nullptr && tenant->bandwidth_limited();
    if (!sources.bandwidth_limited()) return of_tenant ? tenant->bandwidth_step() : SIZE_MAX;
    return of_tenant ? std::min(tenant->bandwidth_step(), sources.bandwidth_step()) : sources.bandwidth_step();
  }
  void charge(std::uint64_t bytes, std::uint64_t now) const {
    if (tenant != nullptr) tenant->charge_bandwidth(bytes, now);
    if (sources.bandwidth_limited()) sources.charge_bandwidth(client, bytes, now);
  }
};

// The same for as long as a tunnel lasts that began as a request.
struct KeptPayers {
  core::SocketAddress client;  // as trusted proxies say
  routing::TenantPtr tenant;   // null = the platform
  [[nodiscard]] routing::TenantState* state() const { return tenant == nullptr ? nullptr : tenant->state.get(); }
};

}  // namespace edgemux::listeners
