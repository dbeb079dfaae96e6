#pragma once
// Exposition: the counters as Prometheus text, format 0.0.4. The names are part of the interface: they are not renamed.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/base/metrics.h"
#include "listeners/access_log.h"
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

// The endpoints of upstreams that are checked, may eject, or have met a limit, by state; of the first thousand. Of two
// upstreams with one name the samples carry the same labels and are added up.
std::string render_upstreams(const routing::UpstreamList& upstreams);

// Empty when every worker gave a sign of life in the last ten seconds; else which one did not. `now_ms` is the clock
// of WorkerMetrics::heartbeat. A worker that has given none yet is only starting.
std::string stale_worker(const core::Metrics& metrics, std::uint64_t now_ms);

}  // namespace edgemux::admin
