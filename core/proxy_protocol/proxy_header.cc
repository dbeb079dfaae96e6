#include "core/proxy_protocol/proxy_header.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace edgemux::core {
namespace {

using Verdict = ProxyHeader::Verdict;

constexpr std::string_view kSignature1 = "PROXY ";
constexpr std::string_view kSignature2{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr std::size_t kMaxLine = 107;  // version 1, CRLF included
constexpr std::size_t kFixed = 16;     // version 2, before the addresses

constexpr unsigned char kTypeAlpn = 0x01;
constexpr unsigned char kTypeAuthority = 0x02;

ProxyHeader need(std::size_t bytes) {
  ProxyHeader header;
  header.bytes_needed = bytes;
  return header;
}

ProxyHeader malformed(const char* reason) {
  ProxyHeader header;
  header.verdict = Verdict::malformed;
  header.reason = reason;
  return header;
}

bool begins_with(std::string_view bytes, std::string_view signature) {
  const std::size_t common = std::min(bytes.size(), signature.size());
  return bytes.substr(0, common) == signature.substr(0, common);
}

// ---- version 1

std::optional<std::uint16_t> parse_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port > 65535) return std::nullopt;
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  return static_cast<std::uint16_t>(port);
}

std::string_view next_word(std::string_view& rest) {
  const std::size_t space = rest.find(' ');
  const std::string_view word = rest.substr(0, space);
  rest = space == std::string_view::npos ? std::string_view() : rest.substr(space + 1);
  return word;
}

std::optional<SocketAddress> parse_address(std::string_view text, std::string_view port, bool v6) {
  const auto number = parse_port(port);
  if (!number || (text.find(':') != std::string_view::npos) != v6) return std::nullopt;
  return SocketAddress::parse_ip(text, *number);
}

ProxyHeader parse_line(std::string_view bytes) {
  const std::size_t end = bytes.substr(0, kMaxLine).find('\n');
  if (end == std::string_view::npos) {
    if (bytes.size() >= kMaxLine) return malformed("a version 1 header without an end");
    return need(bytes.size() + 1);
  }
  if (bytes[end - 1] != '\r') return malformed("a version 1 header that does not end in CRLF");
  ProxyHeader header;
  header.verdict = Verdict::header;
  header.size = end + 1;
  std::string_view rest = bytes.substr(kSignature1.size(), end - 1 - kSignature1.size());
  const std::string_view family = next_word(rest);
  if (family == "UNKNOWN") return header;  // whatever follows is to be ignored
  if (family != "TCP4" && family != "TCP6") return malformed("a version 1 header that is neither TCP4 nor TCP6");
  const std::string_view from = next_word(rest);
  const std::string_view to = next_word(rest);
  const std::string_view from_port = next_word(rest);
  const std::string_view to_port = rest;
  const auto source = parse_address(from, from_port, family == "TCP6");
  const auto destination = parse_address(to, to_port, family == "TCP6");
  if (!source || !destination) return malformed("a version 1 header with an address or a port that is none");
  header.source = *source;
  header.destination = *destination;
  return header;
}

// ---- version 2

unsigned byte_at(std::string_view bytes, std::size_t at) { return static_cast<unsigned char>(bytes[at]); }
std::size_t pair_at(std::string_view bytes, std::size_t at) {
  return byte_at(bytes, at) << 8U | byte_at(bytes, at + 1);
}

SocketAddress address_at(std::string_view bytes, std::size_t at, std::size_t port_at, bool v6) {
  const auto port = static_cast<std::uint16_t>(pair_at(bytes, port_at));
  if (v6) {
    sockaddr_in6 made{};
    made.sin6_family = AF_INET6;
    made.sin6_port = htons(port);
    std::memcpy(&made.sin6_addr, bytes.data() + at, 16);
    return SocketAddress::from(reinterpret_cast<const sockaddr*>(&made), sizeof made);
  }
  sockaddr_in made{};
  made.sin_family = AF_INET;
  made.sin_port = htons(port);
  std::memcpy(&made.sin_addr, bytes.data() + at, 4);
  return SocketAddress::from(reinterpret_cast<const sockaddr*>(&made), sizeof made);
}

// False: they do not fill their space exactly.
bool parse_extras(std::string_view extras, ProxyHeader& header) {
  while (!extras.empty()) {
    if (extras.size() < 3) return false;
    const std::size_t length = pair_at(extras, 1);
    if (extras.size() - 3 < length) return false;
    const std::string_view value = extras.substr(3, length);
    if (byte_at(extras, 0) == kTypeAlpn) header.alpn = value;
    if (byte_at(extras, 0) == kTypeAuthority) header.authority = value;
    extras.remove_prefix(3 + length);
  }
  return true;
}

