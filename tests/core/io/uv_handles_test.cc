#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/io/event_loop.h"

namespace edgemux::core {
namespace {

struct Pair {
  Pair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()), 0); }
  ~Pair() {
    for (const int fd : fds) close(fd);
  }
  void say(char what) { ASSERT_EQ(write(fds[1], &what, 1), 1); }
  char hear() {
    char what = 0;
    return read(fds[0], &what, 1) == 1 ? what : '-';
  }
  std::array<int, 2> fds{};
};

TEST(SignalWatch, RunsOnTheLoopUntilDestroyed) {
  EventLoop loop;
  std::vector<int> seen;
  std::unique_ptr<SignalWatch> watch;
  watch = std::make_unique<SignalWatch>(loop, SIGUSR1, [&] {
    seen.push_back(SIGUSR1);
    watch.reset();  // from inside its own call
    raise(SIGUSR2);
  });
  const SignalWatch second(loop, SIGUSR2, [&] {
    seen.push_back(SIGUSR2);
    loop.stop();
  });
  loop.post([] { raise(SIGUSR1); });
  loop.run();
  EXPECT_EQ(seen, (std::vector{SIGUSR1, SIGUSR2}));
}

TEST(SignalWatch, TwoWatchesOfOneSignalAreBothCalled) {
  EventLoop loop;
  int calls = 0;
  const auto count = [&] {
    if (++calls == 2) loop.stop();
  };
  const SignalWatch one(loop, SIGUSR1, count);
  const SignalWatch two(loop, SIGUSR1, count);
  loop.post([] { raise(SIGUSR1); });
  loop.run();
  EXPECT_EQ(calls, 2);
}

TEST(DescriptorWatch, LevelTriggered) {
  EventLoop loop;
  Pair pair;
  std::string heard;
  DescriptorWatch watch(loop, pair.fds[0], [&](std::uint32_t ready) {
    EXPECT_EQ(ready, kReadable);
    heard += pair.hear();  // one byte of three per call
    if (heard.size() == 3) loop.stop();
  });
  watch.update(kReadable);
  loop.post([&] {
    for (const char what : {'a', 'b', 'c'}) pair.say(what);
  });
  loop.run();
  EXPECT_EQ(heard, "abc");
}

TEST(DescriptorWatch, InterestChanges) {
  EventLoop loop;
  Pair pair;
  pair.say('a');
  std::vector<std::uint32_t> seen;
  std::unique_ptr<DescriptorWatch> watch;
  watch = std::make_unique<DescriptorWatch>(loop, pair.fds[0], [&](std::uint32_t ready) {
    seen.push_back(ready);
    if (seen.size() == 1) {
      watch->update(kReadable);
    } else if (seen.size() == 2) {
      watch->update(kReadable | kWritable);
    } else {
      watch->update(0);
      // Were it still watched, it would be called before this chain of tasks is through.
      loop.post([&] { loop.post([&] { loop.post([&] { loop.stop(); }); }); });
    }
  });
  watch->update(kWritable);
  loop.run();
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{kWritable, kReadable, kReadable | kWritable}));
}

TEST(DescriptorWatch, DestroyedFromItsOwnCallWhichGoesOn) {
  EventLoop loop;
  Pair pair;
  pair.say('a');
  int calls = 0;
  auto token = std::make_shared<int>(7);
  const std::weak_ptr<int> alive = token;
  std::unique_ptr<DescriptorWatch> watch;
  watch = std::make_unique<DescriptorWatch>(loop, pair.fds[0], [&, held = std::move(token)](std::uint32_t) {
    ++calls;
    watch.reset();
    EXPECT_EQ(*held, 7);  // what the function holds lives as long as its call
    loop.post([&] { loop.post([&] { loop.stop(); }); });
  });
  watch->update(kReadable);
  loop.run();
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(alive.expired());
}

TEST(DescriptorWatch, TheDescriptorMayBeWatchedAgainByAnother) {
  EventLoop loop;
  Pair pair;
  auto first = std::make_unique<DescriptorWatch>(loop, pair.fds[0], [](std::uint32_t) { ADD_FAILURE(); });
  first->update(kReadable);
  first.reset();
  bool called = false;
  DescriptorWatch second(loop, pair.fds[0], [&](std::uint32_t) {
    called = true;
    loop.stop();
  });
  second.update(kReadable);
  loop.post([&] { pair.say('a'); });
  loop.run();
  EXPECT_TRUE(called);
}

TEST(DescriptorWatch, ADescriptorThatCannotBeWatchedStaysQuiet) {
  EventLoop loop;
  char path[] = "/tmp/uv_handles_test_XXXXXX";
  const int fd = mkstemp(path);  // epoll takes no regular files
  ASSERT_GE(fd, 0);
  {
    DescriptorWatch watch(loop, fd, [](std::uint32_t) { ADD_FAILURE(); });
    watch.update(kReadable);
    loop.post([&] { loop.post([&] { loop.stop(); }); });
    loop.run();
  }
  close(fd);
  unlink(path);
}

}  // namespace
}  // namespace edgemux::core
