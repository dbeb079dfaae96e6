#include "config/values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>

#include "config/problems.h"
#include "routing/table/host_table.h"

namespace edgemux::config {
namespace {

struct Quantity {
  std::uint64_t number;
  std::string_view unit;
};

// `what` it should be. Fails with it, or with the number's size.
core::Result<Quantity> split(std::string_view text, std::string_view what) {
  Quantity q{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), q.number);
  if (error == std::errc::result_out_of_range) return core::fail(quote(text) + " is too large");
  if (error != std::errc{}) return core::fail(quote(text) + std::string(what));
  q.unit = text.substr(static_cast<std::size_t>(end - text.data()));
  if (!q.unit.empty() && q.unit.front() == ' ') q.unit.remove_prefix(1);
  return q;
}

}  // namespace

namespace {

constexpr std::uint64_t longest_duration = 1000ULL * 3'600'000ULL * 24ULL * 365ULL;  // ms: 1000 years

// What other programs' files say: "1m30s", "0.5s", "2d". In milliseconds; nothing: it is none of these.
std::optional<std::uint64_t> foreign_duration(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::uint64_t>, 6> units{
      {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}, {"w", 604'800'000}}};
  constexpr std::string_view number = "0123456789.";
  constexpr std::uint64_t most = longest_duration * 1000;
  std::uint64_t total = 0;  // in thousandths of a millisecond
  while (!text.empty()) {
    const auto digits = std::min(text.find_first_not_of(number), text.size());
    const auto end = std::min(text.find_first_of(number, digits), text.size());
    const auto value = parse_decimal(text.substr(0, digits));
    std::string_view word = text.substr(digits, end - digits);
    while (word.ends_with(' ')) word.remove_suffix(1);
    const auto unit = std::find_if(units.begin(), units.end(), [&](const auto& one) { return one.first == word; });
    if (!value || unit == units.end() || *value > most / unit->second) return std::nullopt;
    total += *value * unit->second;
    if (total > most) return std::nullopt;
    text.remove_prefix(end);
  }
  if (total == 0 || total % 1000 != 0) return std::nullopt;
  return total / 1000;
}

core::Result<std::chrono::milliseconds> no_duration(std::string_view text, std::string_view otherwise) {
  const auto meant = foreign_duration(text);
  if (!meant) return core::fail(quote(text) + std::string(otherwise));
  return core::fail(quote(text) + " is not a time here; write one whole number with one unit, like " +
                    duration_text(std::chrono::milliseconds(*meant)));
}

}  // namespace

core::Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  constexpr std::string_view wrong = " is not a time; write it like 500ms, 5s, 1m or 1h";
  const auto q = split(text, wrong);
  if (!q) return tl::unexpected<core::Error>(q.error());
  std::uint64_t unit = 0;
  if (q->unit == "ms") unit = 1;
  if (q->unit == "s") unit = 1000;
  if (q->unit == "m") unit = 60'000;
  if (q->unit == "h") unit = 3'600'000;
  if (q->unit.empty()) {
    if (q->number == 0) return std::chrono::milliseconds(0);
    const std::string number = std::to_string(q->number);
    return core::fail(quote(text) + " has no unit; write " + number + "s for seconds or " + number +
                      "ms for milliseconds");
  }
  if (unit == 0) return no_duration(text, " is not a time; the units are ms, s, m and h");
  if (q->number > longest_duration / unit) return core::fail(quote(text) + " is longer than 1000 years");
  return std::chrono::milliseconds(q->number * unit);
}

core::Result<std::uint64_t> parse_size(std::string_view text) {
  const auto q = split(text, " is not a size; write it like 64KiB, 100MiB or 4096 (bytes)");
  if (!q) return tl::unexpected<core::Error>(q.error());
  unsigned shift = 0;
  if (q->unit == "KiB") {
    shift = 10;
  } else if (q->unit == "MiB") {
    shift = 20;
  } else if (q->unit == "GiB") {
    shift = 30;
  } else if (!q->unit.empty() && q->unit != "B") {
    return core::fail(quote(text) + " is not a size; the units are KiB, MiB and GiB");
  }
  if (q->number > (std::numeric_limits<std::uint64_t>::max() >> 1U) >> shift) {
    return core::fail(quote(text) + " is too large");
  }
  return q->number << shift;
}

core::Result<std::uint64_t> parse_number(std::string_view text) {
  const std::string_view wrong = text.starts_with('-') ? " is below 0" : " is not a whole number";
  const auto q = split(text, wrong);
  if (!q) return tl::unexpected<core::Error>(q.error());
  if (!q->unit.empty()) return core::fail(quote(text) + std::string(wrong));
  return q->number;
}

core::Result<std::uint32_t> parse_percent(std::string_view text) {
  const auto q = split(text, "");
  if (!q || q->unit != "%" || q->number > 100) return core::fail(quote(text) + " is not a share; write it like 50%");
  return static_cast<std::uint32_t>(q->number);
}

core::Result<std::uint64_t> parse_decimal(std::string_view text) {
  constexpr std::size_t digits = 3;
  const auto refuse = [&](const char* why) {
    return core::fail(quote(text) + " is not a number like 5 or 0.25" + why);
  };
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [point, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc::result_out_of_range || number > std::numeric_limits<std::uint64_t>::max() / 2000) {
    return core::fail(quote(text) + " is too large");
  }
  if (error != std::errc{}) return refuse("");
  number *= 1000;
  if (point == end) return number;
  const std::string_view behind(point + 1, static_cast<std::size_t>(end - point) - 1);
  const bool all_digits = std::all_of(behind.begin(), behind.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (*point != '.' || behind.empty() || !all_digits) return refuse("");
  if (behind.size() > digits) return refuse("; it may have three digits behind the point");
  std::uint64_t unit = 100;
  for (const char c : behind) {
    number += unit * static_cast<std::uint64_t>(c - '0');
    unit /= 10;
  }
  return number;
}

bool port_alone(std::string_view text) {
  const auto port = parse_number(text);
  return port && *port > 0 && *port <= UINT16_MAX;
}

std::string_view parse_host(std::string_view text, char* buffer, bool wildcard) {
  constexpr std::size_t longest_label = 63;
  const auto name = routing::normalise_host(text, buffer, wildcard);
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    if (end - begin > longest_label) return {};
    begin = end + 1;
  }
  return name;
}

std::string decimal_text(std::uint64_t thousandths) {
  std::string out = std::to_string(thousandths / 1000);
  if (thousandths % 1000 == 0) return out;
  out += "." + std::to_string(1000 + thousandths % 1000).substr(1);
  while (out.back() == '0') out.pop_back();
  return out;
}

std::string size_text(std::uint64_t bytes) {
  constexpr std::uint64_t kMiB = 1024UL * 1024;
  if (bytes != 0 && bytes % kMiB == 0) return std::to_string(bytes / kMiB) + "MiB";
  if (bytes != 0 && bytes % 1024 == 0) return std::to_string(bytes / 1024) + "KiB";
  return std::to_string(bytes) + " bytes";
}

std::string duration_text(std::chrono::milliseconds value) {
  const auto n = value.count();
  if (n != 0 && n % 3'600'000 == 0) return std::to_string(n / 3'600'000) + "h";
  if (n != 0 && n % 60'000 == 0) return std::to_string(n / 60'000) + "m";
  if (n != 0 && n % 1000 == 0) return std::to_string(n / 1000) + "s";
  return std::to_string(n) + "ms";
}

}  // namespace edgemux::config
