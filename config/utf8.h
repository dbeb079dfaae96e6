#pragma once
// UTF-8 as far as the configuration needs it: is it any, and where does the next character begin.

#include <cstddef>
#include <string_view>

namespace edgemux::config {

// The length of the UTF-8 sequence at `at`, or 0 where there is none (RFC 3629).
inline std::size_t utf8_length(std::string_view s, std::size_t at) {
  const auto byte = [&](std::size_t i) -> unsigned { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0U; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0U) == 0x80U; };
  const unsigned b = byte(at);
  if (b < 0x80) return 1;
  if (b >= 0xC2 && b <= 0xDF) return tail(at + 1) ? 2 : 0;
  if (b >= 0xE0 && b <= 0xEF) {
    const unsigned second = byte(at + 1);
    if (!tail(at + 1) || !tail(at + 2)) return 0;
    if ((b == 0xE0 && second < 0xA0) || (b == 0xED && second >= 0xA0)) return 0;
    return 3;
  }
  if (b >= 0xF0 && b <= 0xF4) {
    const unsigned second = byte(at + 1);
    if (!tail(at + 1) || !tail(at + 2) || !tail(at + 3)) return 0;
    if ((b == 0xF0 && second < 0x90) || (b == 0xF4 && second >= 0x90)) return 0;
    return 4;
  }
  return 0;
}

}  // namespace edgemux::config
