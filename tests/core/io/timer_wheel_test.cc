#include "core/io/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace edgemux::core {
namespace {

constexpr std::uint64_t kTick = TimerWheel::kTick;

// A timer that runs a function, so that a test can say what happens inside the call.
struct Alarm {
  explicit Alarm(std::function<void()> what)
      : action(std::move(what)), timer([](void* self) { static_cast<Alarm*>(self)->action(); }, this) {}
  std::function<void()> action;
  Timer timer;
};

TEST(TimerWheel, FiresNotEarlyAndAtMostATickLate) {
  for (const std::uint64_t start : {std::uint64_t{0}, std::uint64_t{12345}, kTick * 256 - 1, kTick * 256}) {
    for (std::uint64_t delay = 0; delay < 3 * kTick; ++delay) {
      TimerWheel wheel(start);
      std::uint64_t now = start;
      std::uint64_t fired = 0;
      Alarm alarm([&] { fired = now; });
      wheel.arm(alarm.timer, start + delay);
      for (; fired == 0 && now < start + 10 * kTick; ++now) wheel.advance(now);
      EXPECT_GE(fired, start + delay);
      EXPECT_LE(fired, start + delay + kTick) << start << " " << delay;
      EXPECT_FALSE(alarm.timer.armed());
    }
  }
}

// Every border between two levels, from both sides, from aligned and unaligned beginnings.
TEST(TimerWheel, CrossesTheBordersOfItsLevels) {
  const std::vector<std::uint64_t> ticks{254,      255,      256,           257,           65535,
                                         65536,    65537,    16777215,      16777216,      16777217,
                                         16777472, 33554432, 0xFFFFFFFFULL, 0x100000005ULL};
  for (const std::uint64_t start_tick :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{255}, std::uint64_t{256}, std::uint64_t{65535},
        std::uint64_t{65536}, std::uint64_t{0xFFFFFF}, std::uint64_t{0x1000000}, std::uint64_t{0x1234567}}) {
    for (const std::uint64_t distance : ticks) {
      const std::uint64_t start = start_tick * kTick;
      if (distance > 100'000'000 && start_tick != 0x1234567) continue;  // a long way, once
      TimerWheel wheel(start);
      bool fired = false;
      Alarm alarm([&] { fired = true; });
      const std::uint64_t deadline = start + distance * kTick;
      wheel.arm(alarm.timer, deadline);
      // Only where timeout() says so: it must lead there, and never past it.
      std::uint64_t now = start;
      if (distance > 100'000'000) {  // most of the way at once
        now = deadline - 600'000;
        wheel.advance(now);
        ASSERT_FALSE(fired);
      }
      std::size_t steps = 0;
      while (!fired && steps++ < 200'000 && now <= deadline) {
        wheel.advance(now);
        ASSERT_TRUE(!fired || now >= deadline) << "early: " << start_tick << " + " << distance;
        if (fired) break;
        const int wait = wheel.timeout(now);
        ASSERT_GE(wait, 0) << start_tick << " + " << distance;
        now += static_cast<std::uint64_t>(std::max(wait, 1));
      }
      ASSERT_TRUE(fired) << start_tick << " + " << distance << " stopped at " << now - start;
    }
  }
}

