#pragma once
// The small languages of the configuration: durations ("50ms", "5s", "1m", "1h"), sizes ("64KiB", "100MiB", "1GiB", or
// bytes), whole numbers. Errors say how to write it. Pure.

#include <chrono>
#include <cstdint>
#include <string_view>

#include "core/base/result.h"

namespace edgemux::config {

core::Result<std::chrono::milliseconds> parse_duration(std::string_view text);
core::Result<std::uint64_t> parse_size(std::string_view text);
core::Result<std::uint64_t> parse_number(std::string_view text);
// "50%": 0 to 100.
core::Result<std::uint32_t> parse_percent(std::string_view text);
// "5", "0.25": in thousandths, exactly. A sign, an exponent, and more than three digits behind the point are refused.
core::Result<std::uint64_t> parse_decimal(std::string_view text);

// "443": a port without an address.
bool port_alone(std::string_view text);

// As routing::normalise_host(), with what DNS asks of a name that somebody is to look up: labels of 63 bytes at most
// (RFC 1035, 2.3.4). Empty: it is none. `buffer`: 256 bytes.
std::string_view parse_host(std::string_view text, char* buffer, bool wildcard = false);

// "5s", "1500ms": the shortest way to write it.
std::string duration_text(std::chrono::milliseconds value);
// "16MiB", "4097 bytes".
std::string size_text(std::uint64_t bytes);
// As parse_decimal() takes it: "0.25" for 250.
std::string decimal_text(std::uint64_t thousandths);

}  // namespace edgemux::config
