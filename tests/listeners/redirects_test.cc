#include "listeners/redirects.h"

#include <gtest/gtest.h>

namespace edgemux::listeners {
namespace {

core::RequestHead head_of(core::Method method, std::string_view path, bool has_query = false,
                          std::string_view query = {}) {
  core::RequestHead head;
  head.method = method;
  head.path = path;
  head.has_query = has_query;
  head.query = query;
  return head;
}

TEST(HttpsRedirect, KeepsHostPathAndQuery) {
  const auto target = https_redirect(head_of(core::Method::get, "/a/b", true, "c=d"), "example.com", 443);
  EXPECT_EQ(target.status, 301);
  EXPECT_EQ(target.location, "https://example.com/a/b?c=d");
  EXPECT_EQ(https_redirect(head_of(core::Method::get, "/", true, ""), "h", 443).location, "https://h/?");
}

TEST(HttpsRedirect, NamesThePortUnlessItIsTheUsualOne) {
  EXPECT_EQ(https_redirect(head_of(core::Method::get, "/"), "h", 8443).location, "https://h:8443/");
  EXPECT_EQ(https_redirect(head_of(core::Method::get, "/"), "h", 80).location, "https://h:80/");
}

TEST(HttpsRedirect, MethodsWithABodyAreRepeatedAsTheyAre) {
  EXPECT_EQ(https_redirect(head_of(core::Method::head, "/"), "h", 443).status, 301);
  for (const auto method : {core::Method::post, core::Method::put, core::Method::patch, core::Method::delete_}) {
    EXPECT_EQ(https_redirect(head_of(method, "/"), "h", 443).status, 308);
  }
}

TEST(HttpsRedirect, AsteriskLeadsToTheRoot) {
  EXPECT_EQ(https_redirect(head_of(core::Method::options, "*"), "h", 443).location, "https://h/");
}

struct Case {
  const char* rule;
  routing::Redirect redirect;
  const char* path;
  const char* expected;
};

TEST(RuleRedirect, ReplacesWhatIsNamedAndKeepsTheRest) {
  routing::Redirect none;
  routing::Redirect host = none;
  host.host = "other.example";
  routing::Redirect whole = none;
  whole.path = "/new";
  routing::Redirect prefix = none;
  prefix.prefix = "/n";
  routing::Redirect root = none;
  root.prefix = "/";
  routing::Redirect empty = none;
  empty.prefix = "";
  routing::Redirect slash = none;
  slash.prefix = "/n/";
  const Case cases[] = {
      {"/", none, "/a", "https://h:8443/a?q"},
      {"/", host, "/a", "https://other.example:8443/a?q"},
      {"/old", whole, "/old/x", "https://h:8443/new?q"},
      {"/old", prefix, "/old/x", "https://h:8443/n/x?q"},
      {"/old", prefix, "/old", "https://h:8443/n?q"},
      {"/old", root, "/old/x", "https://h:8443/x?q"},
      {"/old", root, "/old", "https://h:8443/?q"},
      {"/old", slash, "/old/x", "https://h:8443/n/x?q"},
      {"/old", prefix, "/old/", "https://h:8443/n/?q"},
      {"/old", empty, "/old/x", "https://h:8443/x?q"},
      {"/", prefix, "/x", "https://h:8443/n/x?q"},
      {"/", prefix, "/", "https://h:8443/n?q"},
      {"/", root, "/", "https://h:8443/?q"},
  };
  for (const auto& c : cases) {
    routing::Rule rule;
    rule.path = c.rule;
    EXPECT_EQ(rule_redirect(c.redirect, rule, "https", "h", 8443, c.path, true, "q"), c.expected)
        << c.rule << " " << c.path;
  }
}

TEST(RuleRedirect, APortGoesWithItsScheme) {
  routing::Rule rule;
  routing::Redirect to_https;
  to_https.scheme = "https";
  EXPECT_EQ(rule_redirect(to_https, rule, "http", "h", 8080, "/", false, ""), "https://h/");
  EXPECT_EQ(rule_redirect(to_https, rule, "https", "h", 8443, "/", false, ""), "https://h/");
  to_https.port = 443;
  EXPECT_EQ(rule_redirect(to_https, rule, "http", "h", 8080, "/", false, ""), "https://h/");
  to_https.port = 444;
  EXPECT_EQ(rule_redirect(to_https, rule, "http", "h", 0, "/", false, ""), "https://h:444/");
  routing::Redirect same;
  EXPECT_EQ(rule_redirect(same, rule, "http", "h", 80, "/", false, ""), "http://h/");
  EXPECT_EQ(rule_redirect(same, rule, "http", "h", 443, "/", false, ""), "http://h:443/");
}

}  // namespace
}  // namespace edgemux::listeners
