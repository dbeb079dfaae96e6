#include "listeners/http_session.h"

#include <algorithm>
#include <cstring>

#include "core/base/log.h"
#include "listeners/clock.h"
#include "listeners/exchange.h"
#include "listeners/stream_tunnel.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLingerTime{5'000};
constexpr std::size_t kStashRead = 16 * 1024;
constexpr std::size_t kMostPending = 64 * 1024;
constexpr int kReadsPerEvent = 32;
constexpr milliseconds kDrainGrace{1'000};

}  // namespace

HttpSession::HttpSession(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination,
                         std::unique_ptr<core::Stream> stream)
    : Session(listener, client, destination),
      stream_(std::move(stream)),
      output_(worker().blocks()),
      http1_(*this, output_, worker().http_scratch(), worker().snapshot().limits.request_head),
      codec_(&http1_),
      deadline_([](void* self) { static_cast<HttpSession*>(self)->timed_out(); }, this),
      again_(
          worker().loop(), [](void* self) { static_cast<HttpSession*>(self)->go_on(); }, this),
      began_us_(monotonic_us()) {
  stream_->set_observer(this);
}

HttpSession::~HttpSession() = default;

void HttpSession::begin_plain(Listener& listener, const core::SocketAddress& client,
                              const core::SocketAddress& destination, std::unique_ptr<core::TcpStream> stream) {
  std::unique_ptr<HttpSession> session(new HttpSession(listener, client, destination, std::move(stream)));
  session->await(Waiting::first_head, listener.worker().snapshot().timeouts.request_head);
  listener.worker().add(std::move(session));
}

core::SocketAddress HttpSession::destination() const {
  // Below TLS, if any, there is always a socket.
  const core::Stream& socket = tls_ != nullptr ? tls_->inner() : *stream_;
  return Session::destination(static_cast<const core::TcpStream&>(socket));
}

void HttpSession::begin_tls(Listener& listener, const core::SocketAddress& client,
                            const core::SocketAddress& destination, std::unique_ptr<core::TcpStream> stream,
                            std::span<const char> hello, routing::RoutePtr route, std::string_view name,
                            std::string sni, std::uint64_t began_us) {
  Worker& worker = listener.worker();
  const auto& policy = std::get<routing::VirtualHost>(route->action).tls;
  auto tls =
      worker.tls().accept(std::move(stream), hello, policy, *worker.snapshot().certificates, name, route->tenant);
  if (!tls) {
    core::log_limited(core::LogLevel::error, "tls accept", "listener {}: {}: {}", listener.name(), name,
                      tls.error().message);
    worker.metrics().closes[static_cast<std::size_t>(CloseReason::internal)].add();
    worker.shared().admission.leave(client);
    listener.metrics().active.sub();
    if (route->owner != nullptr) route->owner->state->leave();
    return;
  }
  core::TlsStream* stream_of_tls = tls->get();
  std::unique_ptr<HttpSession> session(new HttpSession(listener, client, destination, std::move(*tls)));
  session->tls_ = stream_of_tls;
  session->tls_route_ = std::move(route);
  session->take_over(session->tls_route_->owner.get());
  session->sni_ = std::move(sni);
  session->began_us_ = began_us;
  session->stage_.emplace<Handshaking>();
  session->await(Waiting::handshake, worker.snapshot().timeouts.tls_handshake);
  if (!worker.snapshot().certificates->find(name, session->tls_route_->tenant)) {
    session->detail_ = "no certificate covers " + std::string(name);
    core::log_limited(core::LogLevel::warn, name, "listener {}: no certificate covers {}; its connections are refused",
                      listener.name(), name);
  }
  HttpSession& begun = *session;
  worker.add(std::move(session));
  begun.handshake();
}

void HttpSession::on_ready(core::Stream&) { go_on(); }

