#include "listeners/access_format.h"

#include <charconv>
#include <cstring>
#include <ctime>

namespace edgemux::listeners {

using routing::AccessField;

namespace {

constexpr std::uint64_t kOnes = 0x0101010101010101U;
constexpr std::uint64_t kHighs = 0x8080808080808080U;
// The longest escape is "\u00xx"; a value is followed by at most a cut mark and a quote.
constexpr std::size_t kEscape = 6;

constexpr std::uint64_t any_zero(std::uint64_t x) { return (x - kOnes) & ~x & kHighs; }

// Not zero when one of eight bytes is a control, a quote, a backslash, DEL or above: all others stand for themselves.
constexpr std::uint64_t any_special(std::uint64_t x) {
  return ((x - kOnes * 0x20) & ~x & kHighs) | any_zero(x ^ (kOnes * '"')) | any_zero(x ^ (kOnes * '\\')) |
         (((x + kOnes) | x) & kHighs);
}

constexpr bool special(unsigned char c) { return c < 0x20 || c == '"' || c == '\\' || c >= 0x7f; }

// Length of the UTF-8 sequence at `at` (RFC 3629), 0 when it is none.
std::size_t utf8_length(const char* at, const char* end) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(at[i]); };
  const auto room = static_cast<std::size_t>(end - at);
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80; };
  const unsigned first = byte(0);
  if (first >= 0xc2 && first <= 0xdf) return room >= 2 && tail(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (room < 3 || !tail(1) || !tail(2)) return 0;
    if (first == 0xe0 && byte(1) < 0xa0) return 0;  // overlong
    if (first == 0xed && byte(1) > 0x9f) return 0;  // surrogate
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (room < 4 || !tail(1) || !tail(2) || !tail(3)) return 0;
    if (first == 0xf0 && byte(1) < 0x90) return 0;
    if (first == 0xf4 && byte(1) > 0x8f) return 0;
    return 4;
  }
  return 0;
}

char* put(char* out, std::string_view text) {
  std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

char* put_unicode_escape(char* out, unsigned char byte) {
  constexpr char kHex[] = "0123456789abcdef";
  out = put(out, "\\u00");
  *out++ = kHex[byte >> 4U];
  *out++ = kHex[byte & 15U];
  return out;
}

// One character that does not stand for itself; moves `at` behind it.
char* put_special(char* out, const char*& at, const char* end) {
  const auto byte = static_cast<unsigned char>(*at);
  if (byte < 0x80) {
    ++at;
    switch (byte) {
      case '"':
        return put(out, "\\\"");
      case '\\':
        return put(out, "\\\\");
      case '\n':
        return put(out, "\\n");
      case '\r':
        return put(out, "\\r");
      case '\t':
        return put(out, "\\t");
      default:
        return put_unicode_escape(out, byte);
    }
  }
  const std::size_t length = utf8_length(at, end);
  if (length == 0) {
    ++at;
    return put(out, "\\ufffd");
  }
  if (length == 2 && byte == 0xc2 && static_cast<unsigned char>(at[1]) < 0xa0) {  // C1 controls move terminals too
    out = put_unicode_escape(out, static_cast<unsigned char>(at[1]));
  } else {
    out = put(out, {at, length});
  }
  at += length;
  return out;
}

// Writes the escaped text, at most `limit` bytes of it. There is room for kEscape + 3 bytes more than that.
char* put_escaped(char* out, std::string_view text, std::size_t limit) {
  const char* at = text.data();
  const char* end = at + text.size();
  const char* stop = out + limit;
  while (at != end) {
    if (out >= stop) return put(out, "...");
    if (end - at >= 8 && stop - out >= 8) {
      std::uint64_t eight;
      std::memcpy(&eight, at, 8);
      if (any_special(eight) == 0) {
        std::memcpy(out, &eight, 8);
        at += 8;
        out += 8;
        continue;
      }
    }
    if (special(static_cast<unsigned char>(*at))) {
      out = put_special(out, at, end);
    } else {
      *out++ = *at++;
    }
  }
  return out;
}

bool plain(std::string_view text) {
  for (const char c : text) {
    if (special(static_cast<unsigned char>(c)) || c == ' ' || c == '=') return false;
  }
  return true;
}

char* put_number(char* out, std::uint64_t value) { return std::to_chars(out, out + 20, value).ptr; }

// Microseconds as milliseconds with three decimals.
char* put_millis(char* out, std::uint64_t micros) {
  out = put_number(out, micros / 1000);
  const auto rest = static_cast<unsigned>(micros % 1000);
  *out++ = '.';
  *out++ = static_cast<char>('0' + rest / 100);
  *out++ = static_cast<char>('0' + rest / 10 % 10);
  *out++ = static_cast<char>('0' + rest % 10);
  return out;
}

}  // namespace

