#pragma once
// HttpSession: an HTTP connection with a client, over TCP or TLS. Drives the handshake, feeds received bytes to the
// codec, gives each request to an Exchange of its own and sends what the exchanges produce. It knows neither HTTP/1 nor
// HTTP/2, and no routing.
//
// Stages: Handshaking -> Serving -> (Upgraded | Lingering).
// Lingering: the last answer is sent and our half closed, but the client may still be sending; what comes is read and
// dropped for a while, because closing at once would reset the connection and destroy the answer (RFC 9112 9.6).

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/http/codec.h"
#include "core/http/http1_server.h"
#include "core/io/output.h"
#include "core/io/tcp_stream.h"
#include "core/tls/tls_stream.h"
#include "listeners/access_record.h"
#include "listeners/session.h"
#include "listeners/tunnel.h"
#include "listeners/upgraded_request.h"
#include "routing/table/route.h"
#include "routing/upstream/stream.h"

namespace edgemux::listeners {

class Exchange;
class StreamTunnel;

class HttpSession final : public Session,
                          private core::StreamObserver,
                          private core::ServerCodec::Observer,
                          private Tunnel::Observer {
 public:
  // `destination`: what a PROXY header said that the client connected to, else invalid.
  static void begin_plain(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination,
                          std::unique_ptr<core::TcpStream> stream);
  // `hello`: what was read already. `name`: the normalised server name, which `route` owns; `sni` as it was sent.
  static void begin_tls(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination,
                        std::unique_ptr<core::TcpStream> stream, std::span<const char> hello, routing::RoutePtr route,
                        std::string_view name, std::string sni, std::uint64_t began_us, bool by_source);
  ~HttpSession() override;

  void drain() override;
  void close(CloseReason reason) override;
  [[nodiscard]] core::TcpStream& socket() const override {
    return static_cast<core::TcpStream&>(tls_ != nullptr ? tls_->inner() : *stream_);
  }

  // ---- for exchanges ----
  [[nodiscard]] core::ServerCodec& codec() { return *codec_; }
  // The connection takes no more requests than it must: its answers say so from now on. Sends nothing itself.
  void end_soon();
  // Sends what the codec wrote; borrowed bytes are free afterwards. With several streams the little ones go together,
  // at the end of the loop's turn.
  void flush();
  // Bytes of that answer that wait for the client. While not zero, stop feeding.
  [[nodiscard]] std::size_t pending(core::StreamId stream) const {
    return (congested() ? unsent() : 0) + codec_->pending(stream);
  }
  // How much of an answer may be read at once: hardly more than can go on to the client. A client that asks for much
  // and takes nothing costs little so.
  [[nodiscard]] std::size_t read_limit(core::StreamId stream) const;
  // The same of an answer of our own, which is there already, and so are those of other streams.
  [[nodiscard]] std::size_t reply_limit(core::StreamId stream) const;
  // The head of an answer of our own: it waits in the codec while that receives, and the exchange may be over.
  void wrote_head(std::size_t bytes) { own_heads_ += bytes; }
  // The same ahead of time, for an upstream that is told what it may send: the session's streams share what it would
  // keep. `granted`: what this stream has of that, raised where possible. Returns `granted`.
  std::size_t grant(core::StreamId stream, std::size_t& granted);
  void take_back(std::size_t& granted) { promised_ -= std::exchange(granted, 0); }
  // Over HTTP/2 a client may make us hold kMostSpent at a time, of requests and answers. Exchanges say what they keep
  // of a request beyond its window (`before` and `now`: bytes), and what they could do without they keep while
  // may_keep() only. Beyond it further requests are refused as not processed.
  void keeps(std::size_t before, std::size_t now) { kept_ += now - before; }
  [[nodiscard]] bool may_keep(std::size_t bytes) const {
    return multiplexed_ == nullptr || spent() + multiplexed_->held_cost() + bytes <= kMostSpent;
  }
  // The same of what is kept just in case, which shall leave room for as many requests as a client may have at a time.
  [[nodiscard]] bool may_spare(std::size_t bytes) const {
    return multiplexed_ == nullptr || may_keep(bytes + (kMostRequests - std::min(open_, kMostRequests)) * kPerRequest);
  }
  // The client may be kept from sending by what has not gone on to upstreams, of this request or of others.
  [[nodiscard]] bool withholds_window() const { return multiplexed_ != nullptr && multiplexed_->withholds_window(); }
  // The exchange is over and may be taken apart: the next request may come. The session must not be used after it by
  // the exchange.
  void exchange_done(Exchange& exchange, CloseReason reason);
  // The answer cannot be completed, or not begun: the client must not take it for whole. The exchange is cancelled.
  void abort(Exchange& exchange, CloseReason reason, core::StreamError error = core::StreamError::internal);
  // Takes request bytes again after `wants_input` of the exchange had been false.
  void resume_reading();
  // When the first bytes came of the request that now begins: monotonic us. Of one that came whole, `now`.
  [[nodiscard]] std::uint64_t request_began_us(std::uint64_t now);
  // The exchange agreed on an upgrade and is over: from now on bytes.
  void upgrade(Exchange& exchange, routing::UpstreamStream::Upgraded upstream);
  // Counts the connection for the tenant whose host its latest request named. Where there is TLS the server name has
  // said whose it is, and only a name that has changed hands since makes a difference. Null = the platform. False: a
  // limit of the tenant is reached, and this connection ends with its answer.
  bool count_for(const routing::TenantPtr& tenant);
  // For stream tunnels: it is over and may be taken apart.
  void stream_tunnel_done(StreamTunnel& tunnel, CloseReason reason, std::string_view detail);

  // What the client connected to.
  [[nodiscard]] core::SocketAddress destination() const { return Session::destination(socket()); }
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
    Upgraded(routing::UpstreamStream::Upgraded from, Worker& worker, Tunnel::Observer& observer, core::Stream& client)
        : upstream(std::move(from.stream)), place(std::move(from.place)), tunnel(worker, observer, client, *upstream) {}
    std::unique_ptr<core::Stream> upstream;
    routing::UpstreamPlace place;
    UpgradedRequest request;
    Tunnel tunnel;
  };
  struct Lingering {
    CloseReason reason;
  };
  // What the deadline stands for.
  enum class Waiting : std::uint8_t { nothing, handshake, first_head, head, idle, rest, write, window, drain, linger };
  // Of answers that are on their way from shared connections: of many, and of few that are taken as they come.
  static constexpr std::size_t kMostHeld = 24 * 1024;
  static constexpr std::size_t kMostHeldOfFew = 64 * 1024;
  static constexpr std::uint32_t kFew = 8;
  // With what is on its way out, and what the connection itself costs: 256 KiB.
  static constexpr std::size_t kMostSpent = 200 * 1024;
  static constexpr std::size_t kOnItsWay = 36 * 1024;  // of answers: no reason to refuse a request
  static constexpr std::size_t kHeld = 32 * 1024;      // beyond kMostSpent, by requests that the codec holds
  static constexpr std::size_t kPerRequest = 3136;     // what an exchange costs with its upstream connection
  static constexpr std::uint32_t kMostRequests = 48;   // that the codec hands out at a time
  static constexpr std::size_t kLittleRead = 512;      // a head, and the first of its body
  static constexpr std::size_t kMostUnsent = 64 * 1024;
  static constexpr std::size_t kGathered = 16 * 1024;  // bytes of several streams that wait for the end of the turn

