// Http2Client as conversations: requests and frames in, calls seen, frames out.
#include <sstream>

#include "tests/core/http/http2_conversation.h"

namespace edgemux::core {
namespace {

using namespace edgemux::test;  // NOLINT: frames read like text

Fields status(std::string_view code, const Fields& more = {}) {
  Fields list = {{":status", std::string(code)}};
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

TEST(Http2Client, SpeaksFirstAndAsks) {
  Http2ClientTalk c;
  EXPECT_EQ(c.request("/a"), 1U);
  EXPECT_EQ(c.sent(), "HEADERS 1 . {:method: GET, :scheme: http, :authority: h, :path: /a}");
  EXPECT_TRUE(c.frames.preface_seen);
  c.greet();
  c.server_sends(headers(1, status("200", {{"content-length", "2"}}), false) + data(1, "hi", true));
  EXPECT_EQ(c.seen(), "<1 200 content-length=2>hi.");
  EXPECT_TRUE(c.codec.reusable());
}

TEST(Http2Client, WritesARequestAnew) {
  Http2ClientTalk c;
  FieldList fields;
  fields.add({"host", "client.example", FieldId::host});
  fields.add({"connection", "x-a", FieldId::connection, true});
  fields.add({"x-a", "listed", FieldId::other, true});
  fields.add({"content-length", "3", FieldId::content_length});
  fields.add({"accept", "*/*"});
  fields.add({"bad", "a\nb"});
  const Field added[] = {{"x-forwarded-for", "10.0.0.1"}};
  OutgoingRequest out;
  out.method = "PATCH";
  out.path = "/p";
  out.has_query = true;
  out.query = "q=1";
  out.authority = "a.example";
  out.scheme = "https";
  out.fields = {fields.begin(), fields.size()};
  out.added = added;
  out.framing = Framing::length;
  out.content_length = 3;
  out.te_trailers = true;
  EXPECT_EQ(c.codec.send_request(out, false), 1U);
  c.codec.send_body(1, {"abc", 3});
  c.codec.send_end(1);
  EXPECT_EQ(c.sent(),
            "HEADERS 1 {:method: PATCH, :scheme: https, :authority: a.example, :path: /p?q=1, accept: */*, "
            "x-forwarded-for: 10.0.0.1, te: trailers, content-length: 3}\nDATA 1 abc .");
}

// RFC 7541 6.2.3
TEST(Http2Client, PassesOnWhatIsNeverToBeIndexed) {
  Http2ClientTalk c;
  c.frames.with_patterns = true;
  c.greet();
  Field list[] = {{"x-open", "o"}, {"x-secret", "s"}};
  list[1].never_indexed = true;
  FieldList trailers;
  trailers.add(list[0]);
  trailers.add(list[1]);
  OutgoingRequest out;
  out.method = "POST";
  out.path = "/p";
  out.authority = "h";
  out.fields = list;
  out.framing = Framing::chunked;
  const std::string_view heads[] = {
      "{:method: POST, :scheme: http, :authority: h, :path: /p, x-open: o, x-secret!: s}",
      "{:method!: POST, :scheme: http, :authority!: h, :path!: /p, x-open: o, x-secret!: s}"};
  for (const std::string_view head : heads) {
    const StreamId stream = c.codec.send_request(out, false);
    c.codec.send_trailers(stream, trailers);
    const std::string id = std::to_string(2 * stream - 1);
    EXPECT_EQ(c.sent(), "HEADERS " + id + " " + std::string(head) + "\nHEADERS " + id + " . {x-open: o, x-secret!: s}");
    out.never_indexed = true;
  }
  c.server_sends(
      frame(kHeaders, kEndHeaders, 1, fields(status("103")) + never_indexed("a", "b")) +
      frame(kHeaders, kEndHeaders, 1, fields(status("200")) + never_indexed("x-secret", "s") + field("c", "d")) +
      frame(kHeaders, kEndHeaders | kEndStream, 1, field("t", "u") + never_indexed("v", "w")));
  EXPECT_EQ(c.seen(), "<1 103 a!=b><1 200 x-secret!=s c=d><1 trailers t=u v!=w>");
}

TEST(Http2Client, InterimAnswersTrailersAndRequestTrailers) {
  Http2ClientTalk c;
  c.greet();
  c.request("/", false);
  c.codec.send_body(1, {"abc", 3});
  FieldList trailers;
  trailers.add({"t", "v"});
  c.codec.send_trailers(1, trailers);
  EXPECT_EQ(c.sent(),
            "HEADERS 1 {:method: POST, :scheme: http, :authority: h, :path: /}\nDATA 1 abc\nHEADERS 1 . {t: v}");
  c.server_sends(headers(1, status("100"), false) + headers(1, status("103", {{"link", "x"}}), false) +
                 headers(1, status("200"), false) + data(1, "xyz") + headers(1, {{"grpc-status", "0"}}));
  EXPECT_EQ(c.seen(), "<1 100><1 103 link=x><1 200>xyz<1 trailers grpc-status=0>");
}

TEST(Http2Client, AnswersWithoutABody) {
  Http2ClientTalk c;
  c.greet();
  OutgoingRequest out;
  out.method = "HEAD";
  out.kind = Method::head;
  out.path = "/";
  out.authority = "h";
  c.codec.send_request(out, true);
  c.request();
  c.request();
  (void)c.sent();
  c.server_sends(headers(1, status("200", {{"content-length", "10"}})) + headers(3, status("204"), false) +
                 data(3, "", true) + headers(5, status("304", {{"content-length", "9"}}), false) + data(5, "x"));
  EXPECT_EQ(c.seen(), "<1 200 content-length=10.><2 204>.<3 304 content-length=9><3 bad>");
  EXPECT_EQ(c.sent(), "RST_STREAM 5 1");
}

TEST(Http2Client, HasRoomForAsManyAsTheUpstreamTakes) {
  Http2ClientTalk c;
  EXPECT_EQ(c.codec.capacity(), 1U) << "how many it takes is not known yet";
  c.greet({{3, 2}});
  EXPECT_EQ(c.codec.capacity(), 2U);
  c.request();
  c.request();
  EXPECT_EQ(c.codec.capacity(), 0U);
  (void)c.sent();
  c.capacity_calls = 0;
  c.server_sends(headers(1, status("200")));
  EXPECT_EQ(c.capacity_calls, 1);
  EXPECT_EQ(c.codec.capacity(), 1U);
  c.server_sends(settings({{3, 50}}));
  EXPECT_EQ(c.codec.capacity(), 49U);
  c.server_sends(settings({{3, 0}}));
  EXPECT_EQ(c.codec.capacity(), 0U);
  EXPECT_TRUE(c.codec.reusable());
}

TEST(Http2Client, SaysWhichRequestsWereNotTouched) {
  Http2ClientTalk c;
  c.greet();
  for (int i = 0; i < 4; ++i) c.request();
  (void)c.sent();
  c.server_sends(rst_stream(1, kRefusedStream) + rst_stream(3, kInternalError));
  EXPECT_EQ(c.seen(), "<1 unprocessed><2 reset>");
  c.server_sends(goaway(5, kNoError));
  EXPECT_EQ(c.seen(), "<4 unprocessed>");
  EXPECT_EQ(c.codec.capacity(), 0U);
  EXPECT_FALSE(c.codec.reusable());
  c.server_sends(headers(5, status("200")));
  EXPECT_EQ(c.seen(), "<3 200.>");
}

TEST(Http2Client, ARequestThatNeverWentOutWasNotTouched) {
  Http2ClientTalk c;
  c.greet();
  c.request();
  (void)c.sent();
  c.request();
  c.server_sends(goaway(1, kNoError));
  (void)c.sent();
  EXPECT_EQ(c.seen(), "<2 unprocessed>");
}

TEST(Http2Client, ResetBehindAWholeAnswerIsNoFailure) {
  Http2ClientTalk c;
  c.greet();
  c.request("/", false);
  (void)c.sent();
  c.server_sends(headers(1, status("413")) + rst_stream(1, kNoError));
  EXPECT_EQ(c.seen(), "<1 413.>");
  c.codec.send_body(1, {"late", 4});
  EXPECT_EQ(c.sent(), "");
}

TEST(Http2Client, CancelsBeforeAndAfterTheRequestIsOut) {
  Http2ClientTalk c;
  c.greet();
  c.request();
  (void)c.sent();
  EXPECT_TRUE(c.codec.cancel(1));
  EXPECT_EQ(c.sent(), "RST_STREAM 1 8");
  EXPECT_EQ(c.request(), 2U) << "a number is not given again before more is received";
  c.codec.cancel(2);
  EXPECT_EQ(c.sent(), "");
  EXPECT_EQ(c.codec.capacity(), 100U);
  EXPECT_EQ(c.seen(), "");
  // A request after it is not disturbed.
  c.request("/next");
  EXPECT_NE(c.sent().find("/next"), std::string::npos);
}

TEST(Http2Client, HoldsTheRequestBodyToTheWindows) {
  Http2ClientTalk c;
  c.greet({{4, 4}});
  c.request("/", false);
  std::string body = "abcdef";
  c.codec.send_body(1, {body.data(), body.size()});
  EXPECT_EQ(c.sent(), "HEADERS 1 {:method: POST, :scheme: http, :authority: h, :path: /}\nDATA 1 abcd");
  body = "######";
  EXPECT_EQ(c.codec.pending(1), 2U);
  c.server_sends(window_update(1, 100));
  EXPECT_EQ(c.seen(), "<1 writable>");
  EXPECT_EQ(c.sent(), "DATA 1 ef");
}

TEST(Http2Client, ReturnsTheWindowOnlyForWhatHasGoneOn) {
  Http2ClientTalk c;
  c.take_all = false;
  c.window = 65'536;
  c.greet();
  c.request();
  EXPECT_EQ(c.sent(), "HEADERS 1 . {:method: GET, :scheme: http, :authority: h, :path: /}\nWINDOW_UPDATE 1 65280");
  const std::string piece(16'384, 'd');
  c.server_sends(headers(1, status("200"), false) + data(1, piece) + data(1, piece));
  EXPECT_EQ(c.sent(), "");
  c.codec.consumed(1, 2 * piece.size());
  EXPECT_EQ(c.sent(), "WINDOW_UPDATE 1 32768");
}

// Of a hundred answers 99 stand still with their windows used up, and the last one gets through.
TEST(Http2Client, AnswersThatStandStillLeaveTheConnectionToTheOthers) {
  Http2ClientTalk c;
  c.take_all = false;
  c.window = 65'536;
  c.greet();
  const std::string piece(16'384, 'd');
  std::int64_t room = 100 * 65'536;  // in the connection's window, as the upstream sees it
  const auto sends = [&](std::uint32_t id) {
    room -= static_cast<std::int64_t>(piece.size());
    EXPECT_GE(room, 0);
    c.server_sends(data(id, piece));
    (void)c.seen();
    std::istringstream frames(c.sent());
    for (std::string line; std::getline(frames, line);) {
      if (line.starts_with("WINDOW_UPDATE 0 ")) room += std::stoll(line.substr(16));
    }
    EXPECT_LE(room, 100 * 65'536) << "given back twice";
  };
  for (std::uint32_t i = 0; i < 100; ++i) c.request();
  (void)c.sent();
  for (std::uint32_t i = 0; i < 100; ++i) c.server_sends(headers(2 * i + 1, status("200"), false));
  for (std::uint32_t i = 0; i < 99; ++i) {
    for (int n = 0; n < 4; ++n) sends(2 * i + 1);
  }
  for (int n = 0; n < 2000; ++n) {
    sends(199);
    c.codec.consumed(100, piece.size());
  }
  // What is given up, dropped or late has been given back as it came.
  for (std::uint32_t i = 0; i < 33; ++i) c.codec.cancel(i + 1);
  for (std::uint32_t i = 33; i < 66; ++i) c.server_sends(rst_stream(2 * i + 1, kCancel));
  for (std::uint32_t i = 66; i < 99; ++i) {
    c.codec.consumed(i + 1, 4 * piece.size());
    c.server_sends(data(2 * i + 1, "", true));
  }
  for (int n = 0; n < 2000; ++n) {
    if (n < 33) sends(static_cast<std::uint32_t>(2 * n + 1));
    sends(199);
    c.codec.consumed(100, piece.size());
  }
  EXPECT_GE(room, 50 * 65'536);
}

TEST(Http2Client, AllowsLittleAtFirstAndMoreWhenTold) {
  Http2ClientTalk c;
  c.take_all = false;
  c.greet();
  c.request();
  c.request();
  (void)c.sent();
  c.server_sends(headers(1, status("200"), false) + data(1, std::string(256, 'd')));
  EXPECT_EQ(c.sent(), "");
  c.codec.allow(1, 2000);
  c.codec.allow(1, 1000);
  EXPECT_EQ(c.sent(), "WINDOW_UPDATE 1 1744");
  c.server_sends(data(1, std::string(1744, 'd')));
  EXPECT_EQ(c.sent(), "");
  c.server_sends(headers(3, status("200"), false) + data(3, std::string(257, 'd')));
  EXPECT_EQ(c.sent(), "RST_STREAM 3 3");
}

TEST(Http2Client, ABrokenAnswerCostsItsStream) {
  const std::string cases[] = {
      headers(1, {{"a", "b"}}),
      headers(1, status("99")),
      headers(1, status("2000")),
      headers(1, status("abc")),
      headers(1, status("101"), false),
      headers(1, status("100")),
      headers(1, status("200", {{"Upper", "x"}})),
      headers(1, status("200", {{"a", "b\r\nset-cookie: c"}})),
      headers(1, status("200", {{"connection", "close"}})),
      headers(1, status("200", {{"transfer-encoding", "chunked"}})),
      headers(1, status("200", {{"content-length", "1"}, {"content-length", "1"}})),
      headers(1, status("200", {{"content-length", "5"}})),
      headers(1, {{":status", "200"}, {":status", "200"}}),
      headers(1, {{"a", "b"}, {":status", "200"}}),
      headers(1, {{":method", "GET"}, {":status", "200"}}),
  };
  for (const std::string& bytes : cases) {
    Http2ClientTalk c;
    c.greet();
    c.request();
    c.request();
    (void)c.sent();
    c.server_sends(bytes + headers(3, status("200")));
    EXPECT_EQ(c.seen(), "<1 bad><2 200.>") << c.why;
    EXPECT_TRUE(c.codec.reusable());
  }
  for (const auto& [bytes, seen] : {std::pair{data(1, "123456"), "<1 bad>"},
                                    {data(1, "1234", true), "1234<1 bad>"},
                                    {data(1, "123") + headers(1, {{"t", "v"}}), "123<1 bad>"},
                                    {headers(1, {{"t", "v"}}, false), "<1 bad>"}}) {
    Http2ClientTalk c;
    c.greet();
    c.request();
    (void)c.sent();
    c.server_sends(headers(1, status("200", {{"content-length", "5"}}), false) + bytes);
    EXPECT_EQ(c.seen(), "<1 200 content-length=5>" + std::string(seen));
    EXPECT_EQ(c.sent().substr(0, 14), "RST_STREAM 1 1");
  }
}

TEST(Http2Client, WhatMayNotStandBehindAHead) {
  const std::pair<std::string, std::string> cases[] = {
      {headers(1, status("103"), false) + data(1, "x"), "<1 103><1 bad>"},
      {headers(1, status("103"), false) + data(1, "", true), "<1 103><1 bad>"},
      {headers(1, status("200"), false) + headers(1, status("200")), "<1 200><1 bad>"},
      {headers(1, status("200"), false) + data(1, "x") + headers(1, {{"a", "b"}, {":path", "/"}}), "<1 200>x<1 bad>"},
      {headers(1, status("200"), false) + headers(1, {{"Upper", "x"}}), "<1 200><1 bad>"},
      {headers(1, status("200"), false) + headers(1, {{"connection", "close"}}), "<1 200><1 bad>"},
  };
  for (const auto& [bytes, seen] : cases) {
    Http2ClientTalk c;
    c.greet();
    c.request();
    c.request();
    (void)c.sent();
    c.server_sends(bytes + headers(3, status("200")));
    EXPECT_EQ(c.seen(), seen + "<2 200.>");
    EXPECT_TRUE(c.codec.reusable());
    EXPECT_EQ(c.sent(), "RST_STREAM 1 1");
  }
}

// RFC 7541 4.2, 6.3
TEST(Http2Client, FollowsTheSizeOfTheUpstreamsTable) {
  Http2ClientTalk c;
  c.frames.with_patterns = true;
  c.greet({{1, 0}});
  c.request("/a");
  c.request("/b");
  EXPECT_EQ(c.sent(),
            "HEADERS 1 . {<table 0>, :method: GET, :scheme: http, :authority: h, :path: /a}\n"
            "HEADERS 3 . {:method: GET, :scheme: http, :authority: h, :path: /b}");
}

// RFC 9113 6.9.2
TEST(Http2Client, AWindowThatWasMadeNegativeRecovers) {
  Http2ClientTalk c;
  c.greet({{4, 4}});
  c.request("/", false);
  c.codec.send_body(1, {"abcdef", 6});
  c.codec.send_end(1);
  EXPECT_EQ(c.sent(), "HEADERS 1 {:method: POST, :scheme: http, :authority: h, :path: /}\nDATA 1 abcd");
  c.server_sends(settings({{4, 1}}) + window_update(1, 3));  // 3 below 0, and 0
  EXPECT_EQ(c.sent(), "");
  c.server_sends(window_update(1, 1));
  EXPECT_EQ(c.sent(), "DATA 1 e");
  c.server_sends(settings({{4, 9}}));
  EXPECT_EQ(c.sent(), "DATA 1 f .");
}

TEST(Http2Client, TooManyInterimAnswers) {
  Http2ClientTalk c;
  c.greet();
  c.request();
  (void)c.sent();
  for (unsigned i = 0; i < Http2Client::kMaxInformational; ++i) c.server_sends(headers(1, status("103"), false));
  (void)c.seen();
  c.server_sends(headers(1, status("103"), false));
  EXPECT_EQ(c.seen(), "<1 bad>");
}

TEST(Http2Client, SaysGoodbye) {
  Http2ClientTalk c;
  c.greet();
  (void)c.sent();
  c.codec.say_goodbye();
  EXPECT_EQ(c.sent(), "GOAWAY 0 0");
  EXPECT_EQ(c.codec.capacity(), 0U);
}

TEST(Http2Client, ABrokenConnectionIsSaidOnce) {
  for (const std::string& bytes :
       {data(0, "x"), data(1, "before the head"), frame(kPushPromise, kEndHeaders, 1, number(2, 4) + fields(get())),
        headers(2, status("200")), std::string("HTTP/1.1 400 Bad Request\r\n\r\n"), ping("short")}) {
    Http2ClientTalk c;
    c.greet();
    c.request();
    (void)c.sent();
    c.server_sends(bytes);
    EXPECT_EQ(c.seen(), "<0 bad>");
    EXPECT_EQ(c.codec.capacity(), 0U);
    EXPECT_FALSE(c.codec.reusable());
    EXPECT_EQ(c.request(), 0U);
    c.server_sends(headers(1, status("200")));
    EXPECT_EQ(c.seen(), "");
  }
}

}  // namespace
}  // namespace edgemux::core
