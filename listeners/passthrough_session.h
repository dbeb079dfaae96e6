#pragma once
// PassthroughSession: a connection on a tls or tcp listener. On a tcp listener it goes to the listener's upstream at
// once, whoever speaks first. On a tls listener it is looked at from its first byte on: the session reads the
// ClientHello without touching it and finds the route of its server name. A passthrough route: it connects to the
// route's upstream and relays the bytes as they are. A terminate route: it ends TLS first, and relays the bytes inside;
// a client that does not finish its handshake costs no upstream connection, and nothing more is read until that stands.
// Rules: it hands the connection over to an HttpSession. Whatever goes wrong, nobody but the owner of the name gets the
// connection: it is closed, or answered with an alert where the listener says so.
//
// Stages, one at a time: Inspecting -> (Handshaking ->) Connecting -> Tunnelling, or Inspecting -> (HttpSession), or
// (tcp) Connecting -> Tunnelling. Where the upstream has no place left, Waiting comes before Connecting.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "core/io/tcp_stream.h"
#include "core/tls/client_hello.h"
#include "core/tls/tls_stream.h"
#include "listeners/session.h"
#include "listeners/tunnel.h"
#include "routing/table/route.h"
#include "routing/upstream/connector.h"
#include "routing/upstream/place_turn.h"

namespace edgemux::routing {
class UpstreamPool;
}

namespace edgemux::listeners {

class PassthroughSession final : public Session,
                                 private core::StreamObserver,
                                 private routing::Connector::Observer,
                                 private routing::PlaceTurn::Observer,
                                 private Tunnel::Observer {
 public:
  // Takes an accepted connection over; the worker owns the session. `destination`: what a PROXY header said that the
  // client connected to, else invalid.
  static void begin(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination,
                    std::unique_ptr<core::TcpStream> stream);
  static void begin_tcp(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination,
                        std::unique_ptr<core::TcpStream> stream);
  ~PassthroughSession() override;

  void drain() override;
  void close(CloseReason reason) override;
  [[nodiscard]] core::TcpStream& socket() const override {
    return tls_ != nullptr ? static_cast<core::TcpStream&>(tls_->inner()) : *stream_;
  }

 private:
  // The client has so long for its part. What stands longer has no room for it.
  struct Timed {
    explicit Timed(PassthroughSession& session);
    core::Timer deadline;
  };
  // Bytes of a hello that is not whole yet. They count against limits.inspect_memory.
  struct Inspecting : Timed {
    using Timed::Timed;
    std::string bytes;
    std::size_t charged = 0;
    std::size_t needed = 0;  // not worth parsing before
  };
  struct Handshaking : Timed {
    using Timed::Timed;
  };
  // `hello`: what goes to the upstream first, a PROXY header of ours included.
  struct Connecting {
    Connecting(std::string bytes, Worker& worker, routing::Connector::Observer& observer,
               std::shared_ptr<const routing::EndpointSet> endpoints, std::size_t first,
               const routing::UpstreamPool& pool);
    std::string hello;
    std::unique_ptr<routing::Connector> connector;  // large, and short-lived
  };
  // For a place in the upstream's limit.
  struct Waiting {
    std::string hello;
    std::unique_ptr<routing::PlaceTurn> turn;
  };
  // The names of what the tunnel leads to live in `endpoints`.
  struct Tunnelling {
    // Client: a TcpStream or a TlsStream
    template <class Client>
    Tunnelling(std::unique_ptr<core::TcpStream> stream, std::shared_ptr<const routing::EndpointSet> set, Worker& worker,
               Tunnel::Observer& observer, Client& client)
        : upstream(std::move(stream)), endpoints(std::move(set)), tunnel(worker, observer, client, *upstream) {}
    std::unique_ptr<core::TcpStream> upstream;
    std::shared_ptr<const routing::EndpointSet> endpoints;
    Tunnel tunnel;
  };

  PassthroughSession(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination,
                     std::unique_ptr<core::TcpStream> stream);

  void on_ready(core::Stream& stream) override;
  void inspect();
  [[nodiscard]] std::size_t hello_cap() const;
  // False: the session has moved on or closed.
  bool look_at(std::span<const char> bytes);
  void route_hello(const core::ClientHello& hello, std::span<const char> bytes);
  void terminate(const core::TlsPolicyPtr& policy, std::string_view name, std::span<const char> hello);
  void handshake();
  void connect(const routing::UpstreamPtr& upstream, std::span<const char> hello);
  // The place is taken.
  void dial(std::string hello);
  [[nodiscard]] std::string whose() const;  // for messages: the route or the listener
  void log_upstream(CloseReason reason, const char* what, const std::string& why) const;
  void refuse(CloseReason reason);
  void because(std::string_view detail) {
    if (!detail.empty()) detail_ = std::make_unique<const std::string>(detail);
  }
  void over_limit();
  void on_connected(std::unique_ptr<core::TcpStream> stream, const routing::Endpoint& endpoint,
                    unsigned attempts) override;
  void on_connect_failed(const routing::ConnectFailure& failure) override;
  void on_attempt_failed(const routing::Endpoint& endpoint) override;
  void on_shortage() override;
  void on_place() override;
  void on_no_place(const std::string& why) override;
  void on_tunnel_closed(CloseReason reason, const char* detail) override;
  [[nodiscard]] core::ListenerMetrics& tunnel_metrics() const override;
  void await(Timed& stage, std::chrono::milliseconds time);
  void cancel_deadline();
  void timed_out();
  void charge(const routing::Endpoint* endpoint);
  void write_log(CloseReason reason);
  void release_memory();

  std::unique_ptr<core::TcpStream> stream_;  // null once tls_ has it
  std::unique_ptr<core::TlsStream> tls_;     // of a terminate route
  std::variant<Inspecting, Handshaking, Waiting, Connecting, Tunnelling> stage_;
  routing::RoutePtr route_;                      // null on a tcp listener
  routing::UpstreamPtr upstream_;                // once it is known
  routing::UpstreamPool* pool_ = nullptr;        // holds our place in the upstream's limit; null = none taken
  const routing::Endpoint* endpoint_ = nullptr;  // lives in the stage's endpoint set
  const routing::Endpoint* charged_ = nullptr;   // the same, from before it is reached
  std::string sni_;
  std::string alpn_;                           // as in AccessRecord
  std::unique_ptr<const std::string> detail_;  // rare
  std::uint64_t began_us_;
  std::uint32_t connect_us_ = 0;
  std::uint32_t received_ = 0;     // bytes of the hello
  std::uint16_t header_size_ = 0;  // of our PROXY header
  std::uint8_t attempts_ = 0;
  bool closed_ = false;
};

}  // namespace edgemux::listeners