  HttpSession(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination,
              std::unique_ptr<core::Stream> stream);

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
  void on_request_trailers(core::StreamId stream, core::FieldList& fields) override;
  void on_request_reset(core::StreamId stream) override;
  void on_tunnel_over(core::StreamId stream) override;
  void on_stream_writable(core::StreamId stream) override;
  void on_malformed(core::StreamId stream, std::uint16_t status, const char* reason,
                    std::string_view content_type) override;
  void on_refused(const core::RequestHead* head) override;
  void on_tunnel_closed(CloseReason reason, const char* detail) override;
  [[nodiscard]] core::ListenerMetrics& tunnel_metrics() const override;

  // Bytes that wait for the client, of all streams, beyond what windows hold back.
  // HTTP/1, between two requests, and everything has been sent.
  [[nodiscard]] bool at_rest() const;
  // Served, and nothing is under way: who leaves now leaves nothing in the middle.
  [[nodiscard]] bool between_requests() const;
  // The rest of a body that nobody wanted has come. False: the session is over.
  bool rest_received();
  [[nodiscard]] std::size_t unsent() const { return output_.pending() + stream_->unsent(); }
  // The client takes less than there is.
  [[nodiscard]] bool congested() const { return sending_ ? unsent() >= kGathered : unsent() > 0; }
  void send();
  // HTTP/2: both GOAWAYs, for a connection that ends with no request under way.
  void send_goaway();
  // Answers, whole ones too, wait in the codec for the client's windows.
  [[nodiscard]] bool answers_wait() const { return multiplexed_ != nullptr && multiplexed_->waiting(); }
  void await_windows();
  void windows_timed_out();
  // How long that stream may wait for its window, or the connection, if it is that, for its own; ms.
  [[nodiscard]] std::uint64_t patience_with(core::StreamId stream);
  [[nodiscard]] std::uint64_t patience_with_all();
  struct Untaken {
    std::vector<core::StreamId> streams;  // whose time is over
    std::uint64_t left = UINT64_MAX;      // ms, until the next one's is
    bool others = false;                  // there are other streams
  };
  [[nodiscard]] Untaken untaken();
  void give_up(core::StreamId stream);
  void choose_codec();
  void announce_origins();
  // The second and last notice of a drain (RFC 9113 6.8).
  void say_goodbye();
  // Ends a connection that is broken, so that the client gets to see why.
  void cut(CloseReason reason);
  [[nodiscard]] bool ends_whole(CloseReason reason) const;
  Exchange* exchange_of(core::StreamId stream) {
    return stream <= exchanges_.size() ? exchanges_[stream - 1].get() : nullptr;
  }
  StreamTunnel* tunnel_of(core::StreamId stream);
  [[nodiscard]] AccessRecord record(CloseReason reason, std::string_view detail) const;
  // Counts the end of a tunnel, and writes its line.
  void tell_tunnel(const Tunnel& tunnel, const routing::UpstreamPlace& place, const UpgradedRequest& request,
                   std::uint64_t began_us, AccessRecord record);
  // An estimate; over HTTP/2.
  [[nodiscard]] std::size_t spent() const {
    const std::size_t waits = std::max(unsent() + own_heads_, kOnItsWay) - kOnItsWay;
    const std::size_t kept = kept_ + kept_ / 4;  // in large blocks, with holes between them
    return (open_ + stream_tunnels_.size()) * kPerRequest + kept + multiplexed_->received() + multiplexed_->held() +
           waits;
  }
  // No request is under way, and no heap of answers of our own, which are over at once, waits for the client.
  [[nodiscard]] bool owes_little() const { return open_ == 0 && unsent() + own_heads_ <= kMostUnsent; }
  [[nodiscard]] bool busy() const {
    return open_ > 0 || !stream_tunnels_.empty() || (multiplexed_ != nullptr && multiplexed_->holds());
  }
  // A request that waited for others to be over has its place. It may rather wait on than be refused.
  [[nodiscard]] bool can_start() const {
    return multiplexed_ != nullptr && multiplexed_->startable() && (owes_little() || may_keep(kPerRequest));
  }
  // So it has, or what has none will not be held any longer.
  [[nodiscard]] bool held_due() const {
    return !closed_ && multiplexed_ != nullptr && multiplexed_->holds() &&
           (can_start() || (grown_up_ && early_ == nullptr));
  }
  void end_streams();
  void start_held();
  void settle_idle();
  void limit_held();
  // The connection is not new any more; or what it held has waited for long enough.
  void grown_up();
  void produce();
  void watch_lingering();
  Exchange& open_exchange(core::StreamId stream);
  void drop_exchange(Exchange& exchange);
  // The exchange has bytes for its upstream: they are sent when what was received is dealt with.
  void feed(Exchange& exchange);
  void flush_fed();
  [[nodiscard]] bool wants_input() const;

