#include "listeners/access_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "core/base/log.h"
#include "listeners/access_format.h"
#include "listeners/log_ring.h"

namespace edgemux::listeners {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

routing::AccessLogSpec to(const std::string& path, std::vector<std::string> fields = {}) {
  routing::AccessLogSpec spec;
  spec.path = path;
  spec.fields = std::move(fields);
  return spec;
}

AccessRecord record(std::string_view host) {
  AccessRecord result;
  result.status = 200;
  result.host = host;
  return result;
}

// A pipe whose write end can be opened by name.
class Pipe {
 public:
  Pipe() { EXPECT_EQ(0, ::pipe2(ends_.data(), O_CLOEXEC)); }
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(ends_[1]); }
  [[nodiscard]] int read_end() const { return ends_[0]; }
  [[nodiscard]] int write_end() const { return ends_[1]; }

  // Waits for the next line, up to ten seconds.
  std::string line() {
    for (;;) {
      const auto end = held_.find('\n');
      if (end != std::string::npos) {
        auto result = held_.substr(0, end);
        held_.erase(0, end + 1);
        return result;
      }
      pollfd waiting{ends_[0], POLLIN, 0};
      if (::poll(&waiting, 1, 10'000) <= 0) return "(no line)";
      std::array<char, 65536> buffer;
      const auto got = ::read(ends_[0], buffer.data(), buffer.size());
      if (got <= 0) return "(no line)";
      held_.append(buffer.data(), static_cast<std::size_t>(got));
    }
  }

 private:
  std::array<int, 2> ends_{-1, -1};
  std::string held_;
};

class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "edgemux-access-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::vector<std::string> lines_of(const std::string& file) {
  std::ifstream in(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Makes `fd` standard output while it exists.
class StandardOutput {
 public:
  explicit StandardOutput(int fd) : saved_(::dup(1)) { ::dup2(fd, 1); }
  ~StandardOutput() {
    ::dup2(saved_, 1);
    ::close(saved_);
  }

 private:
  int saved_;
};

TEST(LogRing, TakesALineWholeOrNotAtAll) {
  LogRing ring(8);
  EXPECT_TRUE(ring.push("12345\n"));
  EXPECT_FALSE(ring.push("ab\n"));
  EXPECT_TRUE(ring.push("c\n"));
  EXPECT_EQ(8U, ring.used());
  ring.consume(6);
  EXPECT_TRUE(ring.push("defg\n"));  // over the edge
  std::string all;
  for (const auto& piece : ring.peek()) all.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  EXPECT_EQ("c\ndefg\n", all);
}

TEST(AccessLog, WritesALineSoon) {
  Pipe pipe;
  AccessLog log(1);
  ASSERT_TRUE(log.configure(to(pipe.path(), {"host"})));
  EXPECT_TRUE(log.enabled());
  log.write(0, record("a"));
  EXPECT_EQ("{\"host\":\"a\"}", pipe.line());
  log.write(0, record("b"));
  EXPECT_EQ("{\"host\":\"b\"}", pipe.line());
}

TEST(AccessLog, WakesUpFromItsSleep) {
  Pipe pipe;
  AccessLog log(1);
  ASSERT_TRUE(log.configure(to(pipe.path(), {"host"})));
  pollfd quiet{pipe.read_end(), POLLIN, 0};
  ASSERT_EQ(0, ::poll(&quiet, 1, 500));  // longer than it stays up for nothing
  log.write(0, record("a"));
  EXPECT_EQ("{\"host\":\"a\"}", pipe.line());
}

TEST(AccessLog, IsOffUntilConfiguredAndWhenTurnedOff) {
  Folder folder;
  const auto file = folder.file("log");
  {
    AccessLog log(1);
    EXPECT_FALSE(log.enabled());
    log.write(0, record("early"));
    auto spec = to(file, {"host"});
    spec.format = routing::AccessFormat::off;
    ASSERT_TRUE(log.configure(spec));
    EXPECT_FALSE(log.enabled());
    log.write(0, record("off"));
    EXPECT_FALSE(std::filesystem::exists(file));
    ASSERT_TRUE(log.configure(to(file, {"host"})));
    log.write(0, record("on"));
  }
  EXPECT_EQ((std::vector<std::string>{"{\"host\":\"on\"}"}), lines_of(file));
}

TEST(AccessLog, LosesNothingOfFourWorkersThatTheRingsCanHold) {
  Folder folder;
  const auto file = folder.file("log");
  constexpr int kLines = 20'000;
  std::uint64_t dropped = 0;
  {
    AccessLog log(4);
    ASSERT_TRUE(log.configure(to(file, {"listener", "host", "path", "duration_ms"})));
    std::vector<std::thread> workers;
    for (unsigned w = 0; w < 4; ++w) {
      workers.emplace_back([&log, w] {
        const std::string name = "w" + std::to_string(w);
        for (int i = 0; i < kLines; ++i) {
          const std::string number = std::to_string(i);
          auto r = record(name);
          r.path = number;
          r.duration_us = 7;
          log.write(w, r);
        }
      });
    }
    for (auto& worker : workers) worker.join();
    dropped = log.dropped();
  }
  std::map<int, int> last;
  std::uint64_t count = 0;
  for (const auto& line : lines_of(file)) {
    int worker = -1;
    int number = -1;
    ASSERT_EQ(2, std::sscanf(line.c_str(), "{\"host\":\"w%d\",\"path\":\"%d", &worker, &number)) << line;
    ASSERT_EQ("{\"host\":\"w" + std::to_string(worker) + "\",\"path\":\"" + std::to_string(number) +
                  "\",\"duration_ms\":0.007}",
              line);
    auto& before = last.try_emplace(worker, -1).first->second;
    ASSERT_LT(before, number) << line;  // in order, none twice
    before = number;
    ++count;
  }
  EXPECT_EQ(4U * kLines, count + dropped);
  EXPECT_EQ(4U, last.size());
}

TEST(AccessLog, DropsAndCountsWhenNobodyReadsAndGoesOnWhenSomebodyDoes) {
  Pipe pipe;
  AccessLog log(1, 64 * 1024);
  ASSERT_TRUE(log.configure(to(pipe.path(), {"host", "path"})));
  const std::string path(500, 'p');
  auto r = record("full");
  r.path = path;
  std::uint64_t offered = 0;
  while (log.dropped() < 10) {
    log.write(0, r);
    ++offered;
  }
  // Everything that was not dropped comes out whole.
  const auto expected = offered - log.dropped();
  for (std::uint64_t i = 0; i < expected; ++i) {
    const auto line = pipe.line();
    ASSERT_TRUE(json::accept(line)) << line;
  }
  log.write(0, record("after"));
  EXPECT_EQ("{\"host\":\"after\"}", pipe.line());
  EXPECT_EQ(expected + 1, log.written());
}

TEST(AccessLog, TellsWhatASlowReaderCosts) {
  Pipe pipe;
  Pipe complaints;
  core::set_log_target({complaints.write_end(), true});
  const std::string path(500, 'p');
  auto r = record("slow");
  r.path = path;
  std::ptrdiff_t offered = 0;
  const auto told = [&] {
    const auto line = complaints.line();
    EXPECT_THAT(line, MatchesRegex("<4>access log: [0-9]+ lines were dropped: '" + pipe.path() +
                                   "' does not take them fast enough"));
    std::ptrdiff_t lines = 0;
    EXPECT_EQ(1, std::sscanf(line.c_str(), "<4>access log: %td lines", &lines));
    return lines;
  };
  std::ptrdiff_t first = 0;
  {
    AccessLog log(1, 64 * 1024);
    ASSERT_TRUE(log.configure(to(pipe.path(), {"host", "path"})));
    for (; log.dropped() < 10; ++offered) log.write(0, r);
    first = told();
    for (; log.dropped() < 20; ++offered) log.write(0, r);
  }
  // What was in the ring is lost, too: the writer waits no longer than its farewell.
  const auto last = told();
  EXPECT_GT(last, 10);
  std::string taken(1024 * 1024, ' ');
  ASSERT_EQ(0, ::fcntl(pipe.read_end(), F_SETFL, O_NONBLOCK));
  taken.resize(static_cast<std::size_t>(std::max<ssize_t>(::read(pipe.read_end(), taken.data(), taken.size()), 0)));
  EXPECT_EQ(offered, first + last + std::count(taken.begin(), taken.end(), '\n'));
  core::set_log_target({});
}

TEST(AccessLog, KeepsLinesOfAFullDiskAndTellsOnce) {
  Folder folder;
  Pipe complaints;
  core::set_log_target({complaints.write_end(), true});
  AccessLog log(1);
  ASSERT_TRUE(log.configure(to("/dev/full", {"host"})));
  log.write(0, record("a"));
  EXPECT_THAT(complaints.line(), StartsWith("<3>access log: cannot write to '/dev/full': No space left"));
  log.write(0, record("b"));
  const auto file = folder.file("log");
  ASSERT_TRUE(log.configure(to(file, {"host"})));
  log.write(0, record("c"));
  while (log.written() < 3) std::this_thread::yield();
  core::set_log_target({});
  EXPECT_EQ((std::vector<std::string>{"{\"host\":\"a\"}", "{\"host\":\"b\"}", "{\"host\":\"c\"}"}), lines_of(file));
  EXPECT_EQ(0U, log.dropped());
}

TEST(AccessLog, SurvivesAClosedPipe) {
  std::array<int, 2> ends{-1, -1};
  ASSERT_EQ(0, ::pipe2(ends.data(), O_CLOEXEC));
  Pipe complaints;
  core::set_log_target({complaints.write_end(), true});
  {
    AccessLog log(1, 64 * 1024);
    ASSERT_TRUE(log.configure(to("/proc/self/fd/" + std::to_string(ends[1]), {"host"})));
    ::close(ends[0]);
    ::close(ends[1]);
    while (log.dropped() == 0) log.write(0, record("gone"));
    EXPECT_THAT(complaints.line(), HasSubstr("Broken pipe"));
  }
  core::set_log_target({});
}

TEST(AccessLog, ReopensAfterLogrotate) {
  Folder folder;
  const auto file = folder.file("log");
  const auto old = folder.file("log.1");
  AccessLog log(1);
  ASSERT_TRUE(log.configure(to(file, {"host"})));
  log.write(0, record("a"));
  std::filesystem::rename(file, old);
  ASSERT_TRUE(log.reopen());
  // A line that comes while the writer has not turned yet still goes to the old file; sooner or later they go to the
  // new one.
  std::uint64_t offered = 1;
  while (lines_of(file).empty()) {
    log.write(0, record("b"));
    ++offered;
    while (log.written() < offered) std::this_thread::yield();
  }
  EXPECT_EQ(offered, lines_of(old).size() + lines_of(file).size());
  EXPECT_EQ("{\"host\":\"b\"}", lines_of(file).back());
}

// The reader of the first pipe stops in the middle of a line: its rest must not begin the new file.
TEST(AccessLog, OpensItsFileAnewWhenItIsTurnedOnAgain) {
  const Folder folder;
  const auto path = folder.file("access.log");
  const auto open_here = [&path] {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      count += std::filesystem::read_symlink(entry, gone).string().starts_with(path) ? 1 : 0;
    }
    return count;
  };
  const auto wait = [](const auto& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  };
  AccessLog log(1);
  ASSERT_TRUE(log.configure(to(path, {"host"})));
  log.write(0, record("a"));
  wait([&] { return log.written() == 1; });
  auto off = to(path);
  off.format = routing::AccessFormat::off;
  ASSERT_TRUE(log.configure(off));
  wait([&] { return open_here() == 0; });
  EXPECT_EQ(open_here(), 0U) << "what is removed gives its space back";
  EXPECT_EQ(lines_of(path).size(), 1U);
  std::filesystem::remove(path);
  ASSERT_TRUE(log.configure(to(path, {"host"})));
  log.write(0, record("b"));
  wait([&] { return log.written() == 2; });
  EXPECT_EQ(lines_of(path).size(), 1U);
}

TEST(AccessLog, LeavesNoHalfLineInTheNewFile) {
  Folder folder;
  Pipe pipe;
  AccessLog log(1, 256 * 1024);
  ASSERT_TRUE(log.configure(to(pipe.path(), {"path"})));
  const std::string path(5'000, 'p');  // longer than what a pipe takes whole
  auto r = record("");
  r.path = path;
  for (int i = 0; i < 30; ++i) log.write(0, r);
  // The pipe is full when it is not writable any more.
  pollfd full{pipe.write_end(), POLLOUT, 0};
  while (::poll(&full, 1, 0) == 1) std::this_thread::yield();
  const auto file = folder.file("log");
  ASSERT_TRUE(log.configure(to(file, {"path"})));
  while (log.written() + log.dropped() < 30) std::this_thread::yield();
  const auto lines = lines_of(file);
  EXPECT_FALSE(lines.empty());
  for (const auto& line : lines) EXPECT_TRUE(json::accept(line)) << line.substr(0, 40);
  EXPECT_LE(log.dropped(), 1U);
}

TEST(AccessLog, KeepsEverythingAsItWasWhenAFileCannotBeOpened) {
  Pipe pipe;
  AccessLog log(1);
  ASSERT_TRUE(log.configure(to(pipe.path(), {"host"})));
  const auto failed = log.configure(to("/proc/no/such/folder/log", {"path"}));
  ASSERT_FALSE(failed);
  EXPECT_EQ("access log: cannot open '/proc/no/such/folder/log': No such file or directory", failed.error().message);
  log.write(0, record("a"));
  EXPECT_EQ("{\"host\":\"a\"}", pipe.line());
}

TEST(AccessLog, SamplesOnlyWhatWentWell) {
  Folder folder;
  const auto file = folder.file("log");
  {
    AccessLog log(1);
    auto spec = to(file, {"status", "reason"});
    spec.sample = 10;
    ASSERT_TRUE(log.configure(spec));
    for (int i = 0; i < 100; ++i) log.write(0, record(""));
    auto bad = record("");
    bad.status = 503;
    for (int i = 0; i < 5; ++i) log.write(0, bad);
    auto late = record("");
    late.status = 0;
    late.reason = CloseReason::hello_timeout;
    for (int i = 0; i < 5; ++i) log.write(0, late);
  }
  EXPECT_EQ(20U, lines_of(file).size());
}

TEST(AccessLog, MakesItsFileUnreadableForOthers) {
  Folder folder;
  const auto file = folder.file("log");
  AccessLog log(1);
  ASSERT_TRUE(log.configure(to(file)));
  struct stat info {};
  ASSERT_EQ(0, ::stat(file.c_str(), &info));
  EXPECT_EQ(0U, info.st_mode & 0007U);
}

TEST(AccessLog, WritesToStandardOutputThatIsASocketOrAPipe) {
  for (const bool socket : {true, false}) {
    std::array<int, 2> ends{-1, -1};
    ASSERT_EQ(0, socket ? ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) : ::pipe2(ends.data(), 0));
    {
      const StandardOutput replaced(ends[1]);
      AccessLog log(1);
      ASSERT_TRUE(log.configure(to("stdout", {"host"})));
      log.write(0, record("a"));
      while (log.written() < 1) std::this_thread::yield();
    }
    // Blocking mode belongs to whoever shares the descriptor.
    EXPECT_EQ(0, ::fcntl(ends[1], F_GETFL) & O_NONBLOCK);
    std::array<char, 100> buffer;
    const auto got = ::read(ends[0], buffer.data(), buffer.size());
    EXPECT_EQ("{\"host\":\"a\"}\n", std::string(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))));
    ::close(ends[0]);
    ::close(ends[1]);
  }
}

