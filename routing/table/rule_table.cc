#include "routing/table/rule_table.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace edgemux::routing {
namespace {

// Within one priority and kind: the same paths side by side, each in its order.
bool stands_before(const Rule& a, const Rule& b) {
  if (a.priority != b.priority || a.kind != b.kind || a.kind == Rule::Kind::regex || a.path == b.path) {
    return goes_before(a, b);
  }
  if (a.path.size() != b.path.size()) return a.path.size() > b.path.size();
  return a.path < b.path;
}

}  // namespace

RuleTable::RuleTable(std::vector<Rule> rules) : rules_(std::move(rules)) {
  if (rules_.size() <= kScanned) {
    std::stable_sort(rules_.begin(), rules_.end(), goes_before);
    return;
  }
  std::stable_sort(rules_.begin(), rules_.end(), stands_before);
  const auto count = static_cast<std::uint32_t>(rules_.size());
  for (std::uint32_t begin = 0; begin < count;) {
    std::uint32_t end = begin + 1;
    while (end < count && rules_[end].priority == rules_[begin].priority) ++end;
    add_level(begin, end);
    begin = end;
  }
}

void RuleTable::add_level(std::uint32_t begin, std::uint32_t end) {
  Level level;
  std::uint32_t at = begin;
  while (at < end && rules_[at].kind == Rule::Kind::exact) ++at;
  level.exact = index(begin, at);
  level.regex_begin = at;
  while (at < end && rules_[at].kind == Rule::Kind::regex) ++at;
  level.regex_end = at;
  level.prefixes = index(at, end);
  levels_.push_back(std::move(level));
}

RuleTable::Paths RuleTable::index(std::uint32_t begin, std::uint32_t end) const {
  Paths out;
  if (begin == end) return out;
  out.slots.resize(std::bit_ceil(std::size_t{end - begin} * 2));
  for (std::uint32_t first = begin; first < end;) {
    const std::string& path = rules_[first].path;
    std::uint32_t past = first + 1;
    while (past < end && rules_[past].path == path) ++past;
    std::size_t slot = std::hash<std::string_view>{}(path) & (out.slots.size() - 1);
    while (out.slots[slot].end != 0) slot = (slot + 1) & (out.slots.size() - 1);
    out.slots[slot] = {first, past};
    if (out.lengths.size() <= path.size()) out.lengths.resize(path.size() + 1);
    out.lengths[path.size()] = true;
    first = past;
  }
  return out;
}

const Rule* RuleTable::match(const RequestFacts& request) const {
  if (levels_.empty()) {
    for (const Rule& rule : rules_) {
      if (rule.test(request) == Rule::Verdict::match) return &rule;
    }
    return nullptr;
  }
  for (const Level& level : levels_) {
    if (const Rule* found = match(level, request)) return found;
    if (request.work != nullptr && request.work->over()) return nullptr;
  }
  return nullptr;
}

const Rule* RuleTable::match(const Level& level, const RequestFacts& request) const {
  const std::string_view path = request.path;
  const std::size_t longest = std::min(path.size(), level.prefixes.lengths.size());
  if (request.work != nullptr && !request.work->spend(longest + 1)) return nullptr;
  if (const Rule* found = match(level.exact, path, request)) return found;
  for (std::uint32_t i = level.regex_begin; i < level.regex_end; ++i) {
    if (rules_[i].test(request) == Rule::Verdict::match) return &rules_[i];
  }
  if (!path.starts_with('/')) return nullptr;
  for (std::size_t end = longest; end > 1; --end) {
    if (end != path.size() && path[end] != '/') continue;
    if (const Rule* found = match(level.prefixes, path.substr(0, end), request)) return found;
  }
  return match(level.prefixes, "/", request);
}

const Rule* RuleTable::match(const Paths& paths, std::string_view path, const RequestFacts& request) const {
  if (path.size() >= paths.lengths.size() || !paths.lengths[path.size()]) return nullptr;
  if (request.work != nullptr && !request.work->spend(path.size() / 8)) return nullptr;  // the hash
  const std::size_t mask = paths.slots.size() - 1;
  std::size_t slot = std::hash<std::string_view>{}(path)&mask;
  for (; paths.slots[slot].end != 0; slot = (slot + 1) & mask) {
    const Group group = paths.slots[slot];
    if (rules_[group.first].path != path) continue;
    for (std::uint32_t i = group.first; i < group.end; ++i) {
      if (rules_[i].test_conditions(request) == Rule::Verdict::match) return &rules_[i];
    }
    return nullptr;
  }
  return nullptr;
}

}  // namespace edgemux::routing