void HttpSession::go_on() {
  if (closed_) return;
  if (std::holds_alternative<Handshaking>(stage_)) {
    handshake();
  } else if (std::holds_alternative<Serving>(stage_)) {
    serve();
  } else if (std::holds_alternative<Lingering>(stage_)) {
    discard();
  }
}

void HttpSession::handshake() {
  auto& metrics = listener().metrics();
  switch (tls_->handshake()) {
    case core::HandshakeStatus::again:
      return;
    case core::HandshakeStatus::failed: {
      metrics.handshakes_failed.add();
      const bool no_certificate = !detail_.empty();
      if (!no_certificate) detail_ = tls_->failure();
      // The alert must arrive: what the client sent meanwhile is taken, so that closing is a FIN and no reset.
      tls_->shutdown_write();
      for (int i = 0; i < 4 && tls_->inner().readable(); ++i) {
        if (tls_->inner().read(worker().buffer()).status != core::IoStatus::ok) break;
      }
      return close(no_certificate ? CloseReason::no_certificate : CloseReason::handshake_failed);
    }
    case core::HandshakeStatus::done:
      break;
  }
  (tls_->resumed() ? metrics.handshakes_resumed : metrics.handshakes_full).add();
  stage_.emplace<Serving>();
  await(Waiting::first_head, worker().snapshot().timeouts.request_head);
  choose_codec();
  serve();
}

void HttpSession::choose_codec() {
  if (tls_->alpn() != "h2") return;
  core::ServerCodec::Observer& observer = *this;
  http2_ = std::make_unique<core::Http2Server>(observer, output_, worker().http_scratch(),
                                               worker().snapshot().limits.request_head);
  codec_ = http2_.get();
  announce_origins();
  flush();
}

// The names of the certificate that may be asked for on this connection without a 421 (RFC 8336).
void HttpSession::announce_origins() {
  constexpr std::size_t kMost = 64;
  std::array<char, 256> buffer;
  const std::string_view name = routing::normalise_host(sni_, buffer.data());
  const core::CertificateChoice choice = worker().snapshot().certificates->find(name);
  if (!choice) return;
  const std::uint16_t port = destination().port();
  const std::string suffix = port == 443 ? std::string() : ":" + std::to_string(port);
  std::vector<std::string> origins;
  for (const std::string& covered : (choice.ecdsa != nullptr ? *choice.ecdsa : *choice.rsa)->names) {
    if (covered.starts_with('*') || origins.size() == kMost) continue;
    const routing::RoutePtr* route = listener().hosts().find(covered);
    if (route != nullptr && *route == tls_route_) origins.push_back("https://" + covered + suffix);
  }
  if (!origins.empty()) http2_->announce({origins.begin(), origins.end()});
}

void HttpSession::serve() {
  if (closed_ || !std::holds_alternative<Serving>(stage_)) return;
  if (!output_.empty() || waiting_ == Waiting::write || codec_->finished()) {
    send();
    if (closed_ || !std::holds_alternative<Serving>(stage_)) return;
  }
  if (stream_->broken() && busy() && !codec_->wants_input()) {
    // Nothing is read while the answer is due, so nothing else would find out.
    detail_ = "the client reset the connection";
    return close(CloseReason::client_reset);
  }
  if (!congested()) {
    for (const auto& exchange : exchanges_) {
      if (exchange != nullptr && codec_->pending(exchange->stream()) == 0) exchange->on_client_writable();
    }
    for (std::size_t i = 0; i < stream_tunnels_.size(); ++i) stream_tunnels_[i]->client().may_write();
  }
  read();
}

bool HttpSession::wants_input() const {
  if (!codec_->wants_input() || unsent() >= kMostPending) return false;
  // Over HTTP/2 each stream has its window.
  return codec_->multiplexed() || !busy() || exchanges_[0] == nullptr || exchanges_[0]->wants_input();
}

