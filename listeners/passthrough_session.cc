#include "listeners/passthrough_session.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/base/log.h"
#include "core/proxy_protocol/proxy_header.h"
#include "listeners/clock.h"
#include "listeners/handshake.h"
#include "listeners/http_session.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

namespace {

using std::chrono::milliseconds;

// The first protocol of an ALPN list as it is on the wire.
std::string_view first_protocol(std::string_view alpn) {
  if (alpn.empty()) return {};
  const auto length = static_cast<unsigned char>(alpn[0]);
  return alpn.substr(1, length);
}

CloseReason close_reason_of(routing::ConnectFailure::Kind kind) {
  switch (kind) {
    case routing::ConnectFailure::Kind::no_endpoint:
      return CloseReason::no_endpoint;
    case routing::ConnectFailure::Kind::timeout:
      return CloseReason::connect_timeout;
    case routing::ConnectFailure::Kind::refused:
    case routing::ConnectFailure::Kind::tls:  // never: no upstream of bytes is shaken hands with
      break;
    case routing::ConnectFailure::Kind::shortage:
      return CloseReason::out_of_resources;
  }
  return CloseReason::connect_failed;
}

}  // namespace

void PassthroughSession::begin(Listener& listener, const core::SocketAddress& client,
                               const core::SocketAddress& destination, std::unique_ptr<core::TcpStream> stream) {
  std::unique_ptr<PassthroughSession> session(new PassthroughSession(listener, client, destination, std::move(stream)));
  session->await(std::get<Inspecting>(session->stage_), listener.worker().snapshot().timeouts.client_hello);
  PassthroughSession& begun = *session;
  listener.worker().add(std::move(session));
  if (listener.leaves()) begun.drain();
}

void PassthroughSession::begin_tcp(Listener& listener, const core::SocketAddress& client,
                                   const core::SocketAddress& destination, std::unique_ptr<core::TcpStream> stream) {
  std::unique_ptr<PassthroughSession> made(new PassthroughSession(listener, client, destination, std::move(stream)));
  PassthroughSession& session = *made;
  listener.worker().add(std::move(made));
  if (listener.upstream() == nullptr) return session.close(CloseReason::draining);
  session.connect(listener.upstream(), {});
}

PassthroughSession::PassthroughSession(Listener& listener, const core::SocketAddress& client,
                                       const core::SocketAddress& destination, std::unique_ptr<core::TcpStream> stream)
    : Session(listener, client, destination),
      stream_(std::move(stream)),
      stage_(std::in_place_type<Inspecting>, *this),
      began_us_(monotonic_us()) {
  stream_->set_observer(this);
}

PassthroughSession::Timed::Timed(PassthroughSession& session)
    : deadline([](void* self) { static_cast<PassthroughSession*>(self)->timed_out(); }, &session) {}

PassthroughSession::Connecting::Connecting(std::string bytes, Worker& worker, routing::Connector::Observer& observer,
                                           std::shared_ptr<const routing::EndpointSet> endpoints, std::size_t first,
                                           const routing::UpstreamPool& pool)
    : hello(std::move(bytes)),
      connector(std::make_unique<routing::Connector>(worker.loop(), worker.metrics(), observer, std::move(endpoints),
                                                     first, pool.connect_timeout(),
                                                     pool.upstream().transport.source_address)) {}

PassthroughSession::~PassthroughSession() = default;

void PassthroughSession::on_ready(core::Stream&) {
  if (closed_) return;
  if (std::holds_alternative<Inspecting>(stage_)) {
    inspect();
  } else if (std::holds_alternative<Handshaking>(stage_)) {
    handshake();
  } else if (!std::holds_alternative<Tunnelling>(stage_) && socket().broken()) {
    // A client that half-closes behind its hello is odd but may be; one that was reset is gone.
    close(CloseReason::client_reset);
  }
}

