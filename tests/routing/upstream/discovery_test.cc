#include <atomic>
#include <chrono>
#include <thread>

#include "tests/routing/upstream/discovery_fixture.h"

namespace edgemux::routing {
namespace {

TEST_F(DiscoveryTest, WrittenAddressesAreThereAtOnce) {
  Discovery discovery(options());
  const auto literal = upstream({"10.0.0.2:80", "10.0.0.1:80", "10.0.0.2:80"});
  server.set("silent.test", {.mode = Mode::silent});
  const auto mixed = upstream({"silent.test:80", "10.0.0.3:80"});
  const auto named = upstream({"silent.test:81"});
  discovery.update({literal, mixed, named});
  EXPECT_THAT(addresses(literal), ElementsAre("10.0.0.2:80", "10.0.0.1:80"));
  EXPECT_THAT(addresses(mixed), ElementsAre("10.0.0.3:80"));
  EXPECT_THAT(problem(named), HasSubstr("silent.test"));
  const auto version = literal->state->version();
  discovery.update({literal, mixed, named});
  EXPECT_EQ(literal->state->version(), version);
}

// ---- services ----

TEST_F(DiscoveryTest, AServiceIsFollowedAndSoAreItsTargets) {
  server.set("_http._tcp.app.test", {.ttl = 0, .services = {{"a.test", 8080, 0, 2}, {"b.test", 8081, 0, 1}}});
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  server.set("b.test", {.v4 = {"10.0.0.2", "10.0.0.3"}, .ttl = 0});
  const auto up = upstream({"srv:_http._tcp.app.test"});
  Discovery discovery(options());
  discovery.update({up});
  const auto settle_service = [&] {
    ASSERT_TRUE(server.wait_for_queries("_http._tcp.app.test", 2, DnsServer::kSrv));
    ASSERT_TRUE(server.wait_for_queries("b.test", 2));
  };
  settle_service();
  EXPECT_THAT(addresses(up), testing::UnorderedElementsAre("10.0.0.1:8080", "10.0.0.2:8081", "10.0.0.3:8081"));
  EXPECT_EQ(up->state->published()->endpoints.front().weight, 2U);
  server.set("b.test", {.v4 = {"10.0.0.4"}, .ttl = 0});
  settle_service();
  EXPECT_THAT(addresses(up), testing::UnorderedElementsAre("10.0.0.1:8080", "10.0.0.4:8081"));
  server.set("_http._tcp.app.test", {.ttl = 0, .services = {{"b.test", 9000, 0, 0}}});
  settle_service();
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.4:9000"));
  // Nobody asks for a target that is gone.
  const auto asked = server.queries("a.test");
  for (int i = 0; i < 3; ++i) settle_service();
  EXPECT_EQ(server.queries("a.test"), asked);
  // The last good answer is kept.
  server.set("_http._tcp.app.test", {.mode = Mode::server_error});
  ASSERT_TRUE(server.wait_for_queries("_http._tcp.app.test", 3, DnsServer::kSrv));
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.4:9000"));
}

TEST_F(DiscoveryTest, AFamilyThatOnlyFailsKeepsItsAddresses) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .v6 = {"fd00::1"}, .ttl = 0});
  const auto up = upstream({"a.test:80"});
  Discovery discovery(options());
  discovery.update({up});
  settle("a.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80", "[fd00::1]:80"));
  server.set("a.test", {.v4 = {"10.0.0.2"}, .v6 = {"fd00::1"}, .ttl = 0, .mode_v6 = Mode::server_error});
  settle("a.test");
  settle("a.test");
  EXPECT_THAT(addresses(up), testing::UnorderedElementsAre("10.0.0.2:80", "[fd00::1]:80"));
  // One that is really gone goes.
  server.set("a.test", {.v4 = {"10.0.0.2"}, .ttl = 0});
  settle("a.test");
  settle("a.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.2:80"));
}

TEST_F(DiscoveryTest, AnUpstreamWithoutEndpointsKeepsItsProblem) {
  auto state = std::make_shared<UpstreamState>();
  state->publish(std::make_shared<EndpointSet>(EndpointSet{{}, "its file was set aside"}));
  const auto up = upstream({}, state);
  server.set("pace.test", {.v4 = {"10.0.0.2"}, .ttl = 0});
  Discovery discovery(options());
  discovery.update({up, upstream({"pace.test:80"})});
  settle("pace.test");
  EXPECT_EQ(problem(up), "its file was set aside");
}

