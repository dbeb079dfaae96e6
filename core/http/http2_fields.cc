#include "core/http/http2_fields.h"

#include <sys/random.h>

#include <charconv>
#include <cstring>

#include "core/http/bytes.h"
#include "core/http/head_parser.h"
#include "core/http/head_writer.h"

namespace edgemux::core {
namespace {

std::string_view view(nghttp2_rcbuf* buffer) {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};
}

constexpr std::string_view kContentType = "content-type";

constexpr HeadProblem bad(const char* reason) { return {400, reason}; }

// Lower-case tokens only (RFC 9113 8.2.1). `underscore`: there is a '_' in it.
bool is_field_name(std::string_view name, bool& underscore) {
  if (!name.empty() && all_of<PlainNameBytes>(name)) return true;
  for (const char c : name) {
    if (token_lower(c) != c || c == 0) return false;
    underscore |= c == '_';
  }
  return !name.empty();
}

// Field content without space around it (RFC 9113 8.2.1).
bool is_field_value(std::string_view value) {
  if (value.empty()) return true;
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  return !blank(value.front()) && !blank(value.back()) && all_of<ValueBytes>(value);
}

bool is_connection_specific(const Field& field) {
  switch (field.id) {
    case FieldId::connection:
    case FieldId::keep_alive:
    case FieldId::proxy_connection:
    case FieldId::transfer_encoding:
    case FieldId::upgrade:
      return true;
    case FieldId::te:
      return !equal_ignoring_case(field.value, "trailers");
    default:
      return false;
  }
}

// A nonce that no backend will see used: RFC 6455 4.1 wants one, RFC 8441 has none.
void make_websocket_key(std::span<char, 24> out) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<unsigned char, 18> random{};
  if (getrandom(random.data(), 16, GRND_NONBLOCK) != 16) random.fill(0x5a);
  random[16] = random[17] = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    const unsigned word = static_cast<unsigned>(random[i * 3] << 16 | random[i * 3 + 1] << 8 | random[i * 3 + 2]);
    for (std::size_t k = 0; k < 4; ++k) out[i * 4 + k] = kAlphabet[word >> (18 - 6 * k) & 63];
  }
  out[22] = out[23] = '=';
}

}  // namespace

// ---- collecting

static_assert(sizeof(HeaderBlock) <= 4096);  // a size class of its memory

struct HeaderBlock::Pseudo {
  // Which of them this kind of head may have.
  bool request = false;
  std::string_view method, scheme, authority, path, protocol, status;
  bool never_indexed = false;  // one of them
};

struct HeaderBlock::Facts {
  const Field* host = nullptr;
  std::uint64_t content_length = 0;
  std::size_t first_cookie = 0;
  bool has_content_length = false;
  bool expect_continue = false;
  bool te_trailers = false;
  bool several_cookies = false;
  bool has_cookie = false;
};

void HeaderBlock::add(nghttp2_rcbuf* name, nghttp2_rcbuf* value, bool never_indexed) {
  ++seen_;
  bytes_ += nghttp2_rcbuf_get_buf(name).len + nghttp2_rcbuf_get_buf(value).len + kOverhead;
  if (bytes_ > limit_ || seen_ > kMost) return keep_content_type();
  nghttp2_rcbuf_incref(name);
  nghttp2_rcbuf_incref(value);
  never_indexed_[held_] = never_indexed;
  pairs_[held_++] = {name, value};
}

void HeaderBlock::clear() {
  for (std::size_t i = 0; i < held_; ++i) {
    nghttp2_rcbuf_decref(pairs_[i].name);
    nghttp2_rcbuf_decref(pairs_[i].value);
  }
  held_ = 0;
  give_http2_memory(cookies_);
  cookies_ = nullptr;
}

void HeaderBlock::keep_content_type() {
  Pair type{};
  for (Pair& pair : std::span(pairs_).first(held_)) {
    if (type.name == nullptr && view(pair.name) == kContentType) {
      type = pair;
      continue;
    }
    nghttp2_rcbuf_decref(pair.name);
    nghttp2_rcbuf_decref(pair.value);
  }
  held_ = 0;
  if (type.name != nullptr) pairs_[held_++] = type;
}

