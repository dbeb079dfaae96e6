#pragma once
// Reads balance, slow_start, panic_threshold, health_check, outlier, limits and dns of an upstream's map, which the
// schema has passed.

#include "config/node.h"
#include "config/problems.h"
#include "routing/table/upstream.h"

namespace edgemux::config {

void read_balance(const Node& node, routing::Upstream& upstream, Problems& problems);

}  // namespace edgemux::config
