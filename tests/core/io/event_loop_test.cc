#include "core/io/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/loop_driver.h"

namespace edgemux::core {
namespace {

struct LocalPair {
  LocalPair() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) ADD_FAILURE();
    a = ends[0];
    b = ends[1];
  }
  ~LocalPair() {
    close(a);
    close(b);
  }
  void poke() const { EXPECT_EQ(write(b, "x", 1), 1); }
  int a;
  int b;
};

struct Spy final : Watcher {
  explicit Spy(std::function<void(std::uint32_t)> what) : action(std::move(what)) {}
  void on_io(std::uint32_t ready) override { action(ready); }
  std::function<void(std::uint32_t)> action;
};

TEST(EventLoop, RunsPostedTasksOfManyThreadsInTheOrderOfEach) {
  EventLoop loop;
  constexpr int kThreads = 4;
  constexpr int kTasks = 2000;
  std::vector<int> seen(kThreads, 0);
  int total = 0;
  bool in_order = true;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kTasks; ++i) {
        loop.post([&, t, i] {
          in_order = in_order && seen[static_cast<std::size_t>(t)] == i;
          seen[static_cast<std::size_t>(t)] = i + 1;
          if (++total == kThreads * kTasks) loop.stop();
        });
      }
    });
  }
  loop.run();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(total, kThreads * kTasks);
  EXPECT_TRUE(in_order);
}

