#include "routing/table/shadowed.h"

#include <algorithm>
#include <map>

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
  std::size_t level = 0;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const Rule& rule = rules[i];
    if (rules[level].priority != rule.priority) {
      level = i;
      same.clear();
    }
    std::size_t by = i;
    for (std::size_t j = 0; j < level && by == i; ++j) {
      if (covers(rules[j], rule)) by = j;
    }
    auto& group = same[{rule.kind, rule.path}];
    for (const std::size_t j : group) {
      if (by == i && covers(rules[j], rule)) by = j;
    }
    group.push_back(i);
    if (by != i) out.push_back({i, by});
  }
  return out;
}

}  // namespace edgemux::routing
