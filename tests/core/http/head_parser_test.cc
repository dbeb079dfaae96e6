// Request heads: every duty by name, every good head cut at every byte.
#include "core/http/head_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace edgemux::core {
namespace {

constexpr std::size_t kLimit = 65536;

// Keeps the bytes that the head's views point into.
struct Parsed {
  std::vector<char> bytes;
  RequestHead head;
  ParseResult result;

  explicit Parsed(std::string_view text, std::size_t limit = kLimit) : bytes(text.begin(), text.end()) {
    result = parse_request_head(bytes, limit, head);
  }
};

std::string with_fields(std::string_view fields) {
  return "POST /p HTTP/1.1\r\nHost: a.example\r\n" + std::string(fields) + "\r\n";
}

std::string many_fields(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += "a: b\r\n";
  return text;
}

TEST(RequestHead, SmallGet) {
  Parsed p("GET /a/b?x=1 HTTP/1.1\r\nHost: Example.com:8080\r\nUser-AGENT: \t curl \t\r\nX-Empty:\r\n\r\nrest");
  ASSERT_EQ(p.result.state, ParseState::done) << p.result.reason;
  EXPECT_EQ(p.result.consumed, p.bytes.size() - 4);
  EXPECT_EQ(p.head.method, Method::get);
  EXPECT_EQ(p.head.method_text, "GET");
  EXPECT_EQ(p.head.target, "/a/b?x=1");
  EXPECT_EQ(p.head.path, "/a/b");
  EXPECT_TRUE(p.head.has_query);
  EXPECT_EQ(p.head.query, "x=1");
  EXPECT_EQ(p.head.authority, "Example.com:8080");
  EXPECT_EQ(p.head.host, "Example.com");
  EXPECT_EQ(p.head.port, 8080);
  EXPECT_EQ(p.head.minor, 1);
  EXPECT_EQ(p.head.framing, Framing::none);
  EXPECT_TRUE(p.head.keep_alive);
  ASSERT_EQ(p.head.fields.size(), 3U);
  EXPECT_EQ(p.head.fields[0].id, FieldId::host);
  EXPECT_EQ(p.head.fields[1].name, "user-agent");
  EXPECT_EQ(p.head.fields[1].value, "curl");
  EXPECT_EQ(p.head.fields[2].value, "");
  EXPECT_EQ(p.head.fields.find("x-empty"), &p.head.fields[2]);
}

TEST(RequestHead, ReuseForgetsThePreviousHead) {
  std::string first =
      "PUT http://a/x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
  std::string second = "GET / HTTP/1.0\r\n\r\n";
  RequestHead head;
  ASSERT_EQ(parse_request_head(first, kLimit, head).state, ParseState::done);
  EXPECT_TRUE(head.expect_continue);
  ASSERT_EQ(parse_request_head(second, kLimit, head).state, ParseState::done);
  EXPECT_EQ(head.fields.size(), 0U);
  EXPECT_EQ(head.framing, Framing::none);
  EXPECT_EQ(head.content_length, 0U);
  EXPECT_FALSE(head.expect_continue);
  EXPECT_FALSE(head.has_query);
  EXPECT_TRUE(head.scheme.empty());
  EXPECT_TRUE(head.authority.empty());
}

struct Bad {
  const char* name;
  std::string text;
  int status;
  const char* reason;
};

TEST(RequestHead, RefusesByDuty) {
  const std::string nul("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 35);
  const Bad table[] = {
      {"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "invalid request line"},
      {"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, "bare LF"},
      {"bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bare LF"},
      {"bare CR in a value", with_fields("X: a\rb\r\n"), 400, "bare CR"},
      {"bare CR at the end", "GET / HTTP/1.1\r\nHost: a\r\n\rX", 400, "bare CR"},
      {"NUL in a value", nul, 400, "control byte in the head"},
      {"DEL in a value", with_fields("X: a\x7f\r\n"), 400, "control byte in the head"},
      {"control in a value", with_fields("X: a\x01\r\n"), 400, "control byte in the head"},
      {"line folding", with_fields("X: a\r\n b\r\n"), 400, "line folding"},
      {"line folding with a tab", with_fields("X: a\r\n\tb\r\n"), 400, "line folding"},
      {"first field line folded", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "line folding"},
      {"space before the colon", with_fields("X : a\r\n"), 400, "space before the colon"},
      {"tab before the colon", with_fields("X\t: a\r\n"), 400, "space before the colon"},
      {"empty field name", with_fields(": a\r\n"), 400, "invalid field name"},
      {"field without a colon", with_fields("abc\r\n"), 400, "invalid field name"},
      {"name with a high byte", with_fields("X\xc3\xa9: a\r\n"), 400, "invalid field name"},
      {"name with a separator", with_fields("a(b: c\r\n"), 400, "invalid field name"},
      {"Transfer-Encoding with Content-Length", with_fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400,
       "Transfer-Encoding with Content-Length"},
      {"Content-Length with Transfer-Encoding", with_fields("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 400,
       "Transfer-Encoding with Content-Length"},
      {"Transfer-Encoding gzip, chunked", with_fields("Transfer-Encoding: gzip, chunked\r\n"), 400,
       "Transfer-Encoding other than chunked"},
      {"Transfer-Encoding ,chunked", with_fields("Transfer-Encoding: ,chunked\r\n"), 400,
       "Transfer-Encoding other than chunked"},
      {"Transfer-Encoding identity", with_fields("Transfer-Encoding: identity\r\n"), 400,
       "Transfer-Encoding other than chunked"},
      {"Transfer-Encoding xchunked", with_fields("Transfer-Encoding: xchunked\r\n"), 400,
       "Transfer-Encoding other than chunked"},
      {"Transfer-Encoding empty", with_fields("Transfer-Encoding:\r\n"), 400, "Transfer-Encoding other than chunked"},
      {"Transfer-Encoding quoted", with_fields("Transfer-Encoding: \"chunked\"\r\n"), 400,
       "Transfer-Encoding other than chunked"},
      {"Transfer-Encoding vertical tab",
       with_fields("Transfer-Encoding: \x0b"
                   "chunked\r\n"),
       400, "control byte in the head"},
      {"Transfer-Encoding twice", with_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400,
       "more than one Transfer-Encoding"},
      {"Transfer-Encoding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
       "Transfer-Encoding in HTTP/1.0"},
      {"Content-Length twice, equal", with_fields("Content-Length: 5\r\nContent-Length: 5\r\n"), 400,
       "more than one Content-Length"},
      {"Content-Length twice, different", with_fields("Content-Length: 5\r\nContent-Length: 6\r\n"), 400,
       "more than one Content-Length"},
      {"Content-Length list", with_fields("Content-Length: 5, 5\r\n"), 400, "invalid Content-Length"},
      {"Content-Length +5", with_fields("Content-Length: +5\r\n"), 400, "invalid Content-Length"},
      {"Content-Length -5", with_fields("Content-Length: -5\r\n"), 400, "invalid Content-Length"},
      {"Content-Length hex", with_fields("Content-Length: 0x5\r\n"), 400, "invalid Content-Length"},
      {"Content-Length empty", with_fields("Content-Length:\r\n"), 400, "invalid Content-Length"},
      {"Content-Length inner space", with_fields("Content-Length: 5 0\r\n"), 400, "invalid Content-Length"},
      {"Content-Length 2^63", with_fields("Content-Length: 9223372036854775808\r\n"), 400, "invalid Content-Length"},
      {"Content-Length overflow", with_fields("Content-Length: 18446744073709551621\r\n"), 400,
       "invalid Content-Length"},
      {"HTTP/0.9", "GET /\r\n", 400, "no HTTP version (HTTP/0.9)"},
      {"HTTP/0.9 with a space", "GET / \r\n\r\n", 400, "invalid HTTP version"},
      {"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP version not supported"},
      {"the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP version not supported"},
      {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "HTTP version not supported"},
      {"HTTP/0.9 spelled out", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "HTTP version not supported"},
      {"HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, "invalid request line"},
      {"version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", 400, "invalid HTTP version"},
      {"version of another protocol", "GET / ICE/1.1\r\nHost: a\r\n\r\n", 400, "invalid HTTP version"},
      {"space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "invalid request line"},
      {"two spaces before the target", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"},
      {"two spaces behind the target", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid HTTP version"},
      {"tab instead of a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"},
      {"space before the method", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"},
      {"method that is no token", "G{T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid method"},
      {"a TLS hello", "\x16\x03\x01\x02", 400, "invalid method"},
      {"method too long", std::string(65, 'A'), 501, "method too long"},
      {"no Host", "GET / HTTP/1.1\r\n\r\n", 400, "no Host"},
      {"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "more than one Host"},
      {"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400, "more than one Host"},
      {"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "invalid Host"},
      {"Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "invalid Host"},
      {"Host with a slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "invalid Host"},
      {"Host with userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "invalid Host"},
      {"Host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "invalid Host"},
      {"Host with a high byte", "GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400, "invalid Host"},
      {"Host port 0", "GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", 400, "invalid Host"},
      {"Host port too large", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "invalid Host"},
      {"Host port not a number", "GET / HTTP/1.1\r\nHost: a:8o\r\n\r\n", 400, "invalid Host"},
      {"Host with an open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "invalid Host"},
      {"absolute-form, other Host", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400,
       "Host disagrees with the request target"},
      {"absolute-form, other port", "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", 400,
       "Host disagrees with the request target"},
      {"absolute-form without Host", "GET http://a/ HTTP/1.1\r\n\r\n", 400, "no Host"},
      {"absolute-form with userinfo", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400,
       "invalid authority in the request target"},
      {"absolute-form without authority", "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400,
       "invalid authority in the request target"},
      {"absolute-form of another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400,
       "invalid scheme in the request target"},
      {"fragment in the target", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"},
      {"control in the target", "GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"},
      {"tab in the target", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"},
      {"high byte in the target", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"},
      {"target without a slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid request target"},
      {"authority-form", "GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 400, "invalid request target"},
      {"asterisk-form with GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400,
       "asterisk-form with a method other than OPTIONS"},
      {"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, "CONNECT is not supported"},
      {"CONNECT with a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "CONNECT is not supported"},
      {"Connection that is no list of tokens", with_fields("Connection: a b\r\n"), 400, "invalid Connection"},
      {"five empty lines first", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400,
       "empty lines before the request"},
      {"129 fields", with_fields(many_fields(128)), 431, "too many fields"},
  };
  for (const Bad& bad : table) {
    Parsed p(bad.text);
    EXPECT_EQ(p.result.state, ParseState::error) << bad.name;
    EXPECT_EQ(p.result.status, bad.status) << bad.name;
    EXPECT_STREQ(p.result.reason, bad.reason) << bad.name;
  }
}

TEST(RequestHead, AcceptsWhatIsOnlyUnusual) {
  const std::string table[] = {
      "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "get / HTTP/1.1\r\nHost: a\r\n\r\n",
      "M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.0\r\n\r\n",
      "GET /?a=\"{|}^`<>\\ HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: xn--bcher-kva_1.example.\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9 \t end\r\n\r\n",
      with_fields("Content-Length: 9223372036854775807\r\n"),
      with_fields("Transfer-Encoding: \t Chunked \r\n"),
      with_fields("Connection: , ,\r\n"),
      with_fields(many_fields(127)),
  };
  for (const std::string& text : table) {
    Parsed p(text);
    EXPECT_EQ(p.result.state, ParseState::done) << text << p.result.reason;
    EXPECT_EQ(p.result.consumed, text.size()) << text;
  }
}

TEST(RequestHead, TargetForms) {
  Parsed absolute("GET HTTP://A.b?q HTTP/1.1\r\nHost: a.B:80\r\n\r\n");
  ASSERT_EQ(absolute.result.state, ParseState::done) << absolute.result.reason;
  EXPECT_EQ(absolute.head.scheme, "HTTP");
  EXPECT_EQ(absolute.head.authority, "a.B:80");
  EXPECT_EQ(absolute.head.path, "/");
  EXPECT_EQ(absolute.head.query, "q");

  Parsed secure("GET https://a/x HTTP/1.1\r\nHost: a:443\r\n\r\n");
  EXPECT_EQ(secure.result.state, ParseState::done);
  EXPECT_EQ(secure.head.path, "/x");

  Parsed old("GET http://a:81 HTTP/1.0\r\n\r\n");
  ASSERT_EQ(old.result.state, ParseState::done);
  EXPECT_EQ(old.head.authority, "a:81");
  EXPECT_EQ(old.head.host, "a");
  EXPECT_EQ(old.head.port, 81);
  EXPECT_EQ(old.head.path, "/");

  Parsed asterisk("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(asterisk.head.path, "*");
  Parsed absolute_asterisk("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(absolute_asterisk.head.path, "*");

  Parsed empty_query("GET /a? HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(empty_query.head.has_query);
  EXPECT_EQ(empty_query.head.query, "");
  EXPECT_EQ(empty_query.head.path, "/a");
}

TEST(RequestHead, FramingNeverDependsOnTheMethod) {
  for (const std::string method : {"GET", "HEAD", "POST", "DELETE", "FOO"}) {
    Parsed length(method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n");
    EXPECT_EQ(length.head.framing, Framing::length) << method;
    EXPECT_EQ(length.head.content_length, 12U) << method;
    Parsed chunked(method + " / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    EXPECT_EQ(chunked.head.framing, Framing::chunked) << method;
    Parsed none(method + " / HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(none.head.framing, Framing::none) << method;
  }
  Parsed zero("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(zero.head.framing, Framing::none);
  EXPECT_TRUE(zero.head.has_content_length);
}

TEST(RequestHead, KeepAlive) {
  const auto keeps = [](std::string_view version, std::string_view connection) {
    std::string text = "GET / " + std::string(version) + "\r\nHost: a\r\n";
    if (!connection.empty()) text += "Connection: " + std::string(connection) + "\r\n";
    Parsed p(text + "\r\n");
    EXPECT_EQ(p.result.state, ParseState::done);
    return p.head.keep_alive;
  };
  EXPECT_TRUE(keeps("HTTP/1.1", ""));
  EXPECT_TRUE(keeps("HTTP/1.1", "foo"));
  EXPECT_FALSE(keeps("HTTP/1.1", "Close"));
  EXPECT_FALSE(keeps("HTTP/1.1", "keep-alive, close"));
  EXPECT_FALSE(keeps("HTTP/1.0", ""));
  EXPECT_TRUE(keeps("HTTP/1.0", "Keep-Alive"));
}

TEST(RequestHead, Upgrade) {
  const auto upgrade = [](std::string_view fields, std::string_view version = "HTTP/1.1") {
    Parsed p("GET / " + std::string(version) + "\r\nHost: a\r\n" + std::string(fields) + "\r\n");
    EXPECT_EQ(p.result.state, ParseState::done);
    return p.head.upgrade ? std::string(p.head.upgrade_protocol) : std::string("none");
  };
  EXPECT_EQ(upgrade("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"), "websocket");
  EXPECT_EQ(upgrade("Upgrade: websocket\r\n"), "none");
  EXPECT_EQ(upgrade("Connection: upgrade\r\n"), "none");
  EXPECT_EQ(upgrade("Connection: upgrade\r\nUpgrade:\r\n"), "none");
  EXPECT_EQ(upgrade("Connection: upgrade\r\nUpgrade: websocket\r\n", "HTTP/1.0"), "none");
  EXPECT_EQ(upgrade("Connection: upgrade\r\nUpgrade: H2C\r\n"), "none");
  EXPECT_EQ(upgrade("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"), "none");
  EXPECT_EQ(upgrade("Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n"), "none");
  EXPECT_EQ(upgrade("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n"), "none");
}

TEST(RequestHead, ExpectContinue) {
  EXPECT_TRUE(Parsed(with_fields("Expect: 100-Continue\r\nContent-Length: 1\r\n")).head.expect_continue);
  EXPECT_FALSE(Parsed(with_fields("Expect: 100-continue\r\n")).head.expect_continue);
  EXPECT_FALSE(Parsed(with_fields("Expect: other\r\nContent-Length: 1\r\n")).head.expect_continue);
  Parsed old("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
  EXPECT_FALSE(old.head.expect_continue);
  EXPECT_TRUE(old.head.fields.find(FieldId::expect)->hop_by_hop) << "it goes no further";
}

TEST(RequestHead, DropsNamesThatAliasManagedOnes) {
  Parsed p(with_fields(
      "X_Forwarded_For: 1\r\nx-forwarded_proto: https\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n"
      "my_own: kept\r\n"));
  ASSERT_EQ(p.result.state, ParseState::done);
  ASSERT_EQ(p.head.fields.size(), 2U);
  EXPECT_EQ(p.head.fields[1].name, "my_own");
  EXPECT_EQ(p.head.framing, Framing::none);
}

TEST(RequestHead, ConnectionListMarksHopByHop) {
  Parsed p(
      with_fields("X-A: 1\r\nConnection: x-a, HOST, content-length\r\nConnection: X-B\r\nX-B: 2\r\nX-C: 3\r\n"
                  "Keep-Alive: 5\r\nTE: trailers\r\nTrailer: x\r\nProxy-Connection: a\r\nContent-Length: 1\r\n"));
  ASSERT_EQ(p.result.state, ParseState::done) << p.result.reason;
  std::string forwarded;
  for (const Field& field : p.head.fields) {
    if (!field.hop_by_hop) forwarded += std::string(field.name) + " ";
  }
  EXPECT_EQ(forwarded, "host x-c content-length ");
}

TEST(RequestHead, LimitsTheSizeOfAHead) {
  const std::string text = with_fields("X: 1\r\n");
  EXPECT_EQ(Parsed(text, text.size()).result.state, ParseState::done);
  EXPECT_EQ(Parsed(text, text.size() - 1).result.status, 431);
  EXPECT_EQ(Parsed(text.substr(0, 20), 20).result.status, 431);
  // RFC 9112 3: of a target alone.
  for (const char* lines : {"", "\r\n\r\n"}) {
    EXPECT_EQ(Parsed(lines + std::string("GET /long HTTP/1.1\r\n"), 12).result.status, 414);
    EXPECT_EQ(Parsed(lines + std::string("GET /long"), 9).result.status, 414);
  }
  EXPECT_EQ(Parsed(text.substr(0, 20), 21).result.state, ParseState::need_more);
}

TEST(RequestHead, EveryCutAsksForMoreThenGivesTheSame) {
  const std::string table[] = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "\r\n\r\nPOST /x?y HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\nX-Y: \xff z\r\n\r\n",
      "OPTIONS * HTTP/1.0\r\n\r\n",
      "GET http://a.b/c HTTP/1.1\r\nHOST: a.b\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
  };
  for (const std::string& text : table) {
    for (std::size_t cut = 0; cut < text.size(); ++cut) {
      Parsed first(text.substr(0, cut));
      ASSERT_EQ(first.result.state, ParseState::need_more) << text << " at " << cut;
      HeadScanner scanner;
      ASSERT_EQ(scanner.feed(std::string_view(text).substr(0, cut)), HeadScanner::State::need_more) << cut;
      ASSERT_EQ(scanner.feed(std::string_view(text + "next").substr(cut)), HeadScanner::State::complete) << cut;
      EXPECT_EQ(scanner.length(), text.size());
      // Names were lower-cased up to the cut; that must not change what the whole parses to.
      std::string again(first.bytes.begin(), first.bytes.end());
      Parsed whole(again + text.substr(cut) + "next");
      ASSERT_EQ(whole.result.state, ParseState::done);
      EXPECT_EQ(whole.result.consumed, text.size());
    }
  }
}

TEST(HeadScanner, RefusesAtTheByte) {
  struct Case {
    std::string_view text;
    std::string_view reason;
  };
  const Case table[] = {{"GET / HTTP/1.1\n", "bare LF"},
                        {"GET / HTTP/1.1\rX", "bare CR"},
                        {"GET / HTTP/1.1\r\n\n", "bare LF"},
                        {"GET / HTTP/1.1\r\n\rX", "bare CR"},
                        {"\rG", "bare CR"},
                        {"\r\n\r\n\r\n\r\n\r\n", "empty lines before the request"},
                        {std::string_view("A\0", 2), "control byte in the head"},
                        {"\x16", "control byte in the head"}};
  for (const Case& c : table) {
    HeadScanner scanner;
    for (const char& byte : c.text.substr(0, c.text.size() - 1)) {
      ASSERT_EQ(scanner.feed({&byte, 1}), HeadScanner::State::need_more) << c.text;
    }
    ASSERT_EQ(scanner.feed(c.text.substr(c.text.size() - 1)), HeadScanner::State::error) << c.text;
    EXPECT_EQ(scanner.reason(), c.reason) << c.text;
    EXPECT_EQ(scanner.status(), 400);
  }
}

TEST(HeadScanner, Limit) {
  HeadScanner scanner(10);
  EXPECT_EQ(scanner.feed("123456789"), HeadScanner::State::need_more);
  EXPECT_EQ(scanner.feed("0"), HeadScanner::State::error);
  EXPECT_EQ(scanner.status(), 414);
  scanner.reset(10);
  EXPECT_EQ(scanner.feed("GET /long"), HeadScanner::State::need_more);
  EXPECT_EQ(scanner.feed("er\r\n\r\n"), HeadScanner::State::error);
  EXPECT_EQ(scanner.status(), 414);
  scanner.reset(10);
  EXPECT_EQ(scanner.feed("\r\n1\r\n6789"), HeadScanner::State::need_more);
  EXPECT_EQ(scanner.feed("0"), HeadScanner::State::error);
  EXPECT_EQ(scanner.status(), 431);
  scanner.reset(5);
  EXPECT_EQ(scanner.feed("ab\r\n\r\n"), HeadScanner::State::error);
  EXPECT_EQ(scanner.status(), 431);
  scanner.reset(6);
  EXPECT_EQ(scanner.feed("ab\r\n\r\n"), HeadScanner::State::complete);
  EXPECT_EQ(scanner.length(), 6U);
}

}  // namespace
}  // namespace edgemux::core
