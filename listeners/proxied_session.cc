#include "listeners/proxied_session.h"

#include <array>
#include <cerrno>
#include <cstring>

#include "core/base/log.h"
#include "core/proxy_protocol/proxy_header.h"
#include "listeners/clock.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

void ProxiedSession::begin(Listener& listener, const core::SocketAddress& sender,
                           std::unique_ptr<core::TcpStream> stream) {
  std::unique_ptr<ProxiedSession> session(new ProxiedSession(listener, sender, std::move(stream)));
  ProxiedSession& begun = *session;
  listener.worker().add(std::move(session));
  if (listener.leaves()) begun.drain();
}

// A client that has just come in gets a moment to say who it is.
void ProxiedSession::drain() {
  constexpr std::uint64_t kGrace = 1'000;  // ms
  worker().loop().timers().arm(deadline_, worker().now() + kGrace);
}

ProxiedSession::ProxiedSession(Listener& listener, const core::SocketAddress& sender,
                               std::unique_ptr<core::TcpStream> stream)
    : Session(listener, {}),  // counts as nobody's yet
      stream_(std::move(stream)),
      deadline_([](void* self) { static_cast<ProxiedSession*>(self)->timed_out(); }, this),
      sender_(sender),
      client_(sender),
      began_us_(monotonic_us()) {
  stream_->set_observer(this);
  const auto timeout = worker().snapshot().timeouts.client_hello;
  worker().loop().timers().arm(deadline_, worker().now() + static_cast<std::uint64_t>(timeout.count()));
}

void ProxiedSession::on_ready(core::Stream&) {
  if (closed_) return;
  const auto buffer = worker().buffer().first(core::kMaxProxyHeader);
  ssize_t size = -1;
  do {
    size = recv(stream_->fd(), buffer.data(), buffer.size(), MSG_PEEK);
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    if (errno == EAGAIN) return;
    detail_ = std::strerror(errno);
    return close(CloseReason::client_reset);
  }
  const auto header = core::parse_proxy_header(buffer.first(static_cast<std::size_t>(size)));
  switch (header.verdict) {
    case core::ProxyHeader::Verdict::header:
      return take(header.size, header.source, header.destination);
    case core::ProxyHeader::Verdict::need_more:
      // What lies there is not taken, so the end behind it shows only here.
      if (!stream_->peer_closed()) return;
      return close(size == 0 ? CloseReason::client_closed : CloseReason::client_reset);
    case core::ProxyHeader::Verdict::absent:
      detail_ = "no PROXY header from a sender that must send one";
      return close(CloseReason::bad_proxy_header);
    case core::ProxyHeader::Verdict::malformed:
      detail_ = header.reason;
      return close(CloseReason::bad_proxy_header);
  }
}

void ProxiedSession::take(std::size_t header, const core::SocketAddress& client,
                          const core::SocketAddress& destination) {
  // It lies there whole.
  (void)recv(stream_->fd(), worker().buffer().data(), header, 0);
  if (client.valid()) client_ = client;
  if (!worker().shared().admission.name(client_, worker().now(), worker().counts_sources())) {
    detail_ = "a limit on the connections of " + client_.ip() + " is reached";
    return close(CloseReason::too_many_connections);
  }
  closed_ = true;
  deadline_.cancel();
  hand_over();
  stream_->set_observer(nullptr);
  stream_->wake();  // what lies behind the header nobody announces again
  listener().begin(client_, destination, std::move(stream_));
  retire();
}

void ProxiedSession::timed_out() {
  close(listener().leaves() ? CloseReason::draining : CloseReason::proxy_header_timeout);
}

void ProxiedSession::close(CloseReason reason) {
  if (closed_) return;
  closed_ = true;
  if (reason == CloseReason::drain_timeout) reason = CloseReason::draining;  // nothing had begun
  deadline_.cancel();
  worker().metrics().closes[static_cast<std::size_t>(reason)].add();
  if (reason == CloseReason::bad_proxy_header || reason == CloseReason::proxy_header_timeout) {
    core::log_limited(core::LogLevel::warn, "proxy_header", "listener {}: {}: {}", listener().name(), sender_.ip(),
                      detail_.empty() ? "no whole PROXY header within timeouts.client_hello" : detail_);
  }
  if (worker().shared().access_log.enabled()) {
    AccessRecord record;
    record.kind = AccessKind::connection;
    record.reason = reason;
    record.client = &client_;
    record.listener = listener().name();
    record.detail = detail_;
    record.duration_us = monotonic_us() - began_us_;
    worker().log(record);
  }
  stream_->set_observer(nullptr);
  retire();
}

}  // namespace edgemux::listeners
