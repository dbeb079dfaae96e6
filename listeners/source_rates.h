#pragma once
// SourceRates: how fast each client may go: limits.requests_per_second_per_source and limits.bandwidth_per_source, of
// an IPv4 address or an IPv6 /64, over all workers.
//
// Thread safe; nothing is allocated after configure(). Switched off it costs a load. Switched on it knows kSources
// sources at a time, in memory that does not grow: what is known of a source is two time stamps (see rate.h), and one
// that went slowly enough to have its whole allowance again is as good as unknown, so that its slot is free. Where a
// new source finds no free slot, it takes that of the source which is nearest to this: more sources at once than there
// are slots make the limits lenient, never strict.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "core/base/address.h"
#include "core/base/rate.h"
#include "routing/table/snapshot.h"

namespace edgemux::listeners {

class SourceRates {
 public:
  static constexpr std::size_t kSources = std::size_t{64} * 1024;
  static constexpr std::size_t kSlotsOfSource = 8;  // in which of them it may be

  SourceRates();

  // On one thread.
  void configure(const routing::Limits& limits);

  // `now` in milliseconds of one clock for all workers. A client that is no IP address has no limits.
  bool take_request(const core::SocketAddress& client, std::uint64_t now);

  // Bytes a second; 0 = no limit.
  [[nodiscard]] std::uint64_t bandwidth() const { return bandwidth_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool bandwidth_limited() const { return bandwidth() != 0; }
  // Milliseconds to wait before more of its bytes are moved; 0 = none.
  std::uint64_t bandwidth_wait(const core::SocketAddress& client, std::uint64_t now);
  void charge_bandwidth(const core::SocketAddress& client, std::uint64_t bytes, std::uint64_t now);
  // Of what was charged and not used.
  void give_back_bandwidth(const core::SocketAddress& client, std::uint64_t bytes, std::uint64_t now);

 private:
  struct Slot {
    std::uint64_t source = 0;  // 0 = free
    std::uint64_t requests = 0;
    std::uint64_t bandwidth = 0;
    [[nodiscard]] std::uint64_t full() const { return requests > bandwidth ? requests : bandwidth; }
  };
  struct Table {
    std::array<std::mutex, 64> locks;  // of every 64th set
    std::array<std::array<Slot, kSlotsOfSource>, kSources / kSlotsOfSource> sets;
  };
  // Calls `use` with the source's slot under its lock; `known`: not for one that has none.
  void forget_bandwidths();
  template <class Use>
  void with_slot(const core::SocketAddress& client, std::uint64_t now, bool known, Use use);

  std::uint64_t seed_;  // so that nobody can tell which sources share slots
  std::atomic<std::uint32_t> requests_{0};
  std::atomic<std::uint64_t> bandwidth_{0};
  std::atomic<Table*> table_{nullptr};
  std::unique_ptr<Table> made_;
};

}  // namespace edgemux::listeners
