// Http2Server as conversations: frames in, calls seen, frames out.
#include <algorithm>

#include "tests/core/http/http2_conversation.h"

namespace edgemux::core {
namespace {

using namespace edgemux::test;  // NOLINT: frames read like text

constexpr BodyPlan kUnknown = {BodyPlan::Kind::unknown, 0};

TEST(Http2Server, SpeaksFirstAndAnswersARequest) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get("/a?b")));
  EXPECT_EQ(s.seen(), "<1 GET /a?b.>");
  s.answer(1, 200, "hi");
  EXPECT_EQ(s.sent(), "HEADERS 1 {:status: 200, content-length: 2}\nDATA 1 hi .");
  EXPECT_FALSE(s.codec.finished());
  EXPECT_TRUE(s.codec.wants_input());
}

TEST(Http2Server, NumbersItsStreamsDenselyAndGivesTheNumbersAgain) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get("/1")) + headers(3, get("/3")) + headers(5, get("/5")));
  EXPECT_EQ(s.seen(), "<1 GET /1.><2 GET /3.><3 GET /5.>");
  s.answer(2, 200, "x");
  EXPECT_EQ(s.sent(), "HEADERS 3 {:status: 200, content-length: 1}\nDATA 3 x .");
  s.client_sends(headers(7, get("/7")));
  EXPECT_EQ(s.seen(), "<2 GET /7.>");
}

// The same conversation, cut at every byte and given one byte at a time: the same calls.
TEST(Http2Server, RequestsAreTheSameHoweverTheyAreCut) {
  const std::string input = std::string(kPreface) + settings() + headers(1, get("/1", {{"a", "b"}})) +
                            headers(3, post("/3", {{"content-length", "5"}}), false) + data(3, "abc") +
                            data(3, "de", true) + headers(5, post("/5"), false) + data(5, "fg") +
                            headers(5, {{"t", "v"}}) + ping();
  const auto converse = [](const std::vector<std::string_view>& pieces) {
    Http2ServerTalk s;
    for (const auto piece : pieces) s.client_sends(std::string(piece));
    // Data may come in more pieces, which the text does not show.
    EXPECT_EQ(s.seen(), "<1 GET /1.><2 POST /3>abcde.<3 POST /5>fg<3 trailers t=v>");
    EXPECT_EQ(s.sent(), "PING ack");
    EXPECT_FALSE(s.codec.mid_message());
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

TEST(Http2Server, AHeaderBlockInPiecesIsAMessageUnderWay) {
  Http2ServerTalk s;
  s.greet();
  const std::string block = fields(get("/", {{"a", "b"}}));
  s.client_sends(frame(kHeaders, kEndStream, 1, block.substr(0, 10)));
  EXPECT_TRUE(s.codec.mid_message());
  s.client_sends(frame(kContinuation, kEndHeaders, 1, block.substr(10)));
  EXPECT_FALSE(s.codec.mid_message());
  EXPECT_EQ(s.seen(), "<1 GET /.>");
}

// RFC 7541 6.2.3: so that nobody behind can learn a secret by what compresses well.
TEST(Http2Server, KnowsWhatIsNeverToBeIndexed) {
  Http2ServerTalk s;
  s.with_fields = true;
  s.greet();
  bool target = false;
  s.on_head = [&](StreamId, RequestHead& head, bool) { target = head.never_indexed; };
  s.client_sends(frame(kHeaders, kEndHeaders, 1,
                       fields(post()) + field("a", "b") + never_indexed("x-secret", "s") + field("cookie", "c=d") +
                           never_indexed("cookie", "e=f")) +
                 frame(kHeaders, kEndHeaders | kEndStream, 1, field("t", "u") + never_indexed("v", "w")));
  EXPECT_EQ(s.seen(), "<1 POST / h a=b x-secret!=s cookie!=c=d; e=f><1 trailers t=u v!=w>");
  EXPECT_FALSE(target);
  Fields rest = get();
  rest.pop_back();
  s.client_sends(frame(kHeaders, kEndHeaders | kEndStream, 3, fields(rest) + never_indexed(":path", "/secret")));
  EXPECT_TRUE(target);
  s.client_sends(headers(5, get()));
  EXPECT_FALSE(target) << "it holds for one request";
}

TEST(Http2Server, SaysWhatIsNeverToBeIndexed) {
  Http2ServerTalk s;
  s.frames.with_patterns = true;
  s.greet();
  s.client_sends(headers(1, get()) + headers(3, get()) + headers(5, get()));
  Field secret = {"x-secret", "s"};
  secret.never_indexed = true;
  ResponseHead& head = s.scratch.response;
  for (const StreamId stream : {1U, 2U}) {  // the second time, others stand in the table
    head.clear();
    head.status = 103;
    head.fields.add(secret);
    s.codec.send_informational(stream, head);
    head.status = 200;
    head.fields.add({"x-open", "o"});
    s.codec.send_head(stream, head, kUnknown);
    FieldList trailers;
    trailers.add({"x-open", "o"});
    trailers.add(secret);
    s.codec.send_trailers(stream, trailers);
  }
  EXPECT_EQ(s.sent(),
            "HEADERS 1 {:status: 103, x-secret!: s}\nHEADERS 1 {:status: 200, x-secret!: s, x-open: o}\n"
            "HEADERS 3 {:status: 103, x-secret!: s}\nHEADERS 3 {:status: 200, x-secret!: s, x-open: o}\n"
            "HEADERS 1 . {x-open: o, x-secret!: s}\nHEADERS 3 . {x-open: o, x-secret!: s}");
  head.clear();
  head.status = 200;
  head.never_indexed = true;
  s.codec.send_head(3, head, {});
  s.codec.send_end(3);
  EXPECT_EQ(s.sent(), "HEADERS 5 . {:status!: 200, content-length: 0}");
}

TEST(Http2Server, LeavesOutWhatBelongsToOneConnection) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get()));
  s.head(1, 200, {},
         {{"connection", "close"},
          {"keep-alive", "timeout=5"},
          {"transfer-encoding", "chunked"},
          {"upgrade", "h2c"},
          {"proxy-connection", "x"},
          {"server", "mine"},
          {"content-length", "7"},
          {"bad", "a\r\nb: c"}});
  s.codec.send_end(1);
  EXPECT_EQ(s.sent(), "HEADERS 1 . {:status: 200, server: mine, content-length: 0}");
}

