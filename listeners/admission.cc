#include "listeners/admission.h"

namespace edgemux::listeners {

void Admission::configure(const routing::Limits& limits, std::uint32_t total) {
  most_.store(total, std::memory_order_relaxed);
  per_source_.store(limits.connections_per_source, std::memory_order_relaxed);
  new_per_source_.store(limits.new_connections_per_second_per_source, std::memory_order_relaxed);
  most_memory_.store(limits.inspect_memory, std::memory_order_relaxed);
}

std::string Admission::key_of(const core::SocketAddress& client) {
  const auto bytes = client.bytes();
  return std::string(client.is_v4() ? bytes : bytes.substr(0, 8));
}

bool Admission::admit(const core::SocketAddress& client, std::uint64_t now, bool by_source) {
  if (connections_.fetch_add(1, std::memory_order_relaxed) >= most_.load(std::memory_order_relaxed) ||
      !name(client, now, by_source)) {
    connections_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  return true;
}

bool Admission::name(const core::SocketAddress& client, std::uint64_t now, bool by_source) {
  return !client.valid() || !by_source || admit_source(client, now);
}

bool Admission::admit_source(const core::SocketAddress& client, std::uint64_t now) {
  const std::string key = key_of(client);
  Shard& shard = shard_of(key);
  const std::uint64_t second = now / 1000;
  const std::uint64_t now_ns = now * 1'000'000;
  const std::lock_guard lock(shard.mutex);
  if (shard.swept != second) {
    shard.swept = second;
    std::erase_if(shard.sources, [now_ns](const auto& entry) {
      return entry.second.connections == 0 && entry.second.full_at <= now_ns;
    });
  }
  Source& source = shard.sources[key];
  const auto most = per_source_.load(std::memory_order_relaxed);
  if (most != 0 && source.connections >= most) return false;
  const auto full_at =
      core::Rate{.per_second = new_per_source_.load(std::memory_order_relaxed)}.take(source.full_at, now_ns);
  if (!full_at) return false;
  source.full_at = *full_at;
  ++source.connections;
  return true;
}

void Admission::leave(const core::SocketAddress& client, bool by_source) {
  connections_.fetch_sub(1, std::memory_order_relaxed);
  if (!client.valid() || !by_source) return;
  const std::string key = key_of(client);
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.sources.find(key);
  if (found != shard.sources.end() && found->second.connections > 0) --found->second.connections;
}

bool Admission::take_memory(std::size_t bytes) {
  if (memory_.fetch_add(bytes, std::memory_order_relaxed) + bytes <= most_memory_.load(std::memory_order_relaxed)) {
    return true;
  }
  memory_.fetch_sub(bytes, std::memory_order_relaxed);
  return false;
}

}  // namespace edgemux::listeners
