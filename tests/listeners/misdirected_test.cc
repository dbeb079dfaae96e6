#include "listeners/misdirected.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace edgemux::listeners {
namespace {

routing::RoutePtr terminated(const std::string& identity = "") {
  auto policy = std::make_shared<core::TlsPolicy>();
  policy->identity = identity;
  routing::Route route;
  route.action = routing::VirtualHost{{}, std::move(policy), 0};
  return std::make_shared<const routing::Route>(std::move(route));
}

routing::RoutePtr passed_through() { return std::make_shared<const routing::Route>(); }

TEST(Misdirected, TheSameRouteNeverIs) {
  const auto wild = terminated();
  const routing::HostTable hosts({{"*.example.com", wild}});
  EXPECT_FALSE(misdirected(hosts, wild, wild, "a.example.com"));
  EXPECT_FALSE(misdirected(hosts, wild, wild, "gone.example.org"));
}

TEST(Misdirected, AnotherRouteIs) {
  const auto wild = terminated();
  for (const auto& other : {terminated(), passed_through()}) {
    const routing::HostTable hosts({{"*.example.com", wild}, {"b.example.com", other}});
    EXPECT_TRUE(misdirected(hosts, other, wild, "a.example.com"));
    EXPECT_TRUE(misdirected(hosts, wild, other, "b.example.com"));
  }
}

// The connection's route is of an older table; its name tells which is the same now.
TEST(Misdirected, TheRouteThatTookItsPlaceIsNot) {
  const auto before = terminated("x");
  const auto now = terminated("x");
  const auto other = terminated("x");
  const routing::HostTable hosts({{"*.example.com", now}, {"b.example.com", other}});
  EXPECT_FALSE(misdirected(hosts, now, before, "A.example.com."));
  EXPECT_TRUE(misdirected(hosts, other, before, "a.example.com"));
  EXPECT_TRUE(misdirected(hosts, now, before, "b.example.com")) << "the connection's name is another's now";
  EXPECT_FALSE(misdirected(hosts, other, before, "b.example.com"));
  EXPECT_TRUE(misdirected(hosts, now, before, "a.example.org")) << "the connection's name is nobody's now";
}

// What a client had to show in the handshake held for the old rules only.
TEST(Misdirected, OtherClientRulesAre) {
  const auto before = terminated("none");
  for (const auto& now : {terminated("require"), passed_through()}) {
    const routing::HostTable hosts({{"*.example.com", now}});
    EXPECT_TRUE(misdirected(hosts, now, before, "a.example.com"));
  }
}

}  // namespace
}  // namespace edgemux::listeners
