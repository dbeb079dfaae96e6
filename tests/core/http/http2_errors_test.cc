// The errors of RFC 9113 and RFC 7541 that end a connection or a stream, each by hand-made frames, against the server's
// codec and where it matters the client's. Those of requests are in http2_requests_test.cc.
#include "tests/core/http/http2_conversation.h"

namespace edgemux::core {
namespace {

using namespace edgemux::test;  // NOLINT: frames read like text

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
  std::string updates;
  const std::string piece(16'000, 'x');
  for (std::uint32_t id = 1; left > 0; id += 2) {
    c.server_sends(headers(id, {{":status", "200"}}, false));
    for (int i = 0; i < 8 && left > 0; ++i) {
      const std::size_t size = std::min(piece.size(), left);
      c.server_sends(data(id, piece.substr(0, size)));
      left -= size;
      updates += c.sent();
    }
  }
  EXPECT_EQ(updates, "WINDOW_UPDATE 0 3280000") << "the connection's, as it is used up";
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

}  // namespace
}  // namespace edgemux::core
