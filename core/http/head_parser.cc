#include "core/http/head_parser.h"

#include <algorithm>
#include <cstring>

#include "core/http/bytes.h"
#include "core/http/connection_options.h"

namespace edgemux::core {
namespace {

constexpr std::size_t kMaxMethod = 64;

ParseResult refuse(std::uint16_t status, const char* reason) { return {ParseState::error, status, 0, reason}; }
ParseResult need_more() { return {}; }
ParseResult done(std::size_t consumed) { return {ParseState::done, 0, consumed, nullptr}; }

// A head may end at any byte of the input: every step says `false` when it cannot go on, and leaves why in `result`.
struct Cursor {
  char* p;
  char* end;
  ParseResult result;

  bool fail(const char* reason, std::uint16_t status = 400) {
    result = refuse(status, reason);
    return false;
  }
  bool more() {
    result = need_more();
    return false;
  }
  // CR LF at p.
  bool line_end() {
    if (p == end) return more();
    if (*p != '\r') return fail(*p == '\n' ? "bare LF" : "control byte in the head");
    if (p + 1 == end) return more();
    if (p[1] != '\n') return fail("bare CR");
    p += 2;
    return true;
  }
};

// What the fields say about framing and the connection, collected as they are read.
struct Facts {
  ConnectionOptions options;
  const Field* host = nullptr;
  const Field* upgrade = nullptr;
  std::uint64_t content_length = 0;
  bool has_content_length = false;
  bool chunked = false;
  bool expect_continue = false;
  bool several_upgrades = false;
};

// Fields that edgemux acts upon. Null when all is well, else what is wrong.
const char* note_managed(Facts& facts, const Field& field) {
  switch (field.id) {
    case FieldId::host:
      if (facts.host != nullptr) return "more than one Host";
      facts.host = &field;
      break;
    case FieldId::connection:
      if (!facts.options.add(field.value)) return "invalid Connection";
      break;
    case FieldId::content_length:
      if (facts.has_content_length) return "more than one Content-Length";
      if (!parse_content_length(field.value, facts.content_length)) return "invalid Content-Length";
      facts.has_content_length = true;
      break;
    case FieldId::transfer_encoding:
      if (facts.chunked) return "more than one Transfer-Encoding";
      if (!equal_ignoring_case(field.value, "chunked")) return "Transfer-Encoding other than chunked";
      facts.chunked = true;
      break;
    case FieldId::upgrade:
      facts.several_upgrades = facts.upgrade != nullptr;
      facts.upgrade = &field;
      break;
    case FieldId::expect:
      if (equal_ignoring_case(field.value, "100-continue")) facts.expect_continue = true;
      break;
    default:
      break;
  }
  return nullptr;
}

// Field lines up to and with the empty line (RFC 9112, 5).
bool parse_fields(Cursor& in, FieldList& fields, Facts& facts) {
  char* p = in.p;
  char* const end = in.end;
  for (;;) {
    in.p = p;
    char* const name = p;
    bool underscore = false;
    p = lower_token(p, end, underscore);
    if (p == end) return in.more();
    if (*p != ':' || p == name) {
      if (p == name && (*p == '\r' || *p == '\n')) return in.line_end();
      if (p == name) return in.fail(*p == ' ' || *p == '\t' ? "line folding" : "invalid field name");
      return in.fail(*p == ' ' || *p == '\t' ? "space before the colon" : "invalid field name");
    }
    Field field;
    field.name = {name, static_cast<std::size_t>(p - name)};
    char* const colon = p++;
    while (p < end && (*p == ' ' || *p == '\t')) ++p;
    char* const value = p;
    p = skip_value(p, end);
    char* value_end = p;
    in.p = p;
    if (!in.line_end()) return false;
    p = in.p;
    while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t')) --value_end;
    field.verbatim = value_end + 2 == p && value == colon + 2 && colon[1] == ' ';
    field.value = {value, static_cast<std::size_t>(value_end - value)};
    field.id = classify_field(field.name);
    if (underscore && aliases_managed_field(field.name)) continue;  // dropped
    if (underscore) fields.note_underscore();
    field.hop_by_hop = is_always_hop_by_hop(field.id);
    if (!fields.receive(field)) return in.fail("too many fields", 431);
    if (is_managed(field.id)) {
      if (const char* wrong = note_managed(facts, fields[fields.size() - 1])) return in.fail(wrong);
    }
  }
}

// The connection's rules, once all fields are known: RFC 9112, 6.1 and 9.3.
template <class Head>
const char* apply(const Facts& facts, Head& head) {
  if (facts.chunked && facts.has_content_length) return "Transfer-Encoding with Content-Length";
  if (facts.chunked && head.minor == 0) return "Transfer-Encoding in HTTP/1.0";
  if (facts.options.listed_count != 0) {
    for (Field& field : head.fields) field.hop_by_hop |= facts.options.lists(field);
  }
  head.has_content_length = facts.has_content_length;
  head.content_length = facts.content_length;
  head.keep_alive = !facts.options.close && (head.minor == 1 || facts.options.keep_alive);
  return nullptr;
}

// h2c is never spoken on: its upgrade is not one for us (RFC 9113, 3.1).
bool names_h2c(std::string_view protocols) {
  while (!protocols.empty()) {
    const std::size_t comma = protocols.find(',');
    if (equal_ignoring_case(trim_ows(protocols.substr(0, comma)), "h2c")) return true;
    if (comma == std::string_view::npos) break;
    protocols.remove_prefix(comma + 1);
  }
  return false;
}

bool upgrades(const Facts& facts, std::uint8_t minor) {
  return minor == 1 && facts.options.upgrade && facts.upgrade != nullptr && !facts.several_upgrades &&
         !facts.upgrade->value.empty() && !names_h2c(facts.upgrade->value);
}

// "HTTP/1.1", exactly; in.p behind it.
bool parse_version(Cursor& in, std::uint8_t& minor) {
  if (in.end - in.p >= 8 && std::memcmp(in.p, "HTTP/1.1", 8) == 0) {
    minor = 1;
    in.p += 8;
    return true;
  }
  constexpr std::string_view kForm = "HTTP/0.0";  // 0: any digit
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    if (in.p + i == in.end) return in.more();
    if (kForm[i] == '0' ? !is_digit(in.p[i]) : in.p[i] != kForm[i]) return in.fail("invalid HTTP version");
  }
  char* const digits = in.p + 5;
  if (digits[0] != '1' || digits[2] > '1') return in.fail("HTTP version not supported", 505);
  minor = static_cast<std::uint8_t>(digits[2] - '0');
  in.p = digits + 3;
  return true;
}

bool split_path(std::string_view rest, RequestHead& head) {
  const std::size_t mark = rest.find('?');
  head.has_query = mark != std::string_view::npos;
  head.path = rest.substr(0, mark);
  head.query = head.has_query ? rest.substr(mark + 1) : std::string_view();
  return true;
}

// The four forms of a target (RFC 9112, 3.2). `authority` gets that of the absolute form.
bool parse_target(Cursor& in, RequestHead& head, std::string_view& authority) {
  const std::string_view target = head.target;
  if (head.method == Method::connect) return in.fail("CONNECT is not supported", 405);
  if (target.front() == '/') return split_path(target, head);
  if (target == "*") {
    if (head.method != Method::options) return in.fail("asterisk-form with a method other than OPTIONS");
    head.path = target;
    return true;
  }
  const std::size_t colon = target.find("://");
  if (colon == std::string_view::npos) return in.fail("invalid request target");
  head.scheme = target.substr(0, colon);
  if (!equal_ignoring_case(head.scheme, "http") && !equal_ignoring_case(head.scheme, "https")) {
    return in.fail("invalid scheme in the request target");
  }
  const std::string_view rest = target.substr(colon + 3);
  const std::size_t end = rest.find_first_of("/?");
  authority = rest.substr(0, end);
  if (end == std::string_view::npos) {
    head.path = head.method == Method::options ? "*" : "/";
    return true;
  }
  split_path(rest.substr(end), head);
  if (head.path.empty()) head.path = "/";
  return true;
}

// "GET /path HTTP/1.1" CRLF.
bool parse_request_line(Cursor& in, RequestHead& head, std::string_view& authority) {
  char* const start = in.p;
  char* p = start;
  while (p < in.end && token_lower(*p) != 0) ++p;
  if (static_cast<std::size_t>(p - start) > kMaxMethod) return in.fail("method too long", 501);
  if (p == in.end) return in.more();
  if (*p != ' ' || p == start) return in.fail("invalid method");
  head.method_text = {start, static_cast<std::size_t>(p - start)};
  head.method = method_of(head.method_text);
  char* const target = ++p;
  p = skip_target(p, in.end);
  if (p == in.end) return in.more();
  if (*p == '\r' || *p == '\n') return in.fail("no HTTP version (HTTP/0.9)");
  if (*p != ' ' || p == target) return in.fail("invalid request target");
  head.target = {target, static_cast<std::size_t>(p - target)};
  in.p = p + 1;
  if (!parse_version(in, head.minor)) return false;
  if (!in.line_end()) return in.result.state == ParseState::need_more ? false : in.fail("invalid request line");
  return parse_target(in, head, authority);
}

// One valid Host that agrees with an absolute-form target (RFC 9112, 3.2 and 3.2.2).
const char* settle_authority(const Field* host_field, std::string_view target_authority, RequestHead& head) {
  if (host_field == nullptr && head.minor == 1) return "no Host";
  if (host_field != nullptr) {
    head.authority = host_field->value;
    if (!parse_authority(head.authority, head.host, head.port)) return "invalid Host";
  }
  if (head.scheme.empty()) return nullptr;
  std::string_view host;
  std::uint16_t port = 0;
  if (!parse_authority(target_authority, host, port)) return "invalid authority in the request target";
  if (host_field == nullptr) {
    head.authority = target_authority;
    head.host = host;
    head.port = port;
    return nullptr;
  }
  if (!same_authority(head.scheme, host, port, head.host, head.port)) {
    return "Host disagrees with the request target";
  }
  return nullptr;
}

// What a head that is not yet complete may still grow to.
ParseResult within(ParseResult result, std::span<const char> seen, std::size_t limit) {
  const std::size_t size = result.state == ParseState::done ? result.consumed : seen.size() + 1;
  if (result.state == ParseState::error || size <= limit) return result;
  const std::string_view allowed(seen.data(), std::min(limit, seen.size()));
  const auto line = allowed.find_first_not_of("\r\n");
  const bool first_line_fits = allowed.find('\n', std::min(line, allowed.size())) != std::string_view::npos;
  return first_line_fits ? refuse(431, "head too large") : refuse(414, "request target too long");
}

// Empty lines before a request line: left by clients that end a body with an extra CRLF.
bool skip_leading_lines(Cursor& in) {
  for (std::size_t lines = 0; in.p < in.end && *in.p == '\r'; ++lines) {
    if (lines == kMaxLeadingLines) return in.fail("empty lines before the request");
    if (!in.line_end()) return false;
  }
  return true;
}

ParseResult parse_request(std::span<char> input, RequestHead& head) {
  Cursor in{input.data(), input.data() + input.size(), {}};
  head.clear();
  Facts facts;
  std::string_view target_authority;
  if (!skip_leading_lines(in) || !parse_request_line(in, head, target_authority) ||
      !parse_fields(in, head.fields, facts)) {
    return in.result;
  }
  const char* wrong = apply(facts, head);
  if (wrong == nullptr) wrong = settle_authority(facts.host, target_authority, head);
  if (wrong != nullptr) return refuse(400, wrong);
  if (facts.chunked) {
    head.framing = Framing::chunked;
  } else if (head.content_length != 0) {
    head.framing = Framing::length;
  }
  head.expect_continue = facts.expect_continue && head.minor == 1 && head.framing != Framing::none;
  if (facts.expect_continue &&
      head.minor == 0) {  // an upstream would take it for an HTTP/1.1 client's (RFC 9110 10.1.1)
    for (Field& field : head.fields) field.hop_by_hop |= field.id == FieldId::expect;
  }
  // With a body to come, the bytes behind the head are not the new protocol's: such an upgrade is ignored.
  head.upgrade = head.framing == Framing::none && upgrades(facts, head.minor);
  if (head.upgrade) head.upgrade_protocol = facts.upgrade->value;
  return done(static_cast<std::size_t>(in.p - input.data()));
}

// "HTTP/1.1 200 OK" CRLF. The phrase, and the space before it, may be missing.
bool parse_status_line(Cursor& in, ResponseHead& head) {
  if (!parse_version(in, head.minor)) return false;
  if (in.end - in.p < 5) return in.more();
  if (in.p[0] != ' ' || in.p[1] < '1' || in.p[1] > '9' || !is_digit(in.p[2]) || !is_digit(in.p[3])) {
    return in.fail("invalid status line");
  }
  head.status = static_cast<std::uint16_t>((in.p[1] - '0') * 100 + (in.p[2] - '0') * 10 + (in.p[3] - '0'));
  in.p += 4;
  if (*in.p == ' ') {
    char* const reason = ++in.p;
    in.p = skip_value(in.p, in.end);
    head.reason = {reason, static_cast<std::size_t>(in.p - reason)};
  } else if (*in.p != '\r') {
    return in.fail("invalid status line");
  }
  return in.line_end();
}

ParseResult parse_response(std::span<char> input, Method method, ResponseHead& head) {
  Cursor in{input.data(), input.data() + input.size(), {}};
  head.clear();
  Facts facts;
  if (!parse_status_line(in, head) || !parse_fields(in, head.fields, facts)) return in.result;
  if (const char* wrong = apply(facts, head)) return refuse(502, wrong);
  const bool informational = head.status < 200;
  if (informational || method == Method::head || head.status == 204 || head.status == 304) {
    // A body announced where there can be none may follow all the same: that connection is not used again.
    if (head.status == 204 && (facts.chunked || head.content_length != 0)) head.keep_alive = false;
  } else if (facts.chunked) {
    head.framing = Framing::chunked;
  } else if (!facts.has_content_length) {
    head.framing = Framing::until_close;
    head.keep_alive = false;
  } else if (head.content_length != 0) {
    head.framing = Framing::length;
  }
  if (head.status == 101) {
    head.keep_alive = false;
    head.upgrade = upgrades(facts, head.minor);
    if (head.upgrade) head.upgrade_protocol = facts.upgrade->value;
  }
  return done(static_cast<std::size_t>(in.p - input.data()));
}

}  // namespace

bool parse_content_length(std::string_view text, std::uint64_t& value) {
  if (text.empty() || text.size() > 19) return false;
  value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return false;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value < (std::uint64_t{1} << 63);
}

bool same_authority(std::string_view scheme, std::string_view host_a, std::uint16_t port_a, std::string_view host_b,
                    std::uint16_t port_b) {
  const std::uint16_t usual = scheme.size() == 5 ? 443 : 80;  // "https" or "http"
  return equal_ignoring_case(host_a, host_b) && (port_a != 0 ? port_a : usual) == (port_b != 0 ? port_b : usual);
}

ParseResult parse_request_head(std::span<char> input, std::size_t limit, RequestHead& head) {
  return within(parse_request(input, head), input, limit);
}

ParseResult parse_response_head(std::span<char> input, std::size_t limit, Method method, ResponseHead& head) {
  ParseResult result = within(parse_response(input, method, head), input, limit);
  if (result.state == ParseState::error) result.status = 502;
  return result;
}

}  // namespace edgemux::core
