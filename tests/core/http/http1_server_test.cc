// Http1Server as conversations: bytes in, calls seen, bytes out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/http/http1_server.h"
#include "tests/core/http/wire.h"

namespace edgemux::core {
namespace {

// Drops the Date line, which is not the same twice.
std::string without_date(std::string text) {
  for (auto at = text.find("date: "); at != std::string::npos; at = text.find("date: ")) {
    text.erase(at, text.find("\r\n", at) + 2 - at);
  }
  return text;
}

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
  void on_malformed(StreamId, std::uint16_t status, const char* reason, std::string_view) override {
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

// Left by clients that end a body with one; the connection is at rest behind it.
TEST(Http1Server, EmptyLinesBeforeARequestAreNoneOfIt) {
  for (const std::size_t piece : {1U, 2U, 3U, 100U}) {
    Server s;
    s.on_end = [&] { s.answer(200, "ok"); };
    const auto in_pieces = [&](std::string_view bytes) {
      for (std::size_t at = 0; at < bytes.size(); at += piece) s.client_sends(bytes.substr(at, piece));
    };
    in_pieces("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n\r\n");
    EXPECT_EQ(s.log, "<POST /1>x.");
    EXPECT_FALSE(s.codec.mid_message()) << piece;
    EXPECT_EQ(s.kept, "");
    in_pieces("\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(s.log, "<POST /1>x.<GET /2.>");
    in_pieces("\r\n\r\n\r\n\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(s.log.starts_with("<POST /1>x.<GET /2.><400>")) << "five are too many, " << piece;
    EXPECT_EQ(s.log.find("/3"), std::string::npos);
  }
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

constexpr std::string_view kPost = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n";

// What comes is counted, so that it cannot be taken for a request, whatever it looks like.
TEST(Http1Server, WhatIsLeftOfABodyThatNobodyWantsIsDropped) {
  const std::string body = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
  const std::string input = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) +
                            "\r\n\r\n" + body + std::string(kGet) + std::string(kGet);
  const auto converse = [&](std::size_t cut) {
    Server s;
    s.on_head = [&s](bool end) {
      if (!end) s.codec.drop_body(1);
      s.answer(204, "");
    };
    s.client_sends(std::string_view(input).substr(0, cut));
    EXPECT_EQ(s.codec.dropping(),
              cut >= input.size() - body.size() - 2 * kGet.size() && cut < input.size() - 2 * kGet.size());
    s.client_sends(std::string_view(input).substr(cut));
    EXPECT_EQ(s.log, "<POST /><GET /a.><GET /a.>");
    EXPECT_EQ(s.sent(),
              "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_FALSE(s.codec.finished() || s.codec.mid_message() || s.codec.dropping());
  };
  for (std::size_t cut = 0; cut <= input.size(); ++cut) converse(cut);
}

TEST(Http1Server, ARestThatMayNotComeOrIsMuchEndsTheConnection) {
  const std::string much = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ";
  for (const std::string& head :
       {std::string(kPost) + "Expect: 100-continue\r\n\r\n", std::string(kPost) + "Connection: close\r\n\r\nab",
        much + std::to_string(Http1Server::kMostDropped + 1) + "\r\n\r\n",
        std::string("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
        std::string("POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nab")}) {
    Server s;
    s.client_sends(head);
    s.codec.drop_body(1);
    s.answer(200, "");
    EXPECT_THAT(s.sent(), ::testing::EndsWith("connection: close\r\n\r\n")) << head;
    EXPECT_TRUE(s.codec.finished()) << head;
  }
  for (const std::string& head : {std::string(kPost) + "Expect: 100-continue\r\n\r\na",
                                  much + std::to_string(Http1Server::kMostDropped + 1) + "\r\n\r\na"}) {
    Server s;
    s.client_sends(head);
    s.codec.drop_body(1);
    s.answer(200, "");
    EXPECT_FALSE(s.codec.finished()) << head;
    EXPECT_TRUE(s.codec.dropping()) << head;
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

}  // namespace
}  // namespace edgemux::core
