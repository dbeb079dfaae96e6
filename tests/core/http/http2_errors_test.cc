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

std::string with_block(std::string block, unsigned flags = kEndHeaders | kEndStream, std::uint32_t stream = 1) {
  return frame(kHeaders, flags, stream, block);
}

// A literal that enters the table (RFC 7541 6.2.1).
std::string indexed(std::string_view name, std::string_view value) {
  return std::string(1, '\x40') + hpack_string(name) + hpack_string(value);
}

std::vector<ConnectionCase> connection_cases() {
  const std::string block = fields(get());
  const std::string too_large(16'385, 'x');
  const std::string large_field = field("a", std::string(16'380, 'x'));
  return {
      // 4.2 frame size
      {"a frame above SETTINGS_MAX_FRAME_SIZE", headers(1, post(), false) + data(1, too_large), kFrameSizeError},
      {"HEADERS above SETTINGS_MAX_FRAME_SIZE", frame(kHeaders, kEndHeaders, 1, too_large), kFrameSizeError},
      {"CONTINUATION above SETTINGS_MAX_FRAME_SIZE",
       frame(kHeaders, kEndStream, 1, block) + frame(kContinuation, kEndHeaders, 1, large_field), kFrameSizeError},
      {"a frame of unknown type above SETTINGS_MAX_FRAME_SIZE", frame(0xee, 0, 0, too_large), kFrameSizeError},
      {"a frame above ours, although the client takes such", settings({{5, 1U << 20}}) + frame(0xee, 0, 0, too_large),
       kFrameSizeError},
      // 4.3 and RFC 7541: compression
      {"an index that is not in the table", with_block("\xff\xff\x03"), kCompressionError},
      {"index 0", with_block("\x80"), kCompressionError},
      {"an integer that overflows", with_block("\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), kCompressionError},
      {"an integer of many bytes, although it is small (RFC 7541 5.1)",
       with_block(block + std::string("\0\x7f\x80\x80\x80\x80\x80\0", 8) + std::string(127, 'a') + hpack_string("b")),
       kCompressionError},
      {"a string longer than its block", with_block(std::string("\0\x7f\x10", 3) + "ab"), kCompressionError},
      {"Huffman code with EOS in it", with_block(std::string("\0\x84\xff\xff\xff\xff\0", 7)), kCompressionError},
      {"Huffman padding that is not all ones", with_block(std::string("\0\x81\x00\0", 4)), kCompressionError},
      {"Huffman padding of more than 7 bits", with_block(std::string("\0\x82\x1f\xff\0", 5)), kCompressionError},
      {"a table size above the setting", with_block(hpack_int(0x20, 5, 4097) + block), kCompressionError},
      {"a table size behind a field", with_block(block + hpack_int(0x20, 5, 10)), kCompressionError},
      {"a literal with a missing name index", with_block(std::string("\x7f\x7f", 2) + hpack_string("v")),
       kCompressionError},
      {"the same without indexing", with_block(std::string("\x0f\x7f", 2) + hpack_string("v")), kCompressionError},
      {"the same never indexed", with_block(std::string("\x1f\x7f", 2) + hpack_string("v")), kCompressionError},
      {"an index of an entry that was evicted",
       with_block(block + indexed("a", "b") + indexed("c", std::string(4096, 'd')) + "\xbe"), kCompressionError},
      {"an integer that does not end", with_block(std::string("\x7f\xff", 2)), kCompressionError},
      {"a name without a value", with_block(block + std::string(1, '\0') + hpack_string("a")), kCompressionError},
      {"Huffman code longer than its block", with_block(std::string("\0\x8f\x1f", 3)), kCompressionError},
      {"such an error in CONTINUATION",
       frame(kHeaders, kEndStream, 1, block) + frame(kContinuation, kEndHeaders, 1, "\x80"), kCompressionError},
      {"in trailers", headers(1, post(), false) + with_block("\x80"), kCompressionError},
      {"in a head that is ignored", headers(3, get()) + with_block("\x80"), kCompressionError},
      {"in a head that is refused", headers(1, get("/", {{"connection", "x"}})) + frame(kHeaders, 5, 3, "\x80"),
       kCompressionError},
      // 5.1 stream states
      {"DATA on an idle stream", data(1, "x"), kProtocolError},
      {"RST_STREAM on an idle stream", rst_stream(1, kCancel), kProtocolError},
      {"WINDOW_UPDATE on an idle stream", window_update(1, 10), kProtocolError},
      {"CONTINUATION on an idle stream", frame(kContinuation, kEndHeaders, 1, block), kProtocolError},
      {"DATA behind END_STREAM", headers(1, get()) + data(1, "x"), kStreamClosed},
      {"HEADERS behind END_STREAM", headers(1, get()) + headers(1, get()), kStreamClosed},
      {"an even stream", headers(2, get()), kProtocolError},
      {"DATA on an even stream", data(2, "x"), kProtocolError},
      {"RST_STREAM on an even stream", rst_stream(2, kCancel), kProtocolError},
      {"WINDOW_UPDATE on an even stream", window_update(2, 10), kProtocolError},
      // 5.1.2
      {"more streams than SETTINGS_MAX_CONCURRENT_STREAMS",
       [] {
         std::string all;
         for (std::uint32_t i = 0; i < 101; ++i) all += headers(2 * i + 1, get());
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
      {"HEADERS with a pad length and no room for it", frame(kHeaders, kEndHeaders | kPadded, 1, ""), kProtocolError},
      {"HEADERS padded into its priority",
       frame(kHeaders, kEndHeaders | kPadded | kWithPriority, 1, std::string("\x04") + std::string(7, '\0')),
       kProtocolError},
      {"HEADERS too short for its priority", frame(kHeaders, kEndHeaders | kWithPriority, 1, "abc"), kFrameSizeError},
      {"HEADERS that depend on their own stream (RFC 7540 5.3.1)",
       frame(kHeaders, kEndHeaders | kEndStream | kWithPriority, 1, number(1, 4) + "\x10" + block), kProtocolError},
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
      {"ENABLE_CONNECT_PROTOCOL of 2 (RFC 8441 3)", settings({{8, 2}}), kProtocolError},
      {"NO_RFC7540_PRIORITIES of 2 (RFC 9218 2.1)", settings({{9, 2}}), kProtocolError},
      {"NO_RFC7540_PRIORITIES that changes (RFC 9218 2.1)", settings({{9, 1}}), kProtocolError},
      // 6.6, 8.4 PUSH_PROMISE
      {"PUSH_PROMISE from a client", headers(1, get()) + frame(kPushPromise, kEndHeaders, 1, number(2, 4) + block),
       kProtocolError},
      // RFC 9218 7.1
      {"PRIORITY_UPDATE on a stream", headers(1, get()) + frame(kPriorityUpdate, 0, 1, number(1, 4) + "u=1"),
       kProtocolError},
      {"PRIORITY_UPDATE too short", frame(kPriorityUpdate, 0, 0, "123"), kFrameSizeError},
      {"PRIORITY_UPDATE of a stream of ours", frame(kPriorityUpdate, 0, 0, number(2, 4) + "u=1"), kProtocolError},
      // 6.7 PING
      {"PING on a stream", frame(kPing, 0, 1, "12345678"), kProtocolError},
      {"PING of another size", ping("1234567"), kFrameSizeError},
      // 6.8 GOAWAY
      {"GOAWAY on a stream", frame(kGoaway, 0, 1, number(0, 8)), kProtocolError},
      {"GOAWAY too short", frame(kGoaway, 0, 0, "1234567"), kFrameSizeError},
      {"GOAWAY whose last stream rises", goaway(0, kNoError) + goaway(2, kNoError), kProtocolError},
      // 6.9 windows
      {"WINDOW_UPDATE of 0 for the connection", window_update(0, 0), kProtocolError},
      {"WINDOW_UPDATE of 0 for a stream", headers(1, get()) + window_update(1, 0), kProtocolError},
      {"WINDOW_UPDATE of another size", frame(kWindowUpdate, 0, 0, "123"), kFrameSizeError},
      {"the connection's window above 2^31-1", window_update(0, 0x7fffffff), kFlowControlError},
      // 6.10 CONTINUATION
      {"CONTINUATION on stream 0", frame(kContinuation, kEndHeaders, 0, block), kProtocolError},
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
  for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
                                   std::string(kPreface).replace(20, 1, "X"), std::string(kPreface) + ping(),
                                   std::string(kPreface) + headers(1, get()), std::string(kPreface) + settings_ack()}) {
    Http2ServerTalk s;
    s.client_sends(bytes);
    EXPECT_EQ(s.seen(), "<0 malformed 400>");
    EXPECT_EQ(s.sent(), "GOAWAY 0 1");
  }
}

// The same for what upstreams send, where it differs or their side is another.
std::vector<ConnectionCase> client_cases() {
  const std::string block = fields({{":status", "200"}});
  const std::string open = headers(1, {{":status", "200"}}, false);
  const std::string large_field = field("a", std::string(16'380, 'x'));
  return {
      {"a frame above SETTINGS_MAX_FRAME_SIZE", open + data(1, std::string(16'385, 'x')), kFrameSizeError},
      {"CONTINUATION above SETTINGS_MAX_FRAME_SIZE",
       frame(kHeaders, 0, 1, block) + frame(kContinuation, kEndHeaders, 1, large_field), kFrameSizeError},
      {"a frame of unknown type above SETTINGS_MAX_FRAME_SIZE", frame(0xee, 0, 0, std::string(16'385, 'x')),
       kFrameSizeError},
      {"index 0", with_block("\x80"), kCompressionError},
      {"a string longer than its block", with_block(std::string("\0\x7f\x10", 3) + "ab"), kCompressionError},
      {"Huffman code with EOS in it", with_block(std::string("\0\x84\xff\xff\xff\xff\0", 7)), kCompressionError},
      {"a table size above the setting", with_block(hpack_int(0x20, 5, 4097) + block), kCompressionError},
      {"such an error in trailers", open + with_block("\x80"), kCompressionError},
      {"HEADERS on an idle stream", headers(5, {{":status", "200"}}), kProtocolError},
      {"HEADERS on a stream of its own", headers(2, {{":status", "200"}}), kProtocolError},
      {"DATA on an idle stream", data(5, "x"), kProtocolError},
      {"DATA before the head (8.1)", data(1, "x"), kProtocolError},
      {"RST_STREAM on an idle stream", rst_stream(5, kCancel), kProtocolError},
      {"WINDOW_UPDATE on an idle stream", window_update(5, 10), kProtocolError},
      {"DATA behind END_STREAM", headers(3, {{":status", "200"}}) + data(3, "x"), kStreamClosed},
      {"HEADERS behind END_STREAM", headers(3, {{":status", "200"}}) + headers(3, {{":status", "200"}}), kStreamClosed},
      {"DATA on stream 0", data(0, "x"), kProtocolError},
      {"DATA with padding as long as itself", open + frame(kData, kPadded, 1, std::string("\x06") + "abcde"),
       kProtocolError},
      {"HEADERS on stream 0", frame(kHeaders, kEndHeaders, 0, block), kProtocolError},
      {"RST_STREAM on stream 0", rst_stream(0, kCancel), kProtocolError},
      {"RST_STREAM of another size", frame(kRstStream, 0, 1, "123"), kFrameSizeError},
      {"SETTINGS on a stream", frame(kSettings, 0, 1, ""), kProtocolError},
      {"SETTINGS of another size", frame(kSettings, 0, 0, "12345"), kFrameSizeError},
      {"an acknowledgement with a payload", frame(kSettings, kAck, 0, "123456"), kFrameSizeError},
      {"ENABLE_PUSH from a server", settings({{2, 1}}), kProtocolError},
      {"INITIAL_WINDOW_SIZE above 2^31-1", settings({{4, 0x80000000U}}), kFlowControlError},
      {"MAX_FRAME_SIZE below 2^14", settings({{5, 16'383}}), kProtocolError},
      {"ENABLE_CONNECT_PROTOCOL taken back (RFC 8441 3)", settings({{8, 1}}) + settings({{8, 0}}), kProtocolError},
      {"PUSH_PROMISE, which was switched off", frame(kPushPromise, kEndHeaders, 1, number(2, 4) + fields(get())),
       kProtocolError},
      {"PING on a stream", frame(kPing, 0, 1, "12345678"), kProtocolError},
      {"PING of another size", ping("short"), kFrameSizeError},
      {"GOAWAY on a stream", frame(kGoaway, 0, 1, number(0, 8)), kProtocolError},
      {"GOAWAY too short", frame(kGoaway, 0, 0, "1234567"), kFrameSizeError},
      {"GOAWAY whose last stream rises", goaway(1, kNoError) + goaway(3, kNoError), kProtocolError},
      {"WINDOW_UPDATE of 0", window_update(0, 0), kProtocolError},
      {"WINDOW_UPDATE of another size", frame(kWindowUpdate, 0, 0, "123"), kFrameSizeError},
      {"the connection's window above 2^31-1", window_update(0, 0x7fffffff), kFlowControlError},
      {"CONTINUATION without HEADERS", frame(kContinuation, kEndHeaders, 1, block), kProtocolError},
      {"another frame within a header block", frame(kHeaders, 0, 1, block) + ping(), kProtocolError},
      {"PRIORITY_UPDATE from a server (RFC 9218 7.1)", frame(kPriorityUpdate, 0, 0, number(1, 4) + "u=1"),
       kProtocolError},
  };
}

TEST(Http2Errors, BreakTheUpstreamsConnection) {
  for (const ConnectionCase& one : client_cases()) {
    SCOPED_TRACE(one.name);
    Http2ClientTalk c;
    c.greet();
    c.request();
    c.request("/upload", false);
    (void)c.sent();
    c.server_sends(one.bytes);
    EXPECT_TRUE(c.seen().ends_with("<0 bad>"));
    const std::string sent = c.sent();
    const std::string last = sent.substr(sent.rfind('\n') == std::string::npos ? 0 : sent.rfind('\n') + 1);
    EXPECT_EQ(last, "GOAWAY 0 " + std::to_string(one.error));
    EXPECT_FALSE(c.codec.reusable());
  }
}

TEST(Http2Errors, TheUpstreamsFirstFrameIsSettings) {
  for (const std::string& bytes : {std::string("HTTP/1.1 400 Bad Request\r\n\r\n"), ping(), settings_ack(),
                                   headers(1, {{":status", "200"}}), goaway(0, kNoError)}) {
    Http2ClientTalk c;
    c.request();
    (void)c.sent();
    c.server_sends(bytes);
    EXPECT_EQ(c.seen(), "<0 bad>");
    EXPECT_EQ(c.sent(), "GOAWAY 0 1");
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

// The connection's, by two streams that stay within their own.
TEST(Http2Errors, MoreDataThanTheConnectionsWindow) {
  Http2ServerTalk s;
  s.take_all = false;
  s.greet();
  s.client_sends(headers(1, post(), false) + headers(3, post(), false));
  const std::string piece(16'384, 'x');
  s.client_sends(data(1, piece) + data(1, piece) + data(3, piece) + data(3, piece));
  EXPECT_EQ(s.sent(), "");
  s.client_sends(data(3, "y"));
  EXPECT_EQ(s.sent(), "GOAWAY 3 3");
}

// Of an upstream that does not know of the streams' own windows: nothing else lets it come so far.
TEST(Http2Errors, MoreDataThanTheConnectionsWindowFromAnUpstream) {
  Http2ClientTalk c;
  c.take_all = false;
  c.window = 65'536;
  c.server_sends(settings());
  std::size_t left = 100 * 65'536;
  for (std::uint32_t i = 0; i < 60; ++i) c.request();
  (void)c.sent();
  const std::string piece(16'000, 'x');
  for (std::uint32_t id = 1; left > 0; id += 2) {
    c.server_sends(headers(id, {{":status", "200"}}, false));
    for (int i = 0; i < 8 && left > 0; ++i) {
      const std::size_t size = std::min(piece.size(), left);
      c.server_sends(data(id, piece.substr(0, size)));
      left -= size;
    }
  }
  EXPECT_EQ(c.sent(), "");
  c.server_sends(headers(119, {{":status", "200"}}, false) + data(119, "y"));
  EXPECT_EQ(c.sent(), "GOAWAY 0 3");
  EXPECT_TRUE(c.seen().ends_with("<0 bad>"));
}

// 7: as INTERNAL_ERROR, or as nothing special.
TEST(Http2Errors, CodesThatNobodyKnows) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get("/1")) + rst_stream(1, 0xdeadbeef) + goaway(0, 0xdeadbeef) + headers(3, get("/3")));
  EXPECT_EQ(s.seen(), "<1 GET /1.><1 reset><2 GET /3.>");
  EXPECT_EQ(s.sent(), "");
  Http2ClientTalk c;
  c.greet();
  for (int i = 0; i < 3; ++i) c.request();
  (void)c.sent();
  c.server_sends(rst_stream(1, 0xdeadbeef) + goaway(3, 0xdeadbeef) + headers(3, {{":status", "200"}}));
  EXPECT_EQ(c.seen(), "<1 reset><3 unprocessed><2 200.>");
  EXPECT_FALSE(c.codec.reusable());
}

// Before our SETTINGS have been seen nobody is to blame (5.1.2, 6.5.3).
TEST(Http2Errors, TooManyStreamsBeforeTheSettingsAreKnown) {
  Http2ServerTalk s;
  s.client_sends(std::string(kPreface) + settings());
  s.codec.end_early();  // or they would be held
  std::string all;
  for (std::uint32_t i = 0; i < 50; ++i) all += headers(2 * i + 1, get());
  s.client_sends(all);
  EXPECT_EQ(s.sent(), "RST_STREAM 97 7\nRST_STREAM 99 7");
  s.answer(1, 200, "");
  EXPECT_EQ(s.sent(), "HEADERS 1 . {:status: 200, content-length: 0}");
}

TEST(Http2Errors, TooManyStreamsOnceTheLastLimitIsKnown) {
  Http2ServerTalk s;
  s.greet();
  s.codec.tell_limit();
  s.flush();
  s.client_sends(settings_ack());
  (void)s.sent();
  std::string all;
  for (std::uint32_t i = 0; i < 48; ++i) all += headers(2 * i + 1, get());
  s.client_sends(all);
  EXPECT_EQ(s.sent(), "");
  s.client_sends(headers(97, get()));
  EXPECT_EQ(s.sent(), "GOAWAY 95 1");
}

// RFC 9113 4.3: every block is decoded, whatever becomes of it, or the next one would say something else.
TEST(Http2Errors, TheTableStaysInStepWhateverBecomesOfABlock) {
  const std::string mark = indexed("in", "step");
  const std::string trailers = frame(kHeaders, kEndHeaders | kEndStream, 1, mark);
  const std::pair<const char*, std::string> cases[] = {
      {"a request that is refused", with_block(fields(get("/", {{"connection", "x"}})) + mark)},
      {"one that is too large", with_block(fields(get("/", {{"a", std::string(3000, 'x')}})) + mark)},
      {"one below others", headers(5, get()) + with_block(fields(get()) + mark)},
      {"trailers of a request that was taken back", headers(1, post(), false) + rst_stream(1, kCancel) + trailers},
      {"of one that is refused", headers(1, post("/", {{"connection", "x"}}), false) + trailers},
      {"behind a broken body", headers(1, post("/", {{"content-length", "1"}}), false) + data(1, "xy") + trailers},
  };
  for (const auto& [name, bytes] : cases) {
    SCOPED_TRACE(name);
    Http2ServerTalk s(2048);
    s.with_fields = true;
    s.greet();
    s.client_sends(bytes);
    (void)s.seen();
    s.client_sends(frame(kHeaders, kEndHeaders | kEndStream, 9, fields(get("/next")) + "\xbe"));  // the latest entry
    EXPECT_TRUE(s.seen().ends_with("GET /next h in=step.>")) << s.sent();
  }
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
  EXPECT_EQ(s.seen(), "<2 GET /c h cookie=a=b; c=d x=y.>");
  s.client_sends(headers(5, without(get("/h", {{"host", "H:443"}, {"x_forwarded-for", "evil"}}), ":authority")));
  EXPECT_EQ(s.seen(), "<3 GET /h H:443 host=H:443.>");
  s.client_sends(headers(7, get("/same", {{"host", "H:443"}})));
  EXPECT_EQ(s.seen(), "<4 GET /same h host=H:443.>");
  s.client_sends(headers(9, post("/pad", {{"content-length", "3"}}), false) +
                 frame(kData, kPadded | kEndStream, 9, std::string("\x04") + "abc" + std::string(4, '\0')));
  EXPECT_EQ(s.seen(), "<5 POST /pad h content-length=3>abc.");
  // An integer with zeros that it does not need (RFC 7541 5.1).
  s.client_sends(with_block(
      fields(get("/zeros")) + std::string("\0\x7f\x80\x80\0", 5) + std::string(127, 'a') + hpack_string("b"), 5, 11));
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
            "HEADERS 1 {:status: 200, content-length: 2}\nDATA 1 hi .\nRST_STREAM 1 0\nWINDOW_UPDATE 0 65532");
  s.codec.end_early();  // which the owner does in time, acknowledged or not
  for (std::uint32_t i = 1; i <= 50; ++i) s.client_sends(headers(2 * i + 1, get()));
  EXPECT_EQ(s.sent(), "RST_STREAM 99 7\nRST_STREAM 101 7") << "more than 48 are refused";

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
