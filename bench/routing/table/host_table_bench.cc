// HostTable::find with uniformly random hits: at 1,000,000 names nearly every lookup is cold. "bytes_per_host" is the
// table's own memory. `memory` is what the machine asks for one read, anywhere in as many bytes as that table has, in
// huge pages too, whose place the read before tells: no cold lookup can be quicker than that but by what it does beside
// the next.

#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "routing/table/host_table.h"

namespace edgemux::routing {
namespace {

std::string host_name(std::size_t i) {
  return "app-" + std::to_string(i) + ".customer-" + std::to_string(i % 1000) + ".example.com";
}

// mixed: exact names, and a wildcard for each customer.
enum class Names : std::uint8_t { exact, wildcards, mixed };

HostTable make_table(std::size_t count, Names names) {
  std::vector<HostTable::Entry> entries;
  entries.reserve(count);
  const auto route = std::make_shared<const Route>();
  for (std::size_t i = 0; i < count; ++i) {
    entries.push_back({(names == Names::wildcards ? "*." : "") + host_name(i), route});
  }
  for (std::size_t i = 0; names == Names::mixed && i < std::min<std::size_t>(count, 1000); ++i) {
    entries.push_back({"*.customer-" + std::to_string(i) + ".example.com", route});
  }
  return HostTable(entries);
}

// The names asked for lie in one sequential buffer and are fetched some steps ahead, so that reading them costs no miss
// of its own: a name that a proxy looks up has just been parsed.
class Questions {
 public:
  Questions(std::size_t count, const std::string& prefix) {
    std::mt19937_64 random(1);
    for (Name& name : names_) {
      const std::string text = prefix + host_name(random() % count);
      name.size = static_cast<std::uint8_t>(text.copy(name.text, sizeof name.text));
    }
  }
  std::string_view next() {
    __builtin_prefetch(&names_[(at_ + kAhead) % names_.size()]);
    const Name& name = names_[at_++ % names_.size()];
    return {name.text, name.size};
  }

 private:
  struct alignas(64) Name {
    std::uint8_t size;
    char text[63];
  };
  static constexpr std::size_t kAhead = 8;
  std::vector<Name> names_ = std::vector<Name>(1U << 18U);
  std::size_t at_ = 0;
};

void find(benchmark::State& state, Names names, const char* prefix) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const HostTable table = make_table(count, names);
  Questions questions(count, prefix);
  std::size_t hits = 0;
  for (auto _ : state) {
    const RoutePtr* hit = table.find(questions.next());
    hits += hit != nullptr ? 1U : 0U;
    benchmark::DoNotOptimize(hit);
  }
  state.counters["bytes_per_host"] = static_cast<double>(table.memory()) / static_cast<double>(count);
  state.counters["hit_rate"] = static_cast<double>(hits) / static_cast<double>(state.iterations());
}

void memory(benchmark::State& state) {
  constexpr std::size_t kPage = std::size_t{2} * 1024 * 1024;
  constexpr std::size_t kLine = 64;
  constexpr std::size_t kBytes = 95;  // of the table, for a host
  const auto bytes = static_cast<std::size_t>(state.range(0)) * kBytes / kPage * kPage + kPage;
  void* const got = std::aligned_alloc(kPage, bytes);
  if (got == nullptr) return state.SkipWithError("no memory");
  ::madvise(got, bytes, MADV_HUGEPAGE);
  auto* const begin = static_cast<std::byte*>(got);
  std::vector<std::uint32_t> order(bytes / kLine);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(3));
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::memcpy(begin + order[i] * kLine, &order[(i + 1) % order.size()], sizeof order[i]);
  }
  std::uint32_t at = order[0];
  for (auto _ : state) {
    std::memcpy(&at, begin + at * kLine, sizeof at);
    benchmark::DoNotOptimize(at);
  }
  std::free(got);
}

void exact_hit(benchmark::State& state) { find(state, Names::exact, ""); }
void wildcard_hit(benchmark::State& state) { find(state, Names::wildcards, "x."); }
void mixed_exact_hit(benchmark::State& state) { find(state, Names::mixed, ""); }
void mixed_wildcard_hit(benchmark::State& state) { find(state, Names::mixed, "new-"); }
void miss(benchmark::State& state) { find(state, Names::exact, "nobody-"); }

void build(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(make_table(count, Names::exact));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

// A tenant's hundred hosts have another route; the table before goes.
void change(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  HostTable table = make_table(count, Names::exact);
  std::mt19937_64 random(2);
  for (auto _ : state) {
    const auto route = std::make_shared<const Route>();
    const std::size_t tenant = random() % 1000;
    std::vector<HostTable::Entry> entries;
    for (std::size_t i = 0; i < 100; ++i) entries.push_back({host_name((tenant + i * 1000) % count), route});
    table = table.with(entries, {});
  }
}

BENCHMARK(memory)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK(exact_hit)->Arg(1)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK(wildcard_hit)->Arg(1)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK(mixed_exact_hit)->Arg(1'000)->Arg(1'000'000);
BENCHMARK(mixed_wildcard_hit)->Arg(1'000)->Arg(1'000'000);
BENCHMARK(miss)->Arg(1)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK(change)->Arg(100'000)->Unit(benchmark::kMicrosecond);
BENCHMARK(build)->Arg(100'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace edgemux::routing
