// What decides about endpoints' health: checks (HealthJudge), failures of traffic (outlier), and the retry budget. Time
// is moved by hand.
#include "routing/upstream/health.h"

#include <gtest/gtest.h>

#include "routing/upstream/outlier.h"

namespace edgemux::routing {
namespace {

HealthCheck check(std::uint32_t unhealthy_after, std::uint32_t healthy_after) {
  HealthCheck out;
  out.unhealthy_after = unhealthy_after;
  out.healthy_after = healthy_after;
  return out;
}

TEST(HealthJudge, TheFirstResultDecidesAtOnce) {
  HealthJudge good;
  EXPECT_TRUE(good.note(true, check(3, 2)));
  EXPECT_EQ(good.health(), Health::healthy);
  HealthJudge bad;
  EXPECT_TRUE(bad.note(false, check(3, 2)));
  EXPECT_EQ(bad.health(), Health::unhealthy);
}

TEST(HealthJudge, ThenItTakesSomeInARow) {
  HealthJudge judge(Health::healthy);
  const auto policy = check(3, 2);
  for (const bool passed : {false, false, true, false, false}) EXPECT_FALSE(judge.note(passed, policy));
  EXPECT_TRUE(judge.note(false, policy));
  EXPECT_EQ(judge.health(), Health::unhealthy);
  EXPECT_FALSE(judge.note(false, policy));
  EXPECT_FALSE(judge.note(true, policy));
  EXPECT_FALSE(judge.note(false, policy));
  EXPECT_FALSE(judge.note(true, policy));
  EXPECT_TRUE(judge.note(true, policy));
  EXPECT_EQ(judge.health(), Health::healthy);
}

TEST(HealthJudge, IntervalsAreSpreadByATenth) {
  for (const std::uint64_t random : std::vector<std::uint64_t>{0, 1, 999, 1000, 123456789, UINT64_MAX}) {
    const auto pause = jittered(milliseconds(5'000), random);
    EXPECT_GE(pause, milliseconds(4'500));
    EXPECT_LE(pause, milliseconds(5'500));
  }
  EXPECT_NE(jittered(milliseconds(5'000), 1), jittered(milliseconds(5'000), 500));
  EXPECT_EQ(jittered(milliseconds(5), 7), milliseconds(5));
}

class OutlierTest : public testing::Test {
 protected:
  milliseconds fail(EndpointState& endpoint, std::size_t endpoints = 4) {
    return note_failure(endpoint, runtime, policy, endpoints, now);
  }
  milliseconds eject(EndpointState& endpoint) {
    for (std::uint32_t i = 1; i < policy.consecutive_failures; ++i) EXPECT_EQ(fail(endpoint), milliseconds(0));
    return fail(endpoint);
  }
  UpstreamRuntime runtime;
  OutlierPolicy policy{3, milliseconds(1'000), 50};
  EndpointState a;
  EndpointState b;
  EndpointState c;
  std::uint64_t now = 1'000'000;
};

TEST_F(OutlierTest, SomeFailuresInARowEjectAndASuccessBetweenDoesNot) {
  fail(a);
  fail(a);
  note_success(a);
  fail(a);
  EXPECT_EQ(fail(a), milliseconds(0));
  EXPECT_TRUE(a.usable());
  EXPECT_EQ(fail(a), milliseconds(1'000));
  EXPECT_FALSE(a.usable());
  EXPECT_EQ(runtime.ejected, 1U);
  EXPECT_EQ(runtime.health_version, 1U);
  EXPECT_EQ(fail(a), milliseconds(0));  // what was under way fails too; nobody ejects it twice
  EXPECT_EQ(runtime.ejected, 1U);
}

TEST_F(OutlierTest, OffMeansOff) {
  policy.consecutive_failures = 0;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(fail(a), milliseconds(0));
  EXPECT_TRUE(a.usable());
}

TEST_F(OutlierTest, ComesBackOnTrial) {
  eject(a);
  now += 999;
  EXPECT_FALSE(end_ejection(a, runtime, policy, now));
  now += 1;
  EXPECT_TRUE(end_ejection(a, runtime, policy, now));
  EXPECT_FALSE(end_ejection(a, runtime, policy, now));
  EXPECT_TRUE(a.usable());
  EXPECT_EQ(runtime.ejected, 0U);
  EXPECT_EQ(a.ramp_begins, now);  // slow start
  EXPECT_EQ(fail(a), milliseconds(2'000));
  now += 2'000;
  ASSERT_TRUE(end_ejection(a, runtime, policy, now));
  note_success(a);
  EXPECT_EQ(fail(a), milliseconds(0));
  EXPECT_TRUE(a.usable());
}

TEST_F(OutlierTest, TimesGrowToALimitAndStartAnewAfterALongGoodTime) {
  const std::vector<int> expected{1'000, 2'000, 4'000, 8'000, 16'000, 16'000};
  EXPECT_EQ(eject(a), milliseconds(expected[0]));
  for (std::size_t i = 1; i < expected.size(); ++i) {
    now = a.eject_ends;
    ASSERT_TRUE(end_ejection(a, runtime, policy, now));
    EXPECT_EQ(fail(a), milliseconds(expected[i]));
  }
  now = a.eject_ends;
  ASSERT_TRUE(end_ejection(a, runtime, policy, now));
  note_success(a);
  now += 10'000;
  EXPECT_EQ(eject(a), milliseconds(1'000));
}

TEST_F(OutlierTest, NeverMoreThanTheCapAndNeverTheOnlyOne) {
  EXPECT_EQ(eject(a), milliseconds(1'000));
  EXPECT_EQ(eject(b), milliseconds(1'000));
  EXPECT_EQ(eject(c), milliseconds(0));  // two of four are out
  EXPECT_TRUE(c.usable());
  now += 1'000;
  end_ejection(a, runtime, policy, now);
  EXPECT_EQ(fail(c), milliseconds(1'000));
  UpstreamRuntime other;
  EndpointState only;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(note_failure(only, other, policy, 1, now), milliseconds(0));
  EXPECT_TRUE(only.usable());
}

TEST(RetryBudget, AFifthOfTheRequestsAndSomeToBeginWith) {
  RetryBudget budget;
  int taken = 0;
  while (budget.take()) ++taken;
  EXPECT_EQ(taken, RetryBudget::kMost);
  for (int i = 0; i < 4; ++i) budget.request();
  EXPECT_FALSE(budget.take());
  budget.request();
  EXPECT_TRUE(budget.take());
  EXPECT_FALSE(budget.take());
  // Every request fails and wants one retry.
  taken = 0;
  for (int i = 0; i < 10'000; ++i) {
    budget.request();
    taken += budget.take();
  }
  EXPECT_EQ(taken, 2'000);
  // What is saved up is bounded.
  for (int i = 0; i < 1'000'000; ++i) budget.request();
  taken = 0;
  while (budget.take()) ++taken;
  EXPECT_EQ(taken, RetryBudget::kMost);
}

}  // namespace
}  // namespace edgemux::routing
