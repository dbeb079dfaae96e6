#pragma once
// Rules that can never match, because another one of the same host, tried before, takes all that they take. Pure. Found
// is what one rule alone covers; several that cover another together are not. What it costs is in proportion to the
// size of the table, whoever wrote it: of very many rules that could cover one, the nearest that are tried before it
// are looked at, and those that say the very same.

#include <cstddef>
#include <vector>

#include "routing/table/rule_table.h"

namespace edgemux::routing {

struct Shadowed {
  std::size_t rule = 0;  // indexes into the table
  std::size_t by = 0;
};

std::vector<Shadowed> shadowed_rules(const RuleTable& rules);

// Every request that `narrow` takes, `wide` takes too. False may mean that it cannot be told.
bool covers(const Rule& wide, const Rule& narrow);

}  // namespace edgemux::routing
