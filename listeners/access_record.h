#pragma once
// AccessRecord: what the access log is told about one request or one connection. Views point at what the session owns
// and are read only during AccessLog::write(). Whatever is left empty or zero is left out of the line, with the
// exceptions named below.

#include <cstdint>
#include <string_view>

#include "core/base/address.h"
#include "core/http/message.h"
#include "listeners/close_reason.h"

namespace edgemux::listeners {

enum class AccessKind : std::uint8_t {
  request,     // one HTTP exchange
  connection,  // one that goes to an upstream as bytes, or that ended before its first request (a failed handshake, a
               // timeout)
};

struct AccessRecord {
  AccessKind kind = AccessKind::request;
  CloseReason reason = CloseReason::done;  // always written
  std::uint16_t status = 0;                // 0 = no answer was sent, or not HTTP
  bool tls_resumed = false;
  std::uint32_t attempts = 0;  // endpoints tried
  // Unix milliseconds when it began; 0 = now minus the duration.
  std::int64_t time_ms = 0;
  const core::SocketAddress* client = nullptr;
  std::string_view listener;
  std::string_view sni;
  std::string_view alpn;         // as agreed when terminated; behind passthrough the first one offered
  std::string_view tls_version;  // "TLSv1.3"
  std::string_view host;
  std::string_view method;
  std::string_view path;      // with query, as sent
  std::string_view protocol;  // "HTTP/1.1"
  std::string_view route;
  std::string_view tenant;
  std::string_view upstream;
  std::string_view endpoint;  // Endpoint::text
  std::string_view request_id;
  std::string_view user_agent;
  std::string_view referer;
  std::string_view detail;      // why, in words, where the reason alone does not say it: the TLS alert, the errno text
  std::uint64_t bytes_in = 0;   // from the client; always written
  std::uint64_t bytes_out = 0;  // to the client; always written
  std::uint64_t duration_us = 0;    // always written
  std::uint64_t connect_us = 0;     // until the upstream connection stood; 0 = it was there already
  std::uint64_t first_byte_us = 0;  // until the first byte from the upstream
};

// What an extended CONNECT is to rules (RFC 8441) is not what the client sent.
inline std::string_view logged_method(const core::RequestHead& head) {
  return head.upgrade && head.major == 2 ? std::string_view("CONNECT") : head.method_text;
}

}  // namespace edgemux::listeners
