#include "listeners/misdirected.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace edgemux::listeners {
namespace {

core::TlsPolicy policy(core::ClientAuth auth, core::CaBundlePtr trusted = nullptr) {
  core::TlsPolicy made;
  made.client_auth = auth;
  made.client_ca = std::move(trusted);
  return made;
}

routing::RoutePtr terminated(const std::string& identity = "", core::TlsPolicy demanded = {}) {
  demanded.identity = identity;
  routing::Route route;
  route.action = routing::VirtualHost{{}, std::make_shared<const core::TlsPolicy>(std::move(demanded)), 0};
  return std::make_shared<const routing::Route>(std::move(route));
}

routing::RoutePtr passed_through() { return std::make_shared<const routing::Route>(); }

TEST(Misdirected, TheSameRouteNeverIs) {
  const auto wild = terminated();
  const routing::HostTable hosts({{"*.example.com", wild}});
  EXPECT_EQ(MadeFor::it, whom_it_was_made_for(hosts, wild, wild, "a.example.com"));
  EXPECT_EQ(MadeFor::it, whom_it_was_made_for(hosts, wild, wild, "gone.example.org"));
}

TEST(Misdirected, AnotherRouteIs) {
  const auto wild = terminated();
  for (const auto& other : {terminated(), passed_through()}) {
    const routing::HostTable hosts({{"*.example.com", wild}, {"b.example.com", other}});
    EXPECT_EQ(MadeFor::another, whom_it_was_made_for(hosts, other, wild, "a.example.com"));
    EXPECT_EQ(MadeFor::another, whom_it_was_made_for(hosts, wild, other, "b.example.com"));
  }
}

// The connection's route is of an older table; its name tells which is the same now.
TEST(Misdirected, TheRouteThatTookItsPlaceIsNot) {
  const auto before = terminated("x");
  const auto now = terminated("x");
  const auto other = terminated("x");
  const routing::HostTable hosts({{"*.example.com", now}, {"b.example.com", other}});
  EXPECT_EQ(MadeFor::it, whom_it_was_made_for(hosts, now, before, "A.example.com."));
  EXPECT_EQ(MadeFor::another, whom_it_was_made_for(hosts, other, before, "a.example.com"));
  EXPECT_EQ(MadeFor::another, whom_it_was_made_for(hosts, now, before, "b.example.com"))
      << "the connection's name is another's now";
  EXPECT_EQ(MadeFor::it, whom_it_was_made_for(hosts, other, before, "b.example.com"));
  EXPECT_EQ(MadeFor::another, whom_it_was_made_for(hosts, now, before, "a.example.org"))
      << "the connection's name is nobody's now";
}

// What a client had to show in the handshake held for the old rules only.
TEST(Misdirected, WhoseClientsHaveToShowSomethingElseIsStrangeNow) {
  using core::ClientAuth;
  const auto before = terminated("before");
  for (const auto& now : {terminated("now", policy(ClientAuth::require)), passed_through()}) {
    const routing::HostTable hosts({{"*.example.com", now}});
    EXPECT_EQ(MadeFor::stranger, whom_it_was_made_for(hosts, now, before, "a.example.com"));
  }
}

TEST(Misdirected, OtherSettingsOfTlsLetAConnectionServeOut) {
  const auto before = terminated("before");
  auto demanded = policy(core::ClientAuth::none);
  demanded.min_version = core::TlsVersion::tls1_3;
  const auto now = terminated("now", demanded);
  const routing::HostTable hosts({{"*.example.com", now}, {"b.example.com", terminated("now", demanded)}});
  EXPECT_EQ(MadeFor::it_once, whom_it_was_made_for(hosts, now, before, "a.example.com"));
  EXPECT_EQ(MadeFor::another, whom_it_was_made_for(hosts, now, before, "b.example.com"));
}

}  // namespace
}  // namespace edgemux::listeners
