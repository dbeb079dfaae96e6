#include "core/base/metrics.h"

#include <gtest/gtest.h>

#include <thread>

namespace edgemux::core {
namespace {

TEST(Metrics, GivesANameTheSameSlotOverReloads) {
  Metrics metrics(2);
  const auto https = metrics.listener_slot("https");
  const auto http = metrics.listener_slot("http");
  EXPECT_NE(https, http);
  EXPECT_EQ(https, metrics.listener_slot("https"));
  EXPECT_EQ("https", metrics.listener_names()[https]);
}

TEST(Metrics, SharesTheSlotOfOtherWhenNamesRunOut) {
  Metrics metrics(1);
  for (std::size_t i = 1; i < kListenerSlots; ++i) EXPECT_EQ(i, metrics.listener_slot("l" + std::to_string(i)));
  EXPECT_EQ(0U, metrics.listener_slot("one too many"));
  EXPECT_EQ(kListenerSlots, metrics.listener_names().size());
  EXPECT_EQ(7U, metrics.listener_slot("l7"));
}

TEST(Metrics, CountsRequestsByClassAndLatency) {
  ListenerMetrics listener;
  listener.request(101, 100);
  listener.request(200, 500);
  listener.request(204, 501);
  listener.request(599, 61'000'000);
  listener.request(0, 1);
  const std::array<std::uint64_t, kStatusClasses.size()> expected{1, 1, 2, 0, 0, 1};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(expected[i], listener.requests[i].read()) << kStatusClasses[i];
  }
  EXPECT_EQ(3U, listener.latency.bucket(0));
  EXPECT_EQ(1U, listener.latency.bucket(1));
  EXPECT_EQ(1U, listener.latency.bucket(kLatencyBounds.size()));
  EXPECT_EQ(61'001'102U, listener.latency.sum_micros());
}

TEST(Metrics, IsReadWhileAWorkerCounts) {
  Metrics metrics(1);
  auto& counter = metrics.worker(0).listeners[0].accepted;
  std::thread worker([&] {
    for (int i = 0; i < 100'000; ++i) counter.add();
  });
  std::uint64_t last = 0;
  while (last < 100'000) {
    const auto now = counter.read();
    ASSERT_GE(now, last);
    last = now;
  }
  worker.join();
  EXPECT_EQ(100'000U, counter.read());
}

}  // namespace
}  // namespace edgemux::core
