#include "core/http/field.h"

#include <algorithm>
#include <cstring>

namespace edgemux::core {
namespace {

// `p` holds N - 1 bytes; the constant length lets the compiler compare whole words.
template <std::size_t N>
bool is(const char* p, const char (&text)[N]) {
  return std::memcmp(p, text, N - 1) == 0;
}

}  // namespace

FieldId classify_field(std::string_view name) {
  const char* p = name.data();
  switch (name.size()) {
    case 2:
      return is(p, "te") ? FieldId::te : FieldId::other;
    case 3:
      return is(p, "via") ? FieldId::via : FieldId::other;
    case 4:
      if (is(p, "host")) return FieldId::host;
      return is(p, "date") ? FieldId::date : FieldId::other;
    case 6:
      if (is(p, "cookie")) return FieldId::cookie;
      if (is(p, "server")) return FieldId::server;
      return is(p, "expect") ? FieldId::expect : FieldId::other;
    case 7:
      if (is(p, "upgrade")) return FieldId::upgrade;
      return is(p, "trailer") ? FieldId::trailer : FieldId::other;
    case 8:
      return is(p, "location") ? FieldId::location : FieldId::other;
    case 9:
      if (is(p, "forwarded")) return FieldId::forwarded;
      return is(p, "x-real-ip") ? FieldId::x_real_ip : FieldId::other;
    case 10:
      if (is(p, "connection")) return FieldId::connection;
      if (is(p, "user-agent")) return FieldId::user_agent;
      return is(p, "keep-alive") ? FieldId::keep_alive : FieldId::other;
    case 12:
      if (is(p, "content-type")) return FieldId::content_type;
      return is(p, "x-request-id") ? FieldId::x_request_id : FieldId::other;
    case 14:
      if (is(p, "content-length")) return FieldId::content_length;
      return is(p, "http2-settings") ? FieldId::http2_settings : FieldId::other;
    case 15:
      return is(p, "x-forwarded-for") ? FieldId::x_forwarded_for : FieldId::other;
    case 16:
      if (is(p, "x-forwarded-host")) return FieldId::x_forwarded_host;
      if (is(p, "x-forwarded-port")) return FieldId::x_forwarded_port;
      return is(p, "proxy-connection") ? FieldId::proxy_connection : FieldId::other;
    case 17:
      if (is(p, "transfer-encoding")) return FieldId::transfer_encoding;
      return is(p, "x-forwarded-proto") ? FieldId::x_forwarded_proto : FieldId::other;
    default:
      return FieldId::other;
  }
}

bool aliases_managed_field(std::string_view name) {
  constexpr std::size_t kLongest = 17;  // transfer-encoding
  if (name.size() > kLongest || name.find('_') == std::string_view::npos) return false;
  char plain[kLongest];
  for (std::size_t i = 0; i < name.size(); ++i) plain[i] = name[i] == '_' ? '-' : name[i];
  return is_managed(classify_field({plain, name.size()}));
}

bool alias_each_other(std::string_view name, std::string_view other) {
  const auto plain = [](char c) { return c == '_' ? '-' : c; };
  return name.size() == other.size() && name != other &&
         std::equal(name.begin(), name.end(), other.begin(), [&](char a, char b) { return plain(a) == plain(b); });
}

}  // namespace edgemux::core
