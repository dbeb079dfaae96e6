// What a reload costs: a main file of N routes, from bytes in memory to a snapshot; and the same again with nothing
// changed. And on the disk: a hundred hosts in each of a thousand tenants' files, of which one changes.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

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

class Tenants {
 public:
  static constexpr int kTenants = 1000;
  static constexpr int kHosts = 100;

  Tenants() {
    std::string pattern = (std::filesystem::temp_directory_path() / "edgemux-bench-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    std::string main =
        "listeners:\n  - { name: http, bind: [\":80\"], protocol: http }\n  - { name: https, bind: [\":443\"], "
        "protocol: tls }\ninclude: [ { files: \"tenants.d/{tenant}/*.yaml\" } ]\ntenants:\n";
    for (int t = 0; t < kTenants; ++t) {
      const auto name = "t" + std::to_string(t);
      main.append("  ").append(name).append(": { hosts: [\"*.").append(name);
      main += ".example.com\"], networks: [10.0.0.0/8] }\n";
      std::filesystem::create_directories(root_ / "tenants.d" / name);
      change(t, 0);
    }
    std::ofstream(root_ / "edgemux.yaml") << main;
  }
  ~Tenants() { std::filesystem::remove_all(root_); }
  Tenants(const Tenants&) = delete;
  Tenants& operator=(const Tenants&) = delete;

  void change(int tenant, int version) const {
    const auto name = "t" + std::to_string(tenant);
    std::string out = "routes:\n";
    for (int h = 0; h < kHosts; ++h) {
      out += "  - host: app-" + std::to_string(h) + "." + name + ".example.com\n    passthrough: 10.0." +
             std::to_string(tenant / 250) + "." + std::to_string(tenant % 250) + ":" +
             std::to_string(1 + version * kHosts + h) + "\n    acme_solver: backend\n";
    }
    const auto path = root_ / "tenants.d" / name / "routes.yaml";
    std::ofstream(path.string() + ".new") << out;
    std::filesystem::rename(path.string() + ".new", path);
  }
  [[nodiscard]] std::unique_ptr<config::Compiler> compiler() const {
    config::CompilerOptions o;
    o.state_dir = "";
    return std::make_unique<config::Compiler>((root_ / "edgemux.yaml").string(), o);
  }

 private:
  std::filesystem::path root_;
};

void tenants_from_nothing(benchmark::State& state) {
  const Tenants tenants;
  for (auto _ : state) {
    auto compiler = tenants.compiler();
    auto compiled = compiler->compile();
    if (!compiled.diagnostics.empty()) state.SkipWithError(compiled.diagnostics.front().headline().c_str());
    benchmark::DoNotOptimize(compiled);
  }
}
BENCHMARK(tenants_from_nothing)->Unit(benchmark::kMillisecond);

void tenants_linked_again(benchmark::State& state) {
  const Tenants tenants;
  auto compiler = tenants.compiler();
  auto held = compiler->compile();
  for (auto _ : state) {
    compiler->forget();
    held = compiler->compile();
  }
}
BENCHMARK(tenants_linked_again)->Unit(benchmark::kMillisecond);

void tenants_one_changed(benchmark::State& state) {
  const Tenants tenants;
  auto compiler = tenants.compiler();
  auto held = compiler->compile();
  int version = 0;
  for (auto _ : state) {
    state.PauseTiming();
    ++version;
    tenants.change(version * 37 % Tenants::kTenants, version % 500);
    state.ResumeTiming();
    held = compiler->compile();
  }
}
BENCHMARK(tenants_one_changed)->Unit(benchmark::kMillisecond);

}  // namespace