TEST(TimerWheel, TimeoutIsNoneWithoutTimersAndNeverLate) {
  TimerWheel wheel(1000);
  EXPECT_EQ(wheel.timeout(1000), -1);
  Alarm alarm([] {});
  wheel.arm(alarm.timer, 900);
  EXPECT_LE(wheel.timeout(1000), static_cast<int>(kTick));
  alarm.timer.cancel();
  EXPECT_EQ(wheel.timeout(1000), -1);
  wheel.arm(alarm.timer, 1000 + 3'600'000);
  EXPECT_GT(wheel.timeout(1000), 0);
  EXPECT_LE(wheel.timeout(1000), 60'000);
}

TEST(TimerWheel, MovesADeadlineBothWays) {
  TimerWheel wheel(0);
  std::uint64_t now = 0;
  std::vector<std::uint64_t> fired;
  Alarm alarm([&] { fired.push_back(now); });
  wheel.arm(alarm.timer, 100);
  wheel.arm(alarm.timer, 5000);  // later: stays where it is
  wheel.arm(alarm.timer, 3000);  // earlier than that, later than its slot
  wheel.arm(alarm.timer, 40);    // earlier than its slot
  wheel.arm(alarm.timer, 9000);
  for (; now < 12'000; ++now) wheel.advance(now);
  ASSERT_EQ(fired.size(), 1U);
  EXPECT_GE(fired[0], 9000U);
  EXPECT_LE(fired[0], 9000U + kTick);
}

TEST(TimerWheel, CallbacksMayCancelArmAndDestroyTheirNeighbours) {
  TimerWheel wheel(0);
  std::vector<std::string> log;
  std::vector<std::unique_ptr<Alarm>> alarms(6);
  // All in one slot; each one fired takes the one after and the one before it away in another manner.
  for (std::size_t i = 0; i < alarms.size(); ++i) {
    alarms[i] = std::make_unique<Alarm>([&, i] {
      log.push_back("fired " + std::to_string(i));
      if (i == 3) {
        alarms[2]->timer.cancel();
        alarms[4].reset();                  // destroyed while it is due
        wheel.arm(alarms[1]->timer, 2000);  // due, moved away
        wheel.arm(alarms[3]->timer, 0);     // itself, in the past: not again in this slot
        auto self = std::move(alarms[3]);   // and away with it: cancelled
      }
    });
  }
  // The slot is a stack: the last one armed is the first to fire. 3 goes first.
  for (const std::size_t i : {0U, 1U, 2U, 4U, 5U, 3U}) wheel.arm(alarms[i]->timer, 64);
  wheel.advance(64);
  EXPECT_EQ(log, (std::vector<std::string>{"fired 3", "fired 5", "fired 0"}));
  wheel.advance(1999);
  EXPECT_EQ(log.size(), 3U);
  wheel.advance(2008);
  EXPECT_EQ(log.back(), "fired 1");
  EXPECT_FALSE(alarms[2]->timer.armed());
  EXPECT_EQ(wheel.timeout(2008), -1);
}

// The wheel against a map of deadlines, over random operations, also from inside callbacks.
TEST(TimerWheel, AgreesWithANaiveModel) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t n) { return random() % n; };
    std::uint64_t now = below(1ULL << (8 + seed % 30));
    TimerWheel wheel(now);
    constexpr std::size_t kTimers = 64;
    std::map<std::size_t, std::uint64_t> model;
    std::vector<std::unique_ptr<Alarm>> alarms(kTimers);
    bool failed = false;
    std::function<void(std::size_t, bool)> operate;
    const auto make = [&](std::size_t i) {
      alarms[i] = std::make_unique<Alarm>([&, i] {
        if (model.count(i) == 0 || model[i] > now) failed = true;
        model.erase(i);
        // Anything but destroying the one that is running (its std::function is on the stack).
        if (below(3) == 0) operate(below(kTimers), false);
        if (below(4) == 0) {
          const std::uint64_t deadline = now + below(5000);
          wheel.arm(alarms[i]->timer, deadline);
          model[i] = deadline;
        }
      });
    };
    operate = [&](std::size_t i, bool destroy) {
      if (destroy) {
        model.erase(i);
        make(i);
        return;
      }
      if (below(4) == 0) {
        alarms[i]->timer.cancel();
        model.erase(i);
        return;
      }
      const std::uint64_t spread = 1ULL << below(34);
      const std::uint64_t deadline = now + below(spread) - std::min(now, below(2) * below(100));
      wheel.arm(alarms[i]->timer, deadline);
      model[i] = std::max(deadline, now);  // one in the past is due now
    };
    for (std::size_t i = 0; i < kTimers; ++i) make(i);
    for (int step = 0; step < 4000 && !failed; ++step) {
      const std::size_t i = below(kTimers);
      operate(i, below(10) == 0);
      if (below(3) != 0) continue;
      const int wait = wheel.timeout(now);
      std::uint64_t first = UINT64_MAX;
      for (const auto& [index, deadline] : model) first = std::min(first, deadline);
      ASSERT_EQ(wait < 0, model.empty());
      // Not late: waiting as long as it says, no deadline is missed by more than a tick.
      if (!model.empty() && first > now) {
        ASSERT_LE(now + static_cast<std::uint64_t>(wait), first + kTick);
      }
      now += below(4) != 0 ? static_cast<std::uint64_t>(std::max(wait, 0)) : below(1ULL << below(24));
      wheel.advance(now);
      for (const auto& [index, deadline] : model) {
        ASSERT_TRUE(alarms[index]->timer.armed());
        ASSERT_GT(deadline + kTick, now) << "late, seed " << seed << " step " << step;
      }
    }
    EXPECT_FALSE(failed) << "early, or cancelled and fired all the same; seed " << seed;
  }
}

}  // namespace
}  // namespace edgemux::core
