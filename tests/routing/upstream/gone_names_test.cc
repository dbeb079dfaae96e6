#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>

#include "tests/routing/upstream/discovery_fixture.h"

namespace edgemux::routing {
namespace {

class GoneNames : public DiscoveryTest {
 protected:
  Discovery::Options brief() {
    auto with = options();
    with.gone_hold = milliseconds(200);
    return with;
  }
  // Until the upstream has no endpoint.
  void wait_until_given_up(const UpstreamPtr& upstream, const std::string& name, std::uint16_t type = DnsServer::kA) {
    EXPECT_TRUE(holds_soon(
        name, [&] { return addresses(upstream).empty(); }, type));
    EXPECT_THAT(problem(upstream), HasSubstr(name + " does not resolve: "));
  }
};

TEST_F(GoneNames, TheLastAddressesAreGivenUpAfterAHold) {
  // By NXDOMAIN, and by an answer without an address.
  for (const DnsServer::Record& gone : {DnsServer::Record{.mode = Mode::unknown}, DnsServer::Record{}}) {
    server.set("a.test", {.v4 = {"10.0.0.1"}, .v6 = {"fd00::1"}, .ttl = 0});
    const auto up = upstream({"a.test:80"});
    Discovery discovery(brief());
    discovery.update({up});
    settle("a.test");
    EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80", "[fd00::1]:80"));
    const auto began = std::chrono::steady_clock::now();
    server.set("a.test", gone);
    wait_until_given_up(up, "a.test");
    EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(200));
    server.set("a.test", {.v4 = {"10.0.0.9"}, .ttl = 0});
    settle("a.test");
    EXPECT_THAT(addresses(up), ElementsAre("10.0.0.9:80"));
    EXPECT_EQ(problem(up), "");
  }
}

TEST_F(GoneNames, TheyAreAskedForWithinTheBoundsOfGoodAnswers) {
  server.set("a.test", {.mode = Mode::unknown});
  auto with = options();
  with.retry_min = milliseconds(10'000);
  with.retry_max = milliseconds(60'000);
  with.max_ttl = milliseconds(16);
  const auto up = upstream({"a.test:80"});
  const auto began = std::chrono::steady_clock::now();
  Discovery discovery(with);
  discovery.update({up});
  ASSERT_TRUE(server.wait_for_queries("a.test", 3));
  EXPECT_LT(std::chrono::steady_clock::now() - began, with.retry_min);
}

TEST_F(GoneNames, SoAreTheTargetsOfAService) {
  server.set("_http._tcp.test", {.ttl = 0, .services = {{"a.test", 8080, 0, 0}}});
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  const auto up = upstream({"srv:_http._tcp.test"});
  Discovery discovery(brief());
  discovery.update({up});
  settle("a.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:8080"));
  server.set("_http._tcp.test", {.mode = Mode::unknown});
  wait_until_given_up(up, "_http._tcp.test", DnsServer::kSrv);
  server.set("_http._tcp.test", {.ttl = 0, .services = {{"a.test", 8081, 0, 0}}});
  ASSERT_TRUE(server.wait_for_queries("_http._tcp.test", 2, DnsServer::kSrv));
  settle("a.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:8081"));
}

// For both families together that looks like a name without addresses.
TEST_F(GoneNames, OneWhoseOnlyFamilyFailsKeepsItsAddresses) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  const auto up = upstream({"a.test:80"});
  auto with = brief();
  with.gone_hold = milliseconds(20);
  Discovery discovery(with);
  discovery.update({up});
  settle("a.test");
  server.set("a.test", {.mode = Mode::server_error, .mode_v6 = Mode::answer});
  ASSERT_TRUE(server.wait_for_queries("a.test", 10));
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80"));
}

// The name is found in a domain of the search list; that the bare one is unknown says nothing while that domain fails.
TEST_F(GoneNames, OneWhoseDomainOfTheSearchListFailsKeepsItsAddresses) {
  const std::string path = testing::TempDir() + "discovery_test_" + std::to_string(getpid()) + ".conf";
  std::ofstream(path) << "nameserver 192.0.2.1\nsearch cluster.test\noptions ndots:5\n";
  server.set("app.svc.cluster.test", {.v4 = {"10.0.0.1"}, .v6 = {"fd00::1"}, .ttl = 0});
  server.set("_h._tcp.app.cluster.test", {.ttl = 0, .services = {{"app.svc", 8080, 0, 0}}});
  const auto named = upstream({"app.svc:80"});
  const auto service = upstream({"srv:_h._tcp.app"});
  auto with = brief();
  with.gone_hold = milliseconds(20);
  with.resolver.resolv_conf = path;
  Discovery discovery(with);
  discovery.update({named, service});
  settle("app.svc.cluster.test");
  ASSERT_TRUE(server.wait_for_queries("_h._tcp.app.cluster.test", 2, DnsServer::kSrv));
  settle("app.svc.cluster.test");
  EXPECT_THAT(addresses(named), ElementsAre("10.0.0.1:80", "[fd00::1]:80"));
  EXPECT_EQ(addresses(service).size(), 2U);
  server.set("_h._tcp.app.cluster.test", {.mode = Mode::server_error});
  ASSERT_TRUE(server.wait_for_queries("_h._tcp.app.cluster.test", 10, DnsServer::kSrv));
  EXPECT_EQ(addresses(service).size(), 2U);
  server.set("app.svc.cluster.test", {.mode = Mode::server_error});
  ASSERT_TRUE(server.wait_for_queries("app.svc.cluster.test", 10));
  EXPECT_EQ(addresses(named).size(), 2U);
  server.set("app.svc.cluster.test", {.mode = Mode::server_error, .mode_v6 = Mode::unknown});
  ASSERT_TRUE(server.wait_for_queries("app.svc.cluster.test", 10));
  EXPECT_EQ(addresses(named).size(), 2U);
  std::remove(path.c_str());
}

TEST_F(GoneNames, AFailureInBetweenBeginsTheHoldAnew) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  const auto up = upstream({"a.test:80"});
  auto with = brief();
  with.gone_hold = milliseconds(1'000);
  Discovery discovery(with);
  discovery.update({up});
  settle("a.test");
  server.set("a.test", {.mode = Mode::unknown});
  settle("a.test");
  const auto began = std::chrono::steady_clock::now();
  server.set("a.test", {.mode = Mode::server_error});
  EXPECT_TRUE(holds_soon("a.test", [&] { return std::chrono::steady_clock::now() - began > with.gone_hold; }));
  server.set("a.test", {.mode = Mode::unknown});
  ASSERT_TRUE(server.wait_for_queries("a.test", 3));
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80"));
}

}  // namespace
}  // namespace edgemux::routing
