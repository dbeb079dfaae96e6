// Http1Client as conversations: bytes in, calls seen, bytes out.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/http/http1_client.h"
#include "tests/core/http/wire.h"

namespace edgemux::core {
namespace {

class Client final : public ClientCodec::Observer {
 public:
  Client() : codec(*this, output, scratch) {}

  void on_response(StreamId, ResponseHead& head, bool end) override {
    log += "<" + std::to_string(head.status) + (end ? "." : "") + ">";
    if (end) reusable_at_end = codec.reusable();
  }
  void on_response_body(StreamId, std::span<const char> data, bool end) override {
    log.append(data.data(), data.size());
    if (!end) return;
    log += ".";
    reusable_at_end = codec.reusable();
  }
  void on_bad_response(StreamId, const char* reason) override {
    EXPECT_NE(reason, nullptr);
    log += "<bad>";
    codec.stop();
  }
  void on_response_trailers(StreamId, FieldList&) override { log += "<trailers>"; }
  void on_stream_writable(StreamId) override {}
  void on_response_reset(StreamId, bool, const char*) override { log += "<reset>"; }
  void on_capacity() override {}

  void request(Method method = Method::get, Framing framing = Framing::none, std::uint64_t length = 0) {
    OutgoingRequest request;
    request.kind = method;
    request.method = method_text(method);
    request.path = "/p";
    request.authority = "h";
    request.framing = framing;
    request.content_length = length;
    codec.send_request(request, framing == Framing::none);
  }
  void upstream_sends(std::string_view bytes) { offer(codec, kept, bytes); }
  std::string sent() {
    EXPECT_EQ(output.flush(wire).status, IoStatus::ok);
    return std::move(wire.sent);
  }

