// The errors of RFC 9113 that concern one request, its fields, body and trailers, by hand-made frames, and what is
// none. SECURITY.md lists what nghttp2 itself lets through, and why.
#include "tests/core/http/http2_conversation.h"

namespace edgemux::core {
namespace {

using namespace edgemux::test;  // NOLINT: frames read like text

struct HeadCase {
  const char* name;
  Fields list;
  unsigned status;
};

Fields without(Fields list, std::string_view name) {
  std::erase_if(list, [&](const auto& one) { return one.first == name; });
  return list;
}
Fields changed(Fields list, std::string_view name, std::string_view value) {
  for (auto& one : list) {
    if (one.first == name) one.second = value;
  }
  return list;
}

std::vector<HeadCase> head_cases() {
  const Fields websocket = [] {
    Fields list = changed(get(), ":method", "CONNECT");
    list.insert(list.begin(), {":protocol", "websocket"});
    return list;
  }();
  return {
      {"upper case", get("/", {{"Upper", "x"}}), 400},
      {"an empty name", get("/", {{"", "x"}}), 400},
      {"a space in a name", get("/", {{"a b", "x"}}), 400},
      {"a colon in a name", get("/", {{"a:b", "x"}}), 400},
      {"a byte above 0x7f in a name", get("/", {{"\xc3\xa4", "x"}}), 400},
      {"CR in a value", get("/", {{"a", "b\rc"}}), 400},
      {"LF in a value", get("/", {{"a", "b\nc: d"}}), 400},
      {"NUL in a value", get("/", {{"a", std::string("b\0c", 3)}}), 400},
      {"a control in a value", get("/", {{"a", "b\x01"}}), 400},
      {"DEL in a value", get("/", {{"a", "b\x7f"}}), 400},
      {"space before a value", get("/", {{"a", " b"}}), 400},
      {"tab behind a value", get("/", {{"a", "b\t"}}), 400},
      {"connection", get("/", {{"connection", "close"}}), 400},
      {"keep-alive", get("/", {{"keep-alive", "1"}}), 400},
      {"proxy-connection", get("/", {{"proxy-connection", "x"}}), 400},
      {"transfer-encoding", post("/", {{"transfer-encoding", "chunked"}}), 400},
      {"upgrade", get("/", {{"upgrade", "websocket"}}), 400},
      {"te other than trailers", get("/", {{"te", "gzip"}}), 400},
      {"a pseudo field behind another",
       [] {
         Fields list = get();
         list.insert(list.begin(), {"a", "b"});
         return list;
       }(),
       400},
      {"an unknown pseudo field", get("/", {}), 0},  // replaced below
      {"a pseudo field of responses", get("/", {}), 0},
      {"no :method", without(get(), ":method"), 400},
      {"no :scheme", without(get(), ":scheme"), 400},
      {"no :path", without(get(), ":path"), 400},
      {"no :authority and no host", without(get(), ":authority"), 400},
      {"an empty :path", changed(get(), ":path", ""), 400},
      {"an empty :method", changed(get(), ":method", ""), 400},
      {"an empty :authority", changed(get(), ":authority", ""), 400},
      {"a method that is no token", changed(get(), ":method", "GET /x HTTP/1.1\r\n"), 400},
      {"space in the path", changed(get(), ":path", "/a b"), 400},
      {"CR LF in the path", changed(get(), ":path", "/a\r\nx: y"), 400},
      {"a fragment in the path", changed(get(), ":path", "/a#b"), 400},
      {"a path without a slash", changed(get(), ":path", "a"), 400},
      {"absolute form", changed(get(), ":path", "http://h/"), 400},
      {"* with GET", changed(get(), ":path", "*"), 400},
      {"user info", changed(get(), ":authority", "u@h"), 400},
      {"CR LF in the authority", changed(get(), ":authority", "h\r\nx: y"), 400},
      {"another scheme", changed(get(), ":scheme", "ftp"), 400},
      {"host that disagrees", get("/", {{"host", "other"}}), 400},
      {"a port that disagrees", get("/", {{"host", "h:444"}}), 400},
      {"two hosts", get("/", {{"host", "h"}, {"host", "h"}}), 400},
      {"two lengths", post("/", {{"content-length", "1"}, {"content-length", "1"}}), 400},
      {"a length that is no number", post("/", {{"content-length", "1x"}}), 400},
      {"a length with a sign", post("/", {{"content-length", "+1"}}), 400},
      {"a length without a body", get("/", {{"content-length", "5"}}), 400},
      {"plain CONNECT", changed(without(without(get(), ":path"), ":scheme"), ":method", "CONNECT"), 405},
      {"CONNECT to a port of ours", changed(get(), ":method", "CONNECT"), 405},
      {":protocol with GET", changed(websocket, ":method", "GET"), 400},
      {"another :protocol", changed(websocket, ":protocol", "connect-udp"), 501},
      {"an extended CONNECT that ends at once", websocket, 400},
      {"too many bytes", get("/", {{"a", std::string(3000, 'x')}}), 431},
  };
}

TEST(Http2Errors, RefuseOneRequest) {
  std::vector<HeadCase> cases = head_cases();
  for (HeadCase& one : cases) {
    if (one.status != 0) continue;
    one.status = 400;
    one.list.insert(one.list.begin(),
                    {one.name == std::string_view("an unknown pseudo field") ? ":x" : ":status", "200"});
  }
  for (const char* twice : {":method", ":scheme", ":path", ":authority"}) {
    Fields list = get();
    list.insert(list.begin(), {twice, list[0].first == twice ? "GET" : "/"});
    cases.push_back({twice, list, 400});
  }
  for (const HeadCase& one : cases) {
    SCOPED_TRACE(one.name);
    Http2ServerTalk s(2048);
    s.when_malformed = [&s](StreamId stream, std::uint16_t status) {
      s.head(stream, status, {});
      s.codec.send_end(stream);
    };
    s.greet();
    s.client_sends(headers(1, one.list) + headers(3, get("/good")));
    EXPECT_EQ(s.seen(), "<1 malformed " + std::to_string(one.status) + "><2 GET /good.>") << s.why;
    EXPECT_EQ(s.sent(), "HEADERS 1 . {:status: " + std::to_string(one.status) + ", content-length: 0}");
  }
}

TEST(Http2Errors, RefusedRequestsWithABodyAreReset) {
  Http2ServerTalk s;
  s.when_malformed = [&s](StreamId stream, std::uint16_t status) { s.answer(stream, status, "no"); };
  s.greet();
  s.client_sends(headers(1, post("/", {{"connection", "close"}}), false) + data(1, "body", true));
  EXPECT_EQ(s.seen(), "<1 malformed 400>");
  EXPECT_EQ(s.sent(), "HEADERS 1 {:status: 400, content-length: 2}\nDATA 1 no .");
  s.client_sends(headers(3, post("/", {{"connection", "close"}}), false) + data(3, "body"));
  EXPECT_EQ(s.sent(), "HEADERS 3 {:status: 400, content-length: 2}\nDATA 3 no .\nRST_STREAM 3 1");
}

TEST(Http2Errors, MoreFieldsThanMayBe) {
  for (const std::size_t count : {125U, 126U, 246U, 247U, 1000U}) {
    Http2ServerTalk s;
    s.greet();
    Fields list = get();
    for (std::size_t i = 0; i < count; ++i) list.emplace_back("a", "b");
    s.client_sends(headers(1, list));
    EXPECT_EQ(s.seen(), count <= FieldList::kMostReceived ? "<1 GET /.>" : "<1 malformed 431>") << count;
  }
}

TEST(Http2Errors, BodiesThatAreNotWhatTheirLengthSays) {
  const Fields five = post("/", {{"content-length", "5"}});
  const std::pair<std::string, std::string> cases[] = {
      {data(1, "123456", true), ""},   {data(1, "123456"), ""}, {data(1, "123") + data(1, "456"), "123"},
      {data(1, "1234", true), "1234"}, {data(1, "", true), ""}, {data(1, "123") + headers(1, {{"t", "v"}}), "123"},
  };
  for (const auto& [bytes, handed_out] : cases) {
    Http2ServerTalk s;
    s.greet();
    s.client_sends(headers(1, five, false) + bytes);
    EXPECT_EQ(s.seen(), "<1 POST />" + handed_out + "<1 malformed 400>");
  }
}

TEST(Http2Errors, Trailers) {
  const std::pair<std::string, std::string> cases[] = {
      {headers(1, {{":status", "200"}}), "<1 malformed 400>"},
      {headers(1, {{"Upper", "x"}}), "<1 malformed 400>"},
      {headers(1, {{"a", "b\r\n"}}), "<1 malformed 400>"},
      {headers(1, {{"connection", "close"}}), "<1 malformed 400>"},
      {headers(1, {{"a", "b"}}, false), "<1 malformed 400>"},
      {headers(1, {{"content-length", "7"}, {"host", "x"}, {"x_forwarded-for", "y"}, {"a", "b"}}), "<1 trailers a=b>"},
  };
  for (const auto& [bytes, seen] : cases) {
    Http2ServerTalk s;
    s.greet();
    s.client_sends(headers(1, post(), false) + bytes);
    EXPECT_EQ(s.seen(), "<1 POST />" + seen);
  }
}

TEST(Http2Errors, WhatIsNotOne) {
  Http2ServerTalk s;
  s.with_fields = true;
  s.greet();
  // Unknown frames, settings and flags; padding; a priority; several cookies; an authority in Host alone; an alias.
  s.client_sends(frame(0xee, 0xff, 0, "anything") + settings({{0x99, 7}}) +
                 frame(kHeaders, 0xc0 | kEndHeaders | kEndStream | kPadded | kWithPriority, 1,
                       std::string("\x03") + number(0, 4) + "\x10" + fields(get("/p")) + std::string(3, '\0')));
  EXPECT_EQ(s.seen(), "<1 GET /p h.>");
  s.client_sends(
      headers(3, get("/c", {{"cookie", "a=b"}, {"x", "y"}, {"cookie", "c=d"}, {"cookie", ""}, {"te", "trailers"}})));
  EXPECT_EQ(s.seen(), "<2 GET /c h cookie=a=b; c=d x=y.>");
  s.client_sends(headers(5, without(get("/h", {{"host", "H:443"}, {"x_forwarded-for", "evil"}}), ":authority")));
  EXPECT_EQ(s.seen(), "<3 GET /h H:443 host=H:443.>");
  s.client_sends(headers(7, get("/same", {{"host", "H:443"}})));
  EXPECT_EQ(s.seen(), "<4 GET /same h host=H:443.>");
  s.client_sends(headers(9, post("/pad", {{"content-length", "3"}}), false) +
                 frame(kData, kPadded | kEndStream, 9, std::string("\x04") + "abc" + std::string(4, '\0')));
  EXPECT_EQ(s.seen(), "<5 POST /pad h content-length=3>abc.");
  // An integer with zeros that it does not need (RFC 7541 5.1).
  s.client_sends(
      frame(kHeaders, kEndHeaders | kEndStream, 11,
            fields(get("/zeros")) + std::string("\0\x7f\x80\x80\0", 5) + std::string(127, 'a') + hpack_string("b")));
  EXPECT_EQ(s.seen(), "<6 GET /zeros h " + std::string(127, 'a') + "=b.>");
  s.client_sends(headers(17, get("/last")) + headers(15, get("/below")));
  EXPECT_EQ(s.seen(), "<7 GET /last h.>");
  EXPECT_EQ(s.sent(), "");
}

// ---- what nghttp2 lets through: the list in SECURITY.md, line by line

TEST(Http2LetThrough, FramesOnStreamsThatAreOver) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, post(), false) + data(1, "", true) + headers(3, post(), false) + rst_stream(3, kCancel));
  s.answer(1, 200, "");
  (void)s.sent();
  (void)s.seen();
  for (const std::uint32_t stream : {1U, 3U}) {
    s.client_sends(data(stream, "x") + headers(stream, {{"t", "v"}}) + rst_stream(stream, kCancel) +
                   window_update(stream, 1) + data(stream, "y", true));
    EXPECT_EQ(s.seen() + s.sent(), "");
  }
  // Of the connection's window it costs nothing (RFC 9113 5.1).
  const std::string piece(16'384, 'x');
  s.client_sends(data(1, piece) + data(3, piece));
  EXPECT_TRUE(s.sent().starts_with("WINDOW_UPDATE 0 327"));
}

