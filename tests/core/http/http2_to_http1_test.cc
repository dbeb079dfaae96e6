// Random header lists through the HTTP/2 server and the HTTP/1 client: whatever the first accepts leaves the second as
// one HTTP/1 message that says the same, to our own parser and to llhttp. A million of them, where that is a matter of
// seconds, or with EDGEMUX_FULL set.
#include <cstdlib>
#include <random>

#include "core/http/bytes.h"
#include "core/http/http1_client.h"
#include "tests/core/http/http2_conversation.h"
#include "tests/core/http/llhttp_reference.h"

namespace edgemux::core {
namespace {

using namespace edgemux::test;  // NOLINT: frames read like text

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(engine_() % n); }
  bool one_in(std::size_t n) { return below(n) == 0; }
  std::string bytes(std::size_t most) {
    std::string text(below(most), ' ');
    for (char& c : text) c = static_cast<char>(engine_());
    return text;
  }
  template <std::size_t N>
  std::string any(const char* const (&list)[N]) {
    return list[below(N)];
  }

 private:
  std::mt19937_64 engine_;
};

constexpr const char* kFieldNames[] = {"accept",
                                       "cookie",
                                       "host",
                                       "content-length",
                                       "transfer-encoding",
                                       "connection",
                                       "upgrade",
                                       "te",
                                       "keep-alive",
                                       "trailer",
                                       "expect",
                                       "x_forwarded_for",
                                       "content_length",
                                       "x-forwarded-for",
                                       ":path",
                                       ":method",
                                       ":authority",
                                       ":scheme",
                                       ":protocol",
                                       ":status",
                                       "proxy-connection",
                                       "http2-settings",
                                       "forwarded",
                                       "a"};
constexpr const char* kValues[] = {
    "x",         "chunked", "close", "trailers", "100-continue", "websocket", "/",    "*",
    "/a b",      "/..",     "h",     "h:80",     "POST",         "CONNECT",   "0",    "5",
    "a\r\nb: c", "a\nb",    "",      " x",       "x ",           "https",     "HEAD", "OPTIONS",
    "http://h/", "-1",      "5, 5",  "+5"};

Fields random_list(Dice& dice) {
  Fields list = dice.one_in(2) ? get("/a?b=c") : post("/a");
  const std::size_t changes = dice.below(5);
  for (std::size_t i = 0; i < changes; ++i) {
    const std::size_t at = dice.below(list.size() + 1);
    std::string name = dice.one_in(4) ? dice.bytes(10) : dice.any(kFieldNames);
    if (dice.one_in(12) && !name.empty()) name[dice.below(name.size())] = static_cast<char>(dice.below(256));
    std::string value = dice.one_in(4) ? dice.bytes(20) : dice.any(kValues);
    if (at < list.size() && dice.one_in(3)) {
      list[at].second = value;
    } else if (at < list.size() && dice.one_in(8)) {
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      list.emplace(dice.one_in(3) ? list.begin() + static_cast<std::ptrdiff_t>(at) : list.end(), name, value);
    }
  }
  return list;
}

// What an exchange does with a request, to bytes.
class ToHttp1 final : public ClientCodec::Observer {
 public:
  std::string write(const RequestHead& head, bool end) {
    OutgoingRequest out;
    out.method = head.method_text;
    out.path = head.path;
    out.has_query = head.has_query;
    out.query = head.query;
    out.authority = head.authority;
    out.fields = {head.fields.begin(), head.fields.size()};
    out.framing = head.framing;
    out.content_length = head.content_length;
    out.has_content_length = head.has_content_length;
    if (head.upgrade) out.upgrade_protocol = head.upgrade_protocol;
    out.kind = head.method;
    Output output(pool_);
    Http1Client codec(*this, output, scratch_);
    codec.send_request(out, end);
    wire_.sent.clear();
    EXPECT_EQ(output.flush(wire_).status, IoStatus::ok);
    return wire_.sent;
  }
  void on_response(StreamId, ResponseHead&, bool) override {}
  void on_response_body(StreamId, std::span<const char>, bool) override {}
  void on_response_trailers(StreamId, FieldList&) override {}
  void on_stream_writable(StreamId) override {}
  void on_response_reset(StreamId, bool, const char*) override {}
  void on_bad_response(StreamId, const char*) override {}
  void on_capacity() override {}

 private:
  BlockPool pool_;
  HttpScratch scratch_;
  Wire wire_;
};

bool is_made_here(FieldId id) {
  return id == FieldId::host || id == FieldId::content_length || id == FieldId::transfer_encoding ||
         id == FieldId::connection || id == FieldId::upgrade;
}

