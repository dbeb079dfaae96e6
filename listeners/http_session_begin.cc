// HttpSession, its beginning: the handshake, and which protocol was agreed on.

#include "listeners/http_session.h"

#include <algorithm>
#include <array>

#include "core/http/http2_server.h"
#include "listeners/clock.h"
#include "listeners/handshake.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

namespace {

// For how long a connection may begin more than its share: until what the client began before it knew has arrived.
constexpr std::uint64_t kEarlyTime = 2'000;  // ms

}  // namespace

void HttpSession::begin_plain(Listener& listener, const core::SocketAddress& client,
                              const core::SocketAddress& destination, std::unique_ptr<core::TcpStream> stream) {
  std::unique_ptr<HttpSession> session(new HttpSession(listener, client, destination, std::move(stream)));
  session->await(Waiting::first_head, listener.worker().snapshot().timeouts.request_head);
  HttpSession& begun = *session;
  listener.worker().add(std::move(session));
  if (listener.leaves()) begun.drain();
}

void HttpSession::begin_tls(Listener& listener, const core::SocketAddress& client,
                            const core::SocketAddress& destination, std::unique_ptr<core::TcpStream> stream,
                            std::span<const char> hello, routing::RoutePtr route, std::string_view name,
                            std::string sni, std::uint64_t began_us, bool by_source) {
  Worker& worker = listener.worker();
  auto tls =
      accept_tls(listener, std::move(stream), hello, std::get<routing::VirtualHost>(route->action).tls, name, *route);
  if (tls == nullptr) {
    worker.metrics().closes[static_cast<std::size_t>(CloseReason::internal)].add();
    worker.shared().admission.leave(client, by_source);
    listener.metrics().active.sub();
    if (route->owner != nullptr) route->owner->state->leave();
    return;
  }
  core::TlsStream* stream_of_tls = tls.get();
  std::unique_ptr<HttpSession> session(new HttpSession(listener, client, destination, std::move(tls)));
  session->tls_ = stream_of_tls;
  session->tls_route_ = std::move(route);
  session->take_over(session->tls_route_->owner.get(), by_source);
  session->sni_ = std::move(sni);
  session->began_us_ = began_us;
  session->stage_.emplace<Handshaking>();
  session->await(Waiting::handshake, worker.snapshot().timeouts.tls_handshake);
  session->detail_ = missing_certificate(listener, name, *session->tls_route_);
  HttpSession& begun = *session;
  worker.add(std::move(session));
  if (listener.leaves()) begun.drain();
  begun.handshake();
}

void HttpSession::handshake() {
  switch (go_on_with(*tls_, listener())) {
    case core::HandshakeStatus::again:
      return;
    case core::HandshakeStatus::failed: {
      const bool no_certificate = !detail_.empty();
      if (!no_certificate) detail_ = tls_->failure();
      return close(no_certificate ? CloseReason::no_certificate : CloseReason::handshake_failed);
    }
    case core::HandshakeStatus::done:
      break;
  }
  stage_.emplace<Serving>();
  await(Waiting::first_head, worker().snapshot().timeouts.request_head);
  choose_codec();
  if (std::exchange(draining_, false)) drain();  // while hands were shaken it could not be told
  serve();
}

void HttpSession::choose_codec() {
  if (tls_->alpn() != "h2") return;
  core::ServerCodec::Observer& observer = *this;
  multiplexed_ = std::make_unique<core::Http2Server>(observer, output_, worker().http_scratch(),
                                                     worker().snapshot().limits.request_head);
  codec_ = multiplexed_.get();
  early_ = std::make_unique<core::Timer>([](void* self) { static_cast<HttpSession*>(self)->grown_up(); }, this);
  worker().loop().timers().arm(*early_, worker().now() + kEarlyTime);
  announce_origins();
  flush();
}

// The names of the certificate that may be asked for on this connection without a 421 (RFC 8336).
void HttpSession::announce_origins() {
  constexpr std::size_t kMost = 64;
  std::array<char, 256> buffer;
  const std::string_view name = routing::normalise_host(sni_, buffer.data());
  const core::CertificateChoice choice = worker().snapshot().certificates->find(name, tls_route_->tenant);
  if (!choice) return;
  // Which of two pairs the client was shown is not known here: a name must be in both.
  const core::CertifiedKey& pair = choice.ecdsa != nullptr ? **choice.ecdsa : **choice.rsa;
  const core::CertifiedKey& other = choice.rsa != nullptr ? **choice.rsa : pair;
  const std::uint16_t port = destination().port();
  const std::string suffix = port == 443 ? std::string() : ":" + std::to_string(port);
  std::vector<std::string> origins;
  for (const std::string& covered : pair.names) {
    if (covered.starts_with('*') || origins.size() == kMost) continue;
    if (std::find(other.names.begin(), other.names.end(), covered) == other.names.end()) continue;
    const routing::RoutePtr* route = listener().hosts().find(covered);
    if (route == nullptr || *route != tls_route_) continue;
    origins.push_back(std::string("https://").append(covered).append(suffix));
  }
  if (!origins.empty()) multiplexed_->announce({origins.begin(), origins.end()});
}

}  // namespace edgemux::listeners
