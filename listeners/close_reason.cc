#include "listeners/close_reason.h"

#include <array>

#include "core/base/metrics.h"

namespace edgemux::listeners {

namespace {

constexpr std::array<std::string_view, kCloseReasons> kNames{
    "done",
    "client_closed",
    "idle_timeout",
    "draining",
    "client_reset",
    "bad_proxy_header",
    "proxy_header_timeout",
    "hello_timeout",
    "hello_too_large",
    "hello_memory",
    "not_tls",
    "malformed_hello",
    "no_sni",
    "unknown_host",
    "access_denied",
    "handshake_timeout",
    "handshake_failed",
    "head_timeout",
    "head_too_large",
    "bad_request",
    "body_too_large",
    "body_too_slow",
    "response_too_slow",
    "misdirected",
    "too_many_connections",
    "flood",
    "too_many_streams",
    "tenant_limit",
    "source_limit",
    "no_certificate",
    "refused",
    "no_rule",
    "no_upstream",
    "no_endpoint",
    "connect_failed",
    "connect_timeout",
    "upstream_tls",
    "upstream_limit",
    "upstream_reset",
    "upstream_closed",
    "bad_response",
    "response_timeout",
    "request_timeout",
    "tunnel_idle",
    "half_closed_timeout",
    "drain_timeout",
    "out_of_resources",
    "internal",
};
static_assert(!kNames.back().empty(), "a reason has no name");
static_assert(kCloseReasons <= core::kReasonSlots, "the metrics have no room for every reason");

}  // namespace

std::string_view close_reason_name(CloseReason reason) { return kNames[static_cast<std::size_t>(reason)]; }

bool is_failure(CloseReason reason) {
  switch (reason) {
    case CloseReason::done:
    case CloseReason::client_closed:
    case CloseReason::idle_timeout:
    case CloseReason::draining:
    case CloseReason::tunnel_idle:
      return false;
    default:
      return true;
  }
}

}  // namespace edgemux::listeners