void HttpSession::read() {
  // A pipelined request that waited for the answer before it.
  if (!stash_.empty() && codec_->wants_input() && !codec_->mid_message() && unsent() < kMostPending) {
    if (!receive(stash_)) return;
  }
  for (int reads = 0; !closed_ && std::holds_alternative<Serving>(stage_) && stream_->readable() && wants_input();
       ++reads) {
    if (reads == kReadsPerEvent) return again_.request();  // others wait as well
    std::span<char> buffer = worker().buffer();
    const std::size_t kept = stash_.size();
    if (kept > 0) {
      stash_.resize(kept + kStashRead);
      buffer = {stash_.data() + kept, kStashRead};
    }
    const core::IoResult result = stream_->read(buffer);
    if (kept > 0) stash_.resize(kept + result.bytes);
    switch (result.status) {
      case core::IoStatus::ok:
        listener().metrics().client_received.add(result.bytes);
        if (!receive(kept > 0 ? std::span<char>(stash_) : buffer.first(result.bytes))) return;
        break;
      case core::IoStatus::again:
        return;
      case core::IoStatus::eof:
        return end_of_input();
      case core::IoStatus::error:
        detail_ = tls_ != nullptr && !tls_->failure().empty() ? tls_->failure() : std::strerror(result.error);
        return close(CloseReason::client_reset);
    }
  }
}

bool HttpSession::receive(std::span<char> bytes) {
  const std::size_t used = codec_->receive(bytes);
  if (fed_ != nullptr) flush_fed();
  if (closed_) return false;
  if (codec_->multiplexed()) flush();
  if (closed_) return false;
  if (bytes.data() == stash_.data()) {
    stash_.erase(0, used);
    if (stash_.empty() && stash_.capacity() > kStashRead) stash_.shrink_to_fit();
  } else if (used < bytes.size()) {
    stash_.assign(bytes.data() + used, bytes.size() - used);
  }
  if (codec_->mid_message() && !busy() && (waiting_ == Waiting::idle || waiting_ == Waiting::nothing)) {
    await(Waiting::head, worker().snapshot().timeouts.request_head);
  }
  return std::holds_alternative<Serving>(stage_);
}

void HttpSession::end_of_input() {
  if (!busy()) {
    return close(codec_->mid_message() || !stash_.empty() ? CloseReason::client_reset : CloseReason::client_closed);
  }
  if (codec_->mid_message()) {
    detail_ = "the client closed the connection in the middle of its request";
    return close(CloseReason::client_reset);
  }
  // Half-closed behind a whole request: it gets its answer.
  input_ended_ = true;
  codec_->close_after();
}

void HttpSession::flush() {
  if (closed_) return;
  codec_->produce();
  if (codec_->multiplexed() && output_.pending() < kGathered && waiting_ != Waiting::write && !codec_->finished()) {
    if (output_.empty()) return;
    output_.keep();
    sending_ = true;
    return again_.request();
  }
  send();
}

void HttpSession::send() {
  if (closed_) return;
  sending_ = false;
  codec_->produce();
  const std::size_t before = output_.pending();
  if (codec_->finished()) stream_->end_follows();
  const core::IoResult result = output_.flush(*stream_);
  listener().metrics().client_sent.add(before - output_.pending());
  if (result.status == core::IoStatus::error) {
    detail_ = std::strerror(result.error);
    return close(CloseReason::client_reset);
  }
  if (unsent() > 0) {
    // Every bit of progress gives the client more time.
    if (waiting_ != Waiting::write || output_.pending() < before) {
      await(Waiting::write, worker().snapshot().timeouts.idle);
    }
    return;
  }
  if (waiting_ == Waiting::write) await_next();
  if (busy() && waiting_ == Waiting::nothing && codec_->multiplexed()) await_windows();
  if (codec_->finished() && !busy()) finish(CloseReason::done);
}