TEST(Http2Server, AnswersWithoutABodyEndWithTheirHead) {
  Http2ServerTalk s;
  s.greet();
  Fields head_request = get();
  head_request[0].second = "HEAD";
  s.client_sends(headers(1, head_request) + headers(3, get()) + headers(5, get()));
  s.head(1, 200, {BodyPlan::Kind::length, 10});
  s.codec.send_body(1, {"never sent", 10});
  s.codec.send_end(1);
  s.head(2, 204, {});
  s.codec.send_end(2);
  s.head(3, 304, {BodyPlan::Kind::length, 4});
  s.codec.send_end(3);
  EXPECT_EQ(s.sent(),
            "HEADERS 1 . {:status: 200, content-length: 10}\nHEADERS 3 . {:status: 204}\n"
            "HEADERS 5 . {:status: 304, content-length: 4}");
}

// RFC 9218: what is more urgent goes first, by the request's own field and by PRIORITY_UPDATE.
TEST(Http2Server, FollowsPriorities) {
  const auto order = [](Http2ServerTalk& s) {
    std::string seen;
    for (const Frame& f : split_frames(s.wire.sent)) {
      const char stream = static_cast<char>('0' + f.stream);
      if (f.type == kData && !seen.ends_with(stream)) seen += stream;
    }
    return seen;
  };
  const std::string body(40'000, 'x');
  const auto answers = [&body](Http2ServerTalk& s) {
    for (const StreamId stream : {1U, 2U, 3U}) {
      s.head(stream, 200, {BodyPlan::Kind::length, body.size()});
      s.codec.send_body(stream, {body.data(), body.size()});
      s.codec.send_end(stream);
    }
    (void)s.sent();
  };
  const auto asked = [](Http2ServerTalk& s, const std::string& first, const std::string& second,
                        const std::string& third) {
    s.greet({{4, 0}});
    s.client_sends(window_update(0, 1 << 20) + headers(1, get("/", {{"priority", first}})) +
                   headers(3, get("/", {{"priority", second}})) + headers(5, get("/", {{"priority", third}})));
  };
  const std::string open = settings({{4, 1 << 20}});
  {
    Http2ServerTalk s;
    asked(s, "u=5", "u=1", "u=3");
    answers(s);
    s.client_sends(open);
    s.flush();
    EXPECT_EQ(order(s), "351");
  }
  {
    Http2ServerTalk s;
    asked(s, "u=5", "u=1", "u=3");
    answers(s);
    s.client_sends(frame(kPriorityUpdate, 0, 0, number(1, 4) + "u=0") +
                   frame(kPriorityUpdate, 0, 0, number(3, 4) + "u=7") +
                   frame(kPriorityUpdate, 0, 0, number(99, 4) + "u=0"));
    s.client_sends(open);
    s.flush();
    EXPECT_EQ(order(s), "153") << "it changes its mind";
  }
  {
    Http2ServerTalk s;
    asked(s, "i", "i", "nonsense, u=9, u=6, u=-1, u");
    answers(s);
    s.client_sends(open);
    s.flush();
    const std::string seen = order(s);
    EXPECT_TRUE(seen.starts_with("1313") && seen.ends_with("35")) << "incremental ones share: " << seen;
  }
}

TEST(Http2Server, TrailersRightBehindTheHead) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get()));
  s.head(1, 200, kUnknown);
  FieldList trailers;
  trailers.add({"grpc-status", "7"});
  s.codec.send_trailers(1, trailers);
  EXPECT_EQ(s.sent(), "HEADERS 1 {:status: 200}\nHEADERS 1 . {grpc-status: 7}");
}

