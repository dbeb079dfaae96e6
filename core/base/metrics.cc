#include "core/base/metrics.h"

#include <algorithm>
#include <ctime>

namespace edgemux::core {

Metrics::Metrics(unsigned workers) : started_at(std::time(nullptr)), reload_success_at(started_at), names_{"other"} {
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

void Metrics::reload_ended(bool success) {
  reload_succeeded.store(success, std::memory_order_relaxed);
  if (success) reload_success_at.store(std::time(nullptr), std::memory_order_relaxed);
}

std::vector<std::string> Metrics::listener_names() const {
  const std::lock_guard lock(mutex_);
  return names_;
}

}  // namespace edgemux::core
