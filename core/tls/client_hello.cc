#include "core/tls/client_hello.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace edgemux::core {
namespace {

constexpr std::size_t kRecordHeader = 5;
constexpr std::size_t kMaxRecord = 16384;  // RFC 8446 5.1
constexpr std::size_t kMessageHeader = 4;
constexpr unsigned kHandshake = 22;
constexpr unsigned kClientHello = 1;
constexpr std::size_t kMaxName = 255;

enum Extension : unsigned { kServerName = 0, kAlpn = 16, kSupportedVersions = 43 };

unsigned byte_at(std::string_view bytes, std::size_t i) { return static_cast<unsigned char>(bytes[i]); }

// Takes big-endian numbers and vectors off the front; every take can fail, nothing is read past the end.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  [[nodiscard]] bool empty() const { return rest_.empty(); }

  bool skip(std::size_t count) {
    if (rest_.size() < count) return false;
    rest_.remove_prefix(count);
    return true;
  }
  bool number(unsigned width, unsigned& value) {
    if (rest_.size() < width) return false;
    value = 0;
    for (unsigned i = 0; i < width; ++i) value = value << 8U | byte_at(rest_, i);
    rest_.remove_prefix(width);
    return true;
  }
  // A vector with a length of `width` bytes before it.
  bool vector(unsigned width, std::string_view& value) {
    unsigned size = 0;
    if (!number(width, size) || rest_.size() < size) return false;
    value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

 private:
  std::string_view rest_;
};

// The readers below return null, or what is wrong.

// RFC 6066 3. Exactly one name: with two, whoever comes after us might look at the other one.
const char* read_server_name(std::string_view data, ClientHello& hello) {
  Reader reader(data);
  std::string_view list;
  if (!reader.vector(2, list) || !reader.empty()) return "server_name: bad list length";
  Reader names(list);
  unsigned type = 0;
  std::string_view name;
  if (!names.number(1, type)) return "server_name: empty list";
  if (type != 0) return "server_name: unknown name type";
  if (!names.vector(2, name)) return "server_name: bad name length";
  if (!names.empty()) return "server_name: more than one name";
  if (name.empty() || name.size() > kMaxName) return "server_name: bad name length";
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!printable) return "server_name: not a host name";
  hello.server_name = name;
  return nullptr;
}

// RFC 7301 3.1
const char* read_alpn(std::string_view data, ClientHello& hello) {
  Reader reader(data);
  std::string_view list;
  if (!reader.vector(2, list) || !reader.empty() || list.empty()) return "alpn: bad list length";
  Reader protocols(list);
  while (!protocols.empty()) {
    std::string_view protocol;
    if (!protocols.vector(1, protocol) || protocol.empty()) return "alpn: bad protocol length";
    if (protocol == "acme-tls/1") hello.acme_tls = true;
  }
  hello.alpn = list;
  return nullptr;
}

// RFC 8446 4.2.1
const char* read_versions(std::string_view data, ClientHello& hello) {
  Reader reader(data);
  std::string_view list;
  if (!reader.vector(1, list) || !reader.empty() || list.empty() || list.size() % 2 != 0) {
    return "supported_versions: bad length";
  }
  Reader versions(list);
  unsigned version = 0;
  while (versions.number(2, version)) {
    if (version == 0x0304) hello.offers_tls13 = true;
  }
  return nullptr;
}

const char* read_extensions(std::string_view data, ClientHello& hello) {
  Reader reader(data);
  bool have_name = false;
  bool have_alpn = false;
  bool have_versions = false;
  while (!reader.empty()) {
    unsigned type = 0;
    std::string_view body;
    if (!reader.number(2, type) || !reader.vector(2, body)) return "an extension is longer than the list";
    const char* wrong = nullptr;
    bool* seen = nullptr;
    switch (type) {
      case kServerName:
        seen = &have_name;
        wrong = read_server_name(body, hello);
        break;
      case kAlpn:
        seen = &have_alpn;
        wrong = read_alpn(body, hello);
        break;
      case kSupportedVersions:
        seen = &have_versions;
        wrong = read_versions(body, hello);
        break;
      default:
        continue;
    }
    if (wrong != nullptr) return wrong;
    if (*seen) return "the same extension twice";  // RFC 8446 4.2
    *seen = true;
  }
  return nullptr;
}

// The message without its header. RFC 8446 4.1.2; extensions may be missing altogether (RFC 5246 7.4.1.2).
const char* read_message(std::string_view message, ClientHello& hello) {
  Reader reader(message);
  unsigned version = 0;
  std::string_view session;
  std::string_view ciphers;
  std::string_view compression;
  if (!reader.number(2, version) || version >> 8U != 3) return "bad version";
  if (!reader.skip(32)) return "too short";
  if (!reader.vector(1, session) || session.size() > 32) return "bad session id";
  if (!reader.vector(2, ciphers) || ciphers.empty() || ciphers.size() % 2 != 0) return "bad cipher suites";
  if (!reader.vector(1, compression) || compression.empty()) return "bad compression methods";
  if (reader.empty()) return nullptr;
  std::string_view extensions;
  if (!reader.vector(2, extensions) || !reader.empty()) return "bad length of the extensions";
  return read_extensions(extensions, hello);
}

