#pragma once
// Allowance: the bytes that one connection or request may move under the bandwidths of its payers. They are paid for
// before they are moved, a step at a time, so that those who share a bandwidth take turns in the order in which they
// asked, and together owe no more than a step each. Pure but for the payers' buckets.
//
//   wait()       0: left() bytes may be moved. Otherwise ask again after so many milliseconds, and move nothing.
//   spend()      what was moved. It may be more than was left: then the next step is so much longer in coming.
//   give_back()  at the end: what is left.
//
// When a rate changes, what was paid or owed under the old one is forgotten; who waits finds out within kAskAgain.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "listeners/payers.h"

namespace edgemux::listeners {

class Allowance {
 public:
  static constexpr std::uint64_t kAskAgain = 1'000;  // ms

  Allowance() = default;

  // `now` in milliseconds of the loop.
  [[nodiscard]] std::uint64_t wait(const Payers& payers, std::uint64_t now) {
    if (!payers.limited()) {
      *this = {};
      return 0;
    }
    if (const Payers::Rates rates = payers.rates(); rates != rates_) *this = Allowance(rates);
    if (due_ == 0) {
      if (left_ > 0) return 0;
      const std::uint64_t others = payers.wait(now);
      coming_ = static_cast<std::int64_t>(payers.step(others > 0)) - left_;
      payers.charge(static_cast<std::uint64_t>(coming_), now);
      due_ = now + others;
    }
    if (due_ > now) return std::min(due_ - now, kAskAgain);
    left_ += coming_;
    due_ = 0;
    return 0;
  }

  // About: no less than is worth a read. SIZE_MAX where nothing is limited.
  [[nodiscard]] std::size_t left(const Payers& payers) const {
    return payers.limited() ? static_cast<std::size_t>(std::max(left_, kWorthARead)) : SIZE_MAX;
  }

  void spend(const Payers& payers, std::size_t bytes) {
    if (payers.limited()) left_ -= static_cast<std::int64_t>(bytes);
  }

  void give_back(const Payers& payers, std::uint64_t now) {
    const std::int64_t rest = left_ + (due_ != 0 ? coming_ : 0);
    if (payers.limited() && payers.rates() == rates_) {
      if (rest > 0) payers.give_back(static_cast<std::uint64_t>(rest), now);
      if (rest < 0) payers.charge(static_cast<std::uint64_t>(-rest), now);
    }
    *this = {};
  }

 private:
  explicit Allowance(const Payers::Rates& rates) : rates_(rates) {}

  static constexpr std::int64_t kWorthARead = 4 * 1024;

  Payers::Rates rates_;  // under which it was paid
  std::int64_t left_ = 0;
  std::int64_t coming_ = 0;  // of use where due_ is not 0
  std::uint64_t due_ = 0;    // ms; 0 = nothing is under way
};

}  // namespace edgemux::listeners
