#pragma once
// Reads one message with edgemux' parser and body reader, and says in what llhttp disagrees. The rule: whatever edgemux
// accepts, llhttp accepts, and sees the same method, target, status, fields and body.

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/http/chunked.h"
#include "core/http/head_parser.h"
#include "tests/core/http/llhttp_reference.h"

namespace edgemux::core::differential {

struct Body {
  bool complete = false;
  bool refused = false;
  std::string data;
  std::size_t consumed = 0;
  bool extensions = false;  // there may be chunk extensions, or blanks where one could be
};

// The body in `input`, given to the reader in pieces of at most `piece` bytes.
inline Body read_body(BodyReader reader, std::string_view input, std::size_t piece) {
  Body body;
  body.extensions = input.find_first_of("; \t") != std::string_view::npos;
  while (!reader.done() && body.consumed < input.size()) {
    const BodyStep step = reader.next(input.substr(body.consumed, piece));
    body.data += step.data;
    body.consumed += step.consumed;
    if (step.state == BodyState::error) {
      body.refused = true;
      return body;
    }
  }
  body.complete = reader.end_of_input();
  return body;
}

// llhttp takes a tab around these two for part of the value; RFC 9110, 5.5 does not, and neither does edgemux.
inline bool has_tab_at_framing_field(std::string_view head) {
  std::string text(head);
  for (char& c : text) c = lower(c);
  for (const std::string_view name : {"\ncontent-length:", "\ntransfer-encoding:", "\nconnection:", "\nupgrade:"}) {
    for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
      const std::string_view line = std::string_view(text).substr(at, text.find("\r\n", at) - at);
      if (line.find('\t') != std::string_view::npos) return true;
    }
  }
  return false;
}

inline std::string compare_fields(const FieldList& own, const Reference& other) {
  if (own.size() != other.fields.size()) return "another number of fields";
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (own[i].name != other.fields[i].first) return "another name: " + other.fields[i].first;
    if (own[i].value != other.fields[i].second) return "another value: " + other.fields[i].second;
  }
  return {};
}

inline constexpr std::string_view kExtension = "Invalid character in chunk";

inline std::string compare_body(const Body& own, const Reference& other) {
  if (own.refused) return {};  // edgemux is the stricter one
  // edgemux drops both: it does not interpret trailers, and takes any field content for an extension, of which llhttp
  // refuses some ("5;a=;b"). Blanks behind the size it refuses, too: RFC 9112
  // 7.1.1 has them before an extension, and other servers take them without one.
  const bool dropped_part =
      other.error != HPE_OK && (other.in_trailers || (own.extensions && other.reason.starts_with(kExtension)));
  if (dropped_part) return own.data.starts_with(other.body) ? "" : "another body";
  if (other.error != HPE_OK && own.complete) return "llhttp refuses: " + other.reason;
  if (own.complete && !other.complete) return "llhttp waits for more";
  if (!own.complete && other.complete) return "llhttp sees an end";
  if (own.data != other.body) return "another body";
  return {};
}

// Empty when they agree, or edgemux refuses (or waits for more of) the head.
inline std::string compare_request(std::string_view message, std::size_t piece) {
  std::vector<char> bytes(message.begin(), message.end());
  RequestHead head;
  const ParseResult result = parse_request_head(bytes, 65536, head);
  if (result.state != ParseState::done) return {};
  const Reference other = Reference::read(message, HTTP_REQUEST, false);
  if (other.error != HPE_OK && head.method == Method::other) return {};  // llhttp has a list of methods
  const bool tab = has_tab_at_framing_field(message.substr(0, result.consumed));
  if (!other.head_complete) return tab ? "" : "llhttp refuses the head: " + other.reason;
  if (other.method != head.method_text) return "another method: " + other.method;
  if (other.target != head.target) return "another target: " + other.target;
  if (std::string wrong = compare_fields(head.fields, other); !wrong.empty()) return wrong;
  if (tab && head.framing == Framing::chunked) return {};  // "chunked" and a tab is no chunked body to llhttp
  return compare_body(read_body(BodyReader(head), message.substr(result.consumed), piece), other);
}

inline std::string compare_response(std::string_view message, Method method, std::size_t piece) {
  std::vector<char> bytes(message.begin(), message.end());
  ResponseHead head;
  const ParseResult result = parse_response_head(bytes, 65536, method, head);
  if (result.state != ParseState::done) return {};
  const bool bodiless = method == Method::head || head.status < 200 || head.status == 204 || head.status == 304;
  const Reference other = Reference::read(message, HTTP_RESPONSE, bodiless);
  const bool tab = has_tab_at_framing_field(message.substr(0, result.consumed));
  if (!other.head_complete) return tab ? "" : "llhttp refuses the head: " + other.reason;
  if (other.status != head.status) return "another status";
  if (std::string wrong = compare_fields(head.fields, other); !wrong.empty()) return wrong;
  if (tab && head.framing == Framing::chunked) return {};  // "chunked" and a tab is no chunked body to llhttp
  return compare_body(read_body(BodyReader(head), message.substr(result.consumed), piece), other);
}

}  // namespace edgemux::core::differential