TEST_F(DiscoveryTest, AChangedZoneIsPublished) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  const auto up = upstream({"a.test:80"});
  Discovery discovery(options());
  discovery.update({up});
  settle("a.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80"));
  server.set("a.test", {.v4 = {"10.0.0.2", "10.0.0.1"}, .v6 = {"fd00::1"}, .ttl = 0});
  settle("a.test");
  // The zone may have changed between the questions for the two families, so IPv6 may be known first.
  EXPECT_THAT(addresses(up), testing::UnorderedElementsAre("10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"));
  EXPECT_EQ(addresses(up).front(), "10.0.0.1:80");
  server.set("a.test", {.v6 = {"fd00::1"}, .ttl = 0});
  settle("a.test");
  settle("a.test");  // it asks once more before it gives a whole family up
  EXPECT_THAT(addresses(up), ElementsAre("[fd00::1]:80"));
}

TEST_F(DiscoveryTest, AnUnchangedSetIsNotPublishedAgain) {
  server.set("a.test", {.v4 = {"10.0.0.1", "10.0.0.2", "10.0.0.3"}, .ttl = 0, .mode = Mode::rotating});
  const auto up = upstream({"a.test:80"});
  Discovery discovery(options());
  discovery.update({up});
  settle("a.test");
  const auto version = up->state->version();
  const auto set = up->state->published();
  EXPECT_EQ(set->endpoints.size(), 3U);
  discovery.update({up});
  settle("a.test");
  settle("a.test");
  EXPECT_EQ(up->state->version(), version);
  EXPECT_EQ(up->state->published(), set);
}

TEST_F(DiscoveryTest, AFailureKeepsTheLastGoodAnswer) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  const auto up = upstream({"a.test:80"});
  auto with = options();
  with.resolver.timeout = milliseconds(500);
  Discovery discovery(with);
  discovery.update({up});
  settle("a.test");
  const auto version = up->state->version();
  for (const Mode mode : {Mode::unknown, Mode::server_error, Mode::silent}) {
    server.set("a.test", {.mode = mode});
    settle("a.test");
    EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80"));
    EXPECT_EQ(up->state->version(), version);
  }
  server.set("a.test", {.v4 = {"10.0.0.9"}, .ttl = 0});
  settle("a.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.9:80"));
}

TEST_F(DiscoveryTest, AFailureFromTheStartSaysWhyAndIsTriedAgain) {
  const auto up = upstream({"late.test:80"});
  Discovery discovery(options());
  discovery.update({up});
  settle("late.test");
  EXPECT_THAT(addresses(up), IsEmpty());
  EXPECT_THAT(problem(up), HasSubstr("late.test does not resolve: "));
  server.set("late.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  settle("late.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80"));
  EXPECT_EQ(problem(up), "");
}

// A reload that changes a parameter makes a new upstream: its requests must not wait for the thread, nor fail.
TEST_F(DiscoveryTest, AnUpstreamThatIsNewBeginsWithWhatIsKnownOfItsNames) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 300});
  server.set("pace.test", {.v4 = {"10.0.0.2"}, .ttl = 0});
  const auto pace = upstream({"pace.test:80"});
  Discovery discovery(options());
  discovery.update({upstream({"a.test:80"}), pace});
  settle("pace.test");
  settle("pace.test");
  const auto changed = upstream({"a.test:8080", "10.0.0.7:1"});
  discovery.update({changed, pace});
  EXPECT_THAT(addresses(changed), ElementsAre("10.0.0.1:8080", "10.0.0.7:1"));
}

TEST_F(DiscoveryTest, OneQuestionForANameThatManyUse) {
  server.set("shared.test", {.v4 = {"10.0.0.1"}, .ttl = 300});
  server.set("pace.test", {.v4 = {"10.0.0.2"}, .ttl = 0});
  const auto one = upstream({"shared.test:80", "shared.test:81"});
  const auto two = upstream({"shared.test:443"});
  const auto pace = upstream({"pace.test:80"});
  Discovery discovery(options());
  discovery.update({one, two, pace});
  settle("pace.test");
  settle("pace.test");
  EXPECT_THAT(addresses(one), ElementsAre("10.0.0.1:80", "10.0.0.1:81"));
  EXPECT_THAT(addresses(two), ElementsAre("10.0.0.1:443"));
  EXPECT_EQ(server.queries("shared.test"), 1U);  // and its TTL of 300 s is kept
}

