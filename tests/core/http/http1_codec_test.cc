// Http1Server and Http1Client as conversations: bytes in, calls seen, bytes out.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/http/http1_client.h"
#include "core/http/http1_server.h"

namespace edgemux::core {
namespace {

// Collects what an Output sends.
class Wire final : public Stream {
 public:
  std::string sent;
  void set_observer(StreamObserver*) override {}
  IoResult read(std::span<char>) override { return {}; }
  [[nodiscard]] bool readable() const override { return false; }
  IoResult write(std::span<const iovec> pieces) override {
    std::size_t size = 0;
    for (const auto& piece : pieces) {
      sent.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      size += piece.iov_len;
    }
    return {IoStatus::ok, size, 0};
  }
  [[nodiscard]] bool broken() const override { return false; }
  [[nodiscard]] std::size_t unsent() const override { return 0; }
  void shutdown_write() override {}
  void abort() override {}
};

// Drops the Date line, which is not the same twice.
std::string without_date(std::string text) {
  for (auto at = text.find("date: "); at != std::string::npos; at = text.find("date: ")) {
    text.erase(at, text.find("\r\n", at) + 2 - at);
  }
  return text;
}

// What an owner of a codec does: keeps what was not taken, offers it again in front of what comes next.
template <class Codec>
void offer(Codec& codec, std::string& kept, std::string_view piece) {
  kept += piece;
  kept.erase(0, codec.receive({kept.data(), kept.size()}));
}

// ---- the server's side

class Server final : public ServerCodec::Observer {
 public:
  explicit Server(std::size_t head_limit = 64 * 1024) : codec(*this, output, scratch, head_limit) {}

  void on_request(StreamId, RequestHead& head, bool end) override {
    log += "<" + std::string(head.method_text) + " " + std::string(head.path) + (end ? "." : "") + ">";
    if (on_head) on_head(end);
    if (end && on_end) on_end();
  }
  void on_request_body(StreamId, std::span<const char> data, bool end) override {
    log.append(data.data(), data.size());
    if (end) log += ".";
    if (on_data) on_data();
    if (end && on_end) on_end();
  }
  void on_request_trailers(StreamId, FieldList&) override { log += "<trailers>"; }
  void on_request_reset(StreamId) override { log += "<reset>"; }
  void on_stream_writable(StreamId) override {}
  void on_malformed(StreamId, std::uint16_t status, const char* reason) override {
    log += "<" + std::to_string(status) + ">";
    EXPECT_NE(reason, nullptr);
  }

  void client_sends(std::string_view bytes) { offer(codec, kept, bytes); }

  // A whole answer with a body of known length.
  void answer(std::uint16_t status, std::string_view body) {
    head(status, {BodyPlan::Kind::length, body.size()});
    codec.send_body(1, {body.data(), body.size()});
    codec.send_end(1);
    flush();
  }
  void head(std::uint16_t status, BodyPlan plan) {
    ResponseHead& response = scratch.response;
    response.clear();
    response.status = status;
    codec.send_head(1, response, plan);
  }
  void flush() { EXPECT_EQ(output.flush(wire).status, IoStatus::ok); }
  std::string sent() {
    flush();
    return without_date(std::move(wire.sent));
  }