// Answers that wait for the client's windows may wait as long as unsent bytes (a stall of all of them, RFC 9113 10.5).
void HttpSession::await_windows() {
  if (!http2_->waiting()) return;
  const auto most = static_cast<std::uint64_t>(worker().snapshot().timeouts.idle.count());
  const std::uint64_t stalled = http2_->stalled_ms();
  await(Waiting::window, milliseconds(stalled < most ? most - stalled : 1));
}

// ---- exchanges ----

Exchange& HttpSession::open_exchange(core::StreamId stream) {
  if (exchanges_.size() < stream) exchanges_.resize(stream);
  exchanges_[stream - 1] = worker().take_exchange();
  ++open_;
  return *exchanges_[stream - 1];
}

void HttpSession::drop_exchange(Exchange& exchange) {
  for (Exchange** place = &fed_; exchange.fed_ && *place != nullptr; place = &(*place)->next_fed_) {
    if (*place != &exchange) continue;
    *place = exchange.next_fed_;
    exchange.fed_ = false;
    break;
  }
  ++requests_;
  --open_;
  worker().give_exchange(std::move(exchanges_[exchange.stream() - 1]));
}

void HttpSession::feed(Exchange& exchange) {
  if (exchange.fed_) return;
  exchange.fed_ = true;
  exchange.next_fed_ = std::exchange(fed_, &exchange);
}

void HttpSession::flush_fed() {
  while (fed_ != nullptr) {
    Exchange& exchange = *fed_;
    fed_ = exchange.next_fed_;
    exchange.fed_ = false;
    exchange.flush_upstream();
  }
}

void HttpSession::on_request(core::StreamId stream, core::RequestHead& head, bool end) {
  Exchange& exchange = open_exchange(stream);
  if (waiting_ == Waiting::first_head || waiting_ == Waiting::head || waiting_ == Waiting::idle) {
    waiting_ = Waiting::nothing;
  }
  feed(exchange);
  exchange.start(*this, stream, head, end);
}

void HttpSession::on_request_body(core::StreamId stream, std::span<const char> data, bool end) {
  Exchange* exchange = exchange_of(stream);
  if (exchange == nullptr) {
    if (StreamTunnel* tunnel = tunnel_of(stream)) return tunnel->client().received(data, end);
    return codec_->consumed(stream, data.size());
  }
  feed(*exchange);
  exchange->on_request_body(data, end);
}

void HttpSession::on_request_trailers(core::StreamId stream, core::FieldList& fields) {
  Exchange* exchange = exchange_of(stream);
  if (exchange == nullptr) return;
  feed(*exchange);
  exchange->on_request_trailers(fields);
}

void HttpSession::on_request_reset(core::StreamId stream) {
  Exchange* exchange = exchange_of(stream);
  if (exchange == nullptr) {
    if (StreamTunnel* tunnel = tunnel_of(stream)) tunnel->client().was_reset();
    return;
  }
  exchange->cancel(CloseReason::client_reset, "the client took the request back");
  drop_exchange(*exchange);
  if (!busy()) await_next();
}

void HttpSession::on_stream_writable(core::StreamId stream) {
  if (congested()) return again_.request();  // as soon as that is sent
  Exchange* exchange = exchange_of(stream);
  if (exchange == nullptr) {
    if (StreamTunnel* tunnel = tunnel_of(stream)) tunnel->client().may_write();
    return;
  }
  exchange->on_client_writable();
}

void HttpSession::on_malformed(core::StreamId stream, std::uint16_t status, const char* reason) {
  const CloseReason why = status == 431   ? CloseReason::head_too_large
                          : status == 429 ? CloseReason::flood
                                          : CloseReason::bad_request;
  if (!codec_->multiplexed()) codec_->close_after();
  if (stream == 0) {
    detail_ = reason;
    if (why == CloseReason::flood) {
      core::log_limited(core::LogLevel::warn, "flood", "listener {}: client {}: {}", listener().name(), client().ip(),
                        reason);
    }
    return cut(why);
  }
  if (Exchange* exchange = exchange_of(stream)) return exchange->refuse(status, why, reason);
  open_exchange(stream).start_refused(*this, stream, status, why, reason);
}

