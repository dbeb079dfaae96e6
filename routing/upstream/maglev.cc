#include "routing/upstream/maglev.h"

#include <algorithm>
#include <array>

namespace edgemux::routing {

namespace {

// About a hundred slots per entry keep the shares within some percent. Primes, so that every stride visits every slot.
// Few steps: a table of another size moves everybody.
constexpr std::array<std::uint32_t, 3> kSizes{4'093, 65'521, 524'287};
constexpr std::size_t kSlotsPerEntry = 100;

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

std::uint64_t stable_hash(std::string_view bytes, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ mix(seed);
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return mix(hash);
}

MaglevTable::MaglevTable(std::span<const Entry> entries) {
  std::uint32_t heaviest = 0;
  std::size_t count = 0;
  for (const Entry& entry : entries) {
    heaviest = std::max(heaviest, entry.weight);
    if (entry.weight != 0) ++count;
  }
  if (count == 0) return;
  const auto* enough = std::find_if(kSizes.begin(), kSizes.end() - 1,
                                    [&](std::uint32_t size) { return size >= count * kSlotsPerEntry; });
  const std::uint32_t size = *enough;
  slots_.assign(size, kNobody);

  struct Turn {
    std::uint32_t index;
    std::uint32_t at;      // the next slot that it would take
    std::uint32_t stride;  // 1..size-1
    double share;          // slots per round, at most one
    double due;            // the round that its next slot belongs to
  };
  std::vector<Turn> turns;
  turns.reserve(count);
  for (std::uint32_t i = 0; i < entries.size(); ++i) {
    if (entries[i].weight == 0) continue;
    const double share = static_cast<double>(entries[i].weight) / heaviest;
    turns.push_back({i, static_cast<std::uint32_t>(mix(entries[i].name ^ 1) % size),
                     static_cast<std::uint32_t>(mix(entries[i].name ^ 2) % (size - 1) + 1), share, 1.0});
  }
  std::uint32_t filled = 0;
  for (double round = 1;; ++round) {
    for (Turn& turn : turns) {
      if (round * turn.share < turn.due) continue;
      turn.due += 1.0;
      while (slots_[turn.at] != kNobody) turn.at = (turn.at + turn.stride) % size;
      slots_[turn.at] = turn.index;
      if (++filled == size) return;
    }
  }
}

}  // namespace edgemux::routing