TEST(Http2Server, ABodyWithoutATrailerEndsEvenWhenItsEndComesAlone) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get()));
  s.head(1, 200, kUnknown);
  s.codec.send_body(1, {"abc", 3});
  EXPECT_EQ(s.sent(), "HEADERS 1 {:status: 200}\nDATA 1 abc");
  s.codec.send_end(1);
  EXPECT_EQ(s.sent(), "DATA 1 .");
}

TEST(Http2Server, AnswersGivenFromInsideACallComeOutAllTheSame) {
  Http2ServerTalk s;
  s.on_head = [&s](StreamId stream, RequestHead&, bool) {
    std::string body = "local reply";
    s.answer(stream, 404, body);
    body.assign(body.size(), '#');  // flushed: the bytes are free again
  };
  s.greet();
  s.client_sends(headers(1, get()) + headers(3, get()));
  EXPECT_EQ(s.sent(),
            "HEADERS 1 {:status: 404, content-length: 11}\nHEADERS 3 {:status: 404, content-length: 11}\n"
            "DATA 1 local reply .\nDATA 3 local reply .");
}

// ---- windows

TEST(Http2Server, SendsNoMoreThanTheWindowsLetAndSaysWhenItMayGoOn) {
  Http2ServerTalk s;
  s.greet({{4, 1000}});
  s.client_sends(headers(1, get()));
  s.head(1, 200, kUnknown);
  std::string body(1500, 'b');
  s.codec.send_body(1, {body.data(), body.size()});
  EXPECT_EQ(s.sent(), "HEADERS 1 {:status: 200}\nDATA 1 <1000>");
  body.assign(body.size(), '#');  // what is left was copied
  EXPECT_EQ(s.codec.pending(1), 500U);
  s.client_sends(window_update(1, 300));
  EXPECT_EQ(s.sent(), "DATA 1 <300>");
  EXPECT_EQ(s.seen(), "<1 GET /.>");
  s.client_sends(window_update(1, 300));
  EXPECT_EQ(s.seen(), "<1 writable>");
  EXPECT_EQ(s.codec.pending(1), 0U);
  EXPECT_EQ(s.sent(), "DATA 1 <200>");
  s.codec.send_end(1);
  EXPECT_EQ(s.sent(), "DATA 1 .");
  EXPECT_EQ(s.frames.bodies[1], std::string(1500, 'b'));
}

