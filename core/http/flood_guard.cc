#include "core/http/flood_guard.h"

#include <algorithm>

namespace edgemux::core {
namespace {

struct Allowance {
  std::uint32_t burst;
  std::uint32_t per_second;
  const char* reason;
};

constexpr std::array<Allowance, FloodGuard::kKinds> kAllowances = {{
    {96, 20, "too many stream resets"},
    {192, 50, "too many answers that are broken off"},
    {150, 50, "too many requests beyond what is taken at a time"},
    {100, 10, "too many PING or unknown frames"},
    {20, 1, "too many SETTINGS"},
    {100, 10, "too many PRIORITY"},
    {150, 20, "too many WINDOW_UPDATE"},
    {50, 5, "windows too small"},
    {20, 1, "too many empty DATA"},
    {100, 20, "too many malformed requests"},
}};
constexpr std::uint32_t kWhole = 1000;

}  // namespace

FloodGuard::FloodGuard(std::uint64_t now_ms, unsigned generous) : generous_(generous) {
  for (std::size_t i = 0; i < kKinds; ++i) left_[i] = kAllowances[i].burst * kWhole * generous_;
  refilled_ms_.fill(now_ms);
}

const char* FloodGuard::note(Kind kind, std::uint64_t now_ms) {
  const auto i = static_cast<std::size_t>(kind);
  const std::uint64_t most = std::uint64_t{kAllowances[i].burst} * kWhole * generous_;
  if (now_ms > refilled_ms_[i]) {
    // Per second in whole frames is per millisecond in thousandths. Above an hour it is full in any case.
    const std::uint64_t passed = std::min<std::uint64_t>(now_ms - refilled_ms_[i], 3'600'000);
    const std::uint64_t refilled = left_[i] + passed * kAllowances[i].per_second * generous_;
    left_[i] = static_cast<std::uint32_t>(std::max<std::uint64_t>(left_[i], std::min(most, refilled)));
    refilled_ms_[i] = now_ms;
  }
  if (left_[i] < kWhole) return kAllowances[i].reason;
  left_[i] -= kWhole;
  return nullptr;
}

void FloodGuard::earn(Kind kind, std::uint32_t count) {
  const auto i = static_cast<std::size_t>(kind);
  const std::uint32_t most = kind == Kind::window ? kMostWindows : kAllowances[i].burst * generous_;
  left_[i] = std::min(left_[i] + count * kWhole, most * kWhole);
}

}  // namespace edgemux::core