ProxyHeader parse_binary(std::string_view bytes) {
  if (bytes.size() < kFixed) return need(kFixed);
  const unsigned command = byte_at(bytes, 12);
  if (command >> 4U != 2) return malformed("a binary header of another version than 2");
  if ((command & 15U) > 1) return malformed("a version 2 header with an unknown command");
  const std::size_t length = pair_at(bytes, 14);
  ProxyHeader header;
  header.size = kFixed + length;
  if (header.size > kMaxProxyHeader) return malformed("a version 2 header that is too long");
  const unsigned family = byte_at(bytes, 13) >> 4U;
  const unsigned transport = byte_at(bytes, 13) & 15U;
  constexpr std::size_t kAddresses[] = {0, 12, 36, 216};
  const bool local = (command & 15U) == 0;  // then the family is not looked at
  if (!local && (family > 3 || transport > 2)) return malformed("a version 2 header with an unknown family");
  if (!local && length < kAddresses[family]) return malformed("a version 2 header that is too short for its family");
  if (!local && transport == 2) return malformed("a version 2 header of datagrams");
  if (bytes.size() < header.size) return need(header.size);
  header.verdict = Verdict::header;
  if (local) return header;  // its contents are to be ignored
  const std::string_view body = bytes.substr(kFixed, length);
  if (family == 1 && transport == 1) {
    header.source = address_at(body, 0, 8, false);
    header.destination = address_at(body, 4, 10, false);
  } else if (family == 2 && transport == 1) {
    header.source = address_at(body, 0, 32, true);
    header.destination = address_at(body, 16, 34, true);
  }
  if (!parse_extras(body.substr(kAddresses[family]), header)) {
    return malformed("a version 2 header with extras that do not fit");
  }
  return header;
}

// ---- writing

class Writer {
 public:
  explicit Writer(char* out) : begin_(out), next_(out) {}
  void text(std::string_view bytes) {
    if (!bytes.empty()) std::memcpy(next_, bytes.data(), bytes.size());
    next_ += bytes.size();
  }
  void byte(unsigned value) { *next_++ = static_cast<char>(value); }
  void pair(std::size_t value) {
    byte(static_cast<unsigned>(value >> 8U) & 255U);
    byte(static_cast<unsigned>(value) & 255U);
  }
  void number(unsigned value) { next_ = std::to_chars(next_, next_ + 5, value).ptr; }
  void ip(const SocketAddress& address) { next_ += address.write_ip(next_); }
  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(next_ - begin_); }

 private:
  char* begin_;
  char* next_;
};

// The destination in the source's family.
SocketAddress destination_of(const ProxyLine& line) {
  if (line.destination.valid() && line.destination.is_v4() == line.source.is_v4()) return line.destination;
  return *SocketAddress::parse_ip(line.source.is_v4() ? "0.0.0.0" : "::",
                                  line.destination.valid() ? line.destination.port() : 0);
}

std::size_t write_line(const ProxyLine& line, char* out) {
  Writer writer(out);
  writer.text(kSignature1);
  if (!line.source.valid()) {
    writer.text("UNKNOWN\r\n");
    return writer.size();
  }
  const SocketAddress destination = destination_of(line);
  writer.text(line.source.is_v4() ? "TCP4 " : "TCP6 ");
  writer.ip(line.source);
  writer.text(" ");
  writer.ip(destination);
  writer.text(" ");
  writer.number(line.source.port());
  writer.text(" ");
  writer.number(destination.port());
  writer.text("\r\n");
  return writer.size();
}

void write_extra(Writer& writer, unsigned char type, std::string_view value) {
  if (value.empty() || value.size() > 255) return;
  writer.byte(type);
  writer.pair(value.size());
  writer.text(value);
}

std::size_t write_binary(const ProxyLine& line, char* out) {
  Writer writer(out);
  writer.text(kSignature2);
  writer.byte(line.local ? 0x20 : 0x21);
  writer.byte(!line.source.valid() ? 0x00 : line.source.is_v4() ? 0x11 : 0x21);
  writer.pair(0);  // the length, below
  if (line.source.valid()) {
    const SocketAddress destination = destination_of(line);
    writer.text(line.source.bytes());
    writer.text(destination.bytes());
    writer.pair(line.source.port());
    writer.pair(destination.port());
  }
  write_extra(writer, kTypeAlpn, line.alpn);
  write_extra(writer, kTypeAuthority, line.authority);
  Writer(out + 14).pair(writer.size() - kFixed);
  return writer.size();
}

}  // namespace

ProxyHeader parse_proxy_header(std::span<const char> received) {
  const std::string_view bytes(received.data(), received.size());
  if (bytes.empty()) return need(1);
  if (begins_with(bytes, kSignature1)) {
    return bytes.size() < kSignature1.size() ? need(kSignature1.size()) : parse_line(bytes);
  }
  if (begins_with(bytes, kSignature2)) {
    return bytes.size() < kSignature2.size() ? need(kFixed) : parse_binary(bytes);
  }
  ProxyHeader header;
  header.verdict = Verdict::absent;
  return header;
}

std::size_t write_proxy_header(ProxyVersion version, const ProxyLine& line, std::span<char, kMaxProxyWritten> out) {
  switch (version) {
    case ProxyVersion::off:
      return 0;
    case ProxyVersion::v1:
      return write_line(line, out.data());
    case ProxyVersion::v2:
      return write_binary(line, out.data());
  }
  return 0;
}

}  // namespace edgemux::core