std::size_t PassthroughSession::hello_cap() const {
  // Half of the buffer holds the hello, the other half its bytes without record headers.
  return std::min<std::size_t>(worker().snapshot().limits.client_hello, worker().inspect_buffer().size() / 2 - 1);
}

void PassthroughSession::inspect() {
  const std::size_t cap = hello_cap();
  while (stream_->readable()) {
    auto& stage = std::get<Inspecting>(stage_);
    const auto buffer = worker().inspect_buffer();
    const std::size_t kept = stage.bytes.size();
    if (kept > cap) return close(CloseReason::hello_too_large);  // a reload has lowered it
    // Kept bytes go in front, so that the parser sees one piece. One byte over the cap tells that it is exceeded.
    if (kept > 0) std::memcpy(buffer.data(), stage.bytes.data(), kept);
    const auto result = stream_->read(buffer.subspan(kept, cap + 1 - kept));
    switch (result.status) {
      case core::IoStatus::ok:
        if (!look_at(buffer.first(kept + result.bytes))) return;
        break;
      case core::IoStatus::again:
        return;
      case core::IoStatus::eof:
        return close(kept == 0 ? CloseReason::client_closed : CloseReason::client_reset);
      case core::IoStatus::error:
        because(std::strerror(result.error));
        return close(CloseReason::client_reset);
    }
  }
}

bool PassthroughSession::look_at(std::span<const char> bytes) {
  auto& stage = std::get<Inspecting>(stage_);
  const std::size_t cap = hello_cap();
  if (bytes.size() >= stage.needed) {
    const auto scratch = worker().inspect_buffer().subspan(worker().inspect_buffer().size() / 2);
    const core::ClientHello hello = core::parse_client_hello(bytes, scratch);
    switch (hello.verdict) {
      case core::HelloVerdict::hello:
        route_hello(hello, bytes);
        return false;
      case core::HelloVerdict::not_tls:
        close(CloseReason::not_tls);
        return false;
      case core::HelloVerdict::malformed:
        because(hello.reason);
        refuse(CloseReason::malformed_hello);
        return false;
      case core::HelloVerdict::need_more:
        stage.needed = hello.bytes_needed;
        break;
    }
  }
  if (bytes.size() > cap || stage.needed > cap) {
    close(CloseReason::hello_too_large);
    return false;
  }
  if (!worker().shared().admission.take_memory(bytes.size() - stage.charged)) {
    close(CloseReason::hello_memory);
    return false;
  }
  stage.charged = bytes.size();
  received_ = static_cast<std::uint32_t>(bytes.size());
  stage.bytes.append(bytes.data() + stage.bytes.size(), bytes.size() - stage.bytes.size());
  return true;
}

void PassthroughSession::release_memory() {
  if (auto* stage = std::get_if<Inspecting>(&stage_); stage != nullptr && stage->charged > 0) {
    worker().shared().admission.give_memory(stage->charged);
    stage->charged = 0;
  }
}

void PassthroughSession::route_hello(const core::ClientHello& hello, std::span<const char> bytes) {
  received_ = static_cast<std::uint32_t>(bytes.size());
  sni_ = hello.server_name;
  alpn_ = first_protocol(hello.alpn);
  std::array<char, 256> name_buffer;
  const std::string_view name = routing::normalise_host(hello.server_name, name_buffer.data());
  if (name.empty()) return refuse(hello.server_name.empty() ? CloseReason::no_sni : CloseReason::unknown_host);
  const routing::RoutePtr* found = listener().hosts().find(name);
  if (found == nullptr) return refuse(CloseReason::unknown_host);
  route_ = *found;
  if (!route_->refused.empty()) {
    because(route_->refused);
    return refuse(CloseReason::refused);
  }
  const bool requests = std::holds_alternative<routing::VirtualHost>(route_->action);  // each is asked who sends it
  if (!requests && !route_->access.admits(client())) return refuse(CloseReason::access_denied);
  if (!enter(route_->owner.get())) return over_limit();
  if (const auto* to = std::get_if<routing::Passthrough>(&route_->action)) return connect(to->upstream, bytes);
  if (const auto* to = std::get_if<routing::Terminate>(&route_->action)) return terminate(to->tls, name, bytes);
  // The HTTP side takes the connection over, its place included; this session ends without a line of its own.
  closed_ = true;
  cancel_deadline();
  release_memory();
  hand_over();
  stream_->set_observer(nullptr);
  HttpSession::begin_tls(listener(), client(), said_destination(), std::move(stream_), bytes, std::move(route_), name,
                         std::move(sni_), began_us_, by_source());
  retire();
}

