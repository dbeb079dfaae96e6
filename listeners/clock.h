#pragma once
// Microseconds of the monotonic clock, for durations in the access log. The loop's clock is too coarse for those.

#include <time.h>

#include <cstdint>

namespace edgemux::listeners {

inline std::uint64_t monotonic_us() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(t.tv_nsec) / 1000;
}

}  // namespace edgemux::listeners
