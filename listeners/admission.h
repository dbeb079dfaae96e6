#pragma once
// Admission: which new client connections are let in. Process-wide: the limits count over all workers.
//
// Thread safe. The total is one atomic; the limits per source (an IPv4 address, an IPv6 /64) take a lock of one of 64
// shards, and only while they are switched on. New connections per second are a token bucket: a second's worth may come
// at once, and never two of them at the turn of a second. What it remembers of a source ends with its last connection
// and once its bucket is full.

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "core/base/address.h"
#include "core/base/rate.h"
#include "routing/table/snapshot.h"

namespace edgemux::listeners {

class Admission {
 public:
  // `total` is limits.connections resolved (never 0).
  void configure(const routing::Limits& limits, std::uint32_t total);

  // True: the connection counts until leave(). `now` in milliseconds. `by_source`: for its source, too; leave() is told
  // the same. A client that is not known yet (an invalid address) counts in the total only; name() says later who it
  // is, or is refused, and leave() is told the new address.
  bool admit(const core::SocketAddress& client, std::uint64_t now, bool by_source = true);
  bool name(const core::SocketAddress& client, std::uint64_t now, bool by_source = true);
  void leave(const core::SocketAddress& client, bool by_source = true);

  [[nodiscard]] std::uint32_t connections() const { return connections_.load(std::memory_order_relaxed); }

  // limits.inspect_memory: bytes of unfinished ClientHellos.
  bool take_memory(std::size_t bytes);
  void give_memory(std::size_t bytes) { memory_.fetch_sub(bytes, std::memory_order_relaxed); }

 private:
  struct Source {
    std::uint32_t connections = 0;
    std::uint64_t full_at = 0;  // of its new connections per second, see rate.h
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, Source> sources;
    std::uint64_t swept = 0;
  };
  static std::string key_of(const core::SocketAddress& client);
  Shard& shard_of(const std::string& key) { return shards_[std::hash<std::string>{}(key) % shards_.size()]; }
  bool admit_source(const core::SocketAddress& client, std::uint64_t now);

  std::atomic<std::uint32_t> connections_{0};
  std::atomic<std::uint32_t> most_{1};
  std::atomic<std::uint32_t> per_source_{0};
  std::atomic<std::uint32_t> new_per_source_{0};
  std::atomic<std::size_t> memory_{0};
  std::atomic<std::size_t> most_memory_{64 * 1024 * 1024};
  std::array<Shard, 64> shards_;
};

}  // namespace edgemux::listeners