void PassthroughSession::terminate(const core::TlsPolicyPtr& policy, std::string_view name,
                                   std::span<const char> hello) {
  release_memory();
  received_ = 0;
  alpn_.clear();
  tls_ = accept_tls(listener(), std::move(stream_), hello, policy, name, *route_);
  if (tls_ == nullptr) return close(CloseReason::internal);
  await(stage_.emplace<Handshaking>(*this), worker().snapshot().timeouts.tls_handshake);
  tls_->set_observer(this);
  because(missing_certificate(listener(), name, *route_));
  handshake();
}

void PassthroughSession::handshake() {
  switch (go_on_with(*tls_, listener())) {
    case core::HandshakeStatus::again:
      return;
    case core::HandshakeStatus::failed: {
      const bool no_certificate = detail_ != nullptr;
      if (!no_certificate) because(tls_->failure());
      return close(no_certificate ? CloseReason::no_certificate : CloseReason::handshake_failed);
    }
    case core::HandshakeStatus::done:
      break;
  }
  alpn_ = tls_->alpn();
  connect(std::get<routing::Terminate>(route_->action).upstream, {});
}

void PassthroughSession::connect(const routing::UpstreamPtr& upstream, std::span<const char> hello) {
  release_memory();
  if (socket().broken()) return close(CloseReason::client_reset);  // right behind its hello: no event will tell again
  upstream_ = upstream;
  cancel_deadline();
  std::string kept;
  if (upstream->transport.proxy_protocol != core::ProxyVersion::off) {
    std::array<char, core::kMaxProxyWritten> header;
    const core::ProxyLine line{client(), destination(socket()), sni_, alpn_};
    header_size_ = static_cast<std::uint16_t>(write_proxy_header(upstream->transport.proxy_protocol, line, header));
    kept.assign(header.data(), header_size_);
  }
  kept.append(hello.data(), hello.size());
  routing::UpstreamPool& pool = worker().pools().of(upstream);
  if (pool.take_place()) return dial(std::move(kept));
  routing::PlaceTurn::Observer& observer = *this;
  auto& stage = stage_.emplace<Waiting>(Waiting{std::move(kept), std::make_unique<routing::PlaceTurn>(observer)});
  if (!pool.wait_for_place(*stage.turn)) on_no_place(pool.limit_reason());
}

void PassthroughSession::on_place() {
  const auto turn = std::move(std::get<Waiting>(stage_).turn);  // its call is still under way
  dial(std::move(std::get<Waiting>(stage_).hello));
}

void PassthroughSession::on_no_place(const std::string& why) {
  because("upstream " + upstream_->name + ": " + why);
  log_upstream(CloseReason::upstream_limit, "connections are closed", why);
  close(CloseReason::upstream_limit);
}

void PassthroughSession::dial(std::string hello) {
  routing::UpstreamPool& pool = worker().pools().of(upstream_);
  pool_ = &pool;
  auto pick = pool.pick({&client()});
  routing::Connector::Observer& observer = *this;
  auto& stage =
      stage_.emplace<Connecting>(std::move(hello), worker(), observer, std::move(pick.endpoints), pick.first, pool);
  charge(stage.connector->endpoints()->endpoints.empty() ? nullptr
                                                         : &stage.connector->endpoints()->endpoints[pick.first]);
  stage.connector->start(!stage.hello.empty());
}

