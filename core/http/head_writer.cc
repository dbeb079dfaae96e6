#include "core/http/head_writer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "core/http/bytes.h"
#include "core/http/status.h"

namespace edgemux::core {
namespace {

bool is_visible(std::string_view text) {
  for (const char c : text) {
    if (c <= 0x20 || c == 0x7f) return false;
  }
  return true;
}

struct Decimal {
  char text[20];
  std::size_t size;
  explicit Decimal(std::uint64_t value) {
    size = static_cast<std::size_t>(std::to_chars(text, text + sizeof text, value).ptr - text);
  }
  [[nodiscard]] std::string_view view() const { return {text, size}; }
};

// Whether a byte below 0x10 may be there. The last step overlaps the one before it; short texts are not looked at.
bool may_have_low_byte(std::string_view text) {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHigh = 0x8080808080808080;
  const auto suspect = [](std::uint64_t word) { return ((word - kOnes * 0x10) & ~word & kHigh) != 0; };
  const auto load = [](const char* from, auto word) {
    std::memcpy(&word, from, sizeof word);
    return word;
  };
  const char* p = text.data();
  const char* const end = p + text.size();
#ifdef __SSE2__
  if (text.size() >= 16) {
    __m128i low = sixteen::in_range(sixteen::load(end - 16), 0, 0x0f);
    for (; end - p > 16; p += 16) low = _mm_or_si128(low, sixteen::in_range(sixteen::load(p), 0, 0x0f));
    return sixteen::bits(low) != 0;
  }
#endif
  if (text.size() >= 8) {
    bool any = suspect(load(end - 8, std::uint64_t{}));
    for (; end - p > 8; p += 8) any = any || suspect(load(p, std::uint64_t{}));
    return any;
  }
  if (text.size() >= 4) return suspect(std::uint64_t{load(p, std::uint32_t{})} << 32 | load(end - 4, std::uint32_t{}));
  return true;
}

}  // namespace

bool stands_as_line(const Field& f) {
  const char* const end = f.value.data() + f.value.size();
  return f.verbatim && f.value.data() == f.name.data() + f.name.size() + 2 && end[0] == '\r' && end[1] == '\n';
}

bool breaks_line(std::string_view text) {
  return may_have_low_byte(text) &&
         std::any_of(text.begin(), text.end(), [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

void HeadWriter::request_line(std::string_view method, std::string_view path, bool has_query, std::string_view query) {
  unsafe_ = unsafe_ || !is_token(method) || path.empty() || !is_visible(path) || !is_visible(query);
  append(method);
  append(" ");
  append(path);
  if (has_query) {
    append("?");
    append(query);
  }
  append(" HTTP/1.1\r\n");
}

void HeadWriter::status_line(int status, std::string_view reason) {
  if (const std::string_view line = core::status_line(status); !line.empty()) {
    append(line);
    return;
  }
  if (breaks_line(reason)) reason = {};
  append("HTTP/1.1 ");
  append(Decimal(static_cast<std::uint64_t>(status)).view());
  append(" ");
  append(reason);
  append("\r\n");
}

void HeadWriter::field(std::string_view name, std::string_view value) {
  if (name.empty() || breaks_line(name) || breaks_line(value)) {
    ++dropped_;
    return;
  }
  const std::size_t size = name.size() + value.size() + 4;
  if (size <= capacity_ - used_ && size_ == used_) {
    char* out = out_ + used_;
    std::memcpy(out, name.data(), name.size());
    out += name.size();
    *out++ = ':';
    *out++ = ' ';
    std::memcpy(out, value.data(), value.size());
    out += value.size();
    *out++ = '\r';
    *out = '\n';
    used_ += size;
  }
  size_ += size;
}

void HeadWriter::field(std::string_view name, std::uint64_t value) { field(name, Decimal(value).view()); }

void HeadWriter::fields(std::span<const Field> list) {
  std::string_view lines;  // not yet written
  for (const Field& f : list) {
    if (f.hop_by_hop || f.id == FieldId::host || f.id == FieldId::content_length) continue;
    if (!stands_as_line(f)) {
      append(std::exchange(lines, {}));
      field(f.name, f.value);
      continue;
    }
    const std::size_t size = f.name.size() + f.value.size() + 4;
    if (lines.data() + lines.size() == f.name.data() && !lines.empty()) {
      lines = {lines.data(), lines.size() + size};
    } else {
      append(std::exchange(lines, {f.name.data(), size}));
    }
  }
  append(lines);
}

void HeadWriter::framing(const RequestHead& head) {
  framing(head.has_content_length ? Framing::length : head.framing, head.content_length);
}

void HeadWriter::framing(const ResponseHead& head) {
  const bool bodiless_status = head.status < 200 || head.status == 204;  // RFC 9110, 8.6: no length in these
  framing(head.has_content_length && !bodiless_status ? Framing::length : head.framing, head.content_length);
}

void HeadWriter::framing(Framing framing, std::uint64_t content_length) {
  if (framing == Framing::length) {
    append("content-length: ");
    append(Decimal(content_length).view());
    append("\r\n");
  } else if (framing == Framing::chunked) {
    append("transfer-encoding: chunked\r\n");
  }
}

std::string_view DateCache::at(std::int64_t unix_seconds) {
  constexpr std::size_t kSize = 29;
  if (unix_seconds == second_) return {text_, kSize};
  second_ = unix_seconds;
  // Days since 1970-01-01 to a civil date (proleptic Gregorian, years of 400-year eras starting in March).
  const std::int64_t days = unix_seconds >= 0 ? unix_seconds / 86400 : (unix_seconds - 86399) / 86400;
  const std::int64_t seconds = unix_seconds - days * 86400;
  const std::int64_t shifted = days + 719468;
  const std::int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
  const std::int64_t day_of_era = shifted - era * 146097;
  const std::int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t march_month = (5 * day_of_year + 2) / 153;
  const std::int64_t day = day_of_year - (153 * march_month + 2) / 5 + 1;
  const std::int64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
  const std::int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);

  const auto two = [](char* out, std::int64_t value) {
    out[0] = static_cast<char>('0' + value / 10 % 10);
    out[1] = static_cast<char>('0' + value % 10);
  };
  std::memcpy(text_, "Thu, 01 Jan 1970 00:00:00 GMT", kSize);
  std::memcpy(text_, &"ThuFriSatSunMonTueWed"[((days % 7 + 7) % 7) * 3], 3);
  two(text_ + 5, day);
  std::memcpy(text_ + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[(month - 1) * 3], 3);
  two(text_ + 12, year / 100);
  two(text_ + 14, year);
  two(text_ + 17, seconds / 3600);
  two(text_ + 20, seconds / 60 % 60);
  two(text_ + 23, seconds % 60);
  return {text_, kSize};
}

}  // namespace edgemux::core
