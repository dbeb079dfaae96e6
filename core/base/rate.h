#pragma once
// RateBucket: so many units per second, shared by all threads, without a lock. A token bucket kept as one time stamp
// (GCRA): the moment at which the bucket will be full again. Rate is the arithmetic of it, pure, for whoever keeps the
// time stamps elsewhere: one that is not in the future means a full bucket.
//
// A bucket holds `window` worth of units: after a pause that many may come at once. The rate may change at any time;
// what was taken before stays taken, as so much time. Times are nanoseconds of a clock that starts at 0 or later.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

namespace edgemux::core {

struct Rate {
  static constexpr std::uint64_t kSecond = 1'000'000'000;
  std::uint64_t per_second = 0;  // 0 = no limit
  std::uint64_t window = kSecond;

  // When a bucket that is full at `full` will be full again after one unit more; nothing = that unit is not there.
  [[nodiscard]] std::optional<std::uint64_t> take(std::uint64_t full, std::uint64_t now) const {
    if (per_second == 0) return full;
    const std::uint64_t cost = kSecond / per_second;
    const std::uint64_t after = std::max(full, now) + cost;
    // A unit that costs more than the window is still to be had when the bucket is full.
    if (after > now + std::max(window, cost)) return std::nullopt;
    return after;
  }

  // The same after units that have been used already, however many: the bucket goes into debt, and wait() says until
  // when.
  [[nodiscard]] std::uint64_t charge(std::uint64_t full, std::uint64_t units, std::uint64_t now) const {
    if (per_second == 0 || units == 0) return full;
    // Rounded up: what costs less than a nanosecond is not free.
    __extension__ using Wide = unsigned __int128;
    const auto cost = static_cast<std::uint64_t>((static_cast<Wide>(units) * kSecond + per_second - 1) / per_second);
    return std::max(full, now) + cost;
  }

  // The same after units that were charged and not used.
  [[nodiscard]] std::uint64_t give_back(std::uint64_t full, std::uint64_t units, std::uint64_t now) const {
    if (per_second == 0 || full <= now) return full;
    // Rounded down: nothing comes of giving back.
    __extension__ using Wide = unsigned __int128;
    const auto worth = static_cast<Wide>(units) * kSecond / per_second;
    return worth >= full - now ? now : full - static_cast<std::uint64_t>(worth);
  }

  // Nanoseconds until a unit can be had; 0 = now.
  [[nodiscard]] std::uint64_t wait(std::uint64_t full, std::uint64_t now) const {
    if (per_second == 0) return 0;
    const std::uint64_t cost = kSecond / per_second;
    const std::uint64_t after = std::max(full, now) + cost;
    const std::uint64_t most = now + std::max(window, cost);
    return after > most ? after - most : 0;
  }
};

class RateBucket {
 public:
  static constexpr std::uint64_t kSecond = Rate::kSecond;

  explicit RateBucket(std::uint64_t window_ns = kSecond) : window_(window_ns) {}

  // Units per second; 0 = no limit.
  void set_rate(std::uint64_t rate) { rate_.store(rate, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t rate() const { return rate_.load(std::memory_order_relaxed); }

  // One unit, if there is one.
  bool take(std::uint64_t now) {
    const Rate rate{this->rate(), window_};
    if (rate.per_second == 0) return true;
    std::uint64_t full = full_at_.load(std::memory_order_relaxed);
    for (;;) {
      const auto after = rate.take(full, now);
      if (!after) return false;
      if (full_at_.compare_exchange_weak(full, *after, std::memory_order_relaxed)) return true;
    }
  }

  // Takes units that have been used already, however many.
  void charge(std::uint64_t units, std::uint64_t now) {
    const Rate rate{this->rate(), window_};
    if (rate.per_second == 0 || units == 0) return;
    std::uint64_t full = full_at_.load(std::memory_order_relaxed);
    while (!full_at_.compare_exchange_weak(full, rate.charge(full, units, now), std::memory_order_relaxed)) {
    }
  }

  // Of what was charged and not used.
  void give_back(std::uint64_t units, std::uint64_t now) {
    const Rate rate{this->rate(), window_};
    std::uint64_t full = full_at_.load(std::memory_order_relaxed);
    while (!full_at_.compare_exchange_weak(full, rate.give_back(full, units, now), std::memory_order_relaxed)) {
    }
  }

  // Nothing is owed, and the bucket is full.
  void forget() { full_at_.store(0, std::memory_order_relaxed); }

  // Nanoseconds until a unit can be had; 0 = now.
  [[nodiscard]] std::uint64_t wait(std::uint64_t now) const {
    return Rate{rate(), window_}.wait(full_at_.load(std::memory_order_relaxed), now);
  }

 private:
  std::atomic<std::uint64_t> rate_{0};
  std::atomic<std::uint64_t> full_at_{0};
  std::uint64_t window_;
};

}  // namespace edgemux::core
