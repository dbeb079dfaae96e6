#pragma once
// RequestHead and ResponseHead: a parsed head. Every string_view points into the bytes it was parsed from.
//
// Heads are never forwarded as bytes: what leaves edgemux is written anew from these values (head_writer.h).

#include <cstdint>
#include <string_view>

#include "core/http/field.h"

namespace edgemux::core {

enum class Method : std::uint8_t { get, head, post, put, delete_, options, patch, trace, connect, other };

// "GET"; empty for `other`.
std::string_view method_text(Method method);
// Case-sensitive; `other` when it is none of those above.
Method method_of(std::string_view text);

// How the end of a message's body is found (RFC 9112, 6.3).
enum class Framing : std::uint8_t { none, length, chunked, until_close };

struct RequestHead {
  Method method = Method::other;
  std::string_view method_text;
  std::string_view target;  // as received
  std::string_view path;    // raw, not normalised (path.h does that); "*" for OPTIONS *; never empty
  std::string_view query;   // what follows '?', without it; see has_query
  bool has_query = false;   // "/a?" has an empty query and keeps its '?'
  std::string_view scheme;  // of an absolute-form target, as received ("http", "HTTPS"); else empty
  std::string_view
      authority;           // from Host or the absolute-form target, which agree; empty only for HTTP/1.0 without Host
  std::string_view host;   // the authority without its port, as received; IPv6 keeps its brackets
  std::uint16_t port = 0;  // the authority's port; 0 when it names none
  std::uint8_t major = 1;  // 1 or 2
  std::uint8_t minor = 1;  // HTTP/1.minor: 0 or 1
  FieldList fields;        // without those whose name aliases a managed one by '_'

  Framing framing = Framing::none;   // none, length or chunked: never depends on the method
  std::uint64_t content_length = 0;  // when framing is length
  bool has_content_length = false;   // "Content-Length: 0" was there: framing none
  bool keep_alive = false;           // the client wants the connection kept after this exchange
  bool expect_continue = false;      // "Expect: 100-continue" in HTTP/1.1 with a body to come
  // HTTP/1.1, Connection lists upgrade, one Upgrade field that does not name h2c, and no body to come.
  bool upgrade = false;
  bool te_trailers = false;    // TE names trailers (gRPC); HTTP/2 only
  bool never_indexed = false;  // as in Field, of a pseudo field; HTTP/2 only
  std::string_view upgrade_protocol;

  void clear();
};

struct ResponseHead {
  std::uint16_t status = 0;  // 100..999; 600 and above is nobody's, but backends do use it
  std::string_view reason;   // may be empty
  std::uint8_t minor = 1;
  FieldList fields;

  Framing framing = Framing::none;  // none for HEAD, 1xx, 204, 304
  std::uint64_t content_length =
      0;  // what Content-Length said, when has_content_length; forwarded for HEAD and 304 too
  bool has_content_length = false;
  bool keep_alive = false;     // the upstream connection may be used again when the body has ended
  bool upgrade = false;        // 101 with Connection: upgrade and an Upgrade field
  bool never_indexed = false;  // as in Field, of :status; HTTP/2 only
  std::string_view upgrade_protocol;

  void clear();
};

}  // namespace edgemux::core