void PassthroughSession::charge(const routing::Endpoint* endpoint) {
  if (charged_ != nullptr) pool_->discharge(*charged_);
  charged_ = endpoint;
  if (charged_ != nullptr) pool_->charge(*charged_);
}

void PassthroughSession::on_attempt_failed(const routing::Endpoint& endpoint) { pool_->failed(endpoint); }

void PassthroughSession::on_shortage() { worker().relieve(1); }

void PassthroughSession::on_connected(std::unique_ptr<core::TcpStream> stream, const routing::Endpoint& endpoint,
                                      unsigned attempts) {
  if (closed_) {  // in this very turn
    worker().loop().retire(std::move(stream));
    return;
  }
  endpoint_ = &endpoint;
  charge(&endpoint);
  pool_->succeeded(endpoint);
  attempts_ = static_cast<std::uint8_t>(attempts);
  connect_us_ = static_cast<std::uint32_t>(monotonic_us() - began_us_);
  auto& connecting = std::get<Connecting>(stage_);
  const std::string hello = std::move(connecting.hello);
  auto endpoints = connecting.connector->endpoints();
  Tunnel::Observer& observer = *this;
  auto& stage = tls_ != nullptr
                    ? stage_.emplace<Tunnelling>(std::move(stream), std::move(endpoints), worker(), observer, *tls_)
                    : stage_.emplace<Tunnelling>(std::move(stream), std::move(endpoints), worker(), observer, *stream_);
  stage.tunnel.count_for(client(), tenant_state());
  stage.tunnel.opened({header_size_, header_size_}, {});
  stage.tunnel.to_upstream().prepend(hello);
  stage.tunnel.start();
}

void PassthroughSession::on_connect_failed(const routing::ConnectFailure& failure) {
  if (closed_) return;
  attempts_ = static_cast<std::uint8_t>(failure.attempts);
  endpoint_ = failure.last;
  because("upstream " + upstream_->name + ": " + failure.detail);
  const CloseReason reason = close_reason_of(failure.kind);
  log_upstream(reason, "cannot connect", failure.detail);
  close(reason);
}

void PassthroughSession::log_upstream(CloseReason reason, const char* what, const std::string& why) const {
  core::log_limited(core::LogLevel::warn, {close_reason_name(reason), upstream_->identity}, "{}: upstream {}: {}: {}",
                    whose(), upstream_->name, what, why);
}

std::string PassthroughSession::whose() const {
  return route_ != nullptr ? "route " + route_->name : "listener " + listener().name();
}

core::ListenerMetrics& PassthroughSession::tunnel_metrics() const { return listener().metrics(); }

void PassthroughSession::on_tunnel_closed(CloseReason reason, const char* detail) {
  because(detail);
  if (tls_ != nullptr && reason == CloseReason::client_reset) because(tls_->failure());
  // The upstream got a FIN all the same: many clients never say close_notify.
  if (tls_ != nullptr && tls_->truncated() && detail_ == nullptr) because("the client ended without close_notify");
  close(reason);
}

// Nobody is shown anything but an alert, and that only where the listener says so (RFC 6066 3: unrecognized_name; RFC
// 8446 6: decode_error for what is no ClientHello).
void PassthroughSession::refuse(CloseReason reason) {
  if (listener().spec().unknown_host == routing::UnknownHost::alert) {
    constexpr char kDecodeError = 50;
    constexpr char kUnrecognizedName = 112;
    std::array<char, 7> alert{0x15, 0x03, 0x03, 0x00, 0x02, 0x02, kUnrecognizedName};
    if (reason == CloseReason::malformed_hello) alert.back() = kDecodeError;
    iovec piece{alert.data(), alert.size()};
    (void)stream_->write({&piece, 1});
  }
  close(reason);
}