void HttpSession::exchange_done(Exchange& exchange, CloseReason reason) {
  drop_exchange(exchange);
  if (closed_) return;
  if (codec_->finished()) {
    if (unsent() == 0 && !busy()) finish(reason);
    return;
  }
  if (busy()) return;
  if (input_ended_) return finish(CloseReason::done);
  if (unsent() == 0 || sending_) await_next();
  if (!stash_.empty() || stream_->readable()) again_.request();
}

void HttpSession::abort(Exchange& exchange, CloseReason reason) {
  if (closed_) return;
  if (codec_->reset(exchange.stream(), core::StreamError::internal)) {
    exchange.cancel(reason, {});
    drop_exchange(exchange);
    flush();
    if (!closed_ && !busy()) await_next();
    return;
  }
  stream_->abort();
  close(reason);
}

void HttpSession::resume_reading() {
  if (codec_->multiplexed()) flush();  // windows that were given back
  again_.request();
}

void HttpSession::cut(CloseReason reason) {
  codec_->stop();
  send();
  if (closed_) return;
  stream_->shutdown_write();
  // What the client sent meanwhile is taken, so that closing is a FIN and no reset, and the GOAWAY arrives.
  for (int i = 0; i < 4 && stream_->readable(); ++i) {
    if (stream_->read(worker().buffer()).status != core::IoStatus::ok) break;
  }
  close(reason);
}

void HttpSession::finish(CloseReason reason) {
  // After a refusal the client may still be sending, or about to.
  const bool refused = reason == CloseReason::bad_request || reason == CloseReason::head_too_large ||
                       reason == CloseReason::body_too_large || reason == CloseReason::body_too_slow;
  if (refused || codec_->mid_message() || !stash_.empty() || (stream_->readable() && !input_ended_)) {
    return linger(reason);
  }
  close(reason);
}

void HttpSession::linger(CloseReason reason) {
  stage_.emplace<Lingering>(Lingering{reason});
  stash_.clear();
  stream_->shutdown_write();
  await(Waiting::linger, kLingerTime);
  discard();
}

void HttpSession::discard() {
  const CloseReason reason = std::get<Lingering>(stage_).reason;
  // Bounded per turn, so that a client that sends without end does not keep the worker to itself.
  for (int i = 0; i < 16 && stream_->readable(); ++i) {
    const auto result = stream_->read(worker().buffer());
    if (result.status == core::IoStatus::again) return;
    if (result.status != core::IoStatus::ok) return close(reason);
  }
  if (stream_->readable()) again_.request();
}

StreamTunnel* HttpSession::tunnel_of(core::StreamId stream) {
  for (const auto& tunnel : stream_tunnels_) {
    if (tunnel->id() == stream) return tunnel.get();
  }
  return nullptr;
}

void HttpSession::stream_tunnel_done(StreamTunnel& tunnel, CloseReason reason, std::string_view detail) {
  const auto place = std::find_if(stream_tunnels_.begin(), stream_tunnels_.end(),
                                  [&](const auto& one) { return one.get() == &tunnel; });
  std::unique_ptr<StreamTunnel> gone = std::move(*place);
  stream_tunnels_.erase(place);
  tunnel.tunnel().closed(listener().metrics());
  log_tunnel(tunnel, reason, detail);
  worker().loop().retire(std::move(gone));
  if (closed_) return;
  if (codec_->finished() && !busy()) return finish(CloseReason::done);
  if (!busy()) await_next();
}