AccessLayout::AccessLayout(const routing::AccessLogSpec& spec)
    : json(spec.format == routing::AccessFormat::json),
      off(spec.format == routing::AccessFormat::off),
      sample(spec.sample == 0 ? 1 : spec.sample) {
  const auto add = [&](AccessField field) {
    const std::string name(routing::kAccessFields[static_cast<std::size_t>(field)]);
    steps.push_back({field, json ? ",\"" + name + "\":" : " " + name + "="});
  };
  if (spec.fields.empty()) {
    for (std::size_t i = 0; i < routing::kAccessFields.size(); ++i) add(static_cast<AccessField>(i));
    return;
  }
  // A name that does not exist is the configuration check's to refuse; a field named twice is written once.
  for (const auto& name : spec.fields) {
    const auto field = routing::find_access_field(name);
    bool known = !field.has_value();
    for (const auto& step : steps) known = known || step.field == *field;
    if (!known) add(*field);
  }
}

// Writes one field each: the prefix, then the value; nothing where there is no value.
struct FieldWriter {
  AccessFormatter& to;
  const AccessLayout::Step& step;

  void text(std::string_view value, std::size_t limit = kMaxValue) const {
    if (value.empty()) return;
    char* out = put(to.out_, step.prefix);
    if (!to.json_ && plain(value) && value.size() <= limit) {
      to.out_ = put(out, value);
      return;
    }
    *out++ = '"';
    out = put_escaped(out, value, limit);
    *out++ = '"';
    to.out_ = out;
  }
  // A word of our own: needs no escapes.
  void word(std::string_view value) const {
    char* out = put(to.out_, step.prefix);
    if (to.json_) *out++ = '"';
    out = put(out, value);
    if (to.json_) *out++ = '"';
    to.out_ = out;
  }
  void number(std::uint64_t value) const { to.out_ = put_number(put(to.out_, step.prefix), value); }
  void number_unless_zero(std::uint64_t value) const {
    if (value != 0) number(value);
  }
  void millis(std::uint64_t micros) const { to.out_ = put_millis(put(to.out_, step.prefix), micros); }
  void millis_unless_zero(std::uint64_t micros) const {
    if (micros != 0) millis(micros);
  }
  void yes(bool value) const {
    if (value) to.out_ = put(put(to.out_, step.prefix), "true");
  }
  void ip(const core::SocketAddress* address) const {
    if (address == nullptr || !address->valid()) return;
    char* out = put(to.out_, step.prefix);
    if (to.json_) *out++ = '"';
    out += address->write_ip(out);
    if (to.json_) *out++ = '"';
    to.out_ = out;
  }
  void time(std::int64_t unix_ms) const {
    to.out_ = put(to.out_, step.prefix);
    to.write_time(unix_ms);
  }
};