void PassthroughSession::over_limit() {
  because("tenant " + route_->owner->name + " has reached a limit on its connections");
  core::log_limited(core::LogLevel::warn, {"tenant_limit", route_->owner->name},
                    "listener {}: connections are closed: {}", listener().name(), *detail_);
  close(CloseReason::tenant_limit);
}

void PassthroughSession::await(Timed& stage, milliseconds time) {
  worker().loop().timers().arm(stage.deadline, worker().now() + static_cast<std::uint64_t>(time.count()));
}

void PassthroughSession::cancel_deadline() {
  if (auto* inspecting = std::get_if<Inspecting>(&stage_)) inspecting->deadline.cancel();
  if (auto* handshaking = std::get_if<Handshaking>(&stage_)) handshaking->deadline.cancel();
}

void PassthroughSession::timed_out() {
  if (std::holds_alternative<Handshaking>(stage_)) {
    listener().metrics().handshakes_failed.add();
    return close(CloseReason::handshake_timeout);
  }
  close(listener().leaves() ? CloseReason::draining : CloseReason::hello_timeout);
}

void PassthroughSession::drain() {
  // A tunnel lasts until its ends close it, or until timeouts.drain is over.
  // A client that has just come in gets a moment to send its hello.
  constexpr milliseconds kGrace{1000};
  if (auto* stage = std::get_if<Inspecting>(&stage_); stage != nullptr) await(*stage, kGrace);
}

void PassthroughSession::close(CloseReason reason) {
  if (closed_) return;
  closed_ = true;
  const bool begun = !std::holds_alternative<Inspecting>(stage_) && !std::holds_alternative<Handshaking>(stage_);
  if (reason == CloseReason::drain_timeout && !begun) reason = CloseReason::draining;
  cancel_deadline();
  if (auto* stage = std::get_if<Waiting>(&stage_); stage != nullptr && stage->turn != nullptr) stage->turn->leave();
  if (pool_ != nullptr) {
    charge(nullptr);
    pool_->give_place();
  }
  release_memory();
  worker().metrics().closes[static_cast<std::size_t>(reason)].add();
  bool cut = false;
  if (auto* stage = std::get_if<Tunnelling>(&stage_)) {
    const bool of_tcp_listener = route_ == nullptr;  // no TLS tells a client there
    cut = stage->tunnel.end(reason, of_tcp_listener);
    stage->tunnel.closed();
  }
  if (worker().shared().access_log.enabled()) write_log(reason);
  if (stream_ != nullptr) stream_->set_observer(nullptr);
  if (tls_ != nullptr) {
    if (!is_failure(reason) && !cut) tls_->shutdown_write();
    tls_->set_observer(nullptr);
  }
  retire();
}

void PassthroughSession::write_log(CloseReason reason) {
  AccessRecord record;
  record.kind = AccessKind::connection;
  record.reason = reason;
  record.client = &client();
  record.listener = listener().name();
  record.sni = sni_;
  record.alpn = alpn_;
  if (tls_ != nullptr && !std::holds_alternative<Handshaking>(stage_)) {
    record.tls_version = tls_->version();
    record.tls_resumed = tls_->resumed();
  }
  record.attempts = attempts_;
  if (route_ != nullptr) {
    record.host = route_->name;
    record.route = route_->name;
    record.tenant = route_->tenant;
  }
  if (upstream_ != nullptr) record.upstream = upstream_->name;
  if (endpoint_ != nullptr) record.endpoint = endpoint_->text;
  if (const auto* stage = std::get_if<Tunnelling>(&stage_)) {
    record.bytes_in = stage->tunnel.bytes_to_upstream();
    record.bytes_out = stage->tunnel.bytes_to_client();
  } else {
    record.bytes_in = received_;
  }
  record.detail = detail_ != nullptr ? std::string_view(*detail_) : std::string_view();
  record.connect_us = connect_us_;
  record.duration_us = monotonic_us() - began_us_;
  worker().log(record);
}

}  // namespace edgemux::listeners
