#pragma once
// RuleTable: the rules of one host in the order in which they are tried, with an index, so that a host with thousands
// of rules asks only those whose path fits. Immutable; match() allocates nothing.
//
// The index, per priority: exact paths in a hash; patterns one after the other; prefixes in a hash, asked for the
// request's path element by element, the longest first. A table of few rules has none and is scanned.

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "routing/table/rule.h"

namespace edgemux::routing {

class RuleTable {
 public:
  static constexpr std::size_t kScanned = 8;

  RuleTable() = default;
  // `rules`: as they are listed.
  explicit RuleTable(std::vector<Rule> rules);

  // The first rule that matches, or null; if request.work is over() then, it means nothing.
  [[nodiscard]] const Rule* match(const RequestFacts& request) const;

  [[nodiscard]] std::size_t size() const { return rules_.size(); }
  [[nodiscard]] bool empty() const { return rules_.empty(); }
  [[nodiscard]] auto begin() const { return rules_.begin(); }
  [[nodiscard]] auto end() const { return rules_.end(); }
  const Rule& operator[](std::size_t i) const { return rules_[i]; }

 private:
  // Rules with the same path: they stand side by side.
  struct Group {
    std::uint32_t first = 0;
    std::uint32_t end = 0;
  };
  struct Paths {
    std::vector<Group> slots;   // by hash; a power of two, at least twice as many as there are paths; end 0: free
    std::vector<bool> lengths;  // which there are
  };
  struct Level {
    Paths exact;
    std::uint32_t regex_begin = 0;
    std::uint32_t regex_end = 0;
    Paths prefixes;
  };

  void add_level(std::uint32_t begin, std::uint32_t end);
  [[nodiscard]] Paths index(std::uint32_t begin, std::uint32_t end) const;
  [[nodiscard]] const Rule* match(const Level& level, const RequestFacts& request) const;
  // The first rule of exactly this path whose conditions hold.
  [[nodiscard]] const Rule* match(const Paths& paths, std::string_view path, const RequestFacts& request) const;

  std::vector<Rule> rules_;
  std::vector<Level> levels_;  // by priority, the highest first; empty = scan
};

}  // namespace edgemux::routing
