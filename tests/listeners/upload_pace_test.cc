#include "listeners/upload_pace.h"

#include <gtest/gtest.h>

namespace edgemux::listeners {
namespace {

using Held = UploadPace::Held;
constexpr std::uint64_t kRate = 1000;
constexpr std::uint64_t kMostExcused = 60'000;
constexpr std::uint64_t kStep = 2000;

class UploadPaceTest : public ::testing::Test {
 protected:
  UploadPaceTest() { pace_.begin(now_); }
  // Another question after kStep, in which so many bytes came.
  bool too_slow(std::size_t bytes, Held held = Held::nothing) {
    now_ += kStep;
    if (bytes > 0) pace_.add(bytes, now_);
    return pace_.too_slow(now_, kRate, held, kMostExcused);
  }
  // For how long a client holds out that sends nothing.
  std::uint64_t holds_out(Held held) {
    const std::uint64_t began = now_;
    while (now_ - began < 1'000'000 && !too_slow(0, held)) {
    }
    return now_ - began;
  }

  std::uint64_t now_ = 5000;
  UploadPace pace_;
};

TEST_F(UploadPaceTest, CountsFromTheFirstByteOn) {
  now_ = 100'000;
  pace_.add(1, now_);
  EXPECT_FALSE(pace_.too_slow(now_ + 500, kRate, Held::nothing, 0)) << "right after it";
  EXPECT_FALSE(too_slow(3000));
  EXPECT_FALSE(too_slow(1500)) << "what was more before counts";
  EXPECT_TRUE(too_slow(100));
  EXPECT_FALSE(pace_.too_slow(now_, 0, Held::nothing, 0)) << "any rate will do";
}

TEST_F(UploadPaceTest, SilenceIsTooSlow) {
  EXPECT_TRUE(too_slow(0));
  EXPECT_FALSE(too_slow(1));
  pace_.restart(now_);
  EXPECT_TRUE(too_slow(1000));
}

TEST_F(UploadPaceTest, ItsOwnUpstreamIsNotTheClientsFault) {
  EXPECT_EQ(holds_out(Held::by_upstream), 1'000'000U);
  EXPECT_TRUE(too_slow(0)) << "and what was before does not count";
}

TEST_F(UploadPaceTest, WindowsThatOthersUseUpExcuseForAWhileOnly) {
  EXPECT_EQ(holds_out(Held::by_window), kMostExcused + kStep);
}

TEST_F(UploadPaceTest, AByteNowAndThenWinsNothing) {
  const std::uint64_t began = now_;
  while (!too_slow(1, Held::by_window)) ASSERT_LT(now_, 1'000'000U);
  EXPECT_LE(now_ - began, kMostExcused + 2 * kStep);
}

TEST_F(UploadPaceTest, TheTimeInWhichTheRateIsKeptEarnsTheExcuseBack) {
  EXPECT_FALSE(too_slow(1));
  for (int i = 0; i < 500; ++i) {
    ASSERT_FALSE(too_slow(0, Held::by_window)) << i;
    ASSERT_FALSE(too_slow(kRate * kStep / 1000)) << i;
  }
  // But not more than was used.
  EXPECT_LE(holds_out(Held::by_window), kMostExcused + 2 * kStep);
}

TEST_F(UploadPaceTest, IsQuietWhenNothingMoves) {
  EXPECT_FALSE(pace_.quiet(1000, 5, 3000)) << "the first question";
  EXPECT_FALSE(pace_.quiet(3900, 5, 3000));
  EXPECT_TRUE(pace_.quiet(4000, 5, 3000));
  EXPECT_FALSE(pace_.quiet(4000, 6, 3000));
  EXPECT_FALSE(pace_.quiet(6900, 6, 3000));
}

}  // namespace
}  // namespace edgemux::listeners