ClientHello verdict(HelloVerdict value, const char* reason) {
  ClientHello hello;
  hello.verdict = value;
  hello.bytes_needed = 0;
  hello.reason = reason;
  return hello;
}

ClientHello malformed(const char* reason) { return verdict(HelloVerdict::malformed, reason); }

ClientHello need(std::size_t bytes) {
  ClientHello hello;
  hello.bytes_needed = bytes;
  return hello;
}

// What `count` more bytes of the message take on the wire at least, in records that have not begun yet.
std::size_t wire_size(std::size_t count) { return count + (count + kMaxRecord - 1) / kMaxRecord * kRecordHeader; }

// The payload of the records seen so far, as one message. Gathers its header (which may itself be spread) on the way.
struct Walk {
  std::size_t collected = 0;               // payload bytes present
  std::size_t message = kMessageHeader;    // its length with header; before that is known, what the header takes
  unsigned char header[kMessageHeader]{};  // NOLINT(*-avoid-c-arrays)

  // Adds the present part of a record. Returns null, or what is wrong.
  const char* add(std::string_view payload) {
    for (std::size_t i = 0; collected + i < kMessageHeader && i < payload.size(); ++i) {
      header[collected + i] = static_cast<unsigned char>(payload[i]);
    }
    collected += payload.size();
    if (collected > 0 && header[0] != kClientHello) return "not a ClientHello";
    if (collected >= kMessageHeader) {
      message = kMessageHeader +
                (static_cast<std::size_t>(header[1]) << 16U | static_cast<std::size_t>(header[2]) << 8U | header[3]);
    }
    return nullptr;
  }
  [[nodiscard]] bool whole() const { return collected >= kMessageHeader && collected >= message; }
};

// Copies the payload of the records into one piece.
std::string_view join(std::string_view bytes, std::span<char> scratch, std::size_t size) {
  std::size_t filled = 0;
  std::size_t at = 0;
  while (filled < size) {
    const std::size_t length = byte_at(bytes, at + 3) << 8U | byte_at(bytes, at + 4);
    const std::size_t take = std::min(length, size - filled);
    std::memcpy(scratch.data() + filled, bytes.data() + at + kRecordHeader, take);
    filled += take;
    at += kRecordHeader + length;
  }
  return {scratch.data(), size};
}

}  // namespace

ClientHello parse_client_hello(std::span<const char> input, std::span<char> scratch) {
  const std::string_view bytes(input.data(), input.size());
  Walk walk;
  std::size_t at = 0;
  while (true) {
    // The header, as far as it is there: a wrong beginning is told by its first byte.
    const std::string_view header = bytes.substr(at, kRecordHeader);
    if (!header.empty() && byte_at(header, 0) != kHandshake) {
      return at == 0 ? verdict(HelloVerdict::not_tls, "not a TLS handshake")
                     : malformed("another record inside the hello");
    }
    if (header.size() > 1 && byte_at(header, 1) != 3) {
      return at == 0 ? verdict(HelloVerdict::not_tls, "not a TLS handshake") : malformed("bad record version");
    }
    if (header.size() < kRecordHeader) {
      return need(at == 0 ? kRecordHeader : at + wire_size(walk.message - walk.collected));
    }
    const std::size_t length = byte_at(header, 3) << 8U | byte_at(header, 4);
    if (length == 0) return malformed("empty record");
    if (length > kMaxRecord) return malformed("record too long");

    const std::size_t body = at + kRecordHeader;
    const std::string_view payload = bytes.substr(body, length);
    const std::size_t before = walk.collected;
    if (const char* wrong = walk.add(payload)) return malformed(wrong);
    // Nothing may share the last record with the hello (RFC 8446 5.1).
    if (walk.collected >= kMessageHeader && before + length > walk.message)
      return malformed("bytes behind the hello in its record");
    if (walk.whole()) break;
    if (payload.size() < length) {
      const std::size_t rest = walk.message - before;  // of the message, as of this record's beginning
      return need(rest <= length ? body + rest : body + length + wire_size(rest - length));
    }
    at = body + length;
  }

  // Whole. `at` is 0 where it was one record.
  const std::string_view message =
      at == 0 ? bytes.substr(kRecordHeader, walk.message) : join(bytes, scratch, walk.message);
  ClientHello hello;
  if (const char* wrong = read_message(message.substr(kMessageHeader), hello)) return malformed(wrong);
  hello.verdict = HelloVerdict::hello;
  hello.bytes_needed = 0;
  return hello;
}

}  // namespace edgemux::core
