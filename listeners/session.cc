#include "listeners/session.h"

#include "listeners/listener.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

Session::Session(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination)
    : listener_(listener), client_(client), by_source_(listener.worker().counts_sources()) {
  if (destination.valid()) destination_ = std::make_unique<const core::SocketAddress>(destination);
  ++listener.sessions;
}

Session::~Session() { --listener_.sessions; }

Worker& Session::worker() const { return listener_.worker(); }

core::SocketAddress Session::destination(const core::TcpStream& stream) const {
  return destination_ != nullptr ? *destination_ : stream.local_address();
}

bool Session::enter(const routing::Tenant* tenant, bool fresh) {
  if (tenant == nullptr) return true;
  auto& figures = tenant->state->figures(worker().index());
  if (!tenant->state->enter(worker().now(), fresh)) {
    figures.refused_connections.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  if (fresh) figures.connections.fetch_add(1, std::memory_order_relaxed);
  tenant_ = tenant;
  return true;
}

bool Session::change_tenant(const routing::Tenant* tenant, bool fresh) {
  const routing::Tenant* before = tenant_;
  if (before != nullptr && tenant != nullptr && before->state == tenant->state) {
    tenant_ = tenant;
    return true;
  }
  if (!enter(tenant, fresh)) return false;
  tenant_ = tenant;
  if (before != nullptr) before->state->leave();
  return true;
}

void Session::retire() {
  if (holds_place_) {
    worker().shared().admission.leave(client_, by_source_);
    listener_.metrics().active.sub();
    if (tenant_ != nullptr) tenant_->state->leave();
  }
  worker().remove(*this);
}

}  // namespace edgemux::listeners
