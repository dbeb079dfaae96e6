#pragma once
// RateBucket: so many units per second, shared by all threads, without a lock. A token bucket kept as one time stamp
// (GCRA): the moment at which the bucket will be full again. Pure but for the atomic: time is what the caller says.
//
// A bucket holds `window` worth of units: after a pause that many may come at once. The rate may change at any time;
// what was taken before stays taken. Times are nanoseconds of a clock that starts at 0 or later.

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace edgemux::core {

class RateBucket {
 public:
  static constexpr std::uint64_t kSecond = 1'000'000'000;

  explicit RateBucket(std::uint64_t window_ns = kSecond) : window_(window_ns) {}

  // Units per second; 0 = no limit.
  void set_rate(std::uint64_t rate) { rate_.store(rate, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t rate() const { return rate_.load(std::memory_order_relaxed); }

  // One unit, if there is one.
  bool take(std::uint64_t now) {
    const std::uint64_t rate = this->rate();
    if (rate == 0) return true;
    const std::uint64_t cost = kSecond / rate;
    std::uint64_t full = full_at_.load(std::memory_order_relaxed);
    for (;;) {
      const std::uint64_t after = std::max(full, now) + cost;
      // A unit that costs more than the window is still to be had when the bucket is full.
      if (after > now + std::max(window_, cost)) return false;
      if (full_at_.compare_exchange_weak(full, after, std::memory_order_relaxed)) return true;
    }
  }

  // Takes units that have been used already, however many: the bucket goes into debt, and wait() says until when.
  void charge(std::uint64_t units, std::uint64_t now) {
    const std::uint64_t rate = this->rate();
    if (rate == 0 || units == 0) return;
    // Rounded up: what costs less than a nanosecond is not free.
    __extension__ using Wide = unsigned __int128;
    const auto cost = static_cast<std::uint64_t>((static_cast<Wide>(units) * kSecond + rate - 1) / rate);
    std::uint64_t full = full_at_.load(std::memory_order_relaxed);
    while (!full_at_.compare_exchange_weak(full, std::max(full, now) + cost, std::memory_order_relaxed)) {
    }
  }

  // Nanoseconds until a unit can be had; 0 = now.
  [[nodiscard]] std::uint64_t wait(std::uint64_t now) const {
    const std::uint64_t rate = this->rate();
    if (rate == 0) return 0;
    const std::uint64_t cost = kSecond / rate;
    const std::uint64_t after = std::max(full_at_.load(std::memory_order_relaxed), now) + cost;
    const std::uint64_t most = now + std::max(window_, cost);
    return after > most ? after - most : 0;
  }

 private:
  std::atomic<std::uint64_t> rate_{0};
  std::atomic<std::uint64_t> full_at_{0};
  std::uint64_t window_;
};

}  // namespace edgemux::core