std::string_view HeaderBlock::content_type() const {
  for (const Pair& pair : pairs()) {
    if (view(pair.name) == kContentType) return view(pair.value);
  }
  return {};
}

HeadProblem HeaderBlock::too_large() const {
  if (bytes_ > limit_) return {431, "head too large"};
  if (seen_ > kMost) return {431, "too many fields"};
  return {};
}

Field HeaderBlock::field_at(std::size_t index) const {
  Field field;
  field.name = view(pairs_[index].name);
  field.value = view(pairs_[index].value);
  field.never_indexed = never_indexed_[index];
  return field;
}

const char* HeaderBlock::take(std::size_t index, bool& regular_seen, Pseudo* pseudo, FieldList& fields, Field& field) {
  field = field_at(index);
  if (!is_field_value(field.value)) return "invalid field value";
  if (field.name.starts_with(':')) {
    if (pseudo == nullptr) return "pseudo field in trailers";
    if (regular_seen) return "pseudo field behind an ordinary one";
    std::string_view* to = nullptr;
    if (!pseudo->request) {
      if (field.name == ":status") to = &pseudo->status;
    } else if (field.name == ":method") {
      to = &pseudo->method;
    } else if (field.name == ":path") {
      to = &pseudo->path;
    } else if (field.name == ":scheme") {
      to = &pseudo->scheme;
    } else if (field.name == ":authority") {
      to = &pseudo->authority;
    } else if (field.name == ":protocol") {
      to = &pseudo->protocol;
    }
    if (to == nullptr) return "unknown pseudo field";
    if (to->data() != nullptr) return "repeated pseudo field";
    // Never null, so that an empty one is told from none.
    *to = field.value.data() != nullptr ? field.value : std::string_view("", 0);
    pseudo->never_indexed |= field.never_indexed;
    return nullptr;
  }
  regular_seen = true;
  bool underscore = false;
  if (!is_field_name(field.name, underscore)) return "invalid field name";
  field.id = classify_field(field.name);
  if (underscore && aliases_managed_field(field.name)) return nullptr;  // dropped
  if (underscore) fields.note_underscore();
  if (is_connection_specific(field)) return "connection-specific field";
  field.hop_by_hop = is_always_hop_by_hop(field.id);
  if (!fields.receive(field)) return "too many fields";
  return nullptr;
}

HeadProblem HeaderBlock::collect(Pseudo* pseudo, FieldList& fields, Facts& facts) {
  if (const HeadProblem problem = too_large(); problem.reason != nullptr) return problem;
  bool regular_seen = false;
  for (std::size_t i = 0; i < held_; ++i) {
    const std::size_t before = fields.size();
    // A second crumb of cookie takes no place of its own.
    if (facts.has_cookie && view(pairs_[i].name) == "cookie") {
      if (!is_field_value(view(pairs_[i].value))) return bad("invalid field value");
      facts.several_cookies = true;
      continue;
    }
    Field field;
    if (const char* wrong = take(i, regular_seen, pseudo, fields, field)) {
      return {static_cast<std::uint16_t>(fields.size() == FieldList::kMostReceived ? 431 : 400), wrong};
    }
    if (fields.size() == before) continue;
    switch (field.id) {
      case FieldId::host:
        if (facts.host != nullptr) return bad("more than one Host");
        facts.host = &fields[fields.size() - 1];
        break;
      case FieldId::content_length:
        if (facts.has_content_length) return bad("more than one Content-Length");
        if (!parse_content_length(field.value, facts.content_length)) return bad("invalid Content-Length");
        facts.has_content_length = true;
        break;
      case FieldId::cookie:
        facts.has_cookie = true;
        facts.first_cookie = before;
        break;
      case FieldId::te:
        facts.te_trailers = true;
        break;
      case FieldId::expect:
        if (equal_ignoring_case(field.value, "100-continue")) facts.expect_continue = true;
        break;
      default:
        break;
    }
  }
  if (facts.several_cookies && pseudo != nullptr && pseudo->request) {
    if (const char* wrong = join_cookies(fields, facts.first_cookie)) return {500, wrong};
  }
  return {};
}