void AccessFormatter::write_time(std::int64_t unix_ms) {
  if (unix_ms < 0) unix_ms = 0;
  const std::int64_t second = unix_ms / 1000;
  if (second != second_) {
    second_ = second;
    const auto as_time = static_cast<std::time_t>(second);
    std::tm parts{};
    gmtime_r(&as_time, &parts);
    std::strftime(second_text_.data(), second_text_.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  }
  const auto ms = static_cast<unsigned>(unix_ms % 1000);
  char* out = out_;
  if (json_) *out++ = '"';
  out = put(out, {second_text_.data(), 19});
  *out++ = '.';
  *out++ = static_cast<char>('0' + ms / 100);
  *out++ = static_cast<char>('0' + ms / 10 % 10);
  *out++ = static_cast<char>('0' + ms % 10);
  *out++ = 'Z';
  if (json_) *out++ = '"';
  out_ = out;
}

std::string_view AccessFormatter::format(const AccessLayout& layout, const AccessRecord& r, std::int64_t (*now_ms)()) {
  json_ = layout.json;
  // The first field's prefix begins with a separator: in JSON the brace takes its place, in text it is left out.
  out_ = line_.data();
  for (const auto& step : layout.steps) {
    const FieldWriter write{*this, step};
    switch (step.field) {
      case AccessField::time:
        write.time(r.time_ms != 0 ? r.time_ms : now_ms() - static_cast<std::int64_t>(r.duration_us / 1000));
        break;
      case AccessField::kind:
        write.word(r.kind == AccessKind::request ? "request" : "connection");
        break;
      case AccessField::listener:
        write.text(r.listener);
        break;
      case AccessField::client:
        write.ip(r.client);
        break;
      case AccessField::client_port:
        write.number_unless_zero(r.client != nullptr ? r.client->port() : 0U);
        break;
      case AccessField::sni:
        write.text(r.sni);
        break;
      case AccessField::alpn:
        write.text(r.alpn);
        break;
      case AccessField::tls:
        write.text(r.tls_version);
        break;
      case AccessField::resumed:
        write.yes(r.tls_resumed);
        break;
      case AccessField::host:
        write.text(r.host);
        break;
      case AccessField::method:
        write.text(r.method);
        break;
      case AccessField::path:
        write.text(r.path, kMaxPath);
        break;
      case AccessField::protocol:
        write.text(r.protocol);
        break;
      case AccessField::status:
        write.number_unless_zero(r.status);
        break;
      case AccessField::reason:
        write.word(close_reason_name(r.reason));
        break;
      case AccessField::detail:
        write.text(r.detail);
        break;
      case AccessField::bytes_in:
        write.number(r.bytes_in);
        break;
      case AccessField::bytes_out:
        write.number(r.bytes_out);
        break;
      case AccessField::duration_ms:
        write.millis(r.duration_us);
        break;
      case AccessField::route:
        write.text(r.route);
        break;
      case AccessField::tenant:
        write.text(r.tenant);
        break;
      case AccessField::upstream:
        write.text(r.upstream);
        break;
      case AccessField::endpoint:
        write.text(r.endpoint);
        break;
      case AccessField::attempts:
        write.number_unless_zero(r.attempts);
        break;
      case AccessField::connect_ms:
        write.millis_unless_zero(r.connect_us);
        break;
      case AccessField::first_byte_ms:
        write.millis_unless_zero(r.first_byte_us);
        break;
      case AccessField::request_id:
        write.text(r.request_id);
        break;
      case AccessField::user_agent:
        write.text(r.user_agent);
        break;
      case AccessField::referer:
        write.text(r.referer);
        break;
    }
  }
  const char* begin = line_.data();
  if (json_) {
    if (out_ == begin) *out_++ = '{';
    line_[0] = '{';
    *out_++ = '}';
  } else if (out_ != begin) {
    ++begin;
  }
  *out_++ = '\n';
  return {begin, static_cast<std::size_t>(out_ - begin)};
}

// Every field at its longest still fits.
static_assert(kMaxPath + 16 * (kMaxValue + kEscape + 5) + 29 * 20 + 29 * 48 + 4 < kMaxLine);

}  // namespace edgemux::listeners
