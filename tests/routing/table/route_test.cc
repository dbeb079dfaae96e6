#include "routing/table/route.h"

#include <gtest/gtest.h>

namespace edgemux::routing {
namespace {

core::SocketAddress ip(const char* text) { return *core::SocketAddress::parse_ip(text, 1234); }
core::Network network(const char* text) { return *core::Network::parse(text); }

TEST(AccessList, EmptyAdmitsEverybody) {
  EXPECT_TRUE(AccessList{}.admits(ip("192.0.2.1")));
  EXPECT_TRUE(AccessList{}.admits(ip("2001:db8::1")));
}

TEST(AccessList, AllowKeepsTheOthersOut) {
  const AccessList list{{network("10.0.0.0/8"), network("2001:db8::/32")}, {}};
  EXPECT_TRUE(list.admits(ip("10.1.2.3")));
  EXPECT_TRUE(list.admits(ip("2001:db8::7")));
  EXPECT_TRUE(list.admits(ip("::ffff:10.1.2.3")));
  EXPECT_FALSE(list.admits(ip("11.0.0.1")));
  EXPECT_FALSE(list.admits(ip("2001:db9::7")));
}

TEST(AccessList, DenyBeatsAllow) {
  const AccessList list{{network("10.0.0.0/8")}, {network("10.1.0.0/16")}};
  EXPECT_TRUE(list.admits(ip("10.2.0.1")));
  EXPECT_FALSE(list.admits(ip("10.1.0.1")));
  const AccessList denies{{}, {network("10.1.0.0/16")}};
  EXPECT_FALSE(denies.admits(ip("10.1.0.1")));
  EXPECT_TRUE(denies.admits(ip("192.0.2.1")));
}

OnHttp plain(OnHttp on_http, core::ClientAuth client_auth, bool by_https) {
  core::TlsPolicy policy;
  policy.client_auth = client_auth;
  VirtualHost host;
  host.tls = std::make_shared<const core::TlsPolicy>(policy);
  Route route;
  route.action = std::move(host);
  route.on_http = on_http;
  return on_plain_http(route, by_https);
}

TEST(OnPlainHttp, WhatATrustedProxyTookByHttpsIsNotSentThereAgain) {
  using core::ClientAuth;
  EXPECT_EQ(plain(OnHttp::redirect, ClientAuth::none, false), OnHttp::redirect);
  EXPECT_EQ(plain(OnHttp::redirect, ClientAuth::none, true), OnHttp::serve);
  EXPECT_EQ(plain(OnHttp::redirect, ClientAuth::optional, true), OnHttp::serve);
  EXPECT_EQ(plain(OnHttp::redirect, ClientAuth::require, true), OnHttp::redirect) << "nobody has shown a certificate";
  EXPECT_EQ(plain(OnHttp::off, ClientAuth::none, true), OnHttp::off);
  EXPECT_EQ(plain(OnHttp::serve, ClientAuth::require, true), OnHttp::serve);
}

Rule rule(Rule::Kind kind, const char* path) {
  Rule made;
  made.kind = kind;
  made.path = path;
  made.action = Respond{};
  return made;
}

std::string matched(const VirtualHost& host, std::string_view path) {
  const Rule* hit = host.match(path);
  return hit == nullptr ? "-" : (hit->kind == Rule::Kind::exact ? "=" : "") + hit->path;
}

TEST(VirtualHost, MatchesTheMostSpecificPath) {
  VirtualHost host;
  host.rules = RuleTable({rule(Rule::Kind::prefix, "/"), rule(Rule::Kind::prefix, "/admin"),
                          rule(Rule::Kind::prefix, "/admin/deep"), rule(Rule::Kind::exact, "/ping")});
  EXPECT_EQ(matched(host, "/ping"), "=/ping");
  EXPECT_EQ(matched(host, "/ping/"), "/");
  EXPECT_EQ(matched(host, "/admin"), "/admin");
  EXPECT_EQ(matched(host, "/admin/"), "/admin");
  EXPECT_EQ(matched(host, "/admin/deep/x"), "/admin/deep");
  EXPECT_EQ(matched(host, "/admin/deeper"), "/admin");
  EXPECT_EQ(matched(host, "/administrator"), "/");
  EXPECT_EQ(matched(host, "/"), "/");
}

TEST(VirtualHost, MatchesNothingWhereNoRuleCovers) {
  VirtualHost host;
  host.rules = RuleTable({rule(Rule::Kind::prefix, "/a")});
  EXPECT_EQ(matched(host, "/"), "-");
  EXPECT_EQ(matched(host, "/ab"), "-");
  EXPECT_EQ(matched(host, ""), "-");
  host.rules = RuleTable({rule(Rule::Kind::prefix, "/")});
  EXPECT_EQ(matched(host, "*"), "-");  // OPTIONS *
  EXPECT_EQ(matched(VirtualHost{}, "/"), "-");
}

}  // namespace
}  // namespace edgemux::routing