void HttpSession::upgrade(Exchange& exchange, routing::UpstreamStream::Upgraded upstream) {
  routing::TenantPtr tenant = exchange.route_ == nullptr ? nullptr : exchange.route_->owner;
  if (codec_->multiplexed()) {
    const core::StreamId stream = exchange.stream();
    drop_exchange(exchange);
    stream_tunnels_.push_back(std::make_unique<StreamTunnel>(*this, stream, std::move(upstream), std::move(tenant)));
    stream_tunnels_.back()->tunnel().opened(listener().metrics());
    return;
  }
  drop_exchange(exchange);
  deadline_.cancel();
  waiting_ = Waiting::nothing;
  again_.cancel();
  Tunnel::Observer& observer = *this;
  const std::string received = std::move(upstream.received);
  auto made = std::make_unique<Upgraded>(std::move(upstream), worker(), observer, *stream_);
  Upgraded& stage = *stage_.emplace<std::unique_ptr<Upgraded>>(std::move(made));
  stage.tunnel.to_client().prepend(output_);
  stage.tunnel.to_client().prepend(received);
  stage.tunnel.to_upstream().prepend(stash_);
  stash_.clear();
  if (tenant != nullptr) stage.tunnel.count_for(tenant->state.get());
  stage.tenant = std::move(tenant);
  stage.tunnel.opened(listener().metrics());
  stage.tunnel.start();
}

void HttpSession::on_tunnel_closed(CloseReason reason, const char* detail) {
  detail_ = detail;
  close(reason);
}

void HttpSession::await(Waiting what, milliseconds time) {
  waiting_ = what;
  worker().loop().timers().arm(deadline_, worker().now() + static_cast<std::uint64_t>(time.count()));
}

void HttpSession::await_next() {
  const auto& timeouts = worker().snapshot().timeouts;
  if (draining_ && codec_->multiplexed()) {
    if (waiting_ != Waiting::drain) await(Waiting::drain, kDrainGrace);
  } else if (busy()) {
    waiting_ = Waiting::nothing;
  } else if (codec_->mid_message()) {
    await(Waiting::head, timeouts.request_head);
  } else {
    await(Waiting::idle, timeouts.idle);
  }
}

void HttpSession::timed_out() {
  switch (waiting_) {
    case Waiting::nothing:
      return;
    case Waiting::handshake:
      listener().metrics().handshakes_failed.add();
      return close(CloseReason::handshake_timeout);
    case Waiting::idle:
      if (codec_->multiplexed()) {
        codec_->close_after();
        codec_->close_after();
        send();
      }
      return close(CloseReason::idle_timeout);
    case Waiting::drain:
      return say_goodbye();
    case Waiting::window:
      return windows_timed_out();
    case Waiting::first_head:
      if (!codec_->mid_message()) return close(CloseReason::idle_timeout);
      [[fallthrough]];
    case Waiting::head:
      codec_->close_after();
      if (codec_->multiplexed()) {
        detail_ = "a frame or a header block did not come in time";
        flush();
        return close(CloseReason::head_timeout);
      }
      open_exchange(core::Http1Server::kStream)
          .start_refused(*this, core::Http1Server::kStream, 408, CloseReason::head_timeout,
                         "the request's head did not come in time");
      return;
    case Waiting::write:
      stream_->abort();
      return close(CloseReason::response_too_slow);
    case Waiting::linger:
      stream_->abort();
      return close(std::get<Lingering>(stage_).reason);
  }
}

void HttpSession::windows_timed_out() {
  waiting_ = Waiting::nothing;
  const auto most = static_cast<std::uint64_t>(worker().snapshot().timeouts.idle.count());
  if (!http2_->waiting() || http2_->stalled_ms() < most) return await_windows();
  detail_ = "the client opens no window for what it asked for";
  codec_->close_after();
  codec_->produce();
  cut(CloseReason::response_too_slow);
}

void HttpSession::say_goodbye() {
  waiting_ = Waiting::nothing;
  codec_->close_after();
  send();
}

