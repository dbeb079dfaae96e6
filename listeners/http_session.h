#pragma once
// HttpSession: an HTTP connection with a client, over TCP or TLS. Drives the handshake, feeds received bytes to the
// codec, gives each request to an Exchange and sends what the exchanges produce. It knows neither HTTP/1 nor HTTP/2,
// and no routing.
//
// Stages: Handshaking -> Serving -> (Upgraded | Lingering).
// Lingering: the last answer is sent and our half closed, but the client may still be sending; what comes is read and
// dropped for a while, because closing at once would reset the connection and destroy the answer (RFC 9112 9.6).

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include "core/http/codec.h"
#include "core/http/http1_server.h"
#include "core/io/output.h"
#include "core/io/tcp_stream.h"
#include "core/tls/tls_stream.h"
#include "listeners/session.h"
#include "listeners/tunnel.h"
#include "routing/table/route.h"

namespace edgemux::routing {
class UpstreamConnection;
class UpstreamPool;
}  // namespace edgemux::routing

namespace edgemux::listeners {

class Exchange;

class HttpSession final : public Session,
                          private core::StreamObserver,
                          private core::ServerCodec::Observer,
                          private Tunnel::Observer {
 public:
  static void begin_plain(Listener& listener, const core::SocketAddress& client,
                          std::unique_ptr<core::TcpStream> stream);
  // `hello`: what was read already. `name`: the normalised server name, which `route` owns; `sni` as it was sent.
  static void begin_tls(Listener& listener, const core::SocketAddress& client, std::unique_ptr<core::TcpStream> stream,
                        std::span<const char> hello, routing::RoutePtr route, std::string_view name, std::string sni,
                        std::uint64_t began_us);
  ~HttpSession() override;

  void drain() override;
  void close(CloseReason reason) override;

  // ---- for exchanges ----
  [[nodiscard]] core::ServerCodec& codec() { return codec_; }
  // Sends what the codec wrote; borrowed bytes are free afterwards.
  void flush();
  // Bytes that wait for the client. While not zero, stop feeding.
  [[nodiscard]] std::size_t pending() const { return output_.pending() + stream_->unsent(); }
  // The exchange is over and may be taken apart: the next request may come. The session must not be used after it by
  // the exchange.
  void exchange_done(CloseReason reason);
  // The answer cannot be completed: the client must not take it for whole.
  void abort(CloseReason reason);
  // Takes request bytes again after `wants_input` of the exchange had been false.
  void resume_reading();
  // The exchange agreed on an upgrade: from now on bytes. `received`: what the upstream sent behind its head. `pool`
  // gets `connection` back when the tunnel ends.
  void upgrade(std::unique_ptr<core::Stream> upstream, std::string_view received, routing::UpstreamPool& pool,
               routing::UpstreamConnection& connection);

  [[nodiscard]] bool secure() const { return tls_ != nullptr; }
  [[nodiscard]] std::string_view sni() const { return sni_; }
  [[nodiscard]] std::string_view alpn() const { return tls_ != nullptr ? tls_->alpn() : std::string_view(); }
  [[nodiscard]] std::string_view tls_version() const { return tls_ != nullptr ? tls_->version() : std::string_view(); }
  [[nodiscard]] bool tls_resumed() const { return tls_ != nullptr && tls_->resumed(); }
  // The route that the TLS connection was made for; null without TLS.
  [[nodiscard]] const routing::RoutePtr& tls_route() const { return tls_route_; }

 private:
  struct Handshaking {};
  struct Serving {};
  struct Upgraded {
    Upgraded(std::unique_ptr<core::Stream> stream, routing::UpstreamPool& from, routing::UpstreamConnection& lent,
             Worker& worker, Tunnel::Observer& observer, core::Stream& client)
        : upstream(std::move(stream)), pool(from), connection(lent), tunnel(worker, observer, client, *upstream) {}
    std::unique_ptr<core::Stream> upstream;
    routing::UpstreamPool& pool;
    routing::UpstreamConnection& connection;
    Tunnel tunnel;
  };
  struct Lingering {
    CloseReason reason;
  };
  // What the deadline stands for.
  enum class Waiting : std::uint8_t { nothing, handshake, first_head, head, idle, body, write, linger };

  HttpSession(Listener& listener, const core::SocketAddress& client, std::unique_ptr<core::Stream> stream);

  void on_ready(core::Stream& stream) override;
  void go_on();
  void handshake();
  void serve();
  void read();
  // False: the session has moved on, or must wait.
  bool receive(std::span<char> bytes);
  void end_of_input();
  void linger(CloseReason reason);
  void discard();
  void finish(CloseReason reason);

  void on_request(core::StreamId stream, core::RequestHead& head, bool end) override;
  void on_request_body(core::StreamId stream, std::span<const char> data, bool end) override;
  void on_request_reset(core::StreamId stream) override;
  void on_malformed(core::StreamId stream, std::uint16_t status, const char* reason) override;
  void on_tunnel_closed(CloseReason reason, const char* detail) override;

  void await(Waiting what, std::chrono::milliseconds time);
  void await_next();
  void timed_out();
  void write_log(CloseReason reason);

  std::unique_ptr<core::Stream> stream_;
  core::TlsStream* tls_ = nullptr;  // the same, where it is one
  core::Output output_;
  core::Http1Server codec_;
  std::string stash_;  // received and not yet taken by the codec: an incomplete head, or a pipelined request
  std::unique_ptr<Exchange> exchange_;
  std::variant<Serving, Handshaking, std::unique_ptr<Upgraded>, Lingering> stage_;  // Upgraded is large and rare
  routing::RoutePtr tls_route_;
  core::Timer deadline_;
  core::Deferred again_;
  std::string sni_;
  std::string detail_;
  std::uint64_t began_us_;
  std::uint64_t body_began_ = 0;  // loop milliseconds, while a body comes in
  std::uint64_t body_bytes_ = 0;
  std::uint32_t requests_ = 0;
  Waiting waiting_ = Waiting::nothing;
  bool input_ended_ = false;
  bool closed_ = false;
};

}  // namespace edgemux::listeners