  void await(Waiting what, std::chrono::milliseconds time);
  void await_next();
  void timed_out();

  std::unique_ptr<core::Stream> stream_;
  core::TlsStream* tls_ = nullptr;  // the same, where it is one
  core::Output output_;
  core::Http1Server http1_;
  std::unique_ptr<core::MultiplexedServerCodec> multiplexed_;  // where one was agreed on
  core::ServerCodec* codec_;
  std::string stash_;  // received and not yet taken by the codec: an incomplete head, or a pipelined request
  std::vector<std::unique_ptr<Exchange>> exchanges_;  // by StreamId - 1; null where there is none
  std::vector<std::unique_ptr<StreamTunnel>> stream_tunnels_;
  Exchange* fed_ = nullptr;
  std::variant<Serving, Handshaking, std::unique_ptr<Upgraded>, Lingering> stage_;  // Upgraded is large and rare
  routing::RoutePtr tls_route_;
  routing::TenantPtr counted_for_;  // without TLS; keeps it alive
  // Those that it counted for before: coming back to one is no new connection of his. Compared only.
  std::vector<const routing::TenantState*> left_;
  core::Timer deadline_;
  core::Deferred again_;
  std::unique_ptr<core::Timer> early_;      // over HTTP/2, until grown_up()
  std::unique_ptr<core::Timer> lingering_;  // over HTTP/2, once there was an early answer
  std::string sni_;
  std::string detail_;
  std::uint64_t began_us_;
  std::uint64_t head_began_us_ = 0;  // of a message that is not whole, beside no other; 0 = there is none
  std::uint32_t requests_ = 0;
  std::uint32_t open_ = 0;     // exchanges
  std::size_t promised_ = 0;   // of kMostHeld
  std::size_t kept_ = 0;       // by exchanges, of their requests
  std::size_t own_heads_ = 0;  // since receiving began; see wrote_head()
  Waiting waiting_ = Waiting::nothing;
  bool input_ended_ = false;
  bool sending_ = false;  // at the end of the turn
  bool draining_ = false;
  bool grown_up_ = false;
  bool told_ = false;  // why the connection ends: by the line of its last request
  bool closed_ = false;
};

}  // namespace edgemux::listeners
