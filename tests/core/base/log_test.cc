#include "core/base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace edgemux::core {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

// The log writes into a pipe instead of standard error while this exists.
class LogTest : public testing::Test {
 protected:
  LogTest() {
    EXPECT_EQ(0, ::pipe2(ends_.data(), O_CLOEXEC));
    target_.fd = ends_[1];
    set_log_target(target_);
    set_log_level(LogLevel::info);
  }
  ~LogTest() override {
    stop_log();
    set_log_target({});
    set_log_level(LogLevel::info);
    ::close(ends_[0]);
    close_writer();
  }

  void close_writer() {
    if (ends_[1] >= 0) ::close(ends_[1]);
    ends_[1] = -1;
  }

  // What is in the pipe now.
  std::string drain() {
    std::string all;
    std::array<char, 65536> buffer;
    ::fcntl(ends_[0], F_SETFL, O_NONBLOCK);
    for (;;) {
      const auto got = ::read(ends_[0], buffer.data(), buffer.size());
      if (got <= 0) return all;
      all.append(buffer.data(), static_cast<std::size_t>(got));
    }
  }

  std::array<int, 2> ends_{-1, -1};
  LogTarget target_;
};

TEST_F(LogTest, WritesTimeLevelAndMessage) {
  log_warn("upstream {} is gone", "a");
  EXPECT_THAT(drain(), MatchesRegex("20..-..-..T..:..:..[.]...Z warn upstream a is gone\n"));
}

TEST_F(LogTest, LeavesOutWhatIsBelowTheLevel) {
  log_debug("hidden");
  set_log_level(LogLevel::debug);
  log_debug("shown");
  set_log_level(LogLevel::error);
  log_warn("hidden");
  EXPECT_THAT(drain(), MatchesRegex("[^\n]* debug shown\n"));
}

TEST_F(LogTest, GivesTheJournalAPriorityAndNoTime) {
  target_.journal = true;
  set_log_target(target_);
  log_error("a");
  log_warn("b");
  log_info("c");
  set_log_level(LogLevel::trace);
  log_debug("d");
  EXPECT_EQ("<3>a\n<4>b\n<6>c\n<7>d\n", drain());
}

TEST_F(LogTest, EscapesControlCharacters) {
  target_.journal = true;
  set_log_target(target_);
  log_info("a\nb\x1b[2J\x7f \xc2\x9b caf\xc3\xa9");
  EXPECT_EQ("<6>a\\x0ab\\x1b[2J\\x7f \\x9b caf\xc3\xa9\n", drain());
}

TEST_F(LogTest, CutsAMessageWithoutEnd) {
  log_line(LogLevel::info, std::string(40'000, 'x'));
  const auto line = drain();
  EXPECT_LT(line.size(), 17'000U);
  EXPECT_THAT(line, HasSubstr("xxx...\n"));
}

TEST_F(LogTest, WritesEverythingFromManyThreadsWhenStopped) {
  start_log(target_);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 100; ++i) log_info("thread {} line {}", t, i);
    });
  }
  for (auto& thread : threads) thread.join();
  stop_log();
  const auto text = drain();
  EXPECT_EQ(400, std::count(text.begin(), text.end(), '\n'));
  EXPECT_THAT(text, HasSubstr("thread 3 line 99\n"));
}

TEST_F(LogTest, CanBeStartedAgain) {
  start_log(target_);
  stop_log();
  log_info("between");
  start_log(target_);
  log_info("after");
  stop_log();
  const auto text = drain();
  EXPECT_THAT(text, HasSubstr("between\n"));
  EXPECT_THAT(text, HasSubstr("after\n"));
}

