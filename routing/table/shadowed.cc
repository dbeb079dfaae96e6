#include "routing/table/shadowed.h"

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>

namespace edgemux::routing {
namespace {

using Kind = Rule::Kind;

bool covers_path(const Rule& wide, const Rule& narrow) {
  if (wide.kind == narrow.kind && wide.path == narrow.path) return true;
  if (narrow.kind == Kind::exact) return wide.takes_path(narrow.path);
  if (wide.kind != Kind::prefix) return false;
  return wide.path == "/" || (narrow.kind == Kind::prefix && prefix_covers(wide.path, narrow.path));
}

// `wide` holds wherever `narrow` does.
bool covers_value(const ValueMatch& wide, const ValueMatch& narrow) {
  if (wide == narrow) return true;
  return wide.name == narrow.name && wide.pattern != nullptr && narrow.pattern == nullptr && wide.takes(narrow.value);
}

bool covers_values(const std::vector<ValueMatch>& wide, const std::vector<ValueMatch>& narrow) {
  return std::all_of(wide.begin(), wide.end(), [&](const ValueMatch& one) {
    return std::any_of(narrow.begin(), narrow.end(), [&](const ValueMatch& other) { return covers_value(one, other); });
  });
}

// How many comparisons of two values may be spent on each of a rule's own.
constexpr std::size_t kComparisons = 512;

std::size_t weight(const Rule& rule) {
  const auto* also = rule.conditions.get();
  return also == nullptr ? 1 : 1 + also->methods.size() + also->headers.size() + also->query.size();
}

// Two rules of one priority with the same text take the same requests.
std::string text_of(const Rule& rule) {
  std::string out = std::to_string(static_cast<int>(rule.kind));
  const auto add = [&out](std::string_view text) { out.append(std::to_string(text.size())).append(":").append(text); };
  add(rule.path);
  if (rule.filters != nullptr && rule.filters->cors.has_value()) out += "cors";
  if (rule.conditions == nullptr) return out;
  for (const auto& method : rule.conditions->methods) add(method);
  for (const auto* values : {&rule.conditions->headers, &rule.conditions->query}) {
    out += '|';
    for (const auto& value : *values) {
      add(value.name);
      add(value.value);
      out += value.pattern == nullptr ? '=' : '~';
    }
  }
  return out;
}

// The first of `candidates`, in their order, that covers the rule; of too many the last ones are asked.
template <class Candidates>
std::size_t find_cover(const RuleTable& rules, std::size_t rule, const Candidates& candidates) {
  const std::size_t own = weight(rules[rule]);
  std::size_t left = own * kComparisons;
  std::size_t at = candidates.size();
  while (at > 0) {
    const std::size_t cost = own * weight(rules[candidates[at - 1]]);
    if (cost > left) break;
    left -= cost;
    --at;
  }
  for (; at < candidates.size(); ++at) {
    if (covers(rules[candidates[at]], rules[rule])) return candidates[at];
  }
  return rule;
}

}  // namespace

bool covers(const Rule& wide, const Rule& narrow) {
  if (!covers_path(wide, narrow)) return false;
  if (wide.conditions == nullptr) return true;
  static const Conditions none;
  const Conditions& w = *wide.conditions;
  const Conditions& n = narrow.conditions == nullptr ? none : *narrow.conditions;
  if (!w.methods.empty()) {
    if (n.methods.empty()) return false;
    // A rule with CORS takes preflights as well, whose method is not listed.
    const auto cors = [](const Rule& rule) { return rule.filters != nullptr && rule.filters->cors.has_value(); };
    if (cors(narrow) && !cors(wide)) return false;
    for (const auto& method : n.methods) {
      if (std::find(w.methods.begin(), w.methods.end(), method) == w.methods.end()) return false;
    }
  }
  return covers_values(w.headers, n.headers) && covers_values(w.query, n.query);
}

std::vector<Shadowed> shadowed_rules(const RuleTable& rules) {
  std::vector<Shadowed> out;
  // Within one priority, a rule that is tried before has the same path, or does not cover this one's (or is a pattern,
  // of which that cannot be told). Of a higher priority any rule may cover it.
  std::map<std::pair<Kind, std::string_view>, std::vector<std::size_t>> same;
  std::unordered_map<std::string, std::size_t> first;  // by text
  std::vector<std::size_t> above;                      // of higher priorities
  std::size_t all = 0;
  for (std::size_t i = 0; i < rules.size(); ++i) all += weight(rules[i]);
  const bool many = all > kComparisons;  // else every rule is compared with each before it
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const Rule& rule = rules[i];
    if (i > 0 && rules[i - 1].priority != rule.priority) {
      for (std::size_t j = above.size(); j < i; ++j) above.push_back(j);
      same.clear();
      first.clear();
    }
    auto& group = same[{rule.kind, rule.path}];
    std::size_t by = find_cover(rules, i, above);
    if (by == i) by = find_cover(rules, i, group);
    if (by == i && many) by = first.try_emplace(text_of(rule), i).first->second;
    group.push_back(i);
    if (by != i) out.push_back({i, by});
  }
  return out;
}

}  // namespace edgemux::routing