// RFC 9113 6.9.2
TEST(Http2Server, AWindowThatWasMadeNegativeRecovers) {
  Http2ServerTalk s;
  s.greet({{4, 100}});
  s.client_sends(headers(1, get()));
  s.head(1, 200, kUnknown);
  const std::string body(80, 'a');
  s.codec.send_body(1, {body.data(), body.size()});
  EXPECT_EQ(s.sent(), "HEADERS 1 {:status: 200}\nDATA 1 <80>");
  s.client_sends(settings({{4, 10}}));  // 70 below 0
  s.codec.send_body(1, {"0123456789abc", 13});
  s.codec.send_end(1);
  EXPECT_EQ(s.sent(), "");
  s.client_sends(window_update(1, 70));
  EXPECT_EQ(s.sent(), "");
  s.client_sends(window_update(1, 10));
  EXPECT_EQ(s.sent(), "DATA 1 0123456789");
  s.client_sends(settings({{4, 12}}));
  EXPECT_EQ(s.sent(), "DATA 1 ab");
  s.client_sends(settings({{4, 1000}}));
  EXPECT_EQ(s.sent(), "DATA 1 c .");
}

// RFC 9113 6.5.2
TEST(Http2Server, FramesGrowNoLargerForAClientThatTakesLargerOnes) {
  Http2ServerTalk s;
  s.greet({{4, 1U << 20}, {5, 1U << 20}});
  s.client_sends(headers(1, get()));
  s.answer(1, 200, std::string(40'000, 'x'));
  EXPECT_EQ(s.sent(),
            "HEADERS 1 {:status: 200, content-length: 40000}\nDATA 1 <16384>\nDATA 1 <16384>\nDATA 1 <7232> .");
}

// RFC 7541 4.2, 6.3
TEST(Http2Server, FollowsTheSizeOfTheClientsTable) {
  Http2ServerTalk s;
  s.frames.with_patterns = true;
  s.greet({{1, 0}});
  s.client_sends(headers(1, get()) + headers(3, get()) + headers(5, get()));
  s.answer(1, 200, "");
  s.answer(2, 200, "");
  EXPECT_EQ(s.sent(),
            "HEADERS 1 . {<table 0>, :status: 200, content-length: 0}\nHEADERS 3 . {:status: 200, content-length: 0}");
  s.client_sends(settings({{1, 2000}}) + settings({{1, 100}}) + settings({{1, 3000}}));
  s.answer(3, 200, "");
  EXPECT_EQ(s.sent(), "HEADERS 5 . {<table 100>, <table 3000>, :status: 200, content-length: 0}")
      << "the least, and the last";
}

TEST(Http2Server, TrailersBehindNothing) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get()) + headers(3, get()));
  BodyPlan plan{BodyPlan::Kind::length, 0};
  s.head(1, 200, plan);
  s.codec.send_end(1);
  plan.trailers = true;
  s.head(2, 200, plan);
  FieldList fields;
  fields.add({"grpc-status", "5"});
  s.codec.send_trailers(2, fields);
  EXPECT_EQ(s.sent(),
            "HEADERS 1 . {:status: 200, content-length: 0}\nHEADERS 3 {:status: 200, content-length: 0}\n"
            "HEADERS 3 . {grpc-status: 5}");
}

