#include "routing/table/tenant.h"

#include <utility>

namespace edgemux::routing {

void TenantState::Figures::add(const Figures& more) {
  const auto move = [](std::atomic<std::uint64_t>& to, const std::atomic<std::uint64_t>& from) {
    to.fetch_add(from.load(std::memory_order_relaxed), std::memory_order_relaxed);
  };
  move(connections, more.connections);
  for (std::size_t i = 0; i < requests.size(); ++i) move(requests[i], more.requests[i]);
  move(received, more.received);
  move(sent, more.sent);
  move(refused_connections, more.refused_connections);
  move(refused_requests, more.refused_requests);
}

TenantState::TenantState(std::uint32_t number, std::shared_ptr<OtherTenants> others)
    : number_(number), others_(std::move(others)) {
  if (!labelled()) others_->come(*this);
}

TenantState::TenantState(std::uint32_t number) : TenantState(number, std::make_shared<OtherTenants>()) {}

TenantState::~TenantState() {
  if (!labelled()) others_->go(*this);
}

void OtherTenants::come(const TenantState& state) {
  const std::lock_guard lock(mutex_);
  present_.insert(&state);
  any_ = true;
}

void OtherTenants::go(const TenantState& state) {
  const std::lock_guard lock(mutex_);
  for (const auto& cell : state.figures_) gone_.add(cell);
  present_.erase(&state);
}

}  // namespace edgemux::routing
