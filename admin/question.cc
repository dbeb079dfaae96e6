#include "admin/question.h"

#include <algorithm>
#include <array>

#include "core/http/bytes.h"
#include "core/http/head_parser.h"

namespace edgemux::admin {

namespace {

constexpr std::size_t kMaxQuestion = 64 * 1024;

std::string shown(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, 80)) out += c >= ' ' && c < 0x7f ? c : '?';
  return out + (text.size() > 80 ? "...'" : "'");
}

void append_encoded(std::string& out, std::string_view key, std::string_view value) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  if (!out.empty()) out += '&';
  out += key;
  out += '=';
  for (const char c : value) {
    if (core::is_alpha(c) || core::is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4U], kHex[byte & 15U]};
    }
  }
}

std::optional<std::string> decoded(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      out += text[at];
      continue;
    }
    const bool whole = text.size() - at > 2;
    const int high = whole ? core::hex_digit(text[at + 1]) : -1;
    const int low = whole ? core::hex_digit(text[at + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    at += 2;
  }
  return out;
}

bool breaks_lines(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos;
}

std::vector<std::string> listed(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const auto end = std::min(text.find(','), text.size());
    if (const auto word = core::trim_ows(text.substr(0, end)); !word.empty()) out.emplace_back(word);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

// The lines of the head behind the request line; Host is the URL's, unless one is given.
core::Result<std::string> field_lines(const Asked& asked, std::string_view authority) {
  std::string out;
  bool host = false;
  for (const auto& line : asked.headers) {
    const auto colon = line.find(':');
    if (breaks_lines(line)) return core::fail("the header " + shown(line) + " holds a line break or a NUL");
    if (colon == std::string::npos || colon == 0) {
      return core::fail("the header " + shown(line) + " has no name and value; write it like 'x-canary: 1'");
    }
    const auto name = std::string_view(line).substr(0, colon);
    host = host || core::equal_ignoring_case(name, "host");
    out += name;
    out += ": ";
    out += core::trim_ows(std::string_view(line).substr(colon + 1));
    out += "\r\n";
  }
  return (host ? std::string() : "Host: " + std::string(authority) + "\r\n") + out;
}

core::Result<Question> of_url(const Asked& asked, Question question) {
  std::string_view rest = asked.url;
  if (breaks_lines(rest)) return core::fail("the URL " + shown(rest) + " holds a line break or a NUL");
  const auto scheme_end = rest.find("://");
  const auto scheme = rest.substr(0, scheme_end == std::string_view::npos ? 0 : scheme_end);
  if (core::equal_ignoring_case(scheme, "http")) {
    question.tls = false;
    question.port = 80;
  } else if (!core::equal_ignoring_case(scheme, "https")) {
    return core::fail("the URL " + shown(rest) + " must begin with https:// or http://; write it like https://" +
                      (scheme.empty() && !rest.empty() && rest.front() != '/' ? std::string(rest.substr(0, 60))
                                                                              : "shop.example.com/cart"));
  }
  rest.remove_prefix(scheme_end + 3);
  rest = rest.substr(0, rest.find('#'));
  const auto path_begin = std::min(rest.find_first_of("/?"), rest.size());
  const auto authority = rest.substr(0, path_begin);
  std::string target(rest.substr(path_begin));
  if (target.empty() || target.front() == '?') target.insert(0, 1, '/');
  if (authority.empty()) return core::fail("the URL " + shown(asked.url) + " has no host");
  if (authority.find('@') != std::string_view::npos) {
    return core::fail("the URL " + shown(asked.url) + " holds a user name; write host and path alone");
  }
  std::string_view host;
  std::uint16_t port = 0;
  if (!core::parse_authority(authority, host, port)) {
    const bool foreign = std::any_of(authority.begin(), authority.end(), [](char c) { return (c & 0x80) != 0; });
    return core::fail(shown(authority) + " is no host and port" +
                      (foreign ? "; write an international name as it travels, xn--..." : ""));
  }
  if (port != 0) question.port = port;
  if (question.tls && question.server_name.empty() && host.front() != '[') question.server_name = host;
  auto fields = field_lines(asked, authority);
  if (!fields) return tl::unexpected(fields.error());
  if (!core::is_token(asked.method)) {
    return core::fail(shown(asked.method) + " is no method; write it like GET or POST");
  }
  question.text = asked.method + " " + asked.url;
  question.head = asked.method + " " + target + " HTTP/1.1\r\n" + *fields + "\r\n";
  return question;
}

}  // namespace

std::string query_of(const Asked& asked) {
  std::string out;
  const auto one = [&](std::string_view key, const std::string& value) {
    if (!value.empty()) append_encoded(out, key, value);
  };
  one("url", asked.url);
  one("method", asked.method);
  for (const auto& header : asked.headers) append_encoded(out, "header", header);
  one("listener", asked.listener);
  one("sni", asked.sni);
  one("alpn", asked.alpn);
  one("from", asked.from);
  return out;
}

core::Result<Asked> asked_of(std::string_view query) {
  Asked asked;
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const auto part = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const auto equals = std::min(part.find('='), part.size());
    const auto key = part.substr(0, equals);
    auto value = decoded(part.substr(std::min(equals + 1, part.size())));
    if (!value) return core::fail("a bad escape in " + shown(part));
    if (key == "header") {
      asked.headers.push_back(std::move(*value));
      continue;
    }
    const std::array<std::pair<std::string_view, std::string*>, 6> known{{{"url", &asked.url},
                                                                          {"method", &asked.method},
                                                                          {"listener", &asked.listener},
                                                                          {"sni", &asked.sni},
                                                                          {"alpn", &asked.alpn},
                                                                          {"from", &asked.from}}};
    const auto* found = std::find_if(known.begin(), known.end(), [&](const auto& one) { return one.first == key; });
    if (found == known.end()) return core::fail("unknown parameter " + shown(key));
    *found->second = std::move(*value);
  }
  return asked;
}

core::Result<Question> question_of(const Asked& asked) {
  Question question;
  std::size_t size = asked.url.size();
  for (const auto& header : asked.headers) size += header.size();
  if (size > kMaxQuestion) return core::fail("the question is longer than 64 KiB");
  question.listener = asked.listener;
  question.server_name = asked.sni;
  question.alpn = listed(asked.alpn.empty() ? "h2, http/1.1" : asked.alpn);
  question.alpn_said = !asked.alpn.empty();
  if (!asked.from.empty()) {
    question.client = core::SocketAddress::parse_ip(asked.from, 0);
    if (!question.client) return core::fail(shown(asked.from) + " is no IP address; --from takes one like 192.0.2.7");
  }
  if (!asked.url.empty()) return of_url(asked, std::move(question));
  if (asked.sni.empty()) return core::fail("ask about a URL, or about a server name with --sni NAME");
  question.text = "a TLS connection to " + shown(asked.sni);
  return question;
}

}  // namespace edgemux::admin
