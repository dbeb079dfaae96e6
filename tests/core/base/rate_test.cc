// Token buckets over a clock moved by hand.
#include "core/base/rate.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace edgemux::core {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kStart = 77 * RateBucket::kSecond;

unsigned take_all(RateBucket& bucket, std::uint64_t now) {
  unsigned taken = 0;
  while (taken < 100'000 && bucket.take(now)) ++taken;
  return taken;
}

TEST(RateBucket, WithoutARateThereIsNoLimit) {
  RateBucket bucket;
  EXPECT_EQ(take_all(bucket, 0), 100'000U);
  EXPECT_EQ(bucket.wait(0), 0U);
  bucket.charge(1 << 30, 0);
  EXPECT_EQ(bucket.wait(0), 0U);
}

TEST(RateBucket, HoldsOneWindowAndRefillsAtItsRate) {
  RateBucket bucket;
  bucket.set_rate(200);
  EXPECT_EQ(take_all(bucket, kStart), 200U);
  EXPECT_EQ(take_all(bucket, kStart + 4 * kMs), 0U);
  EXPECT_EQ(bucket.wait(kStart + 4 * kMs), kMs);
  EXPECT_EQ(take_all(bucket, kStart + 5 * kMs), 1U);
  EXPECT_EQ(take_all(bucket, kStart + 255 * kMs), 50U);
  // A pause saves up one window and no more.
  EXPECT_EQ(take_all(bucket, kStart + 60'000 * kMs), 200U);
}

TEST(RateBucket, OneASecondIsOneASecond) {
  RateBucket bucket;
  bucket.set_rate(1);
  EXPECT_EQ(take_all(bucket, kStart), 1U);
  EXPECT_EQ(take_all(bucket, kStart + 999 * kMs), 0U);
  EXPECT_EQ(take_all(bucket, kStart + 1000 * kMs), 1U);
}

TEST(RateBucket, DebtIsPaidInTime) {
  RateBucket bucket(50 * kMs);
  bucket.set_rate(1'000'000);  // bytes per second
  std::uint64_t now = kStart;
  std::uint64_t moved = 0;
  while (now < kStart + 10 * RateBucket::kSecond) {
    if (const auto wait = bucket.wait(now); wait != 0) {
      now += wait;
      continue;
    }
    bucket.charge(65'536, now);
    moved += 65'536;
  }
  EXPECT_NEAR(static_cast<double>(moved), 10e6, 0.15e6);
}

TEST(RateBucket, ARateMayChangeWhileInDebt) {
  RateBucket bucket(0);
  bucket.set_rate(1000);
  bucket.charge(1000, kStart);
  EXPECT_GE(bucket.wait(kStart), RateBucket::kSecond - kMs);
  bucket.set_rate(0);
  EXPECT_EQ(bucket.wait(kStart), 0U);
  bucket.set_rate(1ULL << 40);
  bucket.charge(1, kStart + 2 * RateBucket::kSecond);
  EXPECT_EQ(bucket.wait(kStart + 2 * RateBucket::kSecond + 2), 0U);
}

TEST(RateBucket, ThreadsShareIt) {
  RateBucket bucket;
  bucket.set_rate(5000);
  std::atomic<unsigned> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 5000; ++n) taken += bucket.take(kStart) ? 1 : 0;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(taken, 5000U);
}

}  // namespace
}  // namespace edgemux::core
