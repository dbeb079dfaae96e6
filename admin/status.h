#pragma once
// Status: what GET /status tells, as JSON: the version, the table in force, listeners, upstreams with their endpoints,
// workers, and what is wrong with the configuration.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "config/diagnostic.h"
#include "core/base/metrics.h"
#include "listeners/access_log.h"
#include "routing/table/snapshot.h"

namespace edgemux::admin {

struct StatusView {
  const routing::Snapshot& snapshot;  // in force
  const core::Metrics& metrics;
  const listeners::AccessLog& access_log;
  const std::vector<config::Diagnostic>& diagnostics;  // that stand now
  std::string not_ready;                               // empty = ready
  std::uint64_t uptime_ms = 0;
  std::size_t connections = 0;
  std::vector<std::string> set_aside = {};  // include files, as in Compiled
};

std::string render_status(const StatusView& view);

}  // namespace edgemux::admin
