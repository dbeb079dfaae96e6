#include "routing/upstream/balancer.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

namespace edgemux::routing {

namespace {

constexpr double kFirstShare = 0.1;   // of its weight, when a slow start begins
constexpr std::uint64_t kSteps = 20;  // of a slow start
constexpr std::size_t kAll = 32;      // endpoints that least_connections compares; of more it compares
constexpr std::size_t kWindow = 16;   // so many
constexpr std::size_t kLongestCycle = 2048;
constexpr std::uint64_t kHashTries = 64;       // of source_hash, before it takes what is next
constexpr double kGolden = 0.618033988749895;  // its multiples are spread evenly over 0..1

// For sets that were never published, which have no states: in tests, and while none is known.
const EndpointState& nobody() {
  static const EndpointState state;
  return state;
}

bool usable(const Endpoint& endpoint) { return endpoint.state == nullptr || endpoint.state->usable(); }

}  // namespace

std::uint64_t source_hash(const core::SocketAddress& client) { return stable_hash(client.bytes()); }

Balancer::Balancer(std::uint64_t seed) : random_(stable_hash({}, seed) | 1), next_(seed) {}

std::uint64_t Balancer::random() {
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return random_ * 0x2545f4914f6cdd1dULL;
}

void Balancer::rebuild(std::shared_ptr<const EndpointSet> set, const BalancePolicy& policy, std::uint64_t now) {
  const auto waits = waits_for_turns();
  kind_ = policy.kind;
  if (kind_ == Balance::source_hash) {
    build_table(set);
  } else {
    table_set_.reset();
  }
  build_rotation(set, policy);
  build_weights(policy, now);
  turns_.clear();
  cycle_.clear();
  alias_.clear();
  if (kind_ == Balance::round_robin && !equal_) build_turns(waits);
  if (kind_ == Balance::random_two && !equal_) build_alias();
}

void Balancer::build_rotation(const std::shared_ptr<const EndpointSet>& set, const BalancePolicy& policy) {
  const auto& all = set->endpoints;
  std::size_t candidates = 0;
  std::size_t good = 0;
  for (const Endpoint& endpoint : all) {
    if (endpoint.weight == 0) continue;
    ++candidates;
    if (usable(endpoint)) ++good;
  }
  panic_ = good < candidates && good * 100 < candidates * policy.panic_threshold;
  // With a threshold of 0 and nobody usable there is nobody.
  const auto takes_part = [this](const Endpoint& endpoint) {
    return endpoint.weight != 0 && (panic_ || usable(endpoint));
  };
  const std::size_t count = panic_ ? candidates : good;
  place_.assign(kind_ == Balance::source_hash ? all.size() : 0, MaglevTable::kNobody);
  std::uint32_t place = 0;
  for (std::size_t i = 0; i < place_.size(); ++i) {
    if (takes_part(all[i])) place_[i] = place++;
  }
  if (count == all.size()) {
    rotation_ = set;
  } else {
    auto chosen = std::make_shared<EndpointSet>();
    chosen->endpoints.reserve(count);
    for (const Endpoint& endpoint : all) {
      if (takes_part(endpoint)) chosen->endpoints.push_back(endpoint);
    }
    if (count == 0) {
      chosen->problem = candidates == 0 ? "every endpoint has weight 0" : "no endpoint is healthy";
    }
    rotation_ = std::move(chosen);
  }
}

void Balancer::build_weights(const BalancePolicy& policy, std::uint64_t now) {
  const auto& endpoints = rotation_->endpoints;
  const auto ramp = static_cast<std::uint64_t>(policy.slow_start.count());
  states_.clear();
  weights_.clear();
  weighted_.clear();
  equal_ = true;
  next_step_ = 0;
  for (const Endpoint& endpoint : endpoints) {
    const EndpointState& state = endpoint.state != nullptr ? *endpoint.state : nobody();
    double weight = endpoint.weight;
    const std::uint64_t begins = state.ramp_begins.load(std::memory_order_relaxed);
    const std::uint64_t served = now > begins ? now - begins : 0;
    if (begins != 0 && served < ramp && kind_ != Balance::source_hash) {
      weight *= std::max(kFirstShare, static_cast<double>(served) / static_cast<double>(ramp));
      next_step_ = now + std::max<std::uint64_t>(ramp / kSteps, 1);
    }
    equal_ = equal_ && (weights_.empty() || weight == weights_.front());
    states_.push_back(&state);
    weights_.push_back(weight);
    weighted_.push_back(1.0 / weight);
  }
}

// ---- round_robin ----

// Earliest deadline first: each endpoint's deadlines are 1/weight apart. Where the weights are small numbers the whole
// cycle is written down, and a pick is one load. Elsewhere the steps of a slow start leave everybody's place between
// two turns as it is: who has few of them would never come to the first one.
void Balancer::build_turns(const Waits& waits) {
  clock_ = 0;
  for (std::uint32_t i = 0; i < states_.size(); ++i) {
    const double spread = static_cast<double>(i + 1 + next_ % states_.size()) * kGolden;
    const auto kept = waits.find(states_[i]);
    const double wait =
        kept != waits.end() ? kept->second : spread - static_cast<double>(static_cast<std::uint64_t>(spread));
    turns_.push_back({wait * weighted_[i], i});
  }
  for (std::size_t i = turns_.size() / 2; i-- > 0;) sift_down(i);
  if (next_step_ != 0) return;  // a slow start's weights are no whole numbers
  std::uint64_t sum = 0;
  std::uint32_t divisor = 0;
  for (const Endpoint& endpoint : rotation_->endpoints) {
    sum += endpoint.weight;
    divisor = std::gcd(divisor, endpoint.weight);
  }
  if (sum / divisor > kLongestCycle) return;
  cycle_.reserve(sum / divisor);
  for (std::uint64_t i = 0; i < sum / divisor; ++i) cycle_.push_back(earliest());
  turns_.clear();
}

Balancer::Waits Balancer::waits_for_turns() const {
  Waits waits;
  for (const Turn& turn : turns_) waits[states_[turn.index]] = (turn.deadline - clock_) / weighted_[turn.index];
  return waits;
}

void Balancer::sift_down(std::size_t at) {
  const std::size_t size = turns_.size();
  const Turn moving = turns_[at];
  for (;;) {
    std::size_t child = 2 * at + 1;
    if (child >= size) break;
    if (child + 1 < size && turns_[child + 1].deadline < turns_[child].deadline) ++child;
    if (!(turns_[child].deadline < moving.deadline)) break;
    turns_[at] = turns_[child];
    at = child;
  }
  turns_[at] = moving;
}

std::uint32_t Balancer::earliest() {
  Turn& first = turns_.front();
  const std::uint32_t chosen = first.index;
  clock_ = first.deadline;
  first.deadline += weighted_[chosen];
  sift_down(0);
  return chosen;
}

std::size_t Balancer::next_turn() {
  if (equal_) return next_++ % states_.size();
  if (!cycle_.empty()) return cycle_[next_++ % cycle_.size()];
  return earliest();
}

// ---- least_connections ----

// Of equals the next one in turn; of many a different window each time. A load and its place in the window are one
// number, so that one comparison keeps both.
template <class Load>
std::size_t Balancer::least(Load load) {
  const std::size_t size = states_.size();
  const std::size_t count = size <= kAll ? size : kWindow;
  const std::size_t begin = size <= kAll ? next_ % size : static_cast<std::size_t>((random() >> 32) * size >> 32);
  std::uint64_t lowest = ~std::uint64_t{0};
  const auto scan = [&](std::size_t from, std::size_t until, std::uint64_t place) {
    for (std::size_t i = from; i < until; ++i) {
      lowest = std::min(lowest, std::uint64_t{load(i)} << 32 | place++);
    }
  };
  const std::size_t straight = std::min(count, size - begin);
  scan(begin, begin + straight, 0);
  scan(0, count - straight, straight);
  std::size_t best = begin + (lowest & 0xffffffff);
  if (best >= size) best -= size;
  next_ = best + 1;
  return best;
}

// ---- random_two ----

void Balancer::build_alias() {
  const std::size_t size = states_.size();
  double sum = 0;
  for (const double weight : weights_) sum += weight;
  std::vector<double> share(size);
  std::vector<std::uint32_t> small;
  std::vector<std::uint32_t> large;
  for (std::uint32_t i = 0; i < size; ++i) {
    share[i] = weights_[i] / sum * static_cast<double>(size);
    (share[i] < 1 ? small : large).push_back(i);
  }
  alias_.resize(size);
  for (std::uint32_t i = 0; i < size; ++i) alias_[i] = {1, i};
  while (!small.empty() && !large.empty()) {
    const std::uint32_t low = small.back();
    const std::uint32_t high = large.back();
    small.pop_back();
    alias_[low] = {share[low], high};
    share[high] -= 1 - share[low];
    if (share[high] < 1) {
      large.pop_back();
      small.push_back(high);
    }
  }
}

std::size_t Balancer::at_random() {
  const std::uint64_t bits = random();
  // The upper half chooses, the lower half tosses.
  const auto i = static_cast<std::size_t>((bits >> 32) * states_.size() >> 32);
  if (equal_) return i;
  const double toss = static_cast<double>(bits & 0xffffffff) / 4294967296.0;
  return toss < alias_[i].keep ? i : alias_[i].other;
}

// ---- source_hash ----

void Balancer::build_table(const std::shared_ptr<const EndpointSet>& set) {
  if (table_set_ == set) return;
  table_set_ = set;
  std::vector<MaglevTable::Entry> entries;
  entries.reserve(set->endpoints.size());
  for (const Endpoint& endpoint : set->endpoints) {
    entries.push_back({stable_hash(endpoint.address.to_string()), endpoint.weight});
  }
  table_ = MaglevTable(entries);
}

std::size_t Balancer::by_hash(std::uint64_t hash) const {
  for (std::uint64_t i = 0; i < kHashTries; ++i) {
    const std::uint32_t owner = table_.find(hash);
    if (owner == MaglevTable::kNobody) break;
    if (place_[owner] != MaglevTable::kNobody) return place_[owner];
    hash = stable_hash({}, hash + i + 1);
  }
  return hash % states_.size();
}

// ---- all of them ----

std::size_t Balancer::choose(std::uint64_t hash) {
  switch (kind_) {
    case Balance::round_robin:
      return next_turn();
    case Balance::least_connections:
      if (equal_) {
        return least([this](std::size_t i) { return states_[i]->active.load(std::memory_order_relaxed); });
      }
      // Numbers that are not negative are in the order of their bits.
      return least([this](std::size_t i) { return std::bit_cast<std::uint32_t>(static_cast<float>(load(i))); });
    case Balance::random_two: {
      const std::size_t one = at_random();
      std::size_t two = at_random();
      if (two == one) two = one + 1 == states_.size() ? 0 : one + 1;
      return load(two) < load(one) ? two : one;
    }
    case Balance::source_hash:
      return by_hash(hash);
  }
  return 0;
}

std::size_t Balancer::pick(std::uint64_t hash, const EndpointState* avoid) {
  if (states_.size() <= 1) return 0;
  const std::size_t chosen = choose(hash);
  if (avoid == nullptr || states_[chosen] != avoid) return chosen;
  const std::size_t other = choose(stable_hash({}, hash + 1));
  return states_[other] != avoid ? other : (other + 1) % states_.size();
}

}  // namespace edgemux::routing
