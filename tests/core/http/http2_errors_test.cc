// The error cases of RFC 9113 and RFC 7541, each by hand-made frames, against the server's codec and where it matters
// the client's. SECURITY.md lists what nghttp2 itself lets through, and why.
#include "tests/core/http/http2_conversation.h"

namespace edgemux::core {
namespace {

using namespace edgemux::testing;  // NOLINT: frames read like text

struct ConnectionCase {
  const char* name;
  std::string bytes;  // behind the greeting
  unsigned error;
};

std::string with_block(std::string block, unsigned flags = kEndHeaders | kEndStream) {
  return frame(kHeaders, flags, 1, block);
}

std::vector<ConnectionCase> connection_cases() {
  const std::string block = fields(get());
  const std::string too_large(16'385, 'x');
  return {
      // 4.2 frame size
      {"a frame above SETTINGS_MAX_FRAME_SIZE", headers(1, post(), false) + data(1, too_large), kFrameSizeError},
      {"HEADERS above SETTINGS_MAX_FRAME_SIZE", frame(kHeaders, kEndHeaders, 1, too_large), kFrameSizeError},
      // 4.3 and RFC 7541: compression
      {"an index that is not in the table", with_block("\xff\xff\x03"), kCompressionError},
      {"index 0", with_block("\x80"), kCompressionError},
      {"an integer that overflows", with_block("\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), kCompressionError},
      {"a string longer than its block", with_block(std::string("\0\x7f\x10", 3) + "ab"), kCompressionError},
      {"Huffman code with EOS in it", with_block(std::string("\0\x84\xff\xff\xff\xff\0", 7)), kCompressionError},
      {"Huffman padding that is not all ones", with_block(std::string("\0\x81\x00\0", 4)), kCompressionError},
      {"Huffman padding of more than 7 bits", with_block(std::string("\0\x82\x1f\xff\0", 5)), kCompressionError},
      {"a table size above the setting", with_block(hpack_int(0x20, 5, 4097) + block), kCompressionError},
      {"a table size behind a field", with_block(block + hpack_int(0x20, 5, 10)), kCompressionError},
      {"a literal with a missing name index", with_block(std::string("\x7f\x7f", 2) + hpack_string("v")),
       kCompressionError},
      // 5.1 stream states
      {"DATA on an idle stream", data(1, "x"), kProtocolError},
      {"RST_STREAM on an idle stream", rst_stream(1, kCancel), kProtocolError},
      {"WINDOW_UPDATE on an idle stream", window_update(1, 10), kProtocolError},
      {"CONTINUATION on an idle stream", frame(kContinuation, kEndHeaders, 1, block), kProtocolError},
      {"DATA behind END_STREAM", headers(1, get()) + data(1, "x"), kStreamClosed},
      {"HEADERS behind END_STREAM", headers(1, get()) + headers(1, get()), kStreamClosed},
      {"an even stream", headers(2, get()), kProtocolError},
      // 5.1.2
      {"more streams than SETTINGS_MAX_CONCURRENT_STREAMS",
       [] {
         std::string all;
         for (std::uint32_t i = 0; i < 49; ++i) all += headers(2 * i + 1, get());
         return all;
       }(),
       kProtocolError},
      // 6.1 DATA
      {"DATA on stream 0", data(0, "x"), kProtocolError},
      {"DATA with padding as long as itself",
       headers(1, post(), false) + frame(kData, kPadded, 1, std::string("\x06") + "abcde"), kProtocolError},
      {"DATA with a pad length and no room for it", headers(1, post(), false) + frame(kData, kPadded, 1, ""),
       kProtocolError},
      // 6.2 HEADERS
      {"HEADERS on stream 0", frame(kHeaders, kEndHeaders, 0, block), kProtocolError},
      {"HEADERS with padding as long as itself", frame(kHeaders, kEndHeaders | kPadded, 1, std::string("\x05") + "abc"),
       kProtocolError},
      {"HEADERS too short for its priority", frame(kHeaders, kEndHeaders | kWithPriority, 1, "abc"), kFrameSizeError},
      // 6.3 PRIORITY
      {"PRIORITY of another size", headers(1, get()) + frame(kPriority, 0, 1, "1234"), kFrameSizeError},
      // 6.4 RST_STREAM
      {"RST_STREAM on stream 0", rst_stream(0, kCancel), kProtocolError},
      {"RST_STREAM of another size", headers(1, get()) + frame(kRstStream, 0, 1, "123"), kFrameSizeError},
      // 6.5 SETTINGS
      {"SETTINGS on a stream", frame(kSettings, 0, 1, ""), kProtocolError},
      {"SETTINGS of another size", frame(kSettings, 0, 0, "12345"), kFrameSizeError},
      {"an acknowledgement with a payload", frame(kSettings, kAck, 0, "123456"), kFrameSizeError},
      {"ENABLE_PUSH of 2", settings({{2, 2}}), kProtocolError},
      {"INITIAL_WINDOW_SIZE above 2^31-1", settings({{4, 0x80000000U}}), kFlowControlError},
      {"MAX_FRAME_SIZE below 2^14", settings({{5, 16'383}}), kProtocolError},
      {"MAX_FRAME_SIZE above 2^24-1", settings({{5, 1U << 24}}), kProtocolError},
      {"an acknowledgement of nothing", settings_ack(), kProtocolError},
      // 6.6, 8.4 PUSH_PROMISE
      {"PUSH_PROMISE from a client", headers(1, get()) + frame(kPushPromise, kEndHeaders, 1, number(2, 4) + block),
       kProtocolError},
      // 6.7 PING
      {"PING on a stream", frame(kPing, 0, 1, "12345678"), kProtocolError},
      {"PING of another size", ping("1234567"), kFrameSizeError},
      // 6.8 GOAWAY
      {"GOAWAY on a stream", frame(kGoaway, 0, 1, number(0, 8)), kProtocolError},
      {"GOAWAY too short", frame(kGoaway, 0, 0, "1234567"), kFrameSizeError},
      // 6.9 windows
      {"WINDOW_UPDATE of 0 for the connection", window_update(0, 0), kProtocolError},
      {"WINDOW_UPDATE of 0 for a stream", headers(1, get()) + window_update(1, 0), kProtocolError},
      {"WINDOW_UPDATE of another size", frame(kWindowUpdate, 0, 0, "123"), kFrameSizeError},
      {"the connection's window above 2^31-1", window_update(0, 0x7fffffff), kFlowControlError},
      // 6.10 CONTINUATION
      {"CONTINUATION without HEADERS", headers(1, get()) + frame(kContinuation, kEndHeaders, 1, block), kProtocolError},
      {"another frame within a header block", frame(kHeaders, 0, 1, block) + ping(), kProtocolError},
      {"another stream within a header block",
       frame(kHeaders, 0, 1, block) + frame(kContinuation, kEndHeaders, 3, block), kProtocolError},
      {"a frame of unknown type within a header block", frame(kHeaders, 0, 1, block) + frame(0xf0, 0, 0, "x"),
       kProtocolError},
  };
}

TEST(Http2Errors, BreakTheConnection) {
  for (const ConnectionCase& one : connection_cases()) {
    SCOPED_TRACE(one.name);
    Http2ServerTalk s;
    s.greet();
    s.client_sends(one.bytes);
    const std::string seen = s.seen();
    EXPECT_TRUE(seen.ends_with("<0 malformed 400>")) << seen;
    const std::string sent = s.sent();
    const std::string goaway = sent.substr(sent.rfind("GOAWAY") != std::string::npos ? sent.rfind("GOAWAY") : 0);
    EXPECT_TRUE(goaway.starts_with("GOAWAY ") && goaway.ends_with(" " + std::to_string(one.error))) << sent;
    EXPECT_FALSE(s.why.empty());
    EXPECT_TRUE(s.codec.finished());
    // And that is all there is.
    s.client_sends(headers(101, get()));
    EXPECT_EQ(s.seen(), "");
    EXPECT_EQ(s.sent(), "");
  }
}

TEST(Http2Errors, PrefaceAndFirstSettings) {
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), std::string(kPreface).replace(20, 1, "X"),
        std::string(kPreface) + ping(), std::string(kPreface) + headers(1, get())}) {
    Http2ServerTalk s;
    s.client_sends(bytes);
    EXPECT_EQ(s.seen(), "<0 malformed 400>");
    EXPECT_EQ(s.sent(), "GOAWAY 0 1");
  }
}

struct StreamCase {
  const char* name;
  std::string bytes;
  unsigned error;
};

TEST(Http2Errors, ResetOneStream) {
  const StreamCase cases[] = {
      {"a window above 2^31-1 by SETTINGS", headers(1, get()) + window_update(1, 0x7fff0000) + settings({{4, 0x20000}}),
       kFlowControlError},
      {"a window above 2^31-1", headers(1, get()) + window_update(1, 0x7fffffff), kFlowControlError},
  };
  for (const StreamCase& one : cases) {
    SCOPED_TRACE(one.name);
    Http2ServerTalk s;
    s.greet();
    s.client_sends(one.bytes + headers(9, get("/good")));
    EXPECT_EQ(s.sent(), "RST_STREAM 1 " + std::to_string(one.error));
    EXPECT_NE(s.seen().find("<1 reset>"), std::string::npos);
    s.answer(2, 200, "");
    EXPECT_EQ(s.sent(), "HEADERS 9 . {:status: 200, content-length: 0}") << "the others go on";
  }
}

// RFC 9113 6.9.1: more than the window lets.
TEST(Http2Errors, MoreDataThanTheWindow) {
  Http2ServerTalk s;
  s.take_all = false;
  s.greet();
  s.client_sends(headers(1, post(), false));
  const std::string piece(16'384, 'x');
  for (int i = 0; i < 4; ++i) s.client_sends(data(1, piece));
  EXPECT_EQ(s.sent(), "");
  s.client_sends(data(1, "y"));
  const std::string sent = s.sent();
  EXPECT_TRUE(sent == "RST_STREAM 1 3" || sent == "GOAWAY 1 3") << sent;
}

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
    EXPECT_EQ(s.seen(), count <= FieldList::kCapacity ? "<1 GET /.>" : "<1 malformed 431>") << count;
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
  EXPECT_EQ(s.seen(), "<2 GET /c h cookie=a=b; c=d;  x=y.>");
  s.client_sends(headers(5, without(get("/h", {{"host", "H:443"}, {"x_forwarded-for", "evil"}}), ":authority")));
  EXPECT_EQ(s.seen(), "<3 GET /h H:443 host=H:443.>");
  s.client_sends(headers(7, get("/same", {{"host", "H:443"}})));
  EXPECT_EQ(s.seen(), "<4 GET /same h host=H:443.>");
  s.client_sends(headers(9, post("/pad", {{"content-length", "3"}}), false) +
                 frame(kData, kPadded | kEndStream, 9, std::string("\x04") + "abc" + std::string(4, '\0')));
  EXPECT_EQ(s.seen(), "<5 POST /pad h content-length=3>abc.");
  s.client_sends(headers(13, get("/last")) + headers(11, get("/below")));
  EXPECT_EQ(s.seen(), "<6 GET /last h.>");
  EXPECT_EQ(s.sent(), "");
}

}  // namespace
}  // namespace edgemux::core
