#pragma once
// Exposition: the counters as Prometheus text, format 0.0.4. The names are part of the interface: they are not renamed.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "core/base/metrics.h"
#include "listeners/access_log.h"
#include "routing/table/snapshot.h"
#include "routing/table/tenant.h"
#include "routing/table/upstream.h"

namespace edgemux::admin {

// No tenant can be called so.
inline constexpr std::string_view kOtherTenants = "(other)";
inline constexpr std::string_view kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

// Everything at once, figures of the process (memory, descriptors, CPU time) included.
// The first thousand tenants have figures of their own, all others stand together under kOtherTenants.
std::string render_metrics(const core::Metrics& metrics, const listeners::AccessLog& access_log,
                           std::span<const routing::TenantPtr> tenants = {});

// The endpoints of upstreams that are checked, may eject, or have a limit, by state. The platform's carry their name,
// those of tenants the tenant's as well; of two with the same labels the samples are added up. A tenant has kOfTenant
// names, the platform kOfPlatform, and tenants together as many: what is beyond stands under kOtherUpstreams, and that
// of tenants who have no name at all under kOtherTenants.
inline constexpr std::string_view kOtherUpstreams = "(other)";
inline constexpr std::size_t kOfPlatform = 1000;
inline constexpr std::size_t kOfTenant = 100;
// The counters of what stands under one label, over the upstreams that came and went under it: they never get smaller
// for as long as any does. Kept from one call to the next.
using CounterTotals = std::map<std::string, std::uint64_t>;
std::string render_upstreams(const routing::UpstreamList& upstreams, CounterTotals& overflows);

// Sets when certificates expire: of the platform's pairs that are shown for some host the first in `metrics`, of each
// tenant's own in its state. Asks for every host.
void note_expiries(const routing::Snapshot& snapshot, core::Metrics& metrics);

// Empty when every worker gave a sign of life in the last ten seconds; else which one did not. `now_ms` is the clock
// of WorkerMetrics::heartbeat. A worker that has given none yet is only starting.
std::string stale_worker(const core::Metrics& metrics, std::uint64_t now_ms);

}  // namespace edgemux::admin
