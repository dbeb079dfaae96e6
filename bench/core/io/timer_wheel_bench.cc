// What deadlines cost: moving one with every event, arming and cancelling one per request, and turning the wheel over
// many that stand.
#include "core/io/timer_wheel.h"

#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <vector>

namespace edgemux::core {
namespace {

using Timers = std::vector<std::unique_ptr<Timer>>;

Timers make_timers(std::size_t count) {
  Timers timers;
  for (std::size_t i = 0; i < count; ++i) timers.push_back(std::make_unique<Timer>([](void*) {}, nullptr));
  return timers;
}

// An idle deadline among as many connections, moved with every byte.
void move_later(benchmark::State& state) {
  TimerWheel wheel;
  const Timers timers = make_timers(static_cast<std::size_t>(state.range(0)));
  std::mt19937 random(1);
  std::uint64_t now = 0;
  for (auto _ : state) wheel.arm(*timers[random() % timers.size()], ++now / 16 + 75'000);
}
BENCHMARK(move_later)->Arg(100)->Arg(100'000);

void arm_and_cancel(benchmark::State& state) {
  TimerWheel wheel;
  const Timers standing = make_timers(static_cast<std::size_t>(state.range(0)));
  std::mt19937 random(1);
  for (const auto& timer : standing) wheel.arm(*timer, random() % 600'000);
  Timer timer([](void*) {}, nullptr);
  for (auto _ : state) {
    wheel.arm(timer, 60'000);
    timer.cancel();
  }
}
BENCHMARK(arm_and_cancel)->Arg(100)->Arg(100'000);

// A millisecond passes; each deadline that fires is armed again.
void advance(benchmark::State& state) {
  struct Again {
    TimerWheel wheel;
    std::uint64_t now = 0;
    std::mt19937 random{1};
    struct Entry {
      Again* all;
      std::unique_ptr<Timer> timer;
    };
    std::vector<std::unique_ptr<Entry>> entries;
  } again;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    again.entries.push_back(std::make_unique<Again::Entry>(Again::Entry{&again, nullptr}));
    Again::Entry* entry = again.entries.back().get();
    entry->timer = std::make_unique<Timer>(
        [](void* self) {
          auto* fired = static_cast<Again::Entry*>(self);
          fired->all->wheel.arm(*fired->timer, fired->all->now + 1 + fired->all->random() % 75'000);
        },
        entry);
    again.wheel.arm(*entry->timer, again.random() % 75'000);
  }
  for (auto _ : state) {
    again.wheel.advance(++again.now);
    benchmark::DoNotOptimize(again.wheel.timeout(again.now));
  }
}
BENCHMARK(advance)->Arg(100)->Arg(100'000);

}  // namespace
}  // namespace edgemux::core