TEST(Http2LetThrough, PriorityWithNonsenseInIt) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(frame(kPriority, 0, 0, number(1, 4) + "\x10") + frame(kPriority, 0, 1, number(1, 4) + "\x10") +
                 frame(kPriority, 0, 2, number(7, 4) + "\x10") + frame(kPriority, 0, 9, number(11, 4) + "\x10"));
  s.client_sends(frame(kHeaders, kEndHeaders | kEndStream | kWithPriority, 1,
                       number(0x80000003U, 4) + "\xff" + fields(get("/on-an-idle-one"))));
  EXPECT_EQ(s.seen(), "<1 GET /on-an-idle-one.>");
  EXPECT_EQ(s.sent(), "");
}

TEST(Http2LetThrough, PriorityUpdateOfNothing) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(frame(kPriorityUpdate, 0xff, 0, number(0, 4) + "u=1") +
                 frame(kPriorityUpdate, 0, 0, number(1, 4) + std::string("\0?=;", 4)) +
                 frame(kPriorityUpdate, 0, 0, number(1, 4) + std::string(1000, 'u')) + headers(1, get("/")));
  EXPECT_EQ(s.seen(), "<1 GET /.>");
  EXPECT_EQ(s.sent(), "");
}

TEST(Http2LetThrough, PaddingThatIsNotZero) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(frame(kHeaders, kEndHeaders | kPadded, 1, "\x03" + fields(post("/p")) + "\xff\x01 ") +
                 frame(kData, kPadded | kEndStream, 1, std::string("\x04") + "abc" + "\xff\xffzz"));
  EXPECT_EQ(s.seen(), "<1 POST /p>abc.");
  EXPECT_EQ(s.sent(), "");
}

