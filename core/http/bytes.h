#pragma once
// Byte classes of HTTP/1 (RFC 9110, 5.6.2; RFC 9112) as tables, and the two loops that the parser spends its time in.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace edgemux::core {

constexpr unsigned char to_byte(char c) { return static_cast<unsigned char>(c); }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

// A token byte in lower case; 0 for any other byte.
inline constexpr auto kTokenLower = [] {
  std::array<char, 256> table{};
  for (int i = 0; i < 256; ++i) {
    const char c = static_cast<char>(i);
    const bool mark = i < 128 && i > 0 && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
    if (mark || is_digit(c) || is_alpha(c)) table[static_cast<std::size_t>(i)] = lower(c);
  }
  return table;
}();
constexpr char token_lower(char c) { return kTokenLower[to_byte(c)]; }

// Field content: visible, space, tab, and bytes above 0x7f.
constexpr bool is_value_byte(char c) { return (to_byte(c) >= 0x20 && c != 0x7f) || c == '\t'; }
// Target: visible ASCII without '#'.
constexpr bool is_target_byte(char c) { return c > 0x20 && c < 0x7f && c != '#'; }

// -1 when it is no hex digit.
constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

constexpr bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

inline bool is_token(std::string_view text) {
  for (const char c : text) {
    if (token_lower(c) == 0) return false;
  }
  return !text.empty();
}

constexpr std::string_view trim_ows(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The first byte in [p, end) that is not field content. Eight bytes at a time.
inline char* skip_value(char* p, char* end) {
  if constexpr (std::endian::native == std::endian::little) {
    constexpr std::uint64_t kOnes = 0x0101010101010101U;
    while (end - p >= 8) {
      std::uint64_t word;
      std::memcpy(&word, p, 8);
      const std::uint64_t del = word ^ (kOnes * 0x7f);
      // The lowest marked byte is exact: below 0x20, or 0x7f.
      const std::uint64_t marks = (((word - kOnes * 0x20) & ~word) | ((del - kOnes) & ~del)) & (kOnes * 0x80);
      if (marks == 0) {
        p += 8;
        continue;
      }
      p += std::countr_zero(marks) / 8;
      if (*p != '\t') return p;
      ++p;
    }
  }
  while (p < end && is_value_byte(*p)) ++p;
  return p;
}

}  // namespace edgemux::core
