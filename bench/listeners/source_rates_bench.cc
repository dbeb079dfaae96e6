// Limits per source: what a request costs that is counted, of one source, of as many as there are slots, and of more.

#include "listeners/source_rates.h"

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

namespace edgemux::listeners {
namespace {

void take_request(benchmark::State& state) {
  SourceRates rates;
  routing::Limits limits;
  limits.requests_per_second_per_source = 1'000'000;
  rates.configure(limits);
  std::vector<core::SocketAddress> clients;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    clients.push_back(*core::SocketAddress::parse_ip(
        "10." + std::to_string(i >> 16 & 255) + "." + std::to_string(i >> 8 & 255) + "." + std::to_string(i & 255), 1));
  }
  std::uint64_t round = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(rates.take_request(clients[round * 0x9e3779b97f4a7c15ULL % clients.size()], round / 1000));
    ++round;
  }
}
BENCHMARK(take_request)->Arg(1)->Arg(SourceRates::kSources)->Arg(4 * SourceRates::kSources);

void switched_off(benchmark::State& state) {
  SourceRates rates;
  const auto client = *core::SocketAddress::parse_ip("10.0.0.1", 1);
  for (auto _ : state) benchmark::DoNotOptimize(rates.take_request(client, 1));
}
BENCHMARK(switched_off);

}  // namespace
}  // namespace edgemux::listeners