const char* HeaderBlock::join_cookies(FieldList& fields, std::size_t first) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < held_; ++i) {
    if (view(pairs_[i].name) == "cookie") size += view(pairs_[i].value).size() + 2;
  }
  cookies_ = static_cast<char*>(take_http2_memory(size));
  if (cookies_ == nullptr) return "out of memory";
  char* out = cookies_;
  bool secret = false;  // one of the crumbs was never to be indexed
  for (std::size_t i = 0; i < held_; ++i) {
    if (view(pairs_[i].name) != "cookie") continue;
    const std::string_view crumb = view(pairs_[i].value);
    secret |= never_indexed_[i];
    if (crumb.empty()) continue;  // or there might be space at the end
    if (out != cookies_) {
      *out++ = ';';
      *out++ = ' ';
    }
    std::memcpy(out, crumb.data(), crumb.size());
    out += crumb.size();
  }
  fields[first].never_indexed = secret;
  fields[first].value = {cookies_, static_cast<std::size_t>(out - cookies_)};
  return nullptr;
}

// ---- requests

namespace {

// RFC 9113 8.3.1: origin-form, or "*" of OPTIONS.
const char* split_target(std::string_view target, RequestHead& head) {
  if (!all_of<TargetBytes>(target)) return "invalid :path";
  head.target = target;
  if (target == "*") {
    if (head.method != Method::options) return "asterisk-form with a method other than OPTIONS";
    head.path = target;
    return nullptr;
  }
  if (!target.starts_with('/')) return "invalid :path";
  const std::size_t mark = target.find('?');
  head.has_query = mark != std::string_view::npos;
  head.path = target.substr(0, mark);
  if (head.has_query) head.query = target.substr(mark + 1);
  return nullptr;
}

// :authority, Host, or both and they agree.
const char* settle_authority(std::string_view authority, const Field* host_field, RequestHead& head) {
  if (authority.data() == nullptr && host_field == nullptr) return "no :authority and no Host";
  if (authority.data() == nullptr) authority = host_field->value;
  head.authority = authority;
  if (!parse_authority(authority, head.host, head.port)) return "invalid :authority or Host";
  if (host_field == nullptr || host_field->value == authority) return nullptr;
  std::string_view host;
  std::uint16_t port = 0;
  if (!parse_authority(host_field->value, host, port)) return "invalid Host";
  return same_authority(head.scheme, host, port, head.host, head.port) ? nullptr : "Host disagrees with :authority";
}

}  // namespace

HeadProblem HeaderBlock::request(bool end, RequestHead& head) {
  head.clear();
  head.major = 2;
  Facts facts;
  Pseudo pseudo;
  pseudo.request = true;
  if (const HeadProblem problem = collect(&pseudo, head.fields, facts); problem.reason != nullptr) return problem;
  if (pseudo.method.data() == nullptr || !is_token(pseudo.method)) return bad("no valid :method");
  head.method_text = pseudo.method;
  head.method = method_of(head.method_text);
  const bool websocket = head.method == Method::connect && pseudo.protocol.data() != nullptr;
  if (head.method == Method::connect && !websocket) return {405, "CONNECT is not supported"};
  if (pseudo.protocol.data() != nullptr && !websocket) return bad(":protocol with a method other than CONNECT");
  if (pseudo.scheme.data() == nullptr || pseudo.path.data() == nullptr) return bad("missing pseudo field");
  if (!equal_ignoring_case(pseudo.scheme, "http") && !equal_ignoring_case(pseudo.scheme, "https")) {
    return bad("invalid :scheme");
  }
  head.scheme = pseudo.scheme;
  const char* wrong = split_target(pseudo.path, head);
  if (wrong == nullptr) wrong = settle_authority(pseudo.authority, facts.host, head);
  if (wrong != nullptr) return bad(wrong);

  head.has_content_length = facts.has_content_length;
  head.content_length = facts.content_length;
  head.keep_alive = true;
  head.te_trailers = facts.te_trailers;
  head.never_indexed = pseudo.never_indexed;
  if (websocket) {
    if (!equal_ignoring_case(pseudo.protocol, "websocket")) return {501, ":protocol other than websocket"};
    if (end || facts.has_content_length) return bad("extended CONNECT with a body");
    head.method = Method::get;
    head.method_text = method_text(Method::get);
    head.upgrade = true;
    head.upgrade_protocol = "websocket";
    make_websocket_key(websocket_key_);
    // What the same request over HTTP/1.1 has, for rules that go by it.
    const std::array<Field, 3> implied{Field{"connection", "Upgrade", FieldId::connection, true},
                                       Field{"upgrade", "websocket", FieldId::upgrade, true},
                                       Field{"sec-websocket-key", {websocket_key_.data(), websocket_key_.size()}}};
    for (const Field& field : implied) {
      if (!head.fields.receive(field)) return {431, "too many fields"};
    }
    return {};
  }
  if (end) {
    if (head.content_length != 0) return bad("Content-Length without a body");
    return {};
  }
  head.framing = facts.has_content_length ? Framing::length : Framing::chunked;
  head.expect_continue = facts.expect_continue;
  return {};
}

