#pragma once
// Tunnel: bytes both ways between a client and an upstream, until both halves are closed, each in its own time.
//
// Half-close travels: the end of one side is passed on once everything before it is flushed, and the other direction
// goes on. Deadlines count silence: timeouts.tunnel_idle while both halves are open, timeouts.half_closed after one has
// ended.
//
// The streams belong to the session and outlive the tunnel's last call; the tunnel is their observer. on_tunnel_closed
// is called once, as a last statement, and never from inside start().

#include <cstdint>
#include <memory>
#include <string>

#include "core/base/metrics.h"
#include "core/io/event_loop.h"
#include "core/io/relay.h"
#include "core/io/stream.h"
#include "listeners/allowance.h"
#include "listeners/close_reason.h"
#include "listeners/payers.h"

namespace edgemux::listeners {

class Worker;

class Tunnel final : private core::StreamObserver {
 public:
  class Observer {
   public:
    virtual void on_tunnel_closed(CloseReason reason, const char* detail) = 0;
    // The most that should be read at once from the upstream. Not of two TCP streams.
    [[nodiscard]] virtual std::size_t tunnel_read_limit() const { return SIZE_MAX; }

   protected:
    ~Observer() = default;
  };

  // With two TCP streams bulk data stays in the kernel.
  Tunnel(Worker& worker, Observer& observer, core::TcpStream& client, core::TcpStream& upstream);
  Tunnel(Worker& worker, Observer& observer, core::Stream& client, core::Stream& upstream);
  ~Tunnel();

  // What was read before the tunnel and goes first; call before start().
  core::Relay& to_upstream() { return up_; }
  core::Relay& to_client() { return down_; }
  // Bytes are the client's and the tenant's, and move no faster than their limits; call before start(). Both outlive
  // the tunnel; null = no tenant.
  void count_for(const core::SocketAddress& source, routing::TenantState* tenant) {
    source_ = &source;
    tenant_ = tenant;
  }
  void start();
  // Nothing more is moved, and nothing told: the streams may still be.
  void stop();
  // Soon, from the loop.
  void wake() {
    if (!stopped_) again_.request();
  }

  // Begins and ends the tunnel's part in the listener's figures.
  void opened(core::ListenerMetrics& metrics) const;
  // `own`: bytes that went to the upstream first and are not the client's.
  void closed(core::ListenerMetrics& metrics, std::uint64_t own = 0) const;

  [[nodiscard]] std::uint64_t bytes_to_upstream() const { return up_.bytes(); }
  [[nodiscard]] std::uint64_t bytes_to_client() const { return down_.bytes(); }

 private:
  void on_ready(core::Stream& stream) override;
  void pump();
  // False: it is not its turn in somebody's bandwidth yet; the tunnel goes on by itself.
  bool may_move(const Payers& payers);
  // Silence counts from now on.
  void await_bytes();
  void timed_out();
  [[nodiscard]] bool half_closed() const;

  Worker& worker_;
  Observer& observer_;
  core::Stream& client_;
  core::Stream& upstream_;
  core::TcpStream* tcp_client_ = nullptr;  // null where they are not both TCP
  core::Relay up_;
  core::Relay down_;
  core::Timer deadline_;
  core::Deferred again_;
  const core::SocketAddress* source_ = nullptr;
  routing::TenantState* tenant_ = nullptr;
  Allowance allowance_;
  bool stopped_ = false;
  std::unique_ptr<core::Timer> pause_;  // made where the bandwidth was used up once
};

}  // namespace edgemux::listeners
