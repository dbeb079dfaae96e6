#include "listeners/session.h"

#include "listeners/listener.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

Session::Session(Listener& listener, const core::SocketAddress& client) : listener_(listener), client_(client) {
  ++listener.sessions;
}

Session::~Session() { --listener_.sessions; }

Worker& Session::worker() const { return listener_.worker(); }

void Session::retire() {
  if (holds_place_) {
    worker().shared().admission.leave(client_);
    listener_.metrics().active.sub();
  }
  worker().remove(*this);
}

}  // namespace edgemux::listeners
