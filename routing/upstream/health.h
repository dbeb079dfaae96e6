#pragma once
// HealthJudge: from the results of one endpoint's checks to its health. The first result decides at once; after that it
// takes unhealthy_after failures, or healthy_after passes, in a row. Pure.

#include <cstdint>

#include "routing/table/upstream.h"

namespace edgemux::routing {

class HealthJudge {
 public:
  explicit HealthJudge(Health begin = Health::unknown) : health_(begin) {}

  // One check is over. True: the health is another one now.
  bool note(bool passed, const HealthCheck& check) {
    const Health seen = passed ? Health::healthy : Health::unhealthy;
    if (seen == health_) {
      in_a_row_ = 0;
      return false;
    }
    const std::uint32_t enough = passed ? check.healthy_after : check.unhealthy_after;
    if (health_ != Health::unknown && ++in_a_row_ < enough) return false;
    health_ = seen;
    in_a_row_ = 0;
    return true;
  }
  [[nodiscard]] Health health() const { return health_; }

 private:
  Health health_;
  std::uint32_t in_a_row_ = 0;  // results that contradict it
};

// When the next check is due after one that began now: the interval, give or take a tenth, so that checks do not march
// in step. `random` is any number.
inline milliseconds jittered(milliseconds interval, std::uint64_t random) {
  const auto tenth = static_cast<std::uint64_t>(interval.count()) / 10;
  const auto extra = static_cast<std::int64_t>(tenth == 0 ? 0 : random % (2 * tenth + 1));
  return interval - milliseconds(static_cast<std::int64_t>(tenth)) + milliseconds(extra);
}

}  // namespace edgemux::routing
