// Rates of client addresses over a clock moved by hand.
#include "listeners/source_rates.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace edgemux::listeners {
namespace {

constexpr std::uint64_t kStart = 1'000'000;  // ms

core::SocketAddress source(const std::string& ip) { return *core::SocketAddress::parse_ip(ip, 1234); }

struct SourceRatesTest : ::testing::Test {
  void limit(std::uint32_t requests, std::uint64_t bandwidth) {
    routing::Limits limits;
    limits.requests_per_second_per_source = requests;
    limits.bandwidth_per_source = bandwidth;
    rates.configure(limits);
  }
  unsigned take_all(const std::string& ip, std::uint64_t now) {
    unsigned taken = 0;
    while (taken < 1000 && rates.take_request(source(ip), now)) ++taken;
    return taken;
  }
  SourceRates rates;
};

TEST_F(SourceRatesTest, SwitchedOffThereIsNoLimit) {
  EXPECT_EQ(take_all("10.0.0.1", kStart), 1000U);
  rates.charge_bandwidth(source("10.0.0.1"), 1 << 30, kStart);
  EXPECT_EQ(rates.bandwidth_wait(source("10.0.0.1"), kStart), 0U);
  EXPECT_FALSE(rates.bandwidth_limited());
}

TEST_F(SourceRatesTest, ASecondsWorthMayComeAtOnceAndEachSourceHasItsOwn) {
  limit(10, 0);
  EXPECT_EQ(take_all("10.0.0.1", kStart), 10U);
  EXPECT_EQ(take_all("10.0.0.2", kStart), 10U);
  EXPECT_EQ(take_all("10.0.0.1", kStart + 500), 5U);
  EXPECT_EQ(take_all("10.0.0.1", kStart + 10'000), 10U);
  limit(0, 0);
  EXPECT_EQ(take_all("10.0.0.1", kStart), 1000U);
}

TEST_F(SourceRatesTest, AnIpv6SourceIsItsNetwork) {
  limit(4, 0);
  EXPECT_EQ(take_all("2001:db8:1:2::1", kStart), 4U);
  EXPECT_EQ(take_all("2001:db8:1:2:ffff::9", kStart), 0U);
  EXPECT_EQ(take_all("2001:db8:1:3::1", kStart), 4U);
  EXPECT_EQ(take_all("::1", kStart), 4U);
}

TEST_F(SourceRatesTest, ASocketOfAnotherKindHasNoLimit) {
  limit(1, 1);
  const core::SocketAddress nobody;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(rates.take_request(nobody, kStart));
  rates.charge_bandwidth(nobody, 1 << 20, kStart);
  EXPECT_EQ(rates.bandwidth_wait(nobody, kStart), 0U);
}

TEST_F(SourceRatesTest, BandwidthIsADebtThatTimePays) {
  limit(0, 1000);
  EXPECT_EQ(rates.bandwidth_wait(source("10.0.0.1"), kStart), 0U);
  rates.charge_bandwidth(source("10.0.0.1"), 2000, kStart);
  const std::uint64_t wait = rates.bandwidth_wait(source("10.0.0.1"), kStart);
  EXPECT_GT(wait, 1900U);
  EXPECT_LE(wait, 2000U);
  EXPECT_EQ(rates.bandwidth_wait(source("10.0.0.2"), kStart), 0U);
  EXPECT_EQ(rates.bandwidth_wait(source("10.0.0.1"), kStart + wait), 0U);
}

// However many sources there are, one that goes too fast is noticed among those that do not, and memory stays.
TEST_F(SourceRatesTest, SlotsOfThoseThatAreSlowGoToOthers) {
  limit(2, 0);
  const auto address = [](std::uint32_t n) {
    return source("10." + std::to_string(n >> 16 & 255) + "." + std::to_string(n >> 8 & 255) + "." +
                  std::to_string(n & 255));
  };
  std::uint64_t now = kStart;
  unsigned let_in = 0;
  for (std::uint32_t n = 0; n < 4 * SourceRates::kSources; ++n) {
    now += n % 16 == 0 ? 1 : 0;
    EXPECT_TRUE(rates.take_request(address(n), now)) << n;
    if (n % 64 == 0 && rates.take_request(source("192.0.2.1"), now)) ++let_in;
  }
  // 4 * 64 Ki sources in 16 s: two requests a second, and two at once.
  EXPECT_LE(let_in, 40U);
  EXPECT_GE(let_in, 30U);
}

TEST_F(SourceRatesTest, HoldsTheRateOverThreads) {
  limit(100, 0);
  std::atomic<unsigned> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] { taken += take_all("10.0.0.1", kStart); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(taken, 100U);
}

}  // namespace
}  // namespace edgemux::listeners
