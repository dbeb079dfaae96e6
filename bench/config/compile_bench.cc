// What a reload costs: a main file of N routes, from bytes in memory to a snapshot; and the same again with nothing
// changed.
#include <benchmark/benchmark.h>

#include "config/compiler.h"

namespace {

using namespace edgemux;

std::string configuration(std::int64_t routes) {
  std::string out =
      "listeners:\n  - { name: http, bind: [\":80\"], protocol: http }\n  - { name: https, bind: [\":443\"], protocol: "
      "tls }\nroutes:\n";
  for (std::int64_t i = 0; i < routes; ++i) {
    const auto n = std::to_string(i);
    out += "  - host: app-" + n + ".customer.example.com\n    passthrough: 10." + std::to_string(i / 65536) + "." +
           std::to_string(i / 256 % 256) + "." + std::to_string(i % 256) + ":443\n    acme_solver: backend\n";
  }
  return out;
}

config::CompilerOptions options(std::int64_t routes) {
  config::CompilerOptions o;
  o.state_dir = "";
  o.files = config::memory_files({{"/e/edgemux.yaml", configuration(routes)}});
  return o;
}

void compile(benchmark::State& state) {
  const auto o = options(state.range(0));
  for (auto _ : state) {
    config::Compiler compiler("/e/edgemux.yaml", o);
    auto compiled = compiler.compile();
    if (!compiled.main_ok) state.SkipWithError(compiled.diagnostics.front().headline().c_str());
    benchmark::DoNotOptimize(compiled);
  }
}
BENCHMARK(compile)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMillisecond);

void recompile(benchmark::State& state) {
  config::Compiler compiler("/e/edgemux.yaml", options(state.range(0)));
  auto held = compiler.compile();
  for (auto _ : state) {
    auto compiled = compiler.compile();
    benchmark::DoNotOptimize(compiled);
  }
}
BENCHMARK(recompile)->Arg(100'000)->Unit(benchmark::kMillisecond);

}  // namespace
