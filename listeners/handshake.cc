#include "listeners/handshake.h"

#include "core/base/log.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

std::unique_ptr<core::TlsStream> accept_tls(const Listener& listener, std::unique_ptr<core::TcpStream> stream,
                                            std::span<const char> hello, const core::TlsPolicyPtr& policy,
                                            std::string_view name, const routing::Route& route) {
  Worker& worker = listener.worker();
  auto tls = worker.tls().accept(std::move(stream), hello, policy, *worker.snapshot().certificates, name, route.tenant);
  if (tls) return std::move(*tls);
  core::log_limited(core::LogLevel::error, "tls accept", "listener {}: {}: {}", listener.name(), name,
                    tls.error().message);
  return nullptr;
}

std::string missing_certificate(const Listener& listener, std::string_view name, const routing::Route& route) {
  if (listener.worker().snapshot().certificates->find(name, route.tenant)) return {};
  core::log_limited(core::LogLevel::warn, {"no certificate", route.name},
                    "listener {}: no certificate covers {}; its connections are refused", listener.name(), name);
  return "no certificate covers " + std::string(name);
}

core::HandshakeStatus go_on_with(core::TlsStream& tls, const Listener& listener) {
  auto& metrics = listener.metrics();
  const core::HandshakeStatus status = tls.handshake();
  if (status == core::HandshakeStatus::failed) {
    metrics.handshakes_failed.add();
    // The alert must arrive: what the client sent meanwhile is taken, so that closing is a FIN and no reset.
    tls.shutdown_write();
    for (int i = 0; i < 4 && tls.inner().readable(); ++i) {
      if (tls.inner().read(listener.worker().buffer()).status != core::IoStatus::ok) break;
    }
  } else if (status == core::HandshakeStatus::done) {
    (tls.resumed() ? metrics.handshakes_resumed : metrics.handshakes_full).add();
  }
  return status;
}

}  // namespace edgemux::listeners
