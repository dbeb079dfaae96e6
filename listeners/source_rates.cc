#include "listeners/source_rates.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace edgemux::listeners {

namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kBandwidthWindow = 50 * kMs;

// 0 = no source.
std::uint64_t source_of(const core::SocketAddress& client) {
  if (!client.valid() || client.is_unix()) return 0;
  const auto bytes = client.bytes();
  std::uint64_t key = 0;
  std::memcpy(&key, bytes.data(), std::min(bytes.size(), sizeof key));
  // No network in use begins with the bits that tell the one family from the other.
  return client.is_v4() ? key << 32 | 0xffff'0000U : std::max<std::uint64_t>(key, 1);
}

// The finaliser of SplitMix64: every bit of the source reaches every bit of the set's number.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

SourceRates::SourceRates() {
  std::random_device random;
  seed_ = static_cast<std::uint64_t>(random()) << 32 | random();
}

void SourceRates::configure(const routing::Limits& limits) {
  if (made_ == nullptr && (limits.requests_per_second_per_source != 0 || limits.bandwidth_per_source != 0)) {
    made_ = std::make_unique<Table>();
    table_.store(made_.get(), std::memory_order_release);
  }
  requests_.store(limits.requests_per_second_per_source, std::memory_order_relaxed);
  // What is owed is time: under another rate it would be other bytes.
  if (limits.bandwidth_per_source != bandwidth() && made_ != nullptr) forget_bandwidths();
  bandwidth_.store(limits.bandwidth_per_source, std::memory_order_relaxed);
}

void SourceRates::forget_bandwidths() {
  for (std::size_t number = 0; number < made_->sets.size(); ++number) {
    const std::lock_guard lock(made_->locks[number % made_->locks.size()]);
    for (Slot& slot : made_->sets[number]) slot.bandwidth = 0;
  }
}

template <class Use>
void SourceRates::with_slot(const core::SocketAddress& client, std::uint64_t now, bool known, Use use) {
  Table* table = table_.load(std::memory_order_acquire);
  const std::uint64_t source = source_of(client);
  if (table == nullptr || source == 0) return;
  const std::size_t number = mix(source ^ seed_) % table->sets.size();
  auto& set = table->sets[number];
  const std::lock_guard lock(table->locks[number % table->locks.size()]);
  auto slot = std::find_if(set.begin(), set.end(), [source](const Slot& s) { return s.source == source; });
  if (slot == set.end()) {
    if (known) return;
    slot = std::min_element(set.begin(), set.end(), [](const Slot& a, const Slot& b) { return a.full() < b.full(); });
    *slot = {source, 0, 0};
  }
  use(*slot, now * kMs);
}

bool SourceRates::take_request(const core::SocketAddress& client, std::uint64_t now) {
  const core::Rate rate{requests_.load(std::memory_order_relaxed)};
  if (rate.per_second == 0) return true;
  bool taken = true;
  with_slot(client, now, false, [&](Slot& slot, std::uint64_t ns) {
    const auto after = rate.take(slot.requests, ns);
    taken = after.has_value();
    if (taken) slot.requests = *after;
  });
  return taken;
}

std::uint64_t SourceRates::bandwidth_wait(const core::SocketAddress& client, std::uint64_t now) {
  const core::Rate rate{bandwidth_.load(std::memory_order_relaxed), kBandwidthWindow};
  if (rate.per_second == 0) return 0;
  std::uint64_t wait = 0;
  with_slot(client, now, true, [&](const Slot& slot, std::uint64_t ns) { wait = rate.wait(slot.bandwidth, ns); });
  return (wait + kMs - 1) / kMs;
}

void SourceRates::charge_bandwidth(const core::SocketAddress& client, std::uint64_t bytes, std::uint64_t now) {
  const core::Rate rate{bandwidth_.load(std::memory_order_relaxed), kBandwidthWindow};
  if (rate.per_second == 0) return;
  with_slot(client, now, false,
            [&](Slot& slot, std::uint64_t ns) { slot.bandwidth = rate.charge(slot.bandwidth, bytes, ns); });
}

void SourceRates::give_back_bandwidth(const core::SocketAddress& client, std::uint64_t bytes, std::uint64_t now) {
  const core::Rate rate{bandwidth_.load(std::memory_order_relaxed), kBandwidthWindow};
  with_slot(client, now, true,
            [&](Slot& slot, std::uint64_t ns) { slot.bandwidth = rate.give_back(slot.bandwidth, bytes, ns); });
}

}  // namespace edgemux::listeners