  BlockPool pool;
  Output output{pool};
  HttpScratch scratch;
  Wire wire;
  std::string log;
  std::string kept;
  std::function<void(bool)> on_head;
  std::function<void()> on_data;
  std::function<void()> on_end;
  Http1Server codec;
};

constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

TEST(Http1Server, KeepsTheConnectionForTheNextRequest) {
  Server s;
  s.client_sends(kGet);
  EXPECT_EQ(s.log, "<GET /a.>");
  EXPECT_FALSE(s.codec.wants_input()) << "not before the answer";
  s.answer(200, "hi");
  EXPECT_EQ(s.sent(), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
  EXPECT_TRUE(s.codec.wants_input());
  EXPECT_FALSE(s.codec.finished());
  s.client_sends("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz");
  EXPECT_EQ(s.log, "<GET /a.><POST /b>xyz.");
}

// The same conversation, cut at every byte and given one byte at a time: the same calls.
TEST(Http1Server, PipelinedRequestsComeOneByOneHoweverTheyAreCut) {
  const std::string input =
      "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
      "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde"
      "POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;ext\r\nfgh\r\n1\r\ni\r\n0\r\nT: x\r\n\r\n"
      "HEAD /4 HTTP/1.1\r\nHost: h\r\n\r\n"
      "GET /5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
  const std::string calls = "<GET /1.><POST /2>abcde.<POST /3>fghi.<HEAD /4.><GET /5.>";
  const auto converse = [&](std::vector<std::string_view> pieces) {
    Server s;
    s.on_end = [&s] { s.answer(200, "ok"); };
    for (const auto piece : pieces) s.client_sends(piece);
    EXPECT_EQ(s.log, calls);
    EXPECT_TRUE(s.codec.finished());
    EXPECT_FALSE(s.codec.mid_message());
    const std::string ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n";
    EXPECT_EQ(s.sent(),
              ok + "\r\nok" + ok + "\r\nok" + ok + "\r\nok" + ok + "\r\n" + ok + "connection: close\r\n\r\nok");
    EXPECT_EQ(s.kept, "");
  };
  converse({input});
  for (std::size_t cut = 1; cut < input.size(); ++cut) {
    SCOPED_TRACE(cut);
    converse({std::string_view(input).substr(0, cut), std::string_view(input).substr(cut)});
  }
  std::vector<std::string_view> bytes;
  for (std::size_t i = 0; i < input.size(); ++i) bytes.push_back(std::string_view(input).substr(i, 1));
  converse(bytes);
}

TEST(Http1Server, APipelinedRequestWaitsUntilTheAnswerIsComplete) {
  Server s;
  s.client_sends(std::string(kGet) + "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(s.log, "<GET /a.>");
  s.client_sends("");
  EXPECT_EQ(s.log, "<GET /a.>");
  s.answer(200, "");
  s.client_sends("");
  EXPECT_EQ(s.log, "<GET /a.><GET /b.>");
}

TEST(Http1Server, BeginsNoRequestWhileTheClientDoesNotFetchItsAnswers) {
  Server s;
  s.client_sends(kGet);
  const std::string big(Http1Server::kMostUnsent + 1, 'x');
  s.head(200, {BodyPlan::Kind::length, big.size()});
  s.codec.send_body(1, {big.data(), big.size()});
  s.codec.send_end(1);
  s.output.keep();
  s.client_sends(kGet);
  EXPECT_EQ(s.log, "<GET /a.>");
  s.flush();
  s.client_sends("");
  EXPECT_EQ(s.log, "<GET /a.><GET /a.>");
}

TEST(Http1Server, AnswersOfUnknownLengthAreChunked) {
  Server s;
  s.client_sends(kGet);
  s.head(200, {BodyPlan::Kind::unknown, 0});
  const std::string piece(300, 'p');
  s.codec.send_body(1, {piece.data(), piece.size()});
  s.codec.send_body(1, {});  // must not end the body
  s.codec.send_body(1, {"!", 1});
  s.codec.send_end(1);
  EXPECT_EQ(s.sent(),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n12c\r\n" + piece + "\r\n1\r\n!\r\n0\r\n\r\n");
  EXPECT_FALSE(s.codec.finished());
}

TEST(Http1Server, OldClientsGetTheEndOfTheConnectionForTheEndOfTheBody) {
  Server s;
  s.client_sends("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
  ResponseHead early;
  early.status = 103;
  s.codec.send_informational(1, early);  // they know no 1xx
  s.head(200, {BodyPlan::Kind::unknown, 0});
  s.codec.send_body(1, {"abc", 3});
  s.codec.send_end(1);
  EXPECT_EQ(s.sent(), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc");
  EXPECT_TRUE(s.codec.finished());
}

TEST(Http1Server, OldClientsKeepTheConnectionOnlyWhenTheyAskAndTheLengthIsKnown) {
  Server s;
  s.client_sends("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
  s.answer(200, "abc");
  EXPECT_EQ(s.sent(), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\nabc");
  EXPECT_FALSE(s.codec.finished());
  s.client_sends("GET / HTTP/1.0\r\nHost: h\r\n\r\n");
  s.answer(200, "abc");
  EXPECT_EQ(s.sent(), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc");
  EXPECT_TRUE(s.codec.finished());
}

TEST(Http1Server, AnswersWithoutABodyHaveNone) {
  struct Case {
    const char* method;
    std::uint16_t status;
    BodyPlan plan;
    const char* expected;
  };
  const BodyPlan five{BodyPlan::Kind::length, 5};
  const BodyPlan unknown{BodyPlan::Kind::unknown, 0};
  const Case cases[] = {
      {"HEAD", 200, five, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"},
      {"HEAD", 200, unknown, "HTTP/1.1 200 OK\r\n\r\n"},
      {"GET", 304, five, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"},
      {"GET", 204, five, "HTTP/1.1 204 No Content\r\n\r\n"},
      {"GET", 204, unknown, "HTTP/1.1 204 No Content\r\n\r\n"},
      {"GET", 200, {}, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"},
  };
  for (const auto& c : cases) {
    Server s;
    s.client_sends(std::string(c.method) + " / HTTP/1.1\r\nHost: h\r\n\r\n");
    s.head(c.status, c.plan);
    s.codec.send_body(1, {"bytes", 5});  // what a careless caller might send
    s.codec.send_end(1);
    EXPECT_EQ(s.sent(), c.expected) << c.method << c.status;
    EXPECT_FALSE(s.codec.finished());
  }
}

TEST(Http1Server, InterimAnswersComeBeforeTheFinalOne) {
  Server s;
  s.client_sends("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
  ResponseHead go;
  go.status = 100;
  s.codec.send_informational(1, go);
  s.client_sends("x");
  s.answer(200, "");
  EXPECT_EQ(s.sent(), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
}

// What still comes cannot be told from a next request: RFC 9112, 9.3.
TEST(Http1Server, AnEarlyAnswerEndsTheConnection) {
  for (const bool chunked : {false, true}) {
    Server s;
    s.client_sends(std::string("POST / HTTP/1.1\r\nHost: h\r\n") +
                   (chunked ? "Transfer-Encoding: chunked\r\n\r\n5\r\nab" : "Content-Length: 90\r\n\r\nab"));
    s.answer(413, "");
    EXPECT_EQ(s.sent(), "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    EXPECT_TRUE(s.codec.finished());
    EXPECT_TRUE(s.codec.mid_message());
    EXPECT_FALSE(s.codec.wants_input());
    s.client_sends("cde\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_EQ(s.log, "<POST />ab");
  }
}

TEST(Http1Server, AnAnswerFromInsideTheLastBodyCallIsNotEarlyForTheNextRequest) {
  Server s;
  s.on_data = [&s] { s.answer(200, ""); };
  s.client_sends("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab" + std::string(kGet));
  EXPECT_EQ(s.log, "<POST />ab.<GET /a.>");
}

TEST(Http1Server, RefusesWhatIsMalformedAndTakesNothingAfterIt) {
  for (const std::string_view bad :
       {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\n\n", "GET /\r\n\r\n", "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n"}) {
    // In one piece and byte by byte.
    for (const bool whole : {true, false}) {
      Server s;
      for (std::size_t i = 0; i < bad.size() && s.log.empty(); ++i) {
        s.client_sends(whole ? bad : bad.substr(i, 1));
        if (!s.log.empty()) s.answer(400, "no");
      }
      EXPECT_EQ(s.log, "<400>") << bad;
      EXPECT_TRUE(s.codec.finished());
      EXPECT_EQ(s.sent(), "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
      s.client_sends(kGet);
      EXPECT_EQ(s.log, "<400>");
    }
  }
}

TEST(Http1Server, RefusesABodyThatBreaksItsFraming) {
  Server s;
  s.client_sends("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
  EXPECT_EQ(s.log, "<POST />abc<400>");
  s.answer(400, "");
  EXPECT_TRUE(s.codec.finished());
}

TEST(Http1Server, RefusesAHeadOverItsLimit) {
  for (const bool whole : {true, false}) {
    Server s(200);
    const std::string input = "GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(300, 'x') + "\r\n\r\n";
    for (std::size_t i = 0; i < input.size() && s.log.empty(); ++i) {
      s.client_sends(whole ? std::string_view(input) : std::string_view(input).substr(i, 1));
      EXPECT_LE(s.kept.size(), whole ? input.size() : 201U);
    }
    EXPECT_EQ(s.log, "<431>");
  }
}

// The answer to something that is no request must not be shaped by the request before it.
TEST(Http1Server, ARefusalAfterHeadHasItsBody) {
  Server s;
  s.client_sends("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
  s.answer(200, "hidden");
  (void)s.sent();
  s.client_sends("nonsense\r\n\r\n");
  EXPECT_EQ(s.log, "<HEAD /.><400>");
  s.answer(400, "why");
  EXPECT_EQ(s.sent(), "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\nconnection: close\r\n\r\nwhy");
}

TEST(Http1Server, CloseAfterIsSaidInTheNextHead) {
  Server s;
  s.client_sends(kGet);
  s.codec.close_after();
  s.answer(200, "x");
  EXPECT_EQ(s.sent(), "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
  EXPECT_TRUE(s.codec.finished());
}

TEST(Http1Server, CloseAfterBehindTheHeadEndsTheConnectionAllTheSame) {
  Server s;
  s.client_sends(kGet);
  s.head(200, {BodyPlan::Kind::length, 2});
  s.codec.send_body(1, {"a", 1});
  s.codec.close_after();
  s.codec.send_body(1, {"b", 1});
  EXPECT_FALSE(s.codec.finished());
  s.codec.send_end(1);
  EXPECT_TRUE(s.codec.finished());
}

TEST(Http1Server, AnUpgradeMakesTheRestBytes) {
  Server s;
  s.client_sends("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframes");
  EXPECT_EQ(s.log, "<GET /.>");
  EXPECT_EQ(s.kept, "frames") << "they wait for the 101";
  ResponseHead& head = s.scratch.response;
  head.clear();
  head.status = 101;
  head.upgrade = true;
  head.upgrade_protocol = "websocket";
  s.codec.send_upgrade(1, head);
  EXPECT_EQ(s.sent(), "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  s.client_sends(" and more");
  EXPECT_EQ(s.kept, "frames and more");
  EXPECT_FALSE(s.codec.wants_input());
}

TEST(Http1Server, CallsNobodyOnceStopped) {
  Server s;
  s.on_head = [&s](bool) { s.codec.stop(); };
  s.client_sends("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_EQ(s.log, "<POST />");
}

TEST(Http1Server, HopByHopFieldsOfTheUpstreamAreLeftOut) {
  Server s;
  s.client_sends(kGet);
  ResponseHead& head = s.scratch.response;
  head.clear();
  head.status = 200;
  head.fields.add({"connection", "x-private", FieldId::connection, true});
  head.fields.add({"x-private", "1", FieldId::other, true});
  head.fields.add({"content-length", "77", FieldId::content_length, false});
  head.fields.add({"x-public", "2", FieldId::other, false});
  head.fields.add({"x-broken", "a\r\nset-cookie: b", FieldId::other, false});
  s.codec.send_head(1, head, {BodyPlan::Kind::length, 1});
  s.codec.send_body(1, {"x", 1});
  s.codec.send_end(1);
  EXPECT_EQ(s.sent(), "HTTP/1.1 200 OK\r\nx-public: 2\r\ncontent-length: 1\r\n\r\nx");
}

// ---- the client's side

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
  c.codec.send_body(1, {kGet.data(), kGet.size()});
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
