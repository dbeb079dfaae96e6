#include "core/base/metrics.h"

#include <algorithm>

namespace edgemux::core {

Metrics::Metrics(unsigned workers) : names_{"other"} {
  workers_.reserve(workers);
  for (unsigned i = 0; i < workers; ++i) workers_.push_back(std::make_unique<WorkerMetrics>());
}

std::size_t Metrics::listener_slot(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found != names_.end()) return static_cast<std::size_t>(found - names_.begin());
  if (names_.size() == kListenerSlots) return 0;
  names_.emplace_back(name);
  return names_.size() - 1;
}

std::vector<std::string> Metrics::listener_names() const {
  const std::lock_guard lock(mutex_);
  return names_;
}

}  // namespace edgemux::core
