#pragma once
// Strict parsing of HTTP/1 heads (RFC 9112). Pure: no I/O, no allocation, nothing throws.
//
// Use: call parse_request_head on what has been received. It usually arrives in one piece, so one pass does it. When
// the answer is `need_more`, keep the bytes, feed them to a HeadScanner and then every later piece too; only when the
// scanner says `complete`, parse all of it again. So a head that comes one byte at a time costs O(n), not O(n^2).
//
//   ParseResult r = parse_request_head(bytes, limit, head);
//   if (r.state == ParseState::need_more) { scanner.reset(limit); scanner.feed(bytes); ...buffer... }
//
// The parser lower-cases field names in place, also in a head that turns out to be incomplete. Bytes behind the head
// are not touched.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/http/message.h"

namespace edgemux::core {

enum class ParseState : std::uint8_t { need_more, done, error };

// After an error the stream has no more meaning: answer `status` and close.
struct ParseResult {
  ParseState state = ParseState::need_more;
  std::uint16_t status =
      0;  // error: 400, 405 (CONNECT), 414, 431, 501 (method too long) or 505; of a response always 502
  std::size_t consumed = 0;      // done: bytes of the head with its empty line and any empty lines skipped before it
  const char* reason = nullptr;  // error: static text for the log and the body of the answer
};

// `limit`: the most bytes a head may have; beyond it 431, where its first line alone is beyond it 414 (502).
//
// Refused with 400: bare CR or LF, NUL and other controls, line folding, a space before the colon, an empty or
// non-token name, bytes above 0x7f outside of values, '#' or controls in the target, Transfer-Encoding that is not
// exactly one "chunked", that together with Content-Length or in HTTP/1.0, more than one Content-Length, anything but
// digits in it or 2^63 and more, no Host in HTTP/1.1, two Hosts, an invalid or empty one, an absolute-form target that
// disagrees with it, asterisk-form other than OPTIONS, HTTP/0.9. 505: a version other than 1.0 and 1.1.
// 431: more than FieldList::kMostReceived fields. Up to kMaxLeadingLines empty lines before the request line are
// skipped (RFC 9112, 2.2).
inline constexpr std::size_t kMaxLeadingLines = 4;
ParseResult parse_request_head(std::span<char> input, std::size_t limit, RequestHead& head);

// `method`: of the request that this answers; it and the status decide the framing (RFC 9112, 6.3).
// A 1xx response (other than 101) is a head without a body; the final response follows it.
ParseResult parse_response_head(std::span<char> input, std::size_t limit, Method method, ResponseHead& head);

// Looks for the end of a head that comes in pieces; never looks at a byte twice. It says `error` as soon as a byte is
// seen that no head may hold (bare CR or LF, a control); everything else is the parser's to find.
class HeadScanner {
 public:
  enum class State : std::uint8_t { need_more, complete, error };

  explicit HeadScanner(std::size_t limit = 65536) : limit_(limit) {}
  void reset(std::size_t limit) { *this = HeadScanner(limit); }

  // The next piece, which follows directly behind those fed before. After `complete` or `error`: reset.
  State feed(std::string_view piece);

  [[nodiscard]] std::size_t length() const { return length_; }    // complete: bytes of the head, over all pieces
  [[nodiscard]] std::uint16_t status() const { return status_; }  // error: 400, 414 or 431
  [[nodiscard]] const char* reason() const { return reason_; }    // error

 private:
  enum class Place : std::uint8_t { leading, leading_cr, line, line_cr, line_start, final_cr };
  State refuse(std::uint16_t status, const char* reason);
  State too_large();

  std::size_t limit_;
  std::size_t length_ = 0;
  const char* reason_ = nullptr;
  std::uint16_t status_ = 0;
  std::uint8_t leading_lines_ = 0;
  bool first_line_over_ = false;
  Place place_ = Place::leading;
};

// "example.com", "example.com:8080", "[::1]:80": what may stand in Host (RFC 9110, 7.2; RFC 3986, 3.2 without
// userinfo). False when it is not well-formed or the port is not 1..65535 ("example.com:" is refused).
bool parse_authority(std::string_view authority, std::string_view& host, std::uint16_t& port);
// The same host and port, where none (0) is that of the scheme, "http" or "https" in any case.
bool same_authority(std::string_view scheme, std::string_view host_a, std::uint16_t port_a, std::string_view host_b,
                    std::uint16_t port_b);

// Digits only, below 2^63 (RFC 9110, 8.6; no lists, no sign).
bool parse_content_length(std::string_view text, std::uint64_t& value);

}  // namespace edgemux::core