// 6.5.3: nothing waits for it. What clients may do is less without; an upstream's streams keep the window that
// they have by default.
TEST(Http2LetThrough, SettingsThatAreNeverAcknowledged) {
  Http2ServerTalk s;
  s.take_all = false;
  s.client_sends(std::string(kPreface) + settings() + headers(1, post(), false));
  const std::string piece(16'383, 'x');
  for (int i = 0; i < 4; ++i) s.client_sends(data(1, piece));
  s.answer(1, 200, "hi");
  EXPECT_EQ(s.sent(),
            "HEADERS 1 {:status: 200, content-length: 2}\nDATA 1 hi .\nWINDOW_UPDATE 0 65532\nWINDOW_UPDATE 1 65532");
  s.codec.end_early();  // which the owner does in time, acknowledged or not
  for (std::uint32_t i = 1; i <= 50; ++i) s.client_sends(headers(2 * i + 1, get()));
  EXPECT_EQ(s.sent(), "RST_STREAM 99 7\nRST_STREAM 101 7") << "more than 48 are refused";
  EXPECT_EQ(s.refused, (std::vector<std::string>{"GET /", "GET /"}));

  Http2ClientTalk c;
  c.server_sends(settings());
  c.request();
  (void)c.sent();
  c.server_sends(headers(1, {{":status", "200"}}, false));
  for (int i = 0; i < 4; ++i) c.server_sends(data(1, piece, i == 3));
  EXPECT_TRUE(c.seen().ends_with("x."));
  EXPECT_TRUE(c.codec.reusable());
}

TEST(Http2LetThrough, ALargeContinuationOfAHeadThatIsIgnored) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(3, get("/3")) + frame(kHeaders, kEndStream, 1, fields(get())) +
                 frame(kContinuation, kEndHeaders, 1, field("a", std::string(16'380, 'x'))) + headers(5, get("/5")));
  EXPECT_EQ(s.seen(), "<1 GET /3.><2 GET /5.>");
  EXPECT_EQ(s.sent(), "");
}

TEST(Http2LetThrough, WhatMeansNothing) {
  Http2ServerTalk s;
  s.greet();
  // A setting for servers, an acknowledgement of no PING, a bit that is reserved (4.1), a GOAWAY with an error.
  s.client_sends(settings({{8, 1}}) + ping("12345678", kAck) + frame(kHeaders, 5, 0x80000001U, fields(get("/1"))) +
                 window_update(0, 0x80000001U) + goaway(0, kInternalError) + headers(3, get("/3")));
  EXPECT_EQ(s.seen(), "<1 GET /1.><2 GET /3.>");
  EXPECT_EQ(s.sent(), "");
}

}  // namespace
}  // namespace edgemux::core
