// The blocks that the TLS library takes and gives back for a connection: from slabs, and from the heap.
#include "core/tls/slabs.h"

#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>

namespace edgemux::core {
namespace {

// What one connection of OpenSSL 3.0 holds, roughly.
constexpr std::array<std::size_t, 24> kSizes{7608, 960, 960, 928, 536, 184, 184, 152, 152, 112, 112, 112,
                                             112,  72,  72,  56,  56,  56,  56,  32,  32,  32,  16,  16};

template <void* (*Take)(std::size_t), void (*Give)(void*)>
void connection(benchmark::State& state) {
  std::array<void*, kSizes.size()> blocks{};
  for (auto _ : state) {
    for (std::size_t i = 0; i < kSizes.size(); ++i) blocks[i] = Take(kSizes[i]);
    benchmark::DoNotOptimize(blocks);
    for (void* block : blocks) Give(block);
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kSizes.size()));
}
BENCHMARK(connection<Slabs::take, Slabs::give>)->Name("from_slabs");
BENCHMARK(connection<std::malloc, std::free>)->Name("from_the_heap");

}  // namespace
}  // namespace edgemux::core