void HttpSession::drain() {
  if (closed_ || draining_) return;
  draining_ = true;
  codec_->close_after();
  if (!std::holds_alternative<Serving>(stage_)) return;
  if (codec_->multiplexed()) {
    send();
    if (!closed_ && waiting_ != Waiting::write) await(Waiting::drain, kDrainGrace);
    return;
  }
  // A client that has just come in gets a moment to say what it wants.
  if (waiting_ == Waiting::first_head) return await(Waiting::first_head, kDrainGrace);
  if (!busy() && !codec_->mid_message() && stash_.empty() && output_.empty()) close(CloseReason::draining);
}

void HttpSession::close(CloseReason reason) {
  if (closed_) return;
  closed_ = true;
  codec_->stop();
  deadline_.cancel();
  again_.cancel();
  if (busy()) {
    for (const auto& exchange : exchanges_) {
      if (exchange == nullptr) continue;
      exchange->cancel(reason, detail_);
      drop_exchange(*exchange);
    }
    while (!stream_tunnels_.empty()) {
      StreamTunnel& tunnel = *stream_tunnels_.back();
      tunnel.cut();
      stream_tunnel_done(tunnel, reason, detail_);
    }
  } else if (auto* upgraded = std::get_if<std::unique_ptr<Upgraded>>(&stage_)) {
    Upgraded* stage = upgraded->get();
    stage->tunnel.closed(listener().metrics());
    if (worker().shared().access_log.enabled()) write_log(reason);
  } else if (requests_ == 0) {
    worker().metrics().closes[static_cast<std::size_t>(reason)].add();
    if (worker().shared().access_log.enabled()) write_log(reason);
  }
  if (tls_ != nullptr && !is_failure(reason)) stream_->shutdown_write();
  stream_->set_observer(nullptr);
  retire();
}

void HttpSession::log_tunnel(const StreamTunnel& tunnel, CloseReason reason, std::string_view detail) {
  if (!worker().shared().access_log.enabled()) return;
  AccessRecord record;
  record.kind = AccessKind::connection;
  record.reason = reason;
  record.client = &client();
  record.listener = listener().name();
  record.sni = sni_;
  record.alpn = alpn();
  record.tls_version = tls_version();
  record.tls_resumed = tls_resumed();
  if (tls_route_ != nullptr) {
    record.host = tls_route_->name;
    record.route = tls_route_->name;
    record.tenant = tls_route_->tenant;
  }
  record.bytes_in = tunnel.tunnel().bytes_to_upstream();
  record.bytes_out = tunnel.tunnel().bytes_to_client();
  record.upstream = tunnel.place().upstream_name();
  record.endpoint = tunnel.place().endpoint_text();
  record.protocol = "upgrade";
  record.detail = detail;
  record.duration_us = monotonic_us() - tunnel.began_us();
  worker().log(record);
}

// A connection that ended before its first request, or an upgraded one.
void HttpSession::write_log(CloseReason reason) {
  AccessRecord record;
  record.kind = AccessKind::connection;
  record.reason = reason;
  record.client = &client();
  record.listener = listener().name();
  record.sni = sni_;
  if (tls_ != nullptr && !std::holds_alternative<Handshaking>(stage_)) {
    record.alpn = alpn();
    record.tls_version = tls_version();
    record.tls_resumed = tls_resumed();
  }
  if (tls_route_ != nullptr) {
    record.host = tls_route_->name;
    record.route = tls_route_->name;
    record.tenant = tls_route_->tenant;
  }
  if (const auto* upgraded = std::get_if<std::unique_ptr<Upgraded>>(&stage_)) {
    const Upgraded* stage = upgraded->get();
    record.bytes_in = stage->tunnel.bytes_to_upstream();
    record.bytes_out = stage->tunnel.bytes_to_client();
    record.upstream = stage->place.upstream_name();
    record.endpoint = stage->place.endpoint_text();
    record.protocol = "upgrade";
  }
  record.detail = detail_;
  record.duration_us = monotonic_us() - began_us_;
  worker().log(record);
}

}  // namespace edgemux::listeners
