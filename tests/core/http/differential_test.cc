// Generated messages, good and slightly wrong, read by edgemux and by llhttp.
#include "tests/core/http/differential.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace edgemux::core {
namespace {

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  std::string request() {
    const bool old = chance(10);
    std::string text = pick({"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"}) + " " +
                       pick({"/", "/a/b?c=d", "/%41?x", "http://a.b/c", "http://a.b:80/?q"}) +
                       (old ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n") + "Host: a.b\r\n";
    return text + fields() + body(!old);
  }

  std::string response() {
    std::string text = "HTTP/1.1 " + pick({"200 OK", "204 No Content", "304 Not Modified", "500 X", "404 "}) + "\r\n";
    return text + fields() + body(true);
  }

  // One byte changed, taken out or doubled, in a third of all messages.
  std::string spoil(std::string text) {
    if (!chance(33)) return text;
    const std::size_t at = random_() % text.size();
    switch (random_() % 3) {
      case 0:
        text[at] = pick({"\r", "\n", " ", "\t", ":", ",", "0", "\xff", "#"})[0];
        break;
      case 1:
        text.erase(at, 1);
        break;
      default:
        text.insert(at, 1, text[at]);
    }
    return text;
  }

  std::size_t piece() { return 1 + random_() % 40; }

 private:
  bool chance(unsigned percent) { return random_() % 100 < percent; }
  std::string pick(std::vector<std::string> choices) { return choices[random_() % choices.size()]; }

  std::string fields() {
    std::string text;
    for (std::size_t n = random_() % 5; n > 0; --n) {
      text += pick({"X-A: 1\r\n", "User-Agent: a b\tc\r\n", "Cookie: \xc3\xa9=1; b\r\n", "Empty:\r\n",
                    "Accept:  */* \r\n", "Connection: keep-alive\r\n", "X_Forwarded_For: 1.2.3.4\r\n"});
    }
    return text;
  }

  std::string body(bool chunks) {
    const std::string data(random_() % 30, 'z');
    if (chance(30)) return "\r\n";
    if (!chunks || chance(50)) return "Content-Length: " + std::to_string(data.size()) + "\r\n\r\n" + data;
    std::string text = pick({"Transfer-Encoding: chunked\r\n\r\n", "transfer-encoding: CHUNKED\r\n\r\n"});
    for (std::size_t n = 1 + random_() % 3; n > 0; --n)
      text += pick({"3\r\nabc\r\n", "A;x=y\r\n0123456789\r\n", "01\r\n\n\r\n"});
    return text + "0\r\n" + pick({"", "", "X-T: v\r\n"}) + "\r\n";
  }

  std::mt19937 random_;
};

TEST(Differential, Requests) {
  Generator generator(1);
  std::size_t accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string message = generator.spoil(generator.request());
    ASSERT_EQ(differential::compare_request(message, generator.piece()), "") << message;
    std::vector<char> bytes(message.begin(), message.end());
    RequestHead head;
    accepted += parse_request_head(bytes, 65536, head).state == ParseState::done ? 1U : 0U;
  }
  EXPECT_GT(accepted, 14000U);  // the comparison is about something
}

TEST(Differential, Responses) {
  Generator generator(2);
  for (int i = 0; i < 20000; ++i) {
    const std::string message = generator.spoil(generator.response());
    const Method method = i % 4 == 0 ? Method::head : Method::get;
    ASSERT_EQ(differential::compare_response(message, method, generator.piece()), "") << message;
  }
}

// The gaps of llhttp that the own parser exists for: if one of these changes, the comparison has to be thought over.
TEST(Differential, WhatLlhttpAcceptsAndEdgemuxDoesNot) {
  const std::string_view table[] = {
      "GET / HTTP/1.1\nHost: a\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\n\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
      "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
      "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
  };
  for (const std::string_view text : table) {
    std::vector<char> bytes(text.begin(), text.end());
    RequestHead head;
    EXPECT_EQ(parse_request_head(bytes, 65536, head).state, ParseState::error) << text;
    EXPECT_TRUE(differential::Reference::read(text, HTTP_REQUEST, false).head_complete) << text;
  }
}

}  // namespace
}  // namespace edgemux::core