  BlockPool pool;
  Output output{pool};
  HttpScratch scratch;
  Wire wire;
  std::string log;
  std::string kept;
  bool reusable_at_end = false;
  Http1Client codec;
};

TEST(Http1Client, WritesRequestsFromValues) {
  Client c;
  const Field fields[] = {{"host", "other", FieldId::host, false},
                          {"content-length", "9", FieldId::content_length, false},
                          {"connection", "close", FieldId::connection, true},
                          {"accept", "*/*", FieldId::other, false},
                          {"x-bad", "a\r\nb: c", FieldId::other, false}};
  const Field added[] = {{"x-forwarded-for", "10.0.0.1", FieldId::x_forwarded_for, false}};
  OutgoingRequest request;
  request.kind = Method::post;
  request.method = "POST";
  request.path = "/path";
  request.has_query = true;
  request.query = "a=b";
  request.authority = "example.com:8080";
  request.fields = fields;
  request.added = added;
  request.framing = Framing::chunked;
  c.codec.send_request(request, request.framing == Framing::none);
  c.codec.send_body(1, {"hello", 5});
  c.codec.send_body(1, {});
  c.codec.send_end(1);
  EXPECT_EQ(c.sent(),
            "POST /path?a=b HTTP/1.1\r\nhost: example.com:8080\r\naccept: */*\r\nx-forwarded-for: 10.0.0.1\r\n"
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
}

TEST(Http1Client, KeepsAnExplicitLengthOfZero) {
  Client c;
  OutgoingRequest request;
  request.kind = Method::post;
  request.method = "POST";
  request.path = "/";
  request.authority = "h";
  request.has_content_length = true;
  c.codec.send_request(request, request.framing == Framing::none);
  EXPECT_EQ(c.sent(), "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
}

TEST(Http1Client, SaysThatThereIsNoBodyWhereOneIsExpected) {
  const auto sent = [](Method method) {
    Client c;
    OutgoingRequest request;
    request.kind = method;
    request.method = method_text(method);
    request.path = "/";
    request.authority = "h";
    c.codec.send_request(request, true);
    return c.sent();
  };
  for (const Method method : {Method::post, Method::put, Method::patch}) {
    EXPECT_EQ(sent(method), std::string(method_text(method)) + " / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
  }
  for (const Method method : {Method::get, Method::delete_, Method::options}) {
    EXPECT_EQ(sent(method), std::string(method_text(method)) + " / HTTP/1.1\r\nhost: h\r\n\r\n");
  }
}

TEST(Http1Client, EndsAnEmptyBodyInChunks) {
  for (const bool together : {true, false}) {
    Client c;
    OutgoingRequest request;
    request.kind = Method::post;
    request.method = "POST";
    request.path = "/";
    request.authority = "h";
    request.framing = Framing::chunked;
    c.codec.send_request(request, together);
    if (!together) c.codec.send_end(Http1Client::kStream);
    EXPECT_TRUE(c.sent().ends_with("transfer-encoding: chunked\r\n\r\n0\r\n\r\n"));
    c.upstream_sends("HTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_TRUE(c.reusable_at_end);
  }
}

// The upstream would read it as the next request: past every rule, and its answer would be somebody else's.
TEST(Http1Client, SendsNothingBehindARequestThatIsWhole) {
  Client c;
  c.request();
  EXPECT_EQ(c.sent(), "GET /p HTTP/1.1\r\nhost: h\r\n\r\n");
  c.codec.send_body(1, {"GET /smuggled HTTP/1.1\r\n\r\n", 26});
  EXPECT_EQ(c.sent(), "");
  c.upstream_sends("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
  EXPECT_TRUE(c.reusable_at_end);
  c.request(Method::post, Framing::length, 2);
  c.codec.send_body(1, {"ab", 2});
  EXPECT_TRUE(c.sent().ends_with("\r\n\r\nab"));
}

TEST(Http1Client, AsksForAnUpgrade) {
  Client c;
  OutgoingRequest request;
  request.kind = Method::get;
  request.method = "GET";
  request.path = "/";
  request.authority = "h";
  request.upgrade_protocol = "websocket";
  c.codec.send_request(request, request.framing == Framing::none);
  EXPECT_EQ(c.sent(), "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  c.upstream_sends("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframes");
  EXPECT_EQ(c.log, "<101>");
  EXPECT_EQ(c.kept, "frames");
  EXPECT_FALSE(c.codec.reusable());
}

// Neither the head nor its body may go out when the head cannot be written: the body would be read as a request.
TEST(Http1Client, SendsNothingOfARequestThatCannotBeWritten) {
  Client c;
  OutgoingRequest request;
  request.kind = Method::post;
  request.method = "POST";
  request.path = "/a b";
  request.authority = "h";
  request.framing = Framing::length;
  request.content_length = 28;
  c.codec.send_request(request, request.framing == Framing::none);
  c.codec.send_body(1, {"smuggled", 8});
  c.codec.send_end(1);
  EXPECT_EQ(c.sent(), "");
  EXPECT_FALSE(c.codec.reusable());
}

// Every answer cut at every byte: the same calls, and used again only where that is safe.
TEST(Http1Client, ReadsAnswersHoweverTheyAreCut) {
  struct Case {
    const char* name;
    Method method;
    std::string input;
    std::string calls;
    bool reusable;
    bool ends = false;  // the upstream closes behind it
  };
  const std::vector<Case> cases{
      {"length", Method::get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "<200>hello.", true},
      {"chunked", Method::get,
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n",
       "<200>abcde.", true},
      {"until close", Method::get, "HTTP/1.1 200 OK\r\n\r\nuntil the end", "<200>until the end.", false, true},
      {"empty", Method::get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "<200.>", true},
      {"head", Method::head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "<200.>", true},
      {"204", Method::get, "HTTP/1.1 204 No Content\r\n\r\n", "<204.>", true},
      {"304", Method::get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "<304.>", true},
      {"1xx", Method::get,
       "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
       "2\r\n\r\nok",
       "<100><103><200>ok.", true},
      {"close", Method::get, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "<200>ok.", false},
      {"1.0", Method::get, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "<200>ok.", false},
      {"1.0 keep-alive", Method::get, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
       "<200>ok.", true},
      {"204 with a length", Method::get, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "<204.>", false},
      {"both framings", Method::get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
       "<bad>", false},
      {"broken chunk", Method::get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
       "<200>abc<bad>", false},
  };
  for (const auto& test : cases) {
    const auto converse = [&](const std::vector<std::string_view>& pieces) {
      Client c;
      c.request(test.method);
      for (const auto piece : pieces) c.upstream_sends(piece);
      if (test.ends) {
        EXPECT_TRUE(c.codec.end_of_input());
      }
      EXPECT_EQ(c.log, test.calls);
      EXPECT_EQ(c.codec.reusable(), test.reusable);
      EXPECT_EQ(c.reusable_at_end, test.reusable) << "known when the end is told";
    };
    SCOPED_TRACE(test.name);
    const std::string_view input = test.input;
    converse({input});
    for (std::size_t cut = 1; cut < input.size(); ++cut) {
      SCOPED_TRACE(cut);
      converse({input.substr(0, cut), input.substr(cut)});
    }
  }
}

// Bytes behind the end belong to nobody: the next request's answer must not be found among them.
TEST(Http1Client, BytesBehindAnAnswerMakeTheConnectionUseless) {
  for (const std::string answer :
       {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n\r\n"}) {
    Client together;
    together.request();
    together.upstream_sends(answer + "H");
    EXPECT_FALSE(together.reusable_at_end) << answer;
    EXPECT_FALSE(together.codec.reusable());
    Client apart;
    apart.request();
    apart.upstream_sends(answer);
    EXPECT_TRUE(apart.codec.reusable()) << answer;
    apart.upstream_sends("H");
    EXPECT_FALSE(apart.codec.reusable());
  }
  Client head;
  head.request(Method::head);
  head.upstream_sends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  EXPECT_FALSE(head.codec.reusable()) << "a body behind the answer to HEAD";
}

TEST(Http1Client, AnAnswerBeforeTheRequestIsWholeDoesNotFreeTheConnection) {
  Client c;
  c.request(Method::post, Framing::length, 10);
  c.codec.send_body(1, {"half.", 5});
  c.upstream_sends("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(c.log, "<413.>");
  EXPECT_FALSE(c.codec.reusable());
  EXPECT_FALSE(c.reusable_at_end);
}

TEST(Http1Client, IsReusedForTheNextRequest) {
  Client c;
  c.request(Method::head);
  c.upstream_sends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
  ASSERT_TRUE(c.codec.reusable());
  c.request(Method::get);
  EXPECT_FALSE(c.codec.reusable());
  c.upstream_sends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  EXPECT_EQ(c.log, "<200.><200>ok.");
  EXPECT_TRUE(c.codec.reusable());
}

TEST(Http1Client, AnEndTooEarlyIsNotAnEnd) {
  for (const std::string_view cut : {"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
                                     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"}) {
    Client c;
    c.request();
    c.upstream_sends(cut);
    EXPECT_FALSE(c.codec.end_of_input()) << cut;
    EXPECT_FALSE(c.codec.reusable());
  }
}

TEST(Http1Client, InterimAnswersWithoutEndAreRefused) {
  Client c;
  c.request();
  for (unsigned i = 0; i < Http1Client::kMaxInformational; ++i) c.upstream_sends("HTTP/1.1 102 Processing\r\n\r\n");
  EXPECT_EQ(c.log.find("<bad>"), std::string::npos);
  c.upstream_sends("HTTP/1.1 102 Processing\r\n\r\n");
  EXPECT_NE(c.log.find("<bad>"), std::string::npos);
}

TEST(Http1Client, AHeadOverTheLimitIsRefused) {
  Client c;
  c.request();
  c.upstream_sends("HTTP/1.1 200 OK\r\n");
  const std::string line = "X: " + std::string(1000, 'x') + "\r\n";
  for (int i = 0; i < 100 && c.log.empty(); ++i) c.upstream_sends(line);
  EXPECT_EQ(c.log, "<bad>");
  EXPECT_LE(c.kept.size(), Http1Client::kHeadLimit + line.size());
}

}  // namespace
}  // namespace edgemux::core