TEST_F(DiscoveryTest, MaxTtlBoundsALongTtl) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 86'400});
  auto with = options();
  with.max_ttl = milliseconds(16);
  const auto up = upstream({"a.test:80"});
  Discovery discovery(with);
  discovery.update({up});
  settle("a.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80"));
}

TEST_F(DiscoveryTest, MinTtlBoundsAShortTtl) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  auto with = options();
  with.min_ttl = milliseconds(100);
  const auto up = upstream({"a.test:80"});
  const auto began = std::chrono::steady_clock::now();
  Discovery discovery(with);
  discovery.update({up});
  ASSERT_TRUE(server.wait_for_queries("a.test", 4));
  EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(300));
}

TEST_F(DiscoveryTest, AnUpstreamsMinTtlAloneMayBeLongerThanTheUsualMaxTtl) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  auto with = options();
  with.max_ttl = milliseconds(16);
  auto up = std::make_shared<Upstream>(*upstream({"a.test:80"}));
  up->dns.min_ttl = milliseconds(100);
  const auto began = std::chrono::steady_clock::now();
  Discovery discovery(with);
  discovery.update({up});
  ASSERT_TRUE(server.wait_for_queries("a.test", 4));
  EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(300));
}

// Somewhere in the upper half of 2, 4, 8 ... times the shortest pause, up to the longest.
TEST_F(DiscoveryTest, PausesGrowWhileTheNameServerFails) {
  server.set("a.test", {.mode = Mode::unknown});
  auto with = options();
  with.retry_min = milliseconds(20);
  with.retry_max = milliseconds(160);
  const auto up = upstream({"a.test:80"});
  Discovery discovery(with);
  const auto began = std::chrono::steady_clock::now();
  discovery.update({up});
  for (const int least : {0, 20, 60, 140, 220}) {
    ASSERT_TRUE(server.wait_for_queries("a.test", 1));
    EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(least));
  }
}

