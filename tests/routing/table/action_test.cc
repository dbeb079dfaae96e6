#include "routing/table/action.h"

#include <gtest/gtest.h>

namespace edgemux::routing {
namespace {

constexpr std::uint64_t kSteps = 10'000;
constexpr std::uint64_t kStep = UINT64_MAX / kSteps;

UpstreamPtr upstream(const char* name) {
  Upstream made;
  made.name = name;
  return std::make_shared<const Upstream>(std::move(made));
}

TEST(Split, SharesByWeight) {
  const Split split{{{upstream("a"), 90}, {upstream("none"), 0}, {upstream("b"), 10}}};
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  for (std::uint64_t i = 0; i < kSteps; ++i) {
    const auto& name = split.pick(i * kStep + kStep / 2)->upstream->name;
    ASSERT_NE(name, "none");
    ++(name == "a" ? a : b);
  }
  EXPECT_EQ(a, kSteps * 9 / 10);
  EXPECT_EQ(b, kSteps / 10);
  EXPECT_EQ(split.pick(0)->upstream->name, "a");
  EXPECT_EQ(split.pick(UINT64_MAX)->upstream->name, "b");
}

TEST(Split, WithoutAnyWeightPicksNothing) {
  EXPECT_EQ((Split{{{upstream("a"), 0}}}.pick(5)), nullptr);
  EXPECT_EQ(Split{}.pick(5), nullptr);
}

TEST(Split, HoldsTheLargestWeights) {
  const Split split{{{upstream("a"), 1'000'000}, {upstream("b"), 1'000'000}, {upstream("c"), 1'000'000}}};
  EXPECT_EQ(split.pick(UINT64_MAX / 2)->upstream->name, "b");
  EXPECT_EQ(split.pick(UINT64_MAX)->upstream->name, "c");
}

TEST(Mirror, SamplesItsPercentage) {
  constexpr std::uint64_t steps = Mirror::kAll;
  constexpr std::uint64_t step = UINT64_MAX / steps;
  for (const std::uint32_t share : {0U, 1U, 500U, 5'000U, 12'250U, 50'000U, 99'999U, 100'000U}) {
    const Mirror mirror{nullptr, share};
    std::uint64_t taken = 0;
    for (std::uint64_t i = 0; i < steps; ++i) taken += mirror.samples(i * step + step / 2) ? 1U : 0U;
    EXPECT_EQ(taken, share);
  }
  EXPECT_FALSE((Mirror{nullptr, 0}.samples(0)));
  EXPECT_TRUE((Mirror{nullptr, 1}.samples(0)));
  EXPECT_FALSE((Mirror{nullptr, 99'999}.samples(UINT64_MAX)));
  EXPECT_TRUE((Mirror{nullptr, Mirror::kAll}.samples(UINT64_MAX)));
}

TEST(Retry, WaitsLongerEachTimeWithinItsBounds) {
  Retry policy;
  policy.backoff = milliseconds(25);
  EXPECT_EQ(retry_backoff(policy, 1, 0), milliseconds(12));
  EXPECT_EQ(retry_backoff(policy, 1, UINT64_MAX), milliseconds(25));
  EXPECT_EQ(retry_backoff(policy, 3, UINT64_MAX), milliseconds(100));
  EXPECT_EQ(retry_backoff(policy, 30, UINT64_MAX), milliseconds(1000));
  policy.backoff = milliseconds(5000);
  EXPECT_EQ(retry_backoff(policy, 4, UINT64_MAX), milliseconds(5000));
  policy.backoff = milliseconds(0);
  EXPECT_EQ(retry_backoff(policy, 4, UINT64_MAX), milliseconds(0));
}

TEST(Retry, NamesItsStatuses) {
  Retry policy;
  policy.on_status = {502, 503};
  EXPECT_TRUE(policy.on(503));
  EXPECT_FALSE(policy.on(500));
}

}  // namespace
}  // namespace edgemux::routing
