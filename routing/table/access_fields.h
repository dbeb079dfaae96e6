#pragma once
// The fields of an access-log line, by the names that `log.access.fields` takes and the line shows.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace edgemux::routing {

enum class AccessField : std::uint8_t {
  time,
  kind,
  listener,
  client,
  client_port,
  sni,
  alpn,
  tls,
  resumed,
  host,
  method,
  path,
  protocol,
  status,
  reason,
  detail,
  bytes_in,
  bytes_out,
  duration_ms,
  route,
  tenant,
  upstream,
  endpoint,
  attempts,
  connect_ms,
  first_byte_ms,
  request_id,
  user_agent,
  referer,
};

inline constexpr std::array<std::string_view, 29> kAccessFields{
    "time",       "kind",          "listener",    "client",     "client_port", "sni",      "alpn",     "tls",
    "resumed",    "host",          "method",      "path",       "protocol",    "status",   "reason",   "detail",
    "bytes_in",   "bytes_out",     "duration_ms", "route",      "tenant",      "upstream", "endpoint", "attempts",
    "connect_ms", "first_byte_ms", "request_id",  "user_agent", "referer"};
static_assert(static_cast<std::size_t>(AccessField::referer) + 1 == kAccessFields.size() &&
              !kAccessFields.back().empty());

constexpr std::optional<AccessField> find_access_field(std::string_view name) {
  for (std::size_t i = 0; i < kAccessFields.size(); ++i) {
    if (kAccessFields[i] == name) return static_cast<AccessField>(i);
  }
  return std::nullopt;
}

}  // namespace edgemux::routing