TEST_F(DiscoveryTest, VanishedUpstreamsAreLeftAlone) {
  server.set("old.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  server.set("new.test", {.v4 = {"10.0.0.2"}, .ttl = 0});
  const auto old = upstream({"old.test:80"});
  const auto fresh = upstream({"new.test:80"});
  Discovery discovery(options());
  discovery.update({old});
  settle("old.test");
  discovery.update({fresh});
  settle("new.test");
  const auto asked = server.queries("old.test");
  server.set("old.test", {.v4 = {"10.0.0.3"}, .ttl = 0});
  for (int i = 0; i < 3; ++i) settle("new.test");
  EXPECT_EQ(server.queries("old.test"), asked);
  EXPECT_THAT(addresses(old), ElementsAre("10.0.0.1:80"));
  // It comes back, in another Upstream of the same identity: the old set stays until there is an answer.
  const auto again = upstream({"old.test:80"}, old->state);
  discovery.update({again});
  EXPECT_THAT(addresses(again), testing::AnyOf(ElementsAre("10.0.0.1:80"), ElementsAre("10.0.0.3:80")));
  settle("old.test");
  EXPECT_THAT(addresses(again), ElementsAre("10.0.0.3:80"));
}

TEST_F(DiscoveryTest, AnUpstreamThatComesBackKeepsItsSetWhileNobodyAnswers) {
  server.set("silent.test", {.mode = Mode::silent});
  server.set("pace.test", {.v4 = {"10.0.0.2"}, .ttl = 0});
  auto state = std::make_shared<UpstreamState>();
  state->publish(std::make_shared<EndpointSet>(EndpointSet{{{ip("10.0.0.1", 80), "silent.test:80 (10.0.0.1)"}}, {}}));
  auto with = options();
  with.resolver.timeout = milliseconds(60'000);
  const auto up = upstream({"silent.test:80"}, state);
  Discovery discovery(with);
  discovery.update({up, upstream({"pace.test:80"})});
  settle("pace.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80"));
}

TEST_F(DiscoveryTest, OneAfterTheOtherWhenFewMayBeAskedFor) {
  server.set("silent.test", {.mode = Mode::silent});
  std::vector<UpstreamPtr> upstreams{upstream({"silent.test:80"})};
  for (int i = 0; i < 20; ++i) {
    const auto name = "n" + std::to_string(i) + ".test";
    server.set(name, {.v4 = {"10.0.0." + std::to_string(i)}, .ttl = 300});
    upstreams.push_back(upstream({name + ":80"}));
  }
  server.set("last.test", {.v4 = {"10.0.1.1"}, .ttl = 0});
  upstreams.push_back(upstream({"last.test:80"}));
  auto with = options();
  with.max_in_flight = 1;
  with.resolver.timeout = milliseconds(500);
  Discovery discovery(with);
  discovery.update(upstreams);
  settle("last.test");
  for (std::size_t i = 1; i < upstreams.size(); ++i) EXPECT_EQ(addresses(upstreams[i]).size(), 1U) << i;
}

TEST_F(DiscoveryTest, VanishingWhileAskedForGivesTheTurnToTheNext) {
  server.set("silent.test", {.mode = Mode::silent});
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  auto with = options();
  with.max_in_flight = 1;
  with.resolver.timeout = milliseconds(60'000);
  Discovery discovery(with);
  discovery.update({upstream({"silent.test:80"}), upstream({"waits.test:80"})});
  ASSERT_TRUE(server.wait_for_first("silent.test"));
  const auto up = upstream({"a.test:80"});
  discovery.update({up});
  settle("a.test");
  EXPECT_THAT(addresses(up), ElementsAre("10.0.0.1:80"));
}

TEST_F(DiscoveryTest, StopsAtOnceWithQuestionsOpen) {
  server.set("silent.test", {.mode = Mode::silent});
  auto with = options();
  with.resolver.timeout = milliseconds(60'000);
  const auto before = std::chrono::steady_clock::now();
  {
    Discovery discovery(with);
    discovery.update({upstream({"silent.test:80"})});
    ASSERT_TRUE(server.wait_for_first("silent.test"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(30));
}

// ---- what tenants may do to each other ----

TEST_F(DiscoveryTest, AnotherTenantsNamesDoNotWaitForThoseThatNobodyAnswers) {
  auto with = options();
  with.max_in_flight = 8;
  with.resolver.timeout = milliseconds(60'000);
  with.tenant_min_ttl = milliseconds(16);
  std::vector<std::string> silent;
  for (int i = 0; i < 40; ++i) {
    silent.push_back("silent" + std::to_string(i) + ".test:80");
    server.set("silent" + std::to_string(i) + ".test", {.mode = Mode::silent});
  }
  server.set("b.test", {.v4 = {"10.0.0.2"}, .ttl = 0});
  server.set("p.test", {.v4 = {"10.0.0.3"}, .ttl = 0});
  const auto greedy = of_tenant("a", upstream(silent));
  // Also a name that the greedy one has as well, behind all others.
  const auto other = of_tenant("b", upstream({"b.test:80", "silent39.test:80"}));
  const auto platform = upstream({"p.test:80"});
  Discovery discovery(with);
  discovery.update({greedy});
  ASSERT_TRUE(server.wait_for_first("silent0.test"));
  discovery.update({greedy, other, platform});
  settle("b.test");
  settle("p.test");
  EXPECT_THAT(addresses(other), ElementsAre("10.0.0.2:80"));
  EXPECT_THAT(addresses(platform), ElementsAre("10.0.0.3:80"));
  EXPECT_EQ(server.queries("silent39.test"), 1U);  // of the other one
}

TEST_F(DiscoveryTest, TheFileOfATenantHasNothingAskedForWithoutPause) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .ttl = 0});
  auto with = options();
  with.tenant_min_ttl = milliseconds(100);
  const auto up = of_tenant("a", upstream({"a.test:80"}), {milliseconds(1), milliseconds(1)});
  const auto began = std::chrono::steady_clock::now();
  Discovery discovery(with);
  discovery.update({up});
  ASSERT_TRUE(server.wait_for_queries("a.test", 4));
  EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(300));
}

TEST_F(DiscoveryTest, ATenantsServicesLeadToSoManyNamesOnly) {
  DnsServer::Record record{.ttl = 0};
  for (int i = 0; i < 10; ++i) {
    const auto target = "t" + std::to_string(i) + ".test";
    record.services.push_back({target, 80, 0, 0});
    server.set(target, {.v4 = {"10.0.0." + std::to_string(i)}, .ttl = 0});
  }
  server.set("_http._tcp.test", record);
  auto with = options();
  with.tenant_min_ttl = milliseconds(16);
  with.max_targets = 3;
  const auto up = of_tenant("a", upstream({"srv:_http._tcp.test"}));
  const auto platform = upstream({"srv:_http._tcp.test"});
  Discovery discovery(with);
  discovery.update({up, platform});
  EXPECT_TRUE(holds_soon("t9.test", [&] { return addresses(platform).size() == 10; }));
  EXPECT_TRUE(holds_soon("t0.test", [&] { return addresses(up).size() == 3; }));
  ASSERT_TRUE(server.wait_for_queries("_http._tcp.test", 4, DnsServer::kSrv));
  EXPECT_EQ(addresses(up).size(), 3U);
  // Those that go make room.
  record.services.erase(record.services.begin(), record.services.begin() + 5);
  server.set("_http._tcp.test", record);
  EXPECT_TRUE(holds_soon("t9.test", [&] { return addresses(platform).size() == 5; }));
  EXPECT_TRUE(holds_soon("t9.test", [&] {
    const auto now = addresses(up);
    return now.size() == 3 && std::none_of(now.begin(), now.end(), [](const auto& a) { return a == "10.0.0.0:80"; });
  }));
}

TEST_F(DiscoveryTest, ANameHasSoManyAddressesOnly) {
  DnsServer::Record record{.ttl = 0, .mode = Mode::truncated};
  for (const auto& address : many(2'000, 1)) record.v4.push_back(address.ip());
  server.set("a.test", record);
  const auto up = upstream({"a.test:80"});
  Discovery discovery(options());
  discovery.update({up});
  settle("a.test");
  settle("a.test");
  EXPECT_EQ(addresses(up).size(), kMaxAddresses);
  EXPECT_EQ(problem(up), "a.test has more than 256 addresses; the rest is left out");
}

// For ThreadSanitizer above all: tables come while answers come while readers read.
TEST_F(DiscoveryTest, ChurnOfTablesZonesAndReaders) {
  std::vector<UpstreamPtr> upstreams;
  for (int i = 0; i < 16; ++i) {
    const auto name = "n" + std::to_string(i) + ".test";
    server.set(name, {.v4 = {"10.0.0.1"}, .ttl = 0});
    upstreams.push_back(upstream({name + ":80", "10.9.9.9:80"}));
  }
  const auto pace = upstream({"n0.test:81"});
  Discovery discovery(options());
  std::atomic<bool> done{false};
  std::thread reader([&] {
    std::uint64_t seen = 0;
    while (!done) {
      for (const auto& up : upstreams) {
        if (up->state->version() == seen) continue;
        seen = up->state->version();
        const auto set = up->state->published();
        for (const auto& endpoint : set->endpoints) EXPECT_EQ(endpoint.address.port(), 80);
      }
      std::this_thread::yield();
    }
  });
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 16; ++i) {
      server.set("n" + std::to_string(i) + ".test", {.v4 = {"10.0.1." + std::to_string(round)}, .ttl = 0});
    }
    std::vector<UpstreamPtr> some{pace};
    for (std::size_t i = 0; i < upstreams.size(); ++i) {
      if ((i + static_cast<std::size_t>(round)) % 3 != 0) some.push_back(upstreams[i]);
    }
    discovery.update(some);
    ASSERT_TRUE(server.wait_for_queries("n0.test", 1));
  }
  auto all = upstreams;
  all.push_back(pace);
  discovery.update(all);
  for (int i = 0; i < 16; ++i) settle("n" + std::to_string(i) + ".test");
  done = true;
  reader.join();
  for (const auto& up : upstreams) EXPECT_THAT(addresses(up), ElementsAre("10.0.1.19:80", "10.9.9.9:80"));
}

}  // namespace
}  // namespace edgemux::routing