TEST_F(LogTest, CountsInsteadOfWaitingForAFullPipe) {
  const auto before = log_drops();
  start_log(target_, 16);
  // 64 KiB is what a pipe holds; nobody reads.
  for (int i = 0; i < 2000; ++i) log_info("{:0>200}", i);
  stop_log();
  const auto dropped = log_drops() - before;
  EXPECT_GT(dropped, 1000U);
  const auto text = drain();
  EXPECT_EQ(2000U, dropped + static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n')));
}

TEST_F(LogTest, SurvivesAClosedStandardError) {
  const auto before = log_drops();
  target_.fd = -1;
  set_log_target(target_);
  log_info("into the void");
  target_.fd = ends_[1];
  set_log_target(target_);
  log_info("back");
  EXPECT_EQ(before + 1, log_drops());
  EXPECT_THAT(drain(), HasSubstr("back\n"));
}

TEST(LogTarget, IsTheJournalOnlyWhereTheVariableNamesStandardError) {
  ::unsetenv("JOURNAL_STREAM");
  EXPECT_FALSE(log_target_of_stderr().journal);
  struct stat info {};
  ASSERT_EQ(0, ::fstat(2, &info));
  ::setenv("JOURNAL_STREAM", fmt::format("{}:{}", info.st_dev, info.st_ino).c_str(), 1);
  EXPECT_TRUE(log_target_of_stderr().journal);
  ::setenv("JOURNAL_STREAM", "1:1", 1);
  EXPECT_FALSE(log_target_of_stderr().journal);
  ::unsetenv("JOURNAL_STREAM");
}

TEST(LogDue, LetsOneLinePerKeyThroughAndTellsHowManyWereLeftOut) {
  std::uint64_t left_out = 99;
  EXPECT_TRUE(log_due("due: a", 1000, 100, left_out));
  EXPECT_EQ(0U, left_out);
  EXPECT_FALSE(log_due("due: a", 1001, 100, left_out));
  EXPECT_FALSE(log_due("due: a", 1099, 100, left_out));
  EXPECT_TRUE(log_due("due: b", 1099, 100, left_out));
  EXPECT_TRUE(log_due("due: a", 1100, 100, left_out));
  EXPECT_EQ(2U, left_out);
  EXPECT_FALSE(log_due("due: a", 1101, 100, left_out));
}

TEST(LogDue, IsBoundedWhateverTheKeys) {
  std::uint64_t left_out = 0;
  int lines = 0;
  for (int i = 0; i < 100'000; ++i)
    lines += log_due("stranger " + std::to_string(i), 5'000'000, 10'000, left_out) ? 1 : 0;
  EXPECT_GT(lines, 100);
  EXPECT_LE(lines, 512);
  EXPECT_TRUE(log_due("stranger 0 again", 5'010'000, 10'000, left_out));
}

TEST_F(LogTest, LimitsWhatRepeats) {
  for (int i = 0; i < 5; ++i) log_limited(LogLevel::warn, "limits-what-repeats", "again {}", i);
  const auto text = drain();
  EXPECT_EQ(1, std::count(text.begin(), text.end(), '\n'));
  EXPECT_THAT(text, HasSubstr("warn again 0\n"));
}

TEST(LogDue, TellsOfWhomALineIs) {
  std::uint64_t left_out = 0;
  EXPECT_TRUE(log_due({"reset", "a"}, 5'500'000, 100, left_out));
  EXPECT_TRUE(log_due({"reset", "b"}, 5'500'000, 100, left_out));
  EXPECT_TRUE(log_due({"closed", "a"}, 5'500'000, 100, left_out));
  EXPECT_FALSE(log_due({"reset", "a"}, 5'500'000, 100, left_out));
}

// Apart from LogTest, whose tests come before: the table stays full.
class LogOverflowTest : public LogTest {};

TEST_F(LogOverflowTest, LinesThatFindNoRoomAreTold) {
  constexpr std::uint64_t kNow = 6'000'000;
  std::uint64_t left_out = 0;
  int due = 0;
  for (int i = 0; i < 100'000; ++i) due += log_due("many " + std::to_string(i), kNow, 10'000, left_out) ? 1 : 0;
  EXPECT_LE(due, 512);
  EXPECT_THAT(drain(), HasSubstr("warn 1 lines were left out: too many different ones came at once\n"));
  EXPECT_FALSE(log_due("one more", kNow + 1000, 10'000, left_out));
  // Every call but the first, which was told at once.
  EXPECT_THAT(drain(), HasSubstr("warn " + std::to_string(100'000 - due - 1) + " lines were left out"));
  stop_log();
  EXPECT_THAT(drain(), HasSubstr("warn 1 lines were left out"));
}

}  // namespace
}  // namespace edgemux::core