TEST(Http2Server, StreamsShareTheConnectionsWindow) {
  Http2ServerTalk s;
  s.greet({{4, 1 << 20}});
  s.client_sends(headers(1, get()) + headers(3, get()));
  s.head(1, 200, kUnknown);
  s.head(2, 200, kUnknown);
  const std::string body(50'000, 'x');
  s.codec.send_body(1, {body.data(), body.size()});
  s.codec.send_body(2, {body.data(), body.size()});
  (void)s.sent();
  EXPECT_EQ(s.frames.bodies[1].size() + s.frames.bodies[3].size(), 65'535U);
  EXPECT_GT(s.frames.bodies[3].size(), 32'000U) << "frame by frame";
  s.client_sends(window_update(0, 100'000));
  (void)s.sent();
  EXPECT_EQ(s.frames.bodies[1], body);
  EXPECT_EQ(s.frames.bodies[3], body);
}

// RFC 9218.
TEST(Http2Server, AnUrgentStreamGoesFirst) {
  Http2ServerTalk s;
  s.greet({{4, 1 << 20}});
  s.client_sends(headers(1, get("/", {{"priority", "u=5, i"}})) + headers(3, get("/", {{"priority", "u=1"}})));
  const std::string body(50'000, 'x');
  for (const StreamId stream : {1U, 2U}) {
    s.head(stream, 200, kUnknown);
    s.codec.send_body(stream, {body.data(), body.size()});
  }
  (void)s.sent();
  EXPECT_EQ(s.frames.bodies[1].size(), 15'535U);
  EXPECT_EQ(s.frames.bodies[3].size(), 50'000U);
}

TEST(Http2Server, ReturnsTheWindowOnlyForWhatHasGoneOn) {
  Http2ServerTalk s;
  s.take_all = false;
  s.greet();
  s.client_sends(headers(1, post(), false));
  const std::string piece(16'384, 'u');
  s.client_sends(data(1, piece) + data(1, piece) + data(1, piece) + data(1, piece));
  EXPECT_EQ(s.sent(), "");
  s.codec.consumed(1, piece.size());
  EXPECT_EQ(s.sent(), "") << "less than half of either";
  s.codec.consumed(1, piece.size());
  EXPECT_EQ(s.sent(), "WINDOW_UPDATE 0 32768\nWINDOW_UPDATE 1 32768");
  s.codec.consumed(1, 2 * piece.size());
  EXPECT_EQ(s.sent(), "WINDOW_UPDATE 0 32768\nWINDOW_UPDATE 1 32768");
  s.client_sends(data(1, piece, true));
  s.codec.consumed(1, piece.size());
  EXPECT_EQ(s.sent(), "") << "the stream is over, and of the connection's there is enough";
  s.client_sends(headers(3, post(), false) + data(3, piece));
  s.codec.consumed(2, piece.size());
  EXPECT_EQ(s.sent(), "WINDOW_UPDATE 0 32768");
}

TEST(Http2Server, AStreamThatGoesGivesItsBytesBackToTheConnection) {
  Http2ServerTalk s;
  s.take_all = false;
  s.greet();
  const std::string piece(16'384, 'u');
  for (std::uint32_t id = 1; id <= 3; id += 2) {
    EXPECT_EQ(s.sent(), "");
    s.client_sends(headers(id, post(), false) + data(id, piece) + rst_stream(id, kCancel));
  }
  EXPECT_EQ(s.sent(), "WINDOW_UPDATE 0 32768");
}

// ---- streams that end early

TEST(Http2Server, TellsOfAResetAndSendsNothingMore) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get()));
  s.head(1, 200, kUnknown);
  s.codec.send_body(1, {"a", 1});
  (void)s.sent();
  s.client_sends(rst_stream(1, kCancel));
  EXPECT_EQ(s.seen(), "<1 GET /.><1 reset>");
  s.codec.send_body(1, {"b", 1});
  s.codec.send_end(1);
  EXPECT_EQ(s.sent(), "");
}

TEST(Http2Server, ResetsAStreamAndLeavesTheOthers) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get()) + headers(3, get()));
  EXPECT_TRUE(s.codec.reset(1, StreamError::internal, Fault::client));
  s.answer(2, 200, "ok");
  EXPECT_EQ(s.sent(), "RST_STREAM 1 2\nHEADERS 3 {:status: 200, content-length: 2}\nDATA 3 ok .");
  EXPECT_EQ(s.seen(), "<1 GET /.><2 GET /.>") << "whoever resets knows it";
  for (const auto& [error, code] : {std::pair{StreamError::refused, 7},
                                    {StreamError::cancel, 8},
                                    {StreamError::protocol, 1},
                                    {StreamError::too_much, 11}}) {
    Http2ServerTalk other;
    other.greet();
    other.client_sends(headers(1, get()));
    other.codec.reset(1, error, Fault::client);
    EXPECT_EQ(other.sent(), "RST_STREAM 1 " + std::to_string(code));
  }
}

TEST(Http2Server, StopsInTheMiddleOfWhatIsReceived) {
  Http2ServerTalk s;
  s.on_head = [&s](StreamId, RequestHead&, bool) { s.codec.stop(); };
  s.greet();
  s.client_sends(headers(1, get("/1")) + headers(3, get("/3")));
  EXPECT_EQ(s.seen(), "<1 GET /1.>");
  EXPECT_FALSE(s.codec.wants_input());
}

// ---- the end of the connection

TEST(Http2Server, DrainsWithTwoNotices) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get("/1")));
  s.codec.close_after();
  EXPECT_EQ(s.sent(), "GOAWAY 2147483647 0");
  s.client_sends(headers(3, get("/3")));  // was on its way
  s.codec.close_after();
  EXPECT_EQ(s.sent(), "GOAWAY 3 0");
  s.client_sends(headers(5, get("/5")));  // comes too late
  EXPECT_EQ(s.seen(), "<1 GET /1.><2 GET /3.>");
  EXPECT_FALSE(s.codec.finished());
  s.answer(1, 200, "");
  EXPECT_FALSE(s.codec.finished());
  s.answer(2, 200, "");
  EXPECT_TRUE(s.codec.finished());
}

TEST(Http2Server, AnIdleConnectionDrainsAtOnceAfterTheSecondNotice) {
  Http2ServerTalk s;
  s.greet();
  s.codec.close_after();
  s.flush();
  EXPECT_FALSE(s.codec.finished());
  s.codec.close_after();
  s.flush();
  EXPECT_TRUE(s.codec.finished());
}

TEST(Http2Server, AClientThatSaysGoodbyeGetsItsAnswers) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get()) + goaway(0, kNoError));
  EXPECT_FALSE(s.codec.finished());
  s.answer(1, 200, "");
  EXPECT_TRUE(s.codec.finished());
}