// The same by a parser that is not ours.
const char* wrong_to_llhttp(const RequestHead& head, const std::string& bytes) {
  std::string body;
  if (head.framing == Framing::length) body.assign(head.content_length, 'd');
  const bool chunked = head.framing == Framing::chunked;
  const auto other = differential::Reference::read(bytes + (chunked ? "0\r\n\r\n" : body) + "GET", HTTP_REQUEST, false);
  if (other.error == HPE_INVALID_METHOD && head.method == Method::other) return nullptr;  // it has a list of them
  if (other.error != HPE_OK || !other.complete) return "llhttp: not one message";
  if (other.body != body) return "llhttp: its body";
  if (other.method != head.method_text) return "llhttp: its method";
  if (other.target != std::string(head.path) + (head.has_query ? "?" + std::string(head.query) : "")) {
    return "llhttp: its target";
  }
  std::size_t at = 0;
  for (const auto& [name, value] : other.fields) {
    const FieldId id = classify_field(name);
    if (id == FieldId::host && value != head.authority) return "llhttp: its authority";
    if (is_made_here(id)) continue;
    const auto gone = [](const Field& f) { return f.hop_by_hop || is_made_here(f.id); };
    while (at < head.fields.size() && gone(head.fields[at])) ++at;
    if (at == head.fields.size() || head.fields[at].name != name || head.fields[at].value != value) {
      return "llhttp: a field";
    }
    ++at;
  }
  return nullptr;
}

const char* wrong_with(ToHttp1& http1, const RequestHead& head, bool end) {
  for (const Field& f : head.fields) {
    for (const char c : f.name) {
      if (token_lower(c) != c || c == 0) return "a name";
    }
    for (const char c : f.value) {
      if (!is_value_byte(c)) return "a value";
    }
  }
  std::string bytes = http1.write(head, end);
  RequestHead again;
  const ParseResult result = parse_request_head(bytes, 1 << 20, again);
  if (result.state != ParseState::done || result.consumed != bytes.size()) return "not one head of HTTP/1";
  if (again.method_text != head.method_text || again.path != head.path || again.query != head.query)
    return "its target";
  if (again.authority != head.authority) return "its authority";
  if (again.framing == Framing::chunked ? head.framing != Framing::chunked
                                        : again.content_length != head.content_length) {
    return "its framing";
  }
  if (end && again.framing != Framing::none) return "a body to come that does not come";
  for (const Field& f : again.fields) {
    const bool ours = f.id == FieldId::transfer_encoding || f.id == FieldId::content_length || f.id == FieldId::host;
    const bool upgrade = f.id == FieldId::connection || f.id == FieldId::upgrade;
    if (is_always_hop_by_hop(f.id) && !ours && !(head.upgrade && upgrade)) return "a connection-specific field";
    if (!ours && !upgrade && head.fields.find(f.name) == nullptr) return "a field out of nothing";
  }
  return wrong_to_llhttp(head, bytes);
}

TEST(Http2ToHttp1, NothingThatIsAcceptedTurnsIntoSomethingElse) {
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const std::size_t rounds = 1'000'000;
#else
  const std::size_t rounds = std::getenv("EDGEMUX_FULL") != nullptr ? 1'000'000 : 30'000;
#endif
  Dice dice(20'220'606);
  ToHttp1 http1;
  std::size_t accepted = 0;
  std::size_t refused = 0;
  std::size_t bodies = 0;
  for (std::size_t round = 0; round < rounds;) {
    Http2ServerTalk s;
    s.greet();
    const char* wrong = nullptr;
    std::uint64_t announced = 0;
    bool has_length = false;
    s.on_head = [&](StreamId, RequestHead& head, bool end) {
      ++accepted;
      wrong = wrong_with(http1, head, end);
      has_length = head.has_content_length;
      announced = head.content_length;
    };
    std::string whole;
    s.on_end = [&](StreamId) { ++bodies; };
    s.when_malformed = [&](StreamId stream, std::uint16_t) {
      ++refused;
      if (stream != 0) s.answer(stream, 400, "");
    };
    for (std::uint32_t id = 1; id < 4000 && round < rounds && !s.codec.finished(); id += 2, ++round) {
      Fields list = random_list(dice);
      const std::string body(dice.below(8), 'd');
      const bool with_body = dice.one_in(2);
      if (with_body && dice.one_in(2)) list.emplace_back("content-length", std::to_string(dice.below(8)));
      const std::size_t ended = bodies;
      const std::size_t broken = refused;
      s.client_sends(headers(id, list, !with_body) + (with_body ? data(id, body, true) : ""));
      ASSERT_EQ(wrong, nullptr) << wrong << " in round " << round;
      if (bodies > ended && has_length) {
        ASSERT_EQ(announced, body.size()) << round;
      }
      if (refused == broken) s.answer(1, 204, "");
      (void)s.sent();
      (void)s.seen();
      test_now_ms += 100;  // malformed ones are resets: the guard's time goes on
    }
  }
  EXPECT_GT(accepted, rounds / 10);
  EXPECT_GT(refused, rounds / 10);
  EXPECT_GT(bodies, rounds / 50);
}

}  // namespace
}  // namespace edgemux::core