// ---- responses and trailers

HeadProblem HeaderBlock::response(bool end, Method method, ResponseHead& head) {
  head.clear();
  Facts facts;
  Pseudo pseudo;
  HeadProblem problem = collect(&pseudo, head.fields, facts);
  if (problem.reason != nullptr) return {502, problem.reason};
  const std::string_view status = pseudo.status;
  if (status.size() != 3 || status[0] < '1' || status[0] > '9' || !is_digit(status[1]) || !is_digit(status[2])) {
    return {502, "no valid :status"};
  }
  head.status = static_cast<std::uint16_t>((status[0] - '0') * 100 + (status[1] - '0') * 10 + (status[2] - '0'));
  if (head.status == 101) return {502, "101 in HTTP/2"};  // RFC 9113 8.6
  head.has_content_length = facts.has_content_length;
  head.content_length = facts.content_length;
  head.keep_alive = true;
  head.never_indexed = pseudo.never_indexed;
  if (head.status < 200) return end ? HeadProblem{502, "an interim answer ended the stream"} : HeadProblem{};
  const bool bodiless = method == Method::head || head.status == 204 || head.status == 304;
  if (bodiless) return {};
  if (end) return head.content_length != 0 ? HeadProblem{502, "Content-Length without a body"} : HeadProblem{};
  head.framing = facts.has_content_length ? Framing::length : Framing::chunked;
  return {};
}

HeadProblem HeaderBlock::trailers(FieldList& fields) {
  fields.clear();
  Facts facts;
  if (const HeadProblem problem = collect(nullptr, fields, facts); problem.reason != nullptr) return problem;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (is_managed(fields[i].id) || fields[i].hop_by_hop) continue;
    fields[kept++] = fields[i];
  }
  fields.truncate(kept);
  return {};
}

// ---- the way back

namespace {

// RFC 7541 6.2.3: what was never to be indexed stays so.
unsigned table_flag(bool never_indexed) { return never_indexed ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE; }

}  // namespace

void Http2FieldList::put(std::string_view name, std::string_view value, unsigned flags) {
  if (size_ == kCapacity) return;
  pairs_[size_++] = {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                     reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                     static_cast<std::uint8_t>(flags)};
}

void Http2FieldList::add(std::string_view name, std::string_view value, bool never_indexed) {
  if (name.empty() || breaks_line(name) || breaks_line(value)) return;
  put(name, value, table_flag(never_indexed));
}

std::size_t Http2FieldList::counted_bytes() const {
  std::size_t bytes = 0;
  for (const nghttp2_nv& pair : std::span(pairs_).first(size_)) {
    bytes += pair.namelen + pair.valuelen + HeaderBlock::kOverhead;
  }
  return bytes;
}

void Http2FieldList::add_known(std::string_view name, std::string_view value, bool never_indexed) {
  if (!breaks_line(value)) put(name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME | table_flag(never_indexed));
}

void Http2FieldList::add_number(std::string_view name, std::uint64_t value) {
  if (numbers_ == kNumbers) return;
  char* const text = digits_[numbers_++];
  add_known(name, {text, static_cast<std::size_t>(std::to_chars(text, text + sizeof digits_[0], value).ptr - text)});
}

void Http2FieldList::add_all(std::span<const Field> fields) {
  for (const Field& field : fields) {
    if (field.hop_by_hop || field.id == FieldId::host || field.id == FieldId::content_length) continue;
    if (stands_as_line(field)) {
      put(field.name, field.value, table_flag(field.never_indexed));
    } else {
      add(field.name, field.value, field.never_indexed);
    }
  }
}

}  // namespace edgemux::core
