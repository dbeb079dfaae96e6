#pragma once
// MaglevTable: clients to endpoints, the same for every worker, process and node that knows the same endpoints
// (Eisenbud et al., "Maglev", NSDI 2016, 3.4). A table of slots, each owned by one entry; shares follow the weights to
// about a percent, and when one of N entries goes, hardly more than its own slots change hands.
//
// Pure. Building costs some ten steps per slot; finding is one division and one load.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/address.h"

namespace edgemux::routing {

// Not for secrets: spreads, and is the same everywhere.
std::uint64_t stable_hash(std::string_view bytes, std::uint64_t seed = 0);

class MaglevTable {
 public:
  static constexpr std::uint32_t kNobody = UINT32_MAX;

  struct Entry {
    std::uint64_t name = 0;    // stable_hash of what names it
    std::uint32_t weight = 1;  // 0: owns nothing
  };

  MaglevTable() = default;
  explicit MaglevTable(std::span<const Entry> entries);

  // The index of the entry; kNobody when none has a weight.
  [[nodiscard]] std::uint32_t find(std::uint64_t hash) const {
    return slots_.empty() ? kNobody : slots_[hash % slots_.size()];
  }
  [[nodiscard]] std::size_t size() const { return slots_.size(); }

 private:
  std::vector<std::uint32_t> slots_;
};

}  // namespace edgemux::routing
