#pragma once
// ClientHello parser: finds the server name and the ALPN list in the first bytes of a connection. Pure: bytes in,
// verdict out; it copies nothing, keeps nothing and decrypts nothing. RFC 8446 4.1.2, RFC 6066 3, RFC 7301.
//
// The hello may come in any number of TCP segments and TLS records (RFC 8446 5.1); the caller collects bytes and asks
// again until the verdict is not `need_more`. The cost of asking again is O(records), not O(bytes).

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace edgemux::core {

enum class HelloVerdict : std::uint8_t {
  need_more,  // a proper beginning; the verdict cannot come before `bytes_needed` bytes are there, unless it is a bad
              // one
  hello,      // whole; server_name and alpn are set
  not_tls,    // the first bytes are no TLS handshake record ("GET / ", SSH, SSLv2)
  malformed,  // TLS, but not a ClientHello that RFC 8446 allows; `reason` says what
};

struct ClientHello {
  HelloVerdict verdict = HelloVerdict::need_more;
  std::size_t bytes_needed = 5;
  const char* reason = "";  // for logs; a literal
  // As sent, not normalised; empty = no SNI. Points into the caller's bytes, or, where the hello was spread over
  // records, into `scratch`.
  std::string_view server_name;
  // The ALPN protocol list as on the wire (length-prefixed strings), empty = none. Same lifetime.
  std::string_view alpn;
  // The client offers the ALPN protocol acme-tls/1 (RFC 8737).
  bool acme_tls = false;
  // TLS 1.3 is among supported_versions.
  bool offers_tls13 = false;
};

// `bytes`: everything received so far. `scratch`: at least bytes.size() bytes that live as long as the result is looked
// at; used only when the hello is spread over several records.
ClientHello parse_client_hello(std::span<const char> bytes, std::span<char> scratch);

// A fatal alert as a whole record, for a connection that is refused before there is a TLS object. RFC 8446 6.2.
inline constexpr std::string_view kAlertUnrecognizedName{"\x15\x03\x01\x00\x02\x02\x70", 7};
inline constexpr std::string_view kAlertHandshakeFailure{"\x15\x03\x01\x00\x02\x02\x28", 7};

}  // namespace edgemux::core