TEST(EventLoop, ATaskMayPostAnotherAndThoseAfterTheEndAreDestroyed) {
  auto alive = std::make_shared<int>(0);
  {
    EventLoop loop;
    int runs = 0;
    loop.post([&] {
      ++runs;
      loop.post([&] {
        ++runs;
        loop.stop();
      });
    });
    loop.run();
    EXPECT_EQ(runs, 2);
    loop.post([alive] { FAIL() << "must not run"; });
    EXPECT_EQ(alive.use_count(), 2);
  }
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(EventLoop, AWatcherThatUnwatchesAnotherIsObeyedWithinTheTurn) {
  EventLoop loop;
  LocalPair one;
  LocalPair two;
  int calls = 0;
  std::unique_ptr<Spy> first;
  std::unique_ptr<Spy> second;
  // Both are ready at once: whichever comes first takes the other away.
  first = std::make_unique<Spy>([&](std::uint32_t) {
    ++calls;
    loop.unwatch(two.a, *second);
    loop.unwatch(one.a, *first);
  });
  second = std::make_unique<Spy>([&](std::uint32_t) {
    ++calls;
    loop.unwatch(one.a, *first);
    loop.unwatch(two.a, *second);
  });
  ASSERT_TRUE(loop.watch(one.a, *first, Trigger::level, kReadable));
  ASSERT_TRUE(loop.watch(two.a, *second, Trigger::level, kReadable));
  one.poke();
  two.poke();
  int turns = 0;
  test::LoopDriver(loop).run_until([&] { return ++turns > 5; });
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, EdgesComeOncePerArrivalLevelsUntilTaken) {
  EventLoop loop;
  LocalPair edge;
  LocalPair level;
  int edges = 0;
  int levels = 0;
  Spy on_edge([&](std::uint32_t ready) { edges += (ready & kReadable) != 0 ? 1 : 0; });
  Spy on_level([&](std::uint32_t ready) {
    EXPECT_EQ(ready, kReadable);
    ++levels;
  });
  ASSERT_TRUE(loop.watch(edge.a, on_edge, Trigger::edge, kReadable));
  ASSERT_TRUE(loop.watch(level.a, on_level, Trigger::level, kReadable));
  edge.poke();
  level.poke();
  test::LoopDriver(loop).run_until([&] { return levels > 3; });
  EXPECT_EQ(edges, 1);
  loop.unwatch(edge.a, on_edge);
  loop.unwatch(level.a, on_level);
}

TEST(EventLoop, TellsTheEndOfThePeer) {
  EventLoop loop;
  const auto pair = test::tcp_pair();
  std::uint32_t seen = 0;
  Spy spy([&](std::uint32_t ready) { seen |= ready; });
  ASSERT_TRUE(loop.watch(pair.far, spy, Trigger::edge, kReadable));
  shutdown(pair.near, SHUT_WR);
  test::LoopDriver(loop).run_until([&] { return seen != 0; });
  EXPECT_EQ(seen, kReadable | kPeerClosed | kComplete);
  loop.unwatch(pair.far, spy);
  close(pair.near);
  close(pair.far);
}

TEST(EventLoop, RefusesADescriptorThatCannotBeWatchedAndOneWatchedTwice) {
  EventLoop loop;
  Spy spy([](std::uint32_t) {});
  EXPECT_FALSE(loop.watch(-1, spy, Trigger::edge));
  LocalPair pair;
  ASSERT_TRUE(loop.watch(pair.a, spy, Trigger::edge));
  Spy other([](std::uint32_t) {});
  EXPECT_FALSE(loop.watch(pair.a, other, Trigger::edge));
  ASSERT_TRUE(loop.watch(pair.a, spy, Trigger::edge, kReadable)) << "the same watcher changes its interest";
  loop.unwatch(pair.a, spy);
}

struct Tracked final : Retirable {
  Tracked(std::vector<std::string>& to, std::string text, EventLoop* also = nullptr)
      : log(to), name(std::move(text)), loop(also) {}
  ~Tracked() override {
    log.push_back("freed " + name);
    // Freeing may retire more: it is freed in the same turn.
    if (loop != nullptr) loop->retire(std::make_unique<Tracked>(log, "child of " + name));
  }
  std::vector<std::string>& log;
  std::string name;
  EventLoop* loop;
};

TEST(EventLoop, FreesRetiredObjectsWhenTheTurnIsOver) {
  EventLoop loop;
  std::vector<std::string> log;
  loop.post([&] {
    loop.retire(std::make_unique<Tracked>(log, "parent", &loop));
    log.push_back("retired");
  });
  loop.post([&] { log.push_back("same turn"); });
  test::LoopDriver(loop).run_until([&] { return log.size() == 4; });
  EXPECT_EQ(log, (std::vector<std::string>{"retired", "same turn", "freed parent", "freed child of parent"}));
}

TEST(Deferred, RunsOnceHoweverOftenAskedAndNotAfterCancelOrDestruction) {
  EventLoop loop;
  struct Owner {
    int runs = 0;
  };
  Owner wanted;
  Owner cancelled;
  Owner destroyed;
  const auto count = [](void* owner) { ++static_cast<Owner*>(owner)->runs; };
  Deferred once(loop, count, &wanted);
  Deferred off(loop, count, &cancelled);
  auto gone = std::make_unique<Deferred>(loop, count, &destroyed);
  for (int i = 0; i < 5; ++i) once.request();
  off.request();
  off.cancel();
  gone->request();
  gone.reset();
  int turns = 0;
  test::LoopDriver(loop).run_until([&] { return ++turns > 3; });
  EXPECT_EQ(wanted.runs, 1);
  EXPECT_EQ(cancelled.runs, 0);
  EXPECT_EQ(destroyed.runs, 0);
}

TEST(Deferred, MayBeDestroyedByAnotherThatRunsInTheSameTurn) {
  EventLoop loop;
  struct Pair {
    std::unique_ptr<Deferred> first;
    std::unique_ptr<Deferred> second;
    int runs = 0;
  } pair;
  const auto drop = [](void* owner) {
    auto& both = *static_cast<Pair*>(owner);
    ++both.runs;
    both.second.reset();
    auto self = std::move(both.first);  // a callback may take its own Deferred away
  };
  const auto count = [](void* owner) { static_cast<Pair*>(owner)->runs += 100; };
  pair.first = std::make_unique<Deferred>(loop, drop, &pair);
  pair.second = std::make_unique<Deferred>(loop, count, &pair);
  pair.first->request();
  pair.second->request();
  int turns = 0;
  test::LoopDriver(loop).run_until([&] { return ++turns > 3; });
  EXPECT_EQ(pair.runs, 1);
}

TEST(Deferred, ThatAsksAgainLetsTheLoopTurn) {
  EventLoop loop;
  LocalPair pair;
  struct Spinner {
    std::unique_ptr<Deferred> deferred;
    int runs = 0;
  } spinner;
  spinner.deferred = std::make_unique<Deferred>(
      loop,
      [](void* owner) {
        auto& self = *static_cast<Spinner*>(owner);
        ++self.runs;
        self.deferred->request();
      },
      &spinner);
  spinner.deferred->request();
  bool heard = false;
  Spy spy([&](std::uint32_t) { heard = true; });
  ASSERT_TRUE(loop.watch(pair.a, spy, Trigger::edge, kReadable));
  pair.poke();
  test::LoopDriver(loop).run_until([&] { return heard && spinner.runs > 10; });
  loop.unwatch(pair.a, spy);
}

}  // namespace
}  // namespace edgemux::core
