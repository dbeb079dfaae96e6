#include "admin/question.h"

#include <gtest/gtest.h>

namespace edgemux::admin {
namespace {

Question ask(const Asked& asked) {
  const auto question = question_of(asked);
  EXPECT_TRUE(question) << (question ? "" : question.error().message);
  return question ? *question : Question{};
}

std::string wrong(const Asked& asked) {
  const auto question = question_of(asked);
  EXPECT_FALSE(question) << asked.url;
  return question ? "" : question.error().message;
}

TEST(Question, AUrlBecomesTheRequestThatAClientWouldSend) {
  const auto question = ask({.url = "https://Shop.example.com:8443/a/b?x=1#top", .headers = {"x-canary:  1"}});
  EXPECT_TRUE(question.tls);
  EXPECT_EQ(question.port, 8443);
  EXPECT_EQ(question.server_name, "Shop.example.com");
  EXPECT_EQ(question.head, "GET /a/b?x=1 HTTP/1.1\r\nHost: Shop.example.com:8443\r\nx-canary: 1\r\n\r\n");
  EXPECT_EQ(question.alpn, (std::vector<std::string>{"h2", "http/1.1"}));
}

TEST(Question, SchemesBringTheirPorts) {
  EXPECT_EQ(ask({.url = "HTTPS://a.example"}).port, 443);
  const auto plain = ask({.url = "http://a.example?x"});
  EXPECT_EQ(plain.port, 80);
  EXPECT_FALSE(plain.tls);
  EXPECT_EQ(plain.head, "GET /?x HTTP/1.1\r\nHost: a.example\r\n\r\n");
}

TEST(Question, AHostOrServerNameThatIsGivenBeatsTheUrls) {
  const auto question = ask({.url = "https://a.example/", .headers = {"HOST: b.example"}, .sni = "c.example"});
  EXPECT_EQ(question.server_name, "c.example");
  EXPECT_EQ(question.head, "GET / HTTP/1.1\r\nHOST: b.example\r\n\r\n");
}

TEST(Question, AServerNameAloneIsAConnection) {
  const auto question = ask({.listener = "kube-api", .sni = "a.example", .alpn = " acme-tls/1 "});
  EXPECT_EQ(question.head, "");
  EXPECT_EQ(question.listener, "kube-api");
  EXPECT_EQ(question.alpn, (std::vector<std::string>{"acme-tls/1"}));
}

TEST(Question, SaysWhatIsWrongAndWhatToWrite) {
  EXPECT_EQ(wrong({}), "ask about a URL, or about a server name with --sni NAME");
  EXPECT_EQ(wrong({.url = "shop.example.com/cart"}),
            "the URL 'shop.example.com/cart' must begin with https:// or http://; write it like "
            "https://shop.example.com/cart");
  EXPECT_EQ(wrong({.url = "ftp://a.example/"}),
            "the URL 'ftp://a.example/' must begin with https:// or http://; write it like "
            "https://shop.example.com/cart");
  EXPECT_EQ(wrong({.url = "https:///x"}), "the URL 'https:///x' has no host");
  EXPECT_EQ(wrong({.url = "https://me:secret@a.example/"}),
            "the URL 'https://me:secret@a.example/' holds a user name; write host and path alone");
  EXPECT_EQ(wrong({.url = "https://a.example:0/"}), "'a.example:0' is no host and port");
  EXPECT_EQ(wrong({.url = "https://bücher.example/"}),
            "'b??cher.example' is no host and port; write an international name as it travels, xn--...");
  EXPECT_EQ(wrong({.url = "https://a.example/", .method = "GE T"}), "'GE T' is no method; write it like GET or POST");
  EXPECT_EQ(wrong({.url = "https://a.example/", .headers = {"x-canary"}}),
            "the header 'x-canary' has no name and value; write it like 'x-canary: 1'");
  EXPECT_EQ(wrong({.url = "https://a.example/", .from = "here"}),
            "'here' is no IP address; --from takes one like 192.0.2.7");
}

// Nothing that is asked may become a second line of the request.
TEST(Question, LineBreaksAreRefused) {
  EXPECT_EQ(wrong({.url = "https://a.example/\r\nx: y"}),
            "the URL 'https://a.example/??x: y' holds a line break or a NUL");
  EXPECT_EQ(wrong({.url = "https://a.example/", .headers = {"a: b\nc: d"}}),
            "the header 'a: b?c: d' holds a line break or a NUL");
  EXPECT_EQ(wrong({.url = "https://a.example/" + std::string(100'000, 'a')}), "the question is longer than 64 KiB");
}

TEST(Question, SurvivesTheWayThroughAQueryString) {
  Asked asked{.url = "https://a.example/%2F?a=b&c=d e+f",
              .method = "POST",
              .headers = {"a: b", "c: d&e=\xc3\xbc"},
              .listener = "l",
              .sni = "s",
              .alpn = "h2",
              .from = "::1"};
  const auto query = query_of(asked);
  EXPECT_EQ(query.find_first_of(" \"\r\n#"), std::string::npos);
  const auto back = asked_of(query);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->url, asked.url);
  EXPECT_EQ(back->method, asked.method);
  EXPECT_EQ(back->headers, asked.headers);
  EXPECT_EQ(back->listener + back->sni + back->alpn + back->from, "lsh2::1");
  EXPECT_EQ(asked_of("url=%4").error().message, "a bad escape in 'url=%4'");
  EXPECT_EQ(asked_of("url=a&colour=red").error().message, "unknown parameter 'colour'");
}

}  // namespace
}  // namespace edgemux::admin
