// RuleTable::match over the number of rules of one host. `exact`, `prefix` and `deep`: paths that hit, at random.
// `conditions`: as many rules of the same path, told apart by a header.

#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "routing/table/rule_table.h"

namespace edgemux::routing {
namespace {

std::string path_of(std::size_t i) { return "/team-" + std::to_string(i % 97) + "/service-" + std::to_string(i); }

RuleTable make_table(std::size_t count, Rule::Kind kind) {
  std::vector<Rule> rules(count);
  for (std::size_t i = 0; i < count; ++i) {
    rules[i].kind = kind;
    rules[i].path = i == 0 ? "/" : path_of(i);
  }
  return RuleTable(std::move(rules));
}

void ask(benchmark::State& state, const RuleTable& table, const std::string& behind) {
  const auto count = static_cast<std::size_t>(state.range(0));
  std::mt19937_64 random(1);
  std::vector<std::string> paths(4096);
  for (auto& path : paths) path = path_of(random() % count) + behind;
  std::size_t at = 0;
  for (auto _ : state) benchmark::DoNotOptimize(table.match({.path = paths[at++ % paths.size()]}));
}

void exact(benchmark::State& state) {
  ask(state, make_table(static_cast<std::size_t>(state.range(0)), Rule::Kind::exact), "");
}
void prefix(benchmark::State& state) {
  ask(state, make_table(static_cast<std::size_t>(state.range(0)), Rule::Kind::prefix), "/x");
}
void deep(benchmark::State& state) {
  ask(state, make_table(static_cast<std::size_t>(state.range(0)), Rule::Kind::prefix), "/a/b/c/d/e/f/g/h");
}

void conditions(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  std::vector<Rule> rules(count);
  for (std::size_t i = 0; i < count; ++i) {
    Conditions made;
    made.headers.push_back({"x-version", std::to_string(i), nullptr});
    rules[i].conditions = std::make_shared<const Conditions>(std::move(made));
  }
  const RuleTable table(std::move(rules));
  core::FieldList fields;
  for (const char* name : {"host", "user-agent", "accept", "accept-encoding", "cookie"}) fields.add({name, "value"});
  const std::string last = std::to_string(count - 1);
  fields.add({"x-version", last});
  const RequestFacts request{.path = "/a", .fields = &fields};
  for (auto _ : state) benchmark::DoNotOptimize(table.match(request));
}

void pattern(benchmark::State& state) {
  Rule rule;
  rule.kind = Rule::Kind::regex;
  rule.path = "/v[0-9]+/users/[^/]+/orders(/.*)?";
  rule.path_pattern = *Pattern::compile(rule.path, Pattern::Cover::whole);
  const RuleTable table({rule});
  for (auto _ : state) benchmark::DoNotOptimize(table.match({.path = "/v12/users/somebody/orders/2024/07"}));
}

void build(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(make_table(static_cast<std::size_t>(state.range(0)), Rule::Kind::prefix));
  }
}

BENCHMARK(exact)->Arg(1)->Arg(8)->Arg(9)->Arg(1'000)->Arg(10'000);
BENCHMARK(prefix)->Arg(1)->Arg(8)->Arg(9)->Arg(1'000)->Arg(10'000);
BENCHMARK(deep)->Arg(1'000);
BENCHMARK(conditions)->Arg(1)->Arg(10)->Arg(100);
BENCHMARK(pattern);
BENCHMARK(build)->Arg(1'000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace edgemux::routing
