// Response heads: framing by status and method, and what makes an upstream's answer a 502.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "core/http/head_parser.h"

namespace edgemux::core {
namespace {

struct ParsedResponse {
  std::vector<char> bytes;
  ResponseHead head;
  ParseResult result;

  explicit ParsedResponse(std::string_view text, Method method = Method::get, std::size_t limit = 65536)
      : bytes(text.begin(), text.end()) {
    result = parse_response_head(bytes, limit, method, head);
  }
};

TEST(ResponseHead, Plain) {
  ParsedResponse p("HTTP/1.1 404 Not  Found\r\nContent-Length: 10\r\nSERVER: x\r\n\r\n0123");
  ASSERT_EQ(p.result.state, ParseState::done) << p.result.reason;
  EXPECT_EQ(p.result.consumed, p.bytes.size() - 4);
  EXPECT_EQ(p.head.status, 404);
  EXPECT_EQ(p.head.reason, "Not  Found");
  EXPECT_EQ(p.head.framing, Framing::length);
  EXPECT_EQ(p.head.content_length, 10U);
  EXPECT_TRUE(p.head.keep_alive);
  EXPECT_EQ(p.head.fields[1].id, FieldId::server);
}

TEST(ResponseHead, Framing) {
  struct Case {
    const char* text;
    Method method;
    Framing framing;
    bool keep_alive;
  };
  const Case table[] = {
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::get, Framing::chunked, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::get, Framing::length, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Method::get, Framing::none, true},
      {"HTTP/1.1 200 OK\r\n\r\n", Method::get, Framing::until_close, false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n", Method::get, Framing::length, false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", Method::get, Framing::length, false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n", Method::get, Framing::length, true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::head, Framing::none, true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::head, Framing::none, true},
      {"HTTP/1.1 200 OK\r\n\r\n", Method::head, Framing::none, true},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", Method::get, Framing::none, true},
      {"HTTP/1.1 204 No Content\r\n\r\n", Method::get, Framing::none, true},
      {"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", Method::get, Framing::none, false},
      {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", Method::get, Framing::none, false},
      {"HTTP/1.1 100 Continue\r\n\r\n", Method::get, Framing::none, true},
      {"HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\n", Method::get, Framing::none, true},
      {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", Method::get, Framing::none,
       false},
  };
  for (const Case& c : table) {
    ParsedResponse p(c.text, c.method);
    ASSERT_EQ(p.result.state, ParseState::done) << c.text << p.result.reason;
    EXPECT_EQ(p.head.framing, c.framing) << c.text;
    EXPECT_EQ(p.head.keep_alive, c.keep_alive) << c.text;
  }
}

TEST(ResponseHead, LengthOfAnAnswerToHeadIsKept) {
  ParsedResponse p("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", Method::head);
  EXPECT_TRUE(p.head.has_content_length);
  EXPECT_EQ(p.head.content_length, 1234U);
}

TEST(ResponseHead, Upgrade) {
  ParsedResponse yes("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  EXPECT_TRUE(yes.head.upgrade);
  EXPECT_EQ(yes.head.upgrade_protocol, "websocket");
  EXPECT_FALSE(ParsedResponse("HTTP/1.1 101 X\r\n\r\n").head.upgrade);
  EXPECT_FALSE(ParsedResponse("HTTP/1.1 200 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").head.upgrade);
}

TEST(ResponseHead, AcceptsShortStatusLines) {
  EXPECT_EQ(ParsedResponse("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n").head.status, 200);
  EXPECT_EQ(ParsedResponse("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n").head.reason, "");
  EXPECT_EQ(ParsedResponse("HTTP/1.1 999 Whatever\r\nContent-Length: 0\r\n\r\n").head.status, 999);
}

TEST(ResponseHead, WhatIsRefusedIs502) {
  const std::string_view table[] = {
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
      "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
      "HTTP/1.1 200 OK\nContent-Length: 3\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\n",
      "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
      "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
      "HTTP/1.1 200 O\x01K\r\n\r\n",
      "HTTP/1.1 099 X\r\n\r\n",
      "HTTP/1.1 20 OK\r\n\r\n",
      "HTTP/1.1 2000 OK\r\n\r\n",
      "HTTP/1.1  200 OK\r\n\r\n",
      "HTTP/2.0 200 OK\r\n\r\n",
      "HTTP/1.2 200 OK\r\n\r\n",
      "ICY 200 OK\r\n\r\n",
      "\r\nHTTP/1.1 200 OK\r\n\r\n",
  };
  for (const std::string_view text : table) {
    ParsedResponse p(text);
    EXPECT_EQ(p.result.state, ParseState::error) << text;
    EXPECT_EQ(p.result.status, 502) << text;
    EXPECT_NE(p.result.reason, nullptr) << text;
  }
}

TEST(ResponseHead, LimitsTheSizeOfAHead) {
  const std::string text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  EXPECT_EQ(ParsedResponse(text, Method::get, text.size()).result.state, ParseState::done);
  EXPECT_EQ(ParsedResponse(text, Method::get, text.size() - 1).result.status, 502);
}

TEST(ResponseHead, EveryCutAsksForMore) {
  const std::string text = "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    ParsedResponse first(text.substr(0, cut));
    ASSERT_EQ(first.result.state, ParseState::need_more) << cut;
    ParsedResponse whole(std::string(first.bytes.begin(), first.bytes.end()) + text.substr(cut));
    ASSERT_EQ(whole.result.state, ParseState::done) << cut;
    EXPECT_EQ(whole.head.framing, Framing::chunked);
  }
}

}  // namespace
}  // namespace edgemux::core