TEST(Http2Server, AnnouncesItsOrigins) {
  Http2ServerTalk s;
  s.greet();
  const std::string origins[] = {"https://a.example", "https://b.example"};
  s.codec.announce(origins);
  s.flush();
  const auto sent = split_frames(s.wire.sent);
  const auto origin = std::find_if(sent.begin(), sent.end(), [](const Frame& f) { return f.type == kOrigin; });
  ASSERT_NE(origin, sent.end());
  EXPECT_EQ(origin->stream, 0U);
  EXPECT_EQ(origin->payload, number(17, 2) + "https://a.example" + number(17, 2) + "https://b.example");
}

// ---- WebSocket (RFC 8441)

Fields websocket() {
  Fields list = get("/chat", {{"sec-websocket-version", "13"}, {"origin", "https://h"}});
  list[0].second = "CONNECT";
  list.insert(list.begin() + 1, {":protocol", "websocket"});
  return list;
}

TEST(Http2Server, AWebSocketLooksLikeAnUpgrade) {
  Http2ServerTalk s;
  std::string key;
  s.on_head = [&key](StreamId, RequestHead& head, bool) {
    key = head.fields.find("sec-websocket-key") != nullptr ? head.fields.find("sec-websocket-key")->value : "";
    EXPECT_EQ(head.method, Method::get);
    EXPECT_EQ(head.framing, Framing::none);
  };
  s.greet();
  s.client_sends(headers(1, websocket(), false));
  EXPECT_EQ(s.seen(), "<1 GET /chat upgrade websocket>");
  EXPECT_EQ(key.size(), 24U);
  EXPECT_TRUE(key.ends_with("==")) << key;
  ResponseHead& switched = s.scratch.response;
  switched.clear();
  switched.status = 101;
  switched.fields.add({"sec-websocket-accept", "x"});
  switched.fields.add({"sec-websocket-protocol", "chat"});
  switched.fields.add({"upgrade", "websocket", FieldId::upgrade, true});
  s.codec.send_upgrade(1, switched);
  s.codec.send_body(1, {"down", 4});
  EXPECT_EQ(s.sent(), "HEADERS 1 {:status: 200, sec-websocket-protocol: chat}\nDATA 1 down");
  s.client_sends(data(1, "up"));
  s.client_sends(data(1, "", true));
  EXPECT_EQ(s.seen(), "up.");
  s.codec.send_end(1);
  EXPECT_EQ(s.sent(), "DATA 1 .");
}

TEST(Http2Server, NothingComesThroughATunnelBeforeItStands) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, websocket(), false) + data(1, "early"));
  EXPECT_EQ(s.seen(), "<1 GET /chat upgrade websocket><1 malformed 400>");
}

}  // namespace
}  // namespace edgemux::core
