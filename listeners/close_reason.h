#pragma once
// CloseReason: why a connection or a request ended, one word each. The words are what the access log and the metrics
// show and what operators grep for: they are never renamed, and never mean something else.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace edgemux::listeners {

enum class CloseReason : std::uint8_t {
  // as it should be
  done,           // ended by agreement: answer complete, both halves of a tunnel closed
  client_closed,  // the client left between requests, or before it sent anything
  idle_timeout,   // keep-alive connection without a request for timeouts.idle
  draining,       // the process is going down or the listener was removed, and nothing was under way
  // the client
  client_reset,          // left in the middle: reset, or FIN inside a message
  bad_proxy_header,      // no PROXY header, or a malformed one, from a sender that must send one
  proxy_header_timeout,  // no whole PROXY header within timeouts.client_hello
  hello_timeout,         // no whole ClientHello within timeouts.client_hello
  hello_too_large,       // over limits.client_hello
  hello_memory,          // limits.inspect_memory is used up
  not_tls,               // something else than TLS on a tls listener
  malformed_hello,       // TLS, but no proper ClientHello
  no_sni,                // a ClientHello without a server name
  unknown_host,          // nobody owns the name here
  access_denied,         // allow / deny of the route
  handshake_timeout,     // timeouts.tls_handshake
  handshake_failed,      // no common version or cipher, a bad client certificate, an alert from the client
  head_timeout,          // timeouts.request_head
  head_too_large,        // limits.request_head, or too long for the rules of the host
  bad_request,           // refused by the HTTP rules
  body_too_large,        // max_request_body
  body_too_slow,         // timeouts.request_body_rate; timeouts.tunnel_idle once the answer has begun
  response_too_slow,     // the client takes the answer too slowly or not at all
  misdirected,           // 421: the Host belongs to another route than this connection
  too_many_connections,  // a limit on client connections
  flood,                 // HTTP/2: more resets, pings, settings, tiny windows, ... than work (flood_guard.h)
  too_many_streams,      // HTTP/2: one request more than the connection has room for: REFUSED_STREAM
  tenant_limit,          // a limit of the tenant: connections, or the rate of connections or requests
  source_limit,          // limits.requests_per_second_per_source
  // the route
  no_certificate,  // the host has no usable certificate
  refused,         // the route's security material is broken
  no_rule,         // no rule of the host matches
  no_upstream,     // the rule's upstream is not defined, or every weight of its split is 0
  // the upstream
  no_endpoint,       // the upstream has no address
  connect_failed,    // refused, unreachable, on every endpoint tried
  connect_timeout,   // timeouts.connect, on every endpoint tried
  upstream_tls,      // no TLS connection: a certificate that is not accepted, no common protocol, broken files of ours
  upstream_limit,    // limits.connections of the upstream
  upstream_reset,    // reset in the middle
  upstream_closed,   // FIN in the middle of an answer, or before it
  bad_response,      // refused by the HTTP rules
  response_timeout,  // timeouts.response, or timeouts.try of the rule
  request_timeout,   // timeouts.request of the rule
  // tunnels
  tunnel_idle,          // timeouts.tunnel_idle
  half_closed_timeout,  // timeouts.half_closed
  // us
  drain_timeout,     // still under way at the end of timeouts.drain, or when a second signal came
  out_of_resources,  // descriptors or memory
  internal,          // a failure inside edgemux
};

inline constexpr std::size_t kCloseReasons = static_cast<std::size_t>(CloseReason::internal) + 1;

// What the upstream did, or did not do in time.
constexpr bool of_upstream(CloseReason reason) {
  return reason >= CloseReason::no_endpoint && reason <= CloseReason::request_timeout;
}

// "hello_timeout"
std::string_view close_reason_name(CloseReason reason);

// False for the first group and for tunnel_idle: nothing went wrong. Failures are what edgemux_drops_total counts and
// what sampling of the access log never leaves out.
bool is_failure(CloseReason reason);

}  // namespace edgemux::listeners
