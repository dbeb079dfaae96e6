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
  // Bytes a second; 0 = no limit.
  struct Rates {
    std::uint64_t of_tenant = 0;
    std::uint64_t of_source = 0;
    bool operator==(const Rates&) const = default;
  };
  [[nodiscard]] Rates rates() const { return {tenant == nullptr ? 0 : tenant->bandwidth(), sources.bandwidth()}; }
  // How much may be moved in one go; where it is limited(). `contended`: others have to wait for it.
  [[nodiscard]] std::size_t step(bool contended) const {
    const auto [of_tenant, of_source] = rates();
    std::uint64_t rate = std::max(of_tenant, of_source);
    if (of_tenant != 0 && of_source != 0) rate = std::min(of_tenant, of_source);
    constexpr std::uint64_t kLeast = 4 * 1024;
    constexpr std::uint64_t kMost = 4 * 1024 * 1024;
    return std::clamp(rate / (contended ? 1'000 : 100), kLeast, kMost);
  }
  void charge(std::uint64_t bytes, std::uint64_t now) const {
    if (tenant != nullptr) tenant->charge_bandwidth(bytes, now);
    if (sources.bandwidth_limited()) sources.charge_bandwidth(client, bytes, now);
  }
  // Of what was charged and not used.
  void give_back(std::uint64_t bytes, std::uint64_t now) const {
    if (tenant != nullptr) tenant->give_back_bandwidth(bytes, now);
    if (sources.bandwidth_limited()) sources.give_back_bandwidth(client, bytes, now);
  }
};

}  // namespace edgemux::listeners
