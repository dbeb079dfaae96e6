#include "listeners/allowance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace edgemux::listeners {
namespace {

constexpr std::uint64_t kPace = 1024 * 1024;
constexpr std::uint64_t kBegin = 1'000'000;  // ms

class AllowanceTest : public testing::Test {
 protected:
  AllowanceTest() { limit(kPace); }
  void limit(std::uint64_t rate) { tenant_.configure({.bandwidth = rate}); }
  // Of clients that move whatever they may, for so long; what each has moved.
  std::vector<std::uint64_t> move(std::size_t clients, std::uint64_t ms) {
    std::vector<Allowance> allowances(clients);
    std::vector<std::uint64_t> moved(clients);
    std::vector<std::uint64_t> asks(clients, now_);
    for (const std::uint64_t end = now_ + ms; now_ < end; ++now_) {
      for (std::size_t i = 0; i < clients; ++i) {
        while (asks[i] <= now_) {
          if (const auto wait = allowances[i].wait(payers_, now_); wait > 0) {
            asks[i] = now_ + wait;
            break;
          }
          const std::size_t bytes = std::min(allowances[i].left(payers_), kBuffer);
          allowances[i].spend(payers_, bytes);
          moved[i] += bytes;
        }
      }
    }
    for (auto& allowance : allowances) allowance.give_back(payers_, now_);
    return moved;
  }

  static constexpr std::size_t kBuffer = 64 * 1024;
  SourceRates sources_;
  core::SocketAddress client_ = *core::SocketAddress::parse_ip("10.0.0.1", 1234);
  routing::TenantState tenant_{0};
  Payers payers_{sources_, client_, &tenant_};
  std::uint64_t now_ = kBegin;
};

TEST_F(AllowanceTest, NothingIsLimitedWithoutALimit) {
  limit(0);
  Allowance allowance;
  EXPECT_EQ(allowance.wait(payers_, kBegin), 0U);
  EXPECT_EQ(allowance.left(payers_), SIZE_MAX);
  allowance.spend(payers_, 1U << 30U);
  EXPECT_EQ(allowance.wait(payers_, kBegin), 0U);
}

TEST_F(AllowanceTest, ThoseWhoShareABandwidthHaveEqualPartsOfAllOfIt) {
  for (const std::size_t clients : {1U, 12U, 300U}) {
    const auto moved = move(clients, 10'000);
    std::uint64_t sum = 0;
    for (const auto bytes : moved) sum += bytes;
    EXPECT_GT(sum, 9 * kPace) << clients;
    EXPECT_LT(sum, 11 * kPace) << clients;
    const auto [least, most] = std::minmax_element(moved.begin(), moved.end());
    // The first finds 50 ms' worth, and takes a step more.
    EXPECT_LE(*most - *least, kPace / 20 + kPace / 100 + *least / 5) << clients;
    now_ += 5'000;
  }
}

TEST_F(AllowanceTest, WhoComesLaterWaitsForOneTurnOfTheOthers) {
  std::vector<Allowance> others(300);
  for (auto& other : others) {
    if (other.wait(payers_, kBegin) == 0) other.spend(payers_, kBuffer);
  }
  Allowance late;
  std::uint64_t waited = 0;
  while (const auto wait = late.wait(payers_, kBegin + waited)) waited += wait;
  EXPECT_GT(waited, 100U);
  EXPECT_LT(waited, 1'500U) << "a step of 4 KiB for each of them";
}

TEST_F(AllowanceTest, WhatIsNotUsedIsForOthers) {
  for (int i = 0; i < 1'000; ++i) {
    Allowance request;
    ASSERT_EQ(request.wait(payers_, kBegin), 0U) << i;
    request.spend(payers_, 10);
    request.give_back(payers_, kBegin);
  }
}

TEST_F(AllowanceTest, AnotherRateForgetsWhatIsOwed) {
  limit(1024);
  Allowance waiting;
  ASSERT_EQ(waiting.wait(payers_, kBegin), 0U);
  waiting.spend(payers_, 10U << 20U);
  EXPECT_EQ(waiting.wait(payers_, kBegin), Allowance::kAskAgain) << "hours";
  limit(100 * kPace);
  EXPECT_EQ(waiting.wait(payers_, kBegin + 1'000), 0U);
  EXPECT_GT(waiting.left(payers_), 1'000'000U);
  limit(0);
  EXPECT_EQ(waiting.wait(payers_, kBegin + 1'000), 0U);
  EXPECT_EQ(waiting.left(payers_), SIZE_MAX);
}

TEST_F(AllowanceTest, ASourcesDebtIsForgottenWithItsRateToo) {
  limit(0);
  routing::Limits limits;
  limits.bandwidth_per_source = 1024;
  sources_.configure(limits);
  Allowance one;
  ASSERT_EQ(one.wait(payers_, kBegin), 0U);
  one.spend(payers_, 10U << 20U);
  one.give_back(payers_, kBegin);
  EXPECT_GT(sources_.bandwidth_wait(client_, kBegin), 1'000'000U);
  limits.bandwidth_per_source = kPace;
  sources_.configure(limits);
  EXPECT_EQ(sources_.bandwidth_wait(client_, kBegin), 0U);
}

}  // namespace
}  // namespace edgemux::listeners
