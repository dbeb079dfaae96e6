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

std::vector<Rule> pattern_rules(std::size_t count) {
  std::vector<Rule> rules(count);
  for (std::size_t i = 0; i < count; ++i) {
    rules[i].kind = Rule::Kind::regex;
    rules[i].path = "/v[0-9]+/users/[^/]+/orders-" + std::to_string(i) + "(/.*)?";
    rules[i].path_pattern = *Pattern::compile(rules[i].path, Pattern::Cover::whole);
  }
  return rules;
}

// None of them matches. A host may have no more of them than some hundreds (MatchWork::kMostInstructions).
void patterns(benchmark::State& state) {
  const RuleTable table(pattern_rules(static_cast<std::size_t>(state.range(0))));
  for (auto _ : state) benchmark::DoNotOptimize(table.match({.path = "/v12/users/somebody/orders/2024/07"}));
}

// As much as a request may cost: patterns of which nothing can be learned, a path of any length.
void hostile(benchmark::State& state) {
  std::vector<Rule> rules(1);
  rules[0].kind = Rule::Kind::regex;
  rules[0].path = "(.*x){" + std::to_string(state.range(0)) + "}y";
  rules[0].path_pattern = *Pattern::compile(rules[0].path, Pattern::Cover::whole);
  const std::size_t length = MatchWork::kMost / rules[0].path_pattern->instructions() - 20;
  const RuleTable table(std::move(rules));
  std::mt19937 random(1);
  std::string path = "/";
  while (path.size() < length) path += "abx"[random() % 3];
  for (auto _ : state) {
    MatchWork work;
    benchmark::DoNotOptimize(table.match({.path = path, .work = &work}));
    if (work.over()) state.SkipWithError("it was refused");
  }
}

void build_rules(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(make_table(static_cast<std::size_t>(state.range(0)), Rule::Kind::prefix));
  }
}

BENCHMARK(exact)->Arg(1)->Arg(8)->Arg(9)->Arg(1'000)->Arg(10'000);
BENCHMARK(prefix)->Arg(1)->Arg(8)->Arg(9)->Arg(1'000)->Arg(10'000);
BENCHMARK(deep)->Arg(1'000);
BENCHMARK(conditions)->Arg(1)->Arg(10)->Arg(100);
BENCHMARK(pattern);
BENCHMARK(patterns)->Arg(100)->Arg(10'000)->Unit(benchmark::kMicrosecond);
BENCHMARK(hostile)->Arg(50)->Arg(300)->Unit(benchmark::kMillisecond);
BENCHMARK(build_rules)->Arg(1'000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace edgemux::routing
