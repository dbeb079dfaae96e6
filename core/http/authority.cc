#include "core/http/bytes.h"
#include "core/http/head_parser.h"

namespace edgemux::core {
namespace {

bool is_name_byte(char c) { return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~'; }

// Only the alphabet: whether the address itself is one is for the host table, which owns none that is not.
bool is_ipv6_byte(char c) { return hex_digit(c) >= 0 || c == ':' || c == '.'; }

}  // namespace

bool parse_authority(std::string_view authority, std::string_view& host, std::uint16_t& port) {
  std::size_t end = 0;
  if (authority.starts_with('[')) {
    end = 1;
    while (end < authority.size() && is_ipv6_byte(authority[end])) ++end;
    if (end < 3 || end == authority.size() || authority[end] != ']') return false;
    ++end;
  } else {
    while (end < authority.size() && is_name_byte(authority[end])) ++end;
    if (end == 0) return false;
  }
  host = authority.substr(0, end);
  port = 0;
  if (end == authority.size()) return true;
  if (authority[end] != ':') return false;
  const std::string_view digits = authority.substr(end + 1);
  if (digits.empty() || digits.size() > 5) return false;
  unsigned value = 0;
  for (const char c : digits) {
    if (!is_digit(c)) return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  if (value == 0 || value > 65535) return false;
  port = static_cast<std::uint16_t>(value);
  return true;
}

}  // namespace edgemux::core
