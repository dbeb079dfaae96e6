// Picking an endpoint, of 3, 100 and 1,000; and what a change costs, which is no part of a pick.

#include <benchmark/benchmark.h>

#include <string>

#include "routing/upstream/balancer.h"

namespace edgemux::routing {
namespace {

std::shared_ptr<EndpointSet> make_set(std::size_t count, bool weighted) {
  auto set = std::make_shared<EndpointSet>();
  for (std::size_t i = 0; i < count; ++i) {
    const auto ip = "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1);
    set->endpoints.push_back({*core::SocketAddress::parse_ip(ip, 80), ip,
                              weighted ? static_cast<std::uint32_t>(i % 7 + 1) : 1, std::make_shared<EndpointState>()});
  }
  return set;
}

// Requests come and go: at each time 64 are under way.
void pick(benchmark::State& state, Balance kind, bool weighted) {
  const auto set = make_set(static_cast<std::size_t>(state.range(0)), weighted);
  Balancer balancer(0);
  balancer.rebuild(set, {kind, milliseconds(0), 50}, 0);
  std::array<EndpointState*, 64> busy{};
  std::uint64_t round = 0;
  for (auto _ : state) {
    const std::size_t i = balancer.pick(round * 0x9e3779b97f4a7c15ULL);
    auto& place = busy[++round % busy.size()];
    if (place != nullptr)
      place->active.store(place->active.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    place = set->endpoints[i].state.get();
    place->active.store(place->active.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
}
BENCHMARK_CAPTURE(pick, round_robin, Balance::round_robin, false)->Arg(3)->Arg(100)->Arg(1000);
BENCHMARK_CAPTURE(pick, round_robin_weighted, Balance::round_robin, true)->Arg(3)->Arg(100)->Arg(1000);
BENCHMARK_CAPTURE(pick, least_connections, Balance::least_connections, false)->Arg(3)->Arg(100)->Arg(1000);
BENCHMARK_CAPTURE(pick, least_connections_weighted, Balance::least_connections, true)->Arg(3)->Arg(100)->Arg(1000);
BENCHMARK_CAPTURE(pick, random_two, Balance::random_two, false)->Arg(3)->Arg(100)->Arg(1000);
BENCHMARK_CAPTURE(pick, random_two_weighted, Balance::random_two, true)->Arg(3)->Arg(100)->Arg(1000);
BENCHMARK_CAPTURE(pick, source_hash, Balance::source_hash, false)->Arg(3)->Arg(100)->Arg(1000);

void change(benchmark::State& state, Balance kind, bool other_set) {
  const auto set = make_set(static_cast<std::size_t>(state.range(0)), true);
  const auto other = std::make_shared<EndpointSet>(*set);
  Balancer balancer(0);
  bool turn = false;
  for (auto _ : state) {
    balancer.rebuild((turn = !turn) && other_set ? other : set, {kind, milliseconds(0), 50}, 0);
  }
}
BENCHMARK_CAPTURE(change, health_round_robin, Balance::round_robin, false)->Arg(100);
BENCHMARK_CAPTURE(change, health_source_hash, Balance::source_hash, false)->Arg(100);
BENCHMARK_CAPTURE(change, endpoints_source_hash, Balance::source_hash, true)->Arg(100);

}  // namespace
}  // namespace edgemux::routing
