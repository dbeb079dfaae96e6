#pragma once
// Tunnel: bytes both ways between a client and an upstream, until both halves are closed, each in its own time.
//
// Half-close travels: the end of one side is passed on once everything before it is flushed, and the other direction
// goes on. Deadlines count silence: timeouts.tunnel_idle while both halves are open, timeouts.half_closed after one has
// ended.
//
// Bytes are in the figures about a second after they moved. Who lasts that long has TCP keep-alive towards the
// upstream, too: a peer that is gone is found out, and nothing between forgets a silent tunnel.
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
    // Of the client's listener.
    [[nodiscard]] virtual core::ListenerMetrics& tunnel_metrics() const = 0;
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
  // Stops, as the session ends. Where a drain or a deadline cuts the tunnel, a FIN would make a part look whole: then
  // the upstream is reset, and with `client_too` the client, unless it has got the other's end; after silence only if
  // bytes still waited for it. Returns whether something was cut.
  bool end(CloseReason reason, bool client_too);
  // Soon, from the loop.
  void wake() {
    if (!stopped_) again_.request();
  }

  // Of the bytes that go first, one way: how many are edgemux's own words to the other side (a PROXY header, the head
  // of an answer), and how many with those are no news to the listener: it counted them when they were read. For the
  // side that they go to they count at once.
  struct First {
    std::uint32_t own = 0;
    std::uint32_t known = 0;
  };
  // Begins and ends the tunnel's part in the figures of its listener and tenant; call the one before the loop's next
  // turn, after count_for(). `of_stream`: the client's side is a stream of a connection that counts its bytes itself.
  void opened(First up, First down, bool of_stream = false);
  void closed();

  // Without a PROXY header of ours.
  [[nodiscard]] std::uint64_t bytes_to_upstream() const { return beyond(up_.bytes(), own_); }
  [[nodiscard]] std::uint64_t bytes_to_client() const { return down_.bytes(); }

 private:
  void on_ready(core::Stream& stream) override;
  void pump();
  // False: it is not its turn in somebody's bandwidth yet; the tunnel goes on by itself.
  bool may_move(const Payers& payers);
  // Silence counts from now on.
  void await_bytes();
  // The deadline: silence, or time to look().
  void timed_out();
  // Counts what has moved since the time before.
  void count();
  // For who has lasted.
  void look();
  [[nodiscard]] bool half_closed() const;
  static std::uint64_t beyond(std::uint64_t bytes, std::uint64_t first) { return bytes > first ? bytes - first : 0; }

  Worker& worker_;
  Observer& observer_;
  core::Stream& client_;
  core::Stream& upstream_;
  core::Relay up_;
  core::Relay down_;
  core::Timer deadline_;
  core::Deferred again_;
  std::uint64_t silent_at_ = 0;  // ms, when it has been silent for too long
  std::uint64_t counted_up_ = 0;
  std::uint64_t counted_down_ = 0;
  const core::SocketAddress* source_ = nullptr;
  routing::TenantState* tenant_ = nullptr;
  Allowance allowance_;
  std::uint16_t own_ = 0;
  bool of_stream_ = false;
  bool both_tcp_ = false;
  bool look_due_ = false;  // the deadline comes no later than a look
  bool lasts_ = false;     // looked at once
  bool stopped_ = false;
  bool rest_waited_ = false;            // both sides have ended, and an end had bytes that were not sent
  std::unique_ptr<core::Timer> pause_;  // made where the bandwidth was used up once
};

}  // namespace edgemux::listeners
