// Upstreams: how their traffic is spread and held back, and how their endpoints are judged.
#include "config/read_balance.h"

#include "config/spec.h"
#include "config/values.h"

namespace edgemux::config {
namespace {

std::uint32_t percent_or(const Node* node, std::uint32_t fallback) {
  if (node == nullptr) return fallback;
  return parse_percent(node->text).value_or(fallback);
}

std::uint32_t count_or(const Node* node, std::uint32_t fallback) {
  return static_cast<std::uint32_t>(number_or(node, fallback));
}

void read_limits(const Node& node, routing::Upstream& upstream) {
  upstream.max_connections = count_or(node.get("connections"), 0);
  upstream.max_requests = count_or(node.get("requests"), 0);
}

}  // namespace

void read_balance(const Node& node, routing::Upstream& upstream, Problems&) {
  auto& balance = upstream.balance;
  if (const Node* kind = node.get("balance"); kind != nullptr) {
    using Balance = routing::Balance;
    for (const auto& [word, value] :
         {std::pair{"round_robin", Balance::round_robin}, std::pair{"least_connections", Balance::least_connections},
          std::pair{"random_two", Balance::random_two}, std::pair{"source_hash", Balance::source_hash}}) {
      if (kind->text == word) balance.kind = value;
    }
  }
  balance.slow_start = duration_or(node.get("slow_start"), balance.slow_start);
  balance.panic_threshold = percent_or(node.get("panic_threshold"), balance.panic_threshold);
  if (const Node* limits = node.get("limits")) read_limits(*limits, upstream);
}

}  // namespace edgemux::config
