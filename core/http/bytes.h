#pragma once
// Byte classes of HTTP/1 (RFC 9110, 5.6.2; RFC 9112) as tables, and the loops that the parser spends its time in. Those
// take sixteen bytes at a time where the processor has SSE2, which every x86-64 has, and one byte at a time elsewhere.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

#ifdef __SSE2__

namespace sixteen {

inline __m128i load(const char* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline void store(char* p, __m128i bytes) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes); }
inline __m128i all(int c) { return _mm_set1_epi8(static_cast<char>(c)); }
// Bytes in [first, last], as unsigned ones.
inline __m128i in_range(__m128i bytes, int first, int last) {
  const __m128i offset = _mm_sub_epi8(bytes, all(first));
  return _mm_cmpeq_epi8(_mm_min_epu8(offset, all(last - first)), offset);
}
// A bit for each byte.
inline unsigned bits(__m128i mask) { return static_cast<unsigned>(_mm_movemask_epi8(mask)); }

inline __m128i value_bytes(__m128i bytes) {
  const __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, all('\t')), in_range(bytes, 0, 0x1f));
  return _mm_andnot_si128(_mm_or_si128(control, _mm_cmpeq_epi8(bytes, all(0x7f))), all(0xff));
}
inline __m128i target_bytes(__m128i bytes) {
  return _mm_andnot_si128(_mm_cmpeq_epi8(bytes, all('#')), in_range(bytes, 0x21, 0x7e));
}
inline __m128i letters(__m128i bytes) { return in_range(_mm_or_si128(bytes, all(0x20)), 'a', 'z'); }
// Those of a token that names are made of: letters, digits, '-'.
inline __m128i name_bytes(__m128i bytes, __m128i letters) {
  return _mm_or_si128(letters, _mm_or_si128(in_range(bytes, '0', '9'), _mm_cmpeq_epi8(bytes, all('-'))));
}

// The first n bytes are ones: from kFirst + 16 - n.
inline constexpr auto kFirst = [] {
  std::array<char, 32> table{};
  for (std::size_t i = 0; i < 16; ++i) table[i] = static_cast<char>(0xff);
  return table;
}();

}  // namespace sixteen

#endif

// What a text may be made of, for skip() and all_of(): one byte, and sixteen of them as a mask.
struct ValueBytes {
  static bool holds(char c) { return is_value_byte(c); }
#ifdef __SSE2__
  static __m128i in(__m128i bytes) { return sixteen::value_bytes(bytes); }
#endif
};
struct TargetBytes {
  static bool holds(char c) { return is_target_byte(c); }
#ifdef __SSE2__
  static __m128i in(__m128i bytes) { return sixteen::target_bytes(bytes); }
#endif
};
// Of names in lower case: letters, digits and '-', of which nearly all are made.
struct PlainNameBytes {
  static bool holds(char c) { return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-'; }
#ifdef __SSE2__
  static __m128i in(__m128i bytes) { return sixteen::name_bytes(bytes, sixteen::in_range(bytes, 'a', 'z')); }
#endif
};

// The first byte in [p, end) that is none of `Bytes`.
template <typename Bytes>
char* skip(char* p, char* end) {
#ifdef __SSE2__
  for (; end - p >= 16; p += 16) {
    const unsigned good = sixteen::bits(Bytes::in(sixteen::load(p)));
    if (good != 0xffff) return p + std::countr_one(good);
  }
#endif
  while (p < end && Bytes::holds(*p)) ++p;
  return p;
}
// Whether a text is made of `Bytes` alone. Short ones, which most are, take one step: its two ends side by side.
template <typename Bytes>
bool all_of(std::string_view text) {
  const char* p = text.data();
  const char* const end = p + text.size();
#ifdef __SSE2__
  const auto good = [](__m128i bytes) { return sixteen::bits(Bytes::in(bytes)) == 0xffff; };
  const auto load = [](const char* from, auto word) {
    std::memcpy(&word, from, sizeof word);
    return static_cast<long long>(word);
  };
  if (text.size() >= 16) {
    for (; end - p > 16; p += 16) {
      if (!good(sixteen::load(p))) return false;
    }
    return good(sixteen::load(end - 16));
  }
  if (text.size() >= 8) return good(_mm_set_epi64x(load(p, std::uint64_t{}), load(end - 8, std::uint64_t{})));
  if (text.size() >= 4) {
    const auto both = static_cast<long long>(static_cast<unsigned long long>(load(p, std::uint32_t{})) << 32 |
                                             static_cast<unsigned long long>(load(end - 4, std::uint32_t{})));
    return good(_mm_set1_epi64x(both));
  }
#endif
  while (p < end && Bytes::holds(*p)) ++p;
  return p == end;
}

inline char* skip_value(char* p, char* end) { return skip<ValueBytes>(p, end); }
inline char* skip_target(char* p, char* end) { return skip<TargetBytes>(p, end); }

// The end of the token at p, which is made lower case in place; bytes behind it stay as they are. `underscore` is set
// where it has one.
inline char* lower_token(char* p, char* end, bool& underscore) {
#ifdef __SSE2__
  while (end - p >= 16) {
    const __m128i bytes = sixteen::load(p);
    const __m128i letters = sixteen::letters(bytes);
    const int length = std::countr_one(sixteen::bits(sixteen::name_bytes(bytes, letters)));
    const __m128i first = sixteen::load(sixteen::kFirst.data() + 16 - length);
    const __m128i bit = _mm_and_si128(_mm_and_si128(letters, first), sixteen::all(0x20));
    sixteen::store(p, _mm_or_si128(bytes, bit));
    p += length;
    if (length < 16) break;
  }
#endif
  char low = 0;
  for (; p < end && (low = token_lower(*p)) != 0; ++p) {
    underscore |= low == '_';
    *p = low;
  }
  return p;
}

}  // namespace edgemux::core