// Reconfiguration, reopening and writing at once; run under TSan.
TEST(AccessLog, IsReconfiguredUnderLoad) {
  Folder folder;
  AccessLog log(2);
  ASSERT_TRUE(log.configure(to(folder.file("0"), {"host"})));
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> offered{0};
  std::vector<std::thread> workers;
  for (unsigned w = 0; w < 2; ++w) {
    workers.emplace_back([&, w] {
      while (!stop.load()) {
        log.write(w, record("a"));
        offered.fetch_add(1);
        std::this_thread::yield();
      }
    });
  }
  for (int i = 1; i < 20; ++i) {
    auto spec = to(folder.file(std::to_string(i % 3)),
                   i % 2 == 0 ? std::vector<std::string>{"host"} : std::vector<std::string>{});
    ASSERT_TRUE(log.configure(spec));
    ASSERT_TRUE(log.reopen());
    const auto now = offered.load();
    while (offered.load() < now + 50) std::this_thread::yield();
  }
  stop = true;
  for (auto& worker : workers) worker.join();
  while (log.written() + log.dropped() < offered.load()) std::this_thread::yield();
  std::uint64_t lines = 0;
  for (const auto* name : {"0", "1", "2"}) {
    for (const auto& line : lines_of(folder.file(name))) {
      ASSERT_TRUE(json::accept(line)) << line;
      ++lines;
    }
  }
  EXPECT_EQ(offered.load(), lines + log.dropped());
}

}  // namespace
}  // namespace edgemux::listeners
