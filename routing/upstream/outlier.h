#pragma once
// Passive ejection: an endpoint that fails some times in a row, over all workers, is left out for a while. Failures are
// those of the connection: it could not be made, broke before an answer, stayed silent, or spoke no HTTP. Statuses are
// the application's business.
//
// The first ejection lasts eject_for; one that follows soon after another twice as long as that, up to sixteen times
// eject_for. Who comes back is on trial: its next failure ejects it again, a success clears it. At no time more than
// max_ejected percent of the endpoints are out, rounded down, so the only endpoint never is.
//
// Pure but for the atomics; thread safe. `now` is milliseconds of the monotonic clock.

#include <cstddef>
#include <cstdint>

#include "routing/table/upstream.h"

namespace edgemux::routing {

// How long, 0 = it stays in. The caller whose failure ejected it logs that, nobody else.
milliseconds note_failure(EndpointState& endpoint, UpstreamRuntime& runtime, const OutlierPolicy& policy,
                          std::size_t endpoints, std::uint64_t now);

inline void note_success(EndpointState& endpoint) {
  if (endpoint.failures.load(std::memory_order_relaxed) != 0) endpoint.failures.store(0, std::memory_order_relaxed);
}

// True: its time was over and it is back, on trial. For one caller in the process.
bool end_ejection(EndpointState& endpoint, UpstreamRuntime& runtime, const OutlierPolicy& policy, std::uint64_t now);

}  // namespace edgemux::routing
