#include "routing/table/action.h"

#include <algorithm>

namespace edgemux::routing {
namespace {

// A number in [0, range) from one that is uniform over 64 bits; what is uneven about it is below 2^-32.
std::uint64_t scale(std::uint64_t random, std::uint64_t range) {
  return ((random >> 32U) * range) >> 32U;  // range fits into 32 bits
}

}  // namespace

const Split::Part* Split::pick(std::uint64_t random) const {
  std::uint64_t total = 0;
  for (const Part& part : parts) total += part.weight;
  if (total == 0) return nullptr;
  std::uint64_t at = scale(random, total);
  for (const Part& part : parts) {
    if (at < part.weight) return &part;
    at -= part.weight;
  }
  return nullptr;
}

bool Mirror::samples(std::uint64_t random) const { return scale(random, kAll) < share; }

bool Retry::on(std::uint16_t status) const {
  return std::find(on_status.begin(), on_status.end(), status) != on_status.end();
}

milliseconds retry_backoff(const Retry& policy, std::uint32_t retry, std::uint64_t random) {
  const auto base = static_cast<std::uint64_t>(policy.backoff.count());
  const std::uint64_t most = std::max<std::uint64_t>(base, 1000);
  const std::uint64_t whole = std::min(most, base << std::min(retry - 1, 16U));
  const std::uint64_t half = whole / 2;
  return milliseconds(half + scale(random, whole - half + 1));
}

}  // namespace edgemux::routing
