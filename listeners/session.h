#pragma once
// Session: one client connection, from accept to its one way out. The worker owns its sessions in a list; a session
// that closes leaves the list and is freed when the loop's turn is over.

#include <cstdint>
#include <memory>

#include "core/base/address.h"
#include "core/io/retirable.h"
#include "core/io/tcp_stream.h"
#include "listeners/close_reason.h"
#include "routing/table/tenant.h"

namespace edgemux::listeners {

class Listener;
class Worker;

class Session : public core::Retirable {
 public:
  // `destination`: what a PROXY header said that the client connected to; invalid = what it really is connected to.
  Session(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination = {});
  ~Session() override;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Finish what is under way, take nothing new, then close.
  virtual void drain() = 0;
  // The one way out: logs, counts, retires. Nothing of the session is called afterwards.
  virtual void close(CloseReason reason) = 0;

  // The client's, below TLS.
  [[nodiscard]] virtual core::TcpStream& socket() const = 0;

  [[nodiscard]] Listener& listener() const { return listener_; }
  [[nodiscard]] Worker& worker() const;
  [[nodiscard]] const core::SocketAddress& client() const { return client_; }
  // What the client connected to; `stream` is the connection.
  [[nodiscard]] core::SocketAddress destination(const core::TcpStream& stream) const;

 protected:
  // Leaves the worker's list, to be freed at the end of the turn.
  void retire();
  // As said by a PROXY header; invalid = not said.
  [[nodiscard]] core::SocketAddress said_destination() const {
    return destination_ != nullptr ? *destination_ : core::SocketAddress();
  }
  // Gives the client's place (admission, gauges) to a session that takes the connection over.
  void hand_over() { holds_place_ = false; }

  // Counts the connection for the tenant, which must live as long as the session. `fresh`: as for TenantState::enter().
  // False: a limit is reached.
  bool enter(const routing::Tenant* tenant, bool fresh = true);
  // Counts it for another tenant from now on, or for none (null). False: a limit is reached, and nothing has changed.
  bool change_tenant(const routing::Tenant* tenant, bool fresh);
  // Whether the client is counted for its source: as the worker did when it came.
  [[nodiscard]] bool by_source() const { return by_source_; }
  // The place that a session before this one had entered.
  void take_over(const routing::Tenant* tenant, bool by_source) {
    tenant_ = tenant;
    by_source_ = by_source;
  }
  // Null: the platform.
  [[nodiscard]] routing::TenantState* tenant_state() const {
    return tenant_ == nullptr ? nullptr : tenant_->state.get();
  }

 private:
  friend class Worker;
  Listener& listener_;
  core::SocketAddress client_;
  std::unique_ptr<const core::SocketAddress> destination_;  // rare
  const routing::Tenant* tenant_ = nullptr;                 // whose limits count this connection
  Session* previous_ = nullptr;
  Session* next_ = nullptr;
  bool holds_place_ = true;
  bool by_source_;
};

}  // namespace edgemux::listeners
