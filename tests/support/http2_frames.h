#pragma once
// HTTP/2 frames by hand (RFC 9113 4), right and wrong ones, and what came back taken apart. Knows no HTTP/2 library.
//
//   frame(kHeaders, kEndHeaders | kEndStream, 1, fields({{":method", "GET"}, ...}))
//   for (const Frame& f : split_frames(bytes)) ...

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgemux::test {

enum FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoaway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
  kOrigin = 12,
  kPriorityUpdate = 16,
};
enum FrameFlag : std::uint8_t { kEndStream = 1, kAck = 1, kEndHeaders = 4, kPadded = 8, kWithPriority = 32 };
enum FrameError : std::uint32_t {
  kNoError = 0,
  kProtocolError = 1,
  kInternalError = 2,
  kFlowControlError = 3,
  kStreamClosed = 5,
  kFrameSizeError = 6,
  kRefusedStream = 7,
  kCancel = 8,
  kCompressionError = 9,
  kEnhanceYourCalm = 11,
};

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

inline std::string number(std::uint64_t value, unsigned bytes) {
  std::string text;
  while (bytes-- > 0) text += static_cast<char>(value >> (8 * bytes) & 0xff);
  return text;
}

// `length`: what the header says, when that is not the truth.
inline std::string frame(unsigned type, unsigned flags, std::uint32_t stream, std::string_view payload,
                         std::size_t length = SIZE_MAX) {
  return number(length == SIZE_MAX ? payload.size() : length, 3) + number(type, 1) + number(flags, 1) +
         number(stream, 4) + std::string(payload);
}

inline std::string settings(std::initializer_list<std::pair<unsigned, std::uint32_t>> values = {}) {
  std::string payload;
  for (const auto& [id, value] : values) payload += number(id, 2) + number(value, 4);
  return frame(kSettings, 0, 0, payload);
}
inline std::string settings_ack() { return frame(kSettings, kAck, 0, ""); }
inline std::string rst_stream(std::uint32_t stream, std::uint32_t error) {
  return frame(kRstStream, 0, stream, number(error, 4));
}
inline std::string window_update(std::uint32_t stream, std::uint32_t increment) {
  return frame(kWindowUpdate, 0, stream, number(increment, 4));
}
inline std::string ping(std::string_view eight = "12345678", unsigned flags = 0) {
  return frame(kPing, flags, 0, eight);
}
inline std::string goaway(std::uint32_t last, std::uint32_t error) {
  return frame(kGoaway, 0, 0, number(last, 4) + number(error, 4));
}
inline std::string data(std::uint32_t stream, std::string_view bytes, bool end = false) {
  return frame(kData, end ? kEndStream : 0, stream, bytes);
}

// HPACK's integers (RFC 7541 5.1).
inline std::string hpack_int(unsigned pattern, unsigned prefix_bits, std::size_t value) {
  const std::size_t most = (1U << prefix_bits) - 1;
  if (value < most) return std::string(1, static_cast<char>(pattern | value));
  std::string text(1, static_cast<char>(pattern | most));
  value -= most;
  for (; value >= 128; value >>= 7) text += static_cast<char>(0x80 | (value & 0x7f));
  return text + static_cast<char>(value);
}
inline std::string hpack_string(std::string_view text) { return hpack_int(0, 7, text.size()) + std::string(text); }
// A literal that enters no table (RFC 7541 6.2.2) and is not Huffman coded.
inline std::string field(std::string_view name, std::string_view value) {
  return std::string(1, '\0') + hpack_string(name) + hpack_string(value);
}
// The same that is never to be indexed by anybody (RFC 7541 6.2.3).
inline std::string never_indexed(std::string_view name, std::string_view value) {
  return std::string(1, '\x10') + hpack_string(name) + hpack_string(value);
}

using Fields = std::vector<std::pair<std::string, std::string>>;
inline std::string fields(const Fields& list) {
  std::string block;
  for (const auto& [name, value] : list) block += field(name, value);
  return block;
}
inline std::string headers(std::uint32_t stream, const Fields& list, bool end = true) {
  return frame(kHeaders, kEndHeaders | (end ? kEndStream : 0), stream, fields(list));
}
// Pseudo fields of a plain request, and what is given behind them.
inline Fields get(std::string_view path = "/", const Fields& more = {}) {
  Fields list = {{":method", "GET"}, {":scheme", "https"}, {":authority", "h"}, {":path", std::string(path)}};
  list.insert(list.end(), more.begin(), more.end());
  return list;
}
inline Fields post(std::string_view path = "/", const Fields& more = {}) {
  Fields list = get(path, more);
  list[0].second = "POST";
  return list;
}

struct Frame {
  unsigned type = 0;
  unsigned flags = 0;
  std::uint32_t stream = 0;
  std::string payload;
  [[nodiscard]] std::uint32_t word(std::size_t at) const {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(payload.at(at + i));
    return value;
  }
};

// Whole frames off the front of `bytes`; what is left stays there.
inline std::vector<Frame> split_frames(std::string& bytes) {
  std::vector<Frame> list;
  std::size_t at = 0;
  const auto byte = [&bytes](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(bytes[i])); };
  while (bytes.size() - at >= 9) {
    const std::size_t size = byte(at) << 16 | byte(at + 1) << 8 | byte(at + 2);
    if (bytes.size() - at < 9 + size) break;
    Frame one;
    one.type = static_cast<unsigned>(byte(at + 3));
    one.flags = static_cast<unsigned>(byte(at + 4));
    one.stream = static_cast<std::uint32_t>(
        (byte(at + 5) << 24 | byte(at + 6) << 16 | byte(at + 7) << 8 | byte(at + 8)) & 0x7fffffff);
    one.payload = bytes.substr(at + 9, size);
    list.push_back(std::move(one));
    at += 9 + size;
  }
  bytes.erase(0, at);
  return list;
}

}  // namespace edgemux::test
