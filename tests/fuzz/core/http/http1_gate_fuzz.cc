// HTTP/1 heads and bodies. The first byte chooses: bit 0 response or request, bit 1 an answer to HEAD, the rest how
// the input is cut. Three properties: no cut changes the answer, the scanner and the parser agree on where a head ends,
// and llhttp reads everything that edgemux accepts in the same way.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/http/chunked.h"
#include "core/http/head_parser.h"
#include "core/http/head_writer.h"
#include "core/http/path.h"
#include "tests/core/http/differential.h"

namespace {

using namespace edgemux::core;

void require(bool holds, const char* what, std::string_view detail = {}) {
  if (holds) return;
  std::fprintf(stderr, "property broken: %s %.*s\n", what, static_cast<int>(detail.size()), detail.data());
  std::abort();
}

constexpr std::size_t kLimit = 4096;

void check_scanner(std::string_view message, const ParseResult& whole, std::size_t piece) {
  HeadScanner scanner(kLimit);
  HeadScanner::State state = HeadScanner::State::need_more;
  for (std::size_t at = 0; at < message.size() && state == HeadScanner::State::need_more; at += piece) {
    state = scanner.feed(message.substr(at, piece));
  }
  if (whole.state == ParseState::done) {
    require(state == HeadScanner::State::complete && scanner.length() == whole.consumed,
            "scanner finds the parser's end");
  }
  if (state == HeadScanner::State::complete)
    require(whole.state != ParseState::need_more, "complete is enough to parse");
  if (message.empty() || whole.state == ParseState::error) return;
  require(state != HeadScanner::State::error, "what the scanner refuses the parser refuses",
          scanner.reason() ? scanner.reason() : "");
}

void check_body(BodyReader reader, std::string_view rest, std::size_t piece) {
  const differential::Body whole = differential::read_body(reader, rest, rest.size() + 1);
  const differential::Body cut = differential::read_body(reader, rest, piece);
  require(whole.complete == cut.complete && whole.refused == cut.refused && whole.data == cut.data &&
              whole.consumed == cut.consumed,
          "no cut changes a body");
}

// What is written from a parsed head parses again, to the same fields.
void check_request_rewrite(const RequestHead& head) {
  std::vector<char> out(kLimit * 4);
  HeadWriter writer(out.data(), out.size());
  writer.request_line(head.method_text, head.path, head.has_query, head.query);
  writer.field("host", head.authority.empty() ? "none" : head.authority);
  writer.fields(head.fields);
  writer.framing(head);
  writer.end();
  require(writer.ok() && writer.dropped() == 0, "a parsed head can be written");
  // With a Host that was not there before it is one field more than we would take.
  if (head.fields.size() == FieldList::kMostReceived && head.fields.find(FieldId::host) == nullptr) return;
  RequestHead again;
  const ParseResult result = parse_request_head({out.data(), writer.size()}, out.size(), again);
  require(result.state == ParseState::done && result.consumed == writer.size(), "a written head parses",
          result.reason ? result.reason : "");
  require(again.framing == head.framing && again.content_length == head.content_length, "the framing stays");
}

void check_path(const RequestHead& head) {
  std::vector<char> scratch(path_room(head.path));
  const NormalPath once = normalize_path(head.path, scratch);
  if (once.error != nullptr) return;
  std::vector<char> scratch_again(path_room(once.path));
  const NormalPath twice = normalize_path(once.path, scratch_again);
  require(twice.error == nullptr && twice.path == once.path, "normalising twice changes nothing");
  require(once.path.find("//") == std::string_view::npos &&
              (std::string(once.path) + "/").find("/../") == std::string::npos,
          "no dots and no empty segments are left");
}

void check_request(std::string_view message, std::size_t piece) {
  std::vector<char> bytes(message.begin(), message.end());
  RequestHead head;
  const ParseResult result = parse_request_head(bytes, kLimit, head);
  check_scanner(message, result, piece);
  if (result.state != ParseState::done) return;
  check_body(BodyReader(head), message.substr(result.consumed), piece);
  check_request_rewrite(head);
  check_path(head);
  const std::string wrong = differential::compare_request(message, piece);
  require(wrong.empty(), "llhttp agrees on a request:", wrong);
}

void check_response(std::string_view message, Method method, std::size_t piece) {
  std::vector<char> bytes(message.begin(), message.end());
  ResponseHead head;
  const ParseResult result = parse_response_head(bytes, kLimit, method, head);
  if (result.state == ParseState::done) {
    check_scanner(message, result, piece);
    check_body(BodyReader(head), message.substr(result.consumed), piece);
  }
  const std::string wrong = differential::compare_response(message, method, piece);
  require(wrong.empty(), "llhttp agrees on a response:", wrong);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view message(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t piece = 1 + (data[0] >> 2);
  if ((data[0] & 1) == 0) {
    check_request(message, piece);
  } else {
    check_response(message, (data[0] & 2) != 0 ? Method::head : Method::get, piece);
  }
  return 0;
}
