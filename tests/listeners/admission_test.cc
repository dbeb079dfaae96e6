#include "listeners/admission.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace edgemux::listeners {
namespace {

core::SocketAddress client(std::string_view ip) { return *core::SocketAddress::parse_ip(ip, 1234); }

TEST(Admission, CountsUpToTheTotal) {
  Admission admission;
  admission.configure({}, 2);
  EXPECT_TRUE(admission.admit(client("10.0.0.1"), 0));
  EXPECT_TRUE(admission.admit(client("10.0.0.2"), 0));
  EXPECT_FALSE(admission.admit(client("10.0.0.3"), 0));
  EXPECT_EQ(admission.connections(), 2U);
  admission.leave(client("10.0.0.1"));
  EXPECT_TRUE(admission.admit(client("10.0.0.3"), 0));
}

TEST(Admission, ALowerTotalHoldsForTheNextConnections) {
  Admission admission;
  admission.configure({}, 3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(admission.admit(client("10.0.0.1"), 0));
  admission.configure({}, 1);
  admission.leave(client("10.0.0.1"));
  EXPECT_FALSE(admission.admit(client("10.0.0.1"), 0));
  admission.leave(client("10.0.0.1"));
  admission.leave(client("10.0.0.1"));
  EXPECT_TRUE(admission.admit(client("10.0.0.1"), 0));
}

TEST(Admission, LimitsASource) {
  Admission admission;
  routing::Limits limits;
  limits.connections_per_source = 2;
  admission.configure(limits, 100);
  EXPECT_TRUE(admission.admit(client("10.0.0.1"), 0));
  EXPECT_TRUE(admission.admit(client("10.0.0.1"), 0));
  EXPECT_FALSE(admission.admit(client("10.0.0.1"), 0));
  EXPECT_TRUE(admission.admit(client("10.0.0.2"), 0));
  EXPECT_EQ(admission.connections(), 3U) << "a refused one takes no place";
  admission.leave(client("10.0.0.1"));
  EXPECT_TRUE(admission.admit(client("10.0.0.1"), 10'000));
}

TEST(Admission, AnIpv6SourceIsItsNetwork) {
  Admission admission;
  routing::Limits limits;
  limits.connections_per_source = 1;
  admission.configure(limits, 100);
  EXPECT_TRUE(admission.admit(client("2001:db8:1:2::1"), 0));
  EXPECT_FALSE(admission.admit(client("2001:db8:1:2:ffff::9"), 0));
  EXPECT_TRUE(admission.admit(client("2001:db8:1:3::1"), 0));
}

TEST(Admission, LimitsTheRateOfASourcePerSecond) {
  Admission admission;
  routing::Limits limits;
  limits.new_connections_per_second_per_source = 2;
  admission.configure(limits, 100);
  const auto one = client("10.0.0.1");
  for (const std::uint64_t second : {1000U, 2000U, 3000U}) {
    EXPECT_TRUE(admission.admit(one, second));
    admission.leave(one);
    EXPECT_TRUE(admission.admit(one, second));
    admission.leave(one);
    EXPECT_FALSE(admission.admit(one, second + 499)) << "leaving gives no new one";
    EXPECT_TRUE(admission.admit(client("10.0.0.2"), second));
    admission.leave(client("10.0.0.2"));
  }
  EXPECT_EQ(admission.connections(), 0U);
}

TEST(Admission, TheTurnOfASecondGivesNoSecondAllowance) {
  Admission admission;
  routing::Limits limits;
  limits.new_connections_per_second_per_source = 2;
  admission.configure(limits, 100);
  const auto one = client("10.0.0.1");
  EXPECT_TRUE(admission.admit(one, 1999));
  EXPECT_TRUE(admission.admit(one, 1999));
  for (const auto& other : {"10.0.0.2", "10.0.0.3"}) {
    EXPECT_TRUE(admission.admit(client(other), 2000)) << "whose new second sweeps, but forgets nobody who is in debt";
  }
  admission.leave(one);
  admission.leave(one);
  EXPECT_FALSE(admission.admit(one, 2000));
  EXPECT_FALSE(admission.admit(one, 2498));
  EXPECT_TRUE(admission.admit(one, 2499));
  EXPECT_FALSE(admission.admit(one, 2499));
}

TEST(Admission, LimitsMayBeSwitchedOnAndOffWhileConnectionsLive) {
  Admission admission;
  admission.configure({}, 100);
  const auto one = client("10.0.0.1");
  EXPECT_TRUE(admission.admit(one, 0, false));
  EXPECT_TRUE(admission.admit(one, 0, false));
  routing::Limits limits;
  limits.connections_per_source = 1;
  admission.configure(limits, 100);
  EXPECT_TRUE(admission.admit(one, 0));
  admission.leave(one, false);
  EXPECT_FALSE(admission.admit(one, 0)) << "one that was never counted gives no place";
  admission.configure({}, 100);
  EXPECT_TRUE(admission.admit(one, 0, false));
  admission.leave(one);
  admission.leave(one, false);
  admission.leave(one, false);
  EXPECT_EQ(admission.connections(), 0U);
  admission.configure(limits, 100);
  EXPECT_TRUE(admission.admit(one, 0)) << "the one that was counted has left";
  EXPECT_FALSE(admission.admit(one, 0));
}

TEST(Admission, BoundsTheMemoryOfUnfinishedHellos) {
  Admission admission;
  routing::Limits limits;
  limits.inspect_memory = 1000;
  admission.configure(limits, 100);
  EXPECT_TRUE(admission.take_memory(600));
  EXPECT_FALSE(admission.take_memory(401));
  EXPECT_TRUE(admission.take_memory(400));
  EXPECT_FALSE(admission.take_memory(1));
  admission.give_memory(1000);
  EXPECT_TRUE(admission.take_memory(1000));
}

TEST(Admission, NeverLetsInMoreThanTheTotalFromManyThreads) {
  Admission admission;
  routing::Limits limits;
  limits.connections_per_source = 40;
  admission.configure(limits, 50);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const auto source = client("10.0.0." + std::to_string(t % 2));
      for (int i = 0; i < 3000; ++i) {
        std::vector<bool> in;
        for (int k = 0; k < 30; ++k) {
          if (!admission.admit(source, static_cast<std::uint64_t>(i))) continue;
          in.push_back(true);
          const int now = ++inside;
          int seen = most;
          while (now > seen && !most.compare_exchange_weak(seen, now)) {
          }
        }
        for (std::size_t k = 0; k < in.size(); ++k) {
          --inside;
          admission.leave(source);
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(most.load(), 50);
  EXPECT_GT(most.load(), 0);
  EXPECT_EQ(admission.connections(), 0U);
}

}  // namespace
}  // namespace edgemux::listeners
