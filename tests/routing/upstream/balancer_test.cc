#include "routing/upstream/balancer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

namespace edgemux::routing {
namespace {

using core::SocketAddress;

std::shared_ptr<EndpointSet> set_of(const std::vector<std::uint32_t>& weights) {
  auto set = std::make_shared<EndpointSet>();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto ip = "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1);
    set->endpoints.push_back({*SocketAddress::parse_ip(ip, 80), ip, weights[i], std::make_shared<EndpointState>()});
  }
  return set;
}
std::shared_ptr<EndpointSet> equal(std::size_t count) { return set_of(std::vector<std::uint32_t>(count, 1)); }

BalancePolicy policy(Balance kind) { return {kind, milliseconds(0), 50}; }

std::vector<int> count(Balancer& balancer, int picks) {
  std::vector<int> counts(balancer.rotation()->endpoints.size());
  for (int i = 0; i < picks; ++i) ++counts[balancer.pick()];
  return counts;
}

std::uint64_t client(int i) {
  return source_hash(*SocketAddress::parse_ip("192.0." + std::to_string(i / 250) + "." + std::to_string(i % 250), 1));
}

// ---- round_robin ----

TEST(RoundRobin, EachInTurn) {
  Balancer balancer(0);
  balancer.rebuild(equal(3), policy(Balance::round_robin), 0);
  std::vector<std::size_t> picks;
  for (int i = 0; i < 6; ++i) picks.push_back(balancer.pick());
  EXPECT_THAT(picks, testing::ElementsAre(0, 1, 2, 0, 1, 2));
  Balancer second(1);  // of another worker
  second.rebuild(equal(3), policy(Balance::round_robin), 0);
  EXPECT_EQ(second.pick(), 1U);
}

TEST(RoundRobin, FollowsTheWeightsExactly) {
  Balancer balancer(7);
  balancer.rebuild(set_of({1, 2, 3, 10}), policy(Balance::round_robin), 0);
  const auto counts = count(balancer, 16'000);
  EXPECT_NEAR(counts[0], 1'000, 2);
  EXPECT_NEAR(counts[1], 2'000, 2);
  EXPECT_NEAR(counts[2], 3'000, 2);
  EXPECT_NEAR(counts[3], 10'000, 2);
}

TEST(RoundRobin, FollowsLargeWeightsAsWell) {
  Balancer balancer(7);
  balancer.rebuild(set_of({100'003, 200'003, 300'007}), policy(Balance::round_robin), 0);
  const auto counts = count(balancer, 6'000);
  EXPECT_NEAR(counts[0], 1'000, 2);
  EXPECT_NEAR(counts[1], 2'000, 2);
  EXPECT_NEAR(counts[2], 3'000, 2);
}

TEST(RoundRobin, SpreadsAHeavyOneInsteadOfBunchingIt) {
  Balancer balancer(0);
  balancer.rebuild(set_of({5, 5, 1}), policy(Balance::round_robin), 0);
  // In any window of 11 picks each has its share, give or take one.
  std::vector<std::size_t> picks;
  for (int i = 0; i < 110; ++i) picks.push_back(balancer.pick());
  for (std::size_t begin = 0; begin + 11 <= picks.size(); ++begin) {
    const auto heavy = std::count(picks.begin() + static_cast<std::ptrdiff_t>(begin),
                                  picks.begin() + static_cast<std::ptrdiff_t>(begin + 11), 0U);
    EXPECT_GE(heavy, 4);
    EXPECT_LE(heavy, 6);
  }
}

TEST(RoundRobin, WeightZeroTakesNothing) {
  Balancer balancer(0);
  balancer.rebuild(set_of({1, 0, 1}), policy(Balance::round_robin), 0);
  ASSERT_EQ(balancer.rotation()->endpoints.size(), 2U);
  EXPECT_EQ(balancer.rotation()->endpoints[1].text, "10.0.0.3");
  EXPECT_FALSE(balancer.panic());
  balancer.rebuild(set_of({0, 0}), policy(Balance::round_robin), 0);
  EXPECT_TRUE(balancer.rotation()->endpoints.empty());
  EXPECT_EQ(balancer.rotation()->problem, "every endpoint has weight 0");
}

// ---- least_connections ----

// Picks, and holds what was picked.
std::size_t take(Balancer& balancer) {
  const std::size_t i = balancer.pick();
  ++balancer.rotation()->endpoints[i].state->active;
  return i;
}

TEST(LeastConnections, FillsUpEvenly) {
  for (const std::size_t size : {3U, 100U}) {
    Balancer balancer(0);
    const auto set = equal(size);
    balancer.rebuild(set, policy(Balance::least_connections), 0);
    for (std::size_t i = 0; i < size * 10; ++i) take(balancer);
    for (const auto& endpoint : set->endpoints) EXPECT_NEAR(endpoint.state->active, 10, size > 32 ? 2 : 0);
  }
}

TEST(LeastConnections, PerWeight) {
  for (const std::size_t size : {4U, 100U}) {
    std::vector<std::uint32_t> weights(size, 1);
    weights[1] = 3;
    Balancer balancer(0);
    const auto set = set_of(weights);
    balancer.rebuild(set, policy(Balance::least_connections), 0);
    for (std::size_t i = 0; i < (size + 2) * 10; ++i) take(balancer);
    EXPECT_NEAR(set->endpoints[1].state->active, 30, size > 32 ? 3 : 1);
    EXPECT_NEAR(set->endpoints[2].state->active, 10, size > 32 ? 2 : 1);
  }
}

TEST(LeastConnections, FindsTheOneThatBecameFree) {
  for (const std::size_t size : {3U, 100U}) {
    Balancer balancer(0);
    const auto set = equal(size);
    for (const auto& endpoint : set->endpoints) endpoint.state->active = 20;
    balancer.rebuild(set, policy(Balance::least_connections), 0);
    set->endpoints[2].state->active = 0;  // another worker's connections ended
    // Of a hundred every sixth pick comes across it.
    for (std::size_t i = 0; i < (size > 32 ? 10U : 1U) * 20; ++i) take(balancer);
    EXPECT_GE(set->endpoints[2].state->active, 19U);
  }
}

TEST(LeastConnections, SeesWhatOtherWorkersTook) {
  Balancer balancer(0);
  const auto set = equal(30);
  balancer.rebuild(set, policy(Balance::least_connections), 0);
  for (std::size_t i = 0; i < 30; ++i) {
    if (i != 1) set->endpoints[i].state->active = 5;
  }
  for (int i = 0; i < 5; ++i) EXPECT_EQ(take(balancer), 1U);
}

TEST(LeastConnections, IdleOnesTakeTurns) {
  Balancer balancer(0);
  balancer.rebuild(equal(5), policy(Balance::least_connections), 0);
  EXPECT_THAT(count(balancer, 100), testing::Each(20));
  balancer.rebuild(equal(100), policy(Balance::least_connections), 0);
  EXPECT_THAT(count(balancer, 20'000), testing::Each(testing::AllOf(testing::Ge(120), testing::Le(280))));
}

// ---- random_two ----

TEST(RandomTwo, IdleOnesByWeight) {
  Balancer balancer(3);
  balancer.rebuild(set_of({1, 2, 5}), policy(Balance::random_two), 0);
  const auto counts = count(balancer, 80'000);
  EXPECT_NEAR(counts[0], 10'000, 600);
  EXPECT_NEAR(counts[1], 20'000, 900);
  EXPECT_NEAR(counts[2], 50'000, 1'200);
}

TEST(RandomTwo, TheBusiestIsNeverTakenFromTwoAndTheRestIsEven) {
  Balancer balancer(5);
  const auto set = equal(10);
  set->endpoints[4].state->active = 1'000;
  balancer.rebuild(set, policy(Balance::random_two), 0);
  const auto counts = count(balancer, 90'000);
  EXPECT_EQ(counts[4], 0);
  for (const int i : {0, 1, 2, 3, 5, 6, 7, 8, 9}) EXPECT_NEAR(counts[static_cast<std::size_t>(i)], 10'000, 1'500);
}

TEST(RandomTwo, KeepsTheFullestCloseToTheMean) {
  Balancer balancer(11);
  const auto set = equal(50);
  balancer.rebuild(set, policy(Balance::random_two), 0);
  for (int i = 0; i < 5'000; ++i) take(balancer);
  for (const auto& endpoint : set->endpoints) EXPECT_NEAR(endpoint.state->active, 100, 6);
}

// ---- source_hash ----

constexpr int kClients = 20'000;

TEST(SourceHash, SharesFollowTheWeights) {
  Balancer balancer(0);
  balancer.rebuild(set_of({1, 1, 2}), policy(Balance::source_hash), 0);
  std::vector<int> counts(3);
  for (int i = 0; i < kClients; ++i) ++counts[balancer.pick(client(i))];
  EXPECT_NEAR(counts[0], kClients / 4, kClients / 40);
  EXPECT_NEAR(counts[1], kClients / 4, kClients / 40);
  EXPECT_NEAR(counts[2], kClients / 2, kClients / 40);
}

TEST(SourceHash, TheSameOnEveryWorkerAndForEveryPort) {
  Balancer one(0);
  Balancer two(1);
  one.rebuild(equal(7), policy(Balance::source_hash), 0);
  two.rebuild(equal(7), policy(Balance::source_hash), 5);
  for (int i = 0; i < 1'000; ++i) EXPECT_EQ(one.pick(client(i)), two.pick(client(i)));
  EXPECT_EQ(source_hash(*SocketAddress::parse_ip("10.1.2.3", 1)), source_hash(*SocketAddress::parse_ip("10.1.2.3", 2)));
}

std::vector<std::string> owners(Balancer& balancer) {
  std::vector<std::string> out;
  for (int i = 0; i < kClients; ++i) out.push_back(balancer.rotation()->endpoints[balancer.pick(client(i))].text);
  return out;
}

TEST(SourceHash, LosingOneOfManyMovesItsShare) {
  for (const std::size_t size : {3U, 10U, 100U}) {
    Balancer balancer(0);
    const auto all = equal(size);
    balancer.rebuild(all, policy(Balance::source_hash), 0);
    const auto before = owners(balancer);
    auto fewer = std::make_shared<EndpointSet>(*all);
    fewer->endpoints.erase(fewer->endpoints.begin() + 1);
    balancer.rebuild(fewer, policy(Balance::source_hash), 0);
    const auto after = owners(balancer);
    int lost = 0;
    int moved = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
      const bool own = before[i] == "10.0.0.2";
      lost += own;
      moved += !own && before[i] != after[i];
    }
    const int share = kClients / static_cast<int>(size);
    EXPECT_NEAR(lost, share, share / 4);
    EXPECT_LT(moved, share * 3 / 4) << "few of the others move";
  }
}

TEST(SourceHash, AnUnhealthyOneMovesItsOwnClientsOnlyAndGetsThemBack) {
  Balancer balancer(0);
  const auto set = equal(10);
  balancer.rebuild(set, policy(Balance::source_hash), 0);
  const auto before = owners(balancer);
  set->endpoints[3].state->health = Health::unhealthy;
  balancer.rebuild(set, policy(Balance::source_hash), 0);
  const auto during = owners(balancer);
  std::set<std::string> heirs;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i] != "10.0.0.4") {
      ASSERT_EQ(before[i], during[i]);
    } else {
      heirs.insert(during[i]);
    }
  }
  EXPECT_EQ(heirs.size(), 9U);
  EXPECT_EQ(heirs.count("10.0.0.4"), 0U);
  set->endpoints[3].state->health = Health::healthy;
  balancer.rebuild(set, policy(Balance::source_hash), 0);
  EXPECT_EQ(owners(balancer), before);
}

// ---- who takes part ----

TEST(Rotation, LeavesOutTheUnhealthyAndTheEjected) {
  for (const auto kind :
       {Balance::round_robin, Balance::least_connections, Balance::random_two, Balance::source_hash}) {
    Balancer balancer(0);
    const auto set = equal(4);
    set->endpoints[0].state->health = Health::unhealthy;
    set->endpoints[2].state->ejected = true;
    balancer.rebuild(set, policy(kind), 0);
    ASSERT_EQ(balancer.rotation()->endpoints.size(), 2U);
    EXPECT_FALSE(balancer.panic());
    std::set<std::string> seen;
    for (int i = 0; i < 200; ++i) seen.insert(balancer.rotation()->endpoints[balancer.pick(client(i))].text);
    EXPECT_THAT(seen, testing::ElementsAre("10.0.0.2", "10.0.0.4"));
  }
}

TEST(Rotation, BelowHalfHealthyAllAreUsed) {
  Balancer balancer(0);
  const auto set = set_of({1, 1, 1, 1, 0});
  for (const int i : {0, 1}) set->endpoints[static_cast<std::size_t>(i)].state->health = Health::unhealthy;
  balancer.rebuild(set, policy(Balance::round_robin), 0);
  EXPECT_FALSE(balancer.panic());  // half of them is not below half
  EXPECT_EQ(balancer.rotation()->endpoints.size(), 2U);
  set->endpoints[2].state->ejected = true;
  balancer.rebuild(set, policy(Balance::round_robin), 0);
  EXPECT_TRUE(balancer.panic());
  EXPECT_EQ(balancer.rotation()->endpoints.size(), 4U);  // the drained one is none of them
  auto never = policy(Balance::round_robin);
  never.panic_threshold = 0;
  balancer.rebuild(set, never, 0);
  EXPECT_FALSE(balancer.panic());
  EXPECT_EQ(balancer.rotation()->endpoints.size(), 1U);
  set->endpoints[3].state->ejected = true;
  balancer.rebuild(set, never, 0);
  EXPECT_TRUE(balancer.rotation()->endpoints.empty());
  EXPECT_EQ(balancer.rotation()->problem, "no endpoint is healthy");
}

TEST(Rotation, IsTheSetItselfWhileNothingIsLeftOut) {
  Balancer balancer(0);
  const auto set = equal(3);
  balancer.rebuild(set, policy(Balance::round_robin), 0);
  EXPECT_EQ(balancer.rotation().get(), set.get());
}

TEST(Pick, AvoidsTheOneThatFailedWhileThereIsAnother) {
  for (const auto kind :
       {Balance::round_robin, Balance::least_connections, Balance::random_two, Balance::source_hash}) {
    for (const std::size_t size : {2U, 3U, 50U}) {
      Balancer balancer(0);
      const auto set = equal(size);
      balancer.rebuild(set, policy(kind), 0);
      for (int i = 0; i < 200; ++i) EXPECT_NE(balancer.pick(client(i), set->endpoints[1].state.get()), 1U);
    }
  }
  Balancer balancer(0);
  const auto one = equal(1);
  balancer.rebuild(one, policy(Balance::round_robin), 0);
  EXPECT_EQ(balancer.pick(0, one->endpoints[0].state.get()), 0U);
}

// ---- slow start ----

TEST(SlowStart, GrowsFromATenthToAll) {
  for (const auto kind : {Balance::round_robin, Balance::random_two}) {
    auto with = policy(kind);
    with.slow_start = milliseconds(10'000);
    const auto set = equal(2);
    set->endpoints[1].state->ramp_begins = 1'000;
    const auto share = [&](std::uint64_t now) {
      Balancer balancer(1);
      balancer.rebuild(set, with, now);
      auto counts = count(balancer, 11'000);
      return counts[1] / 11'000.0;
    };
    EXPECT_NEAR(share(1'000), 0.1 / 1.1, 0.02);
    EXPECT_NEAR(share(6'000), 0.5 / 1.5, 0.02);
    EXPECT_NEAR(share(11'000), 0.5, 0.02);
  }
}

// A worker that has few requests between two steps.
TEST(SlowStart, GivesItsShareAlsoWhereRequestsAreFew) {
  auto with = policy(Balance::round_robin);
  with.slow_start = milliseconds(20'000);
  const auto set = equal(4);
  set->endpoints[3].state->ramp_begins = 1'000;
  Balancer balancer(1);
  std::size_t first_half = 0;
  std::size_t all = 0;
  std::vector<std::size_t> others(3);
  for (std::uint64_t now = 1'000; now < 21'000; now += 333) {  // three a second
    if (now == 1'000 || balancer.due(now)) balancer.rebuild(set, with, now);
    const std::size_t chosen = balancer.pick();
    if (chosen < 3) {
      ++others[chosen];
    } else {
      ++all;
      if (now < 11'000) ++first_half;
    }
  }
  // Of 61: by the weights some 2 in the first half and 6 in the second.
  EXPECT_GE(first_half, 1U);
  EXPECT_LE(first_half, 4U);
  EXPECT_GE(all, 5U);
  EXPECT_LE(all, 12U);
  const auto [least, most] = std::minmax_element(others.begin(), others.end());
  EXPECT_LE(*most - *least, 3U);
}

TEST(SlowStart, SaysWhenTheNextStepIsDue) {
  auto with = policy(Balance::round_robin);
  with.slow_start = milliseconds(10'000);
  const auto set = equal(2);
  Balancer balancer(0);
  balancer.rebuild(set, with, 5'000);
  EXPECT_FALSE(balancer.due(1'000'000));  // both were there from the start
  set->endpoints[1].state->ramp_begins = 5'000;
  balancer.rebuild(set, with, 5'000);
  EXPECT_FALSE(balancer.due(5'499));
  EXPECT_TRUE(balancer.due(5'500));
  balancer.rebuild(set, with, 15'000);
  EXPECT_FALSE(balancer.due(1'000'000));
}

}  // namespace
}  // namespace edgemux::routing
