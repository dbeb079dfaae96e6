#include "config/reloader.h"

#include <sys/resource.h>

#include <condition_variable>
#include <deque>
#include <mutex>

#include "tests/config/disk_fixture.h"

namespace edgemux::config {
namespace {

using namespace std::chrono_literals;
using Outcome = Reload::Outcome;
using Reason = Reload::Reason;

// A control loop for tests: what is posted runs when the test asks for it.
class Loop {
 public:
  void post(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
    arrived_.notify_all();
  }
  // Runs one piece of work; false when none came in time.
  bool run_one(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    if (!arrived_.wait_until(lock, deadline, [this] { return !work_.empty(); })) return false;
    const auto work = std::move(work_.front());
    work_.pop_front();
    lock.unlock();
    work();
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> work_;
};

// The compiler stands in for the real one by the rules of compiler.h: the table is what `main.yaml` and `d/*.yaml` say,
// told through tokens_dir. "broken" in the main file gives none.
class ReloaderTest : public DiskTest {
 protected:
  ReloaderTest() {
    folder("d");
    write("main.yaml", "first");
  }

  Compiled compile() {
    EXPECT_EQ(running_.fetch_add(1), 0);
    ++compiles_;
    Compiled made;
    made.main_file = path("main.yaml");
    made.files = {made.main_file};
    made.directories = {root_.string(), path("d")};
    std::string content = read("main.yaml");
    std::error_code none;
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(path("d"), none)) names.insert(entry.path().filename().string());
    for (const auto& name : names) {
      made.files.push_back(path("d/" + name));
      content += "+" + read("d/" + name);
    }
    if (const auto hook = on_compile_.exchange(nullptr)) (*hook)();
    made.fingerprint = content;
    made.unfinished = unfinished_.exchange(false);
    made.main_ok = content.find("broken") == std::string::npos;
    if (made.main_ok) {
      made.snapshot = std::make_shared<routing::Snapshot>();
      made.snapshot->tokens_dir = content;
      made.snapshot->settle = settle_;
    } else {
      Diagnostic problem;
      problem.message = content;
      made.diagnostics.push_back(problem);
    }
    running_.fetch_sub(1);
    return made;
  }

  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  Reloader& begin(std::chrono::milliseconds rescan = 30s, std::chrono::milliseconds patience = 10s) {
    reloader_ =
        std::make_unique<Reloader>(Reloader::Hooks{[this](const Touched& touched, const Accept&) {
                                                     touched_ = touched;
                                                     return compile();
                                                   },
                                                   [this](std::function<void()> work) { loop_.post(std::move(work)); },
                                                   [this](Reload reload) { done_.push_back(std::move(reload)); }},
                                   rescan, patience);
    first_ = reloader_->load();
    reloader_->start();
    return *reloader_;
  }

  // Runs the loop until `enough`, at the most 20 s.
  bool until(const std::function<bool()>& enough) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!enough()) {
      if (!loop_.run_one(deadline)) return false;
    }
    return true;
  }
  // The table in force, by what was published.
  [[nodiscard]] std::string table() const {
    std::string last = first_.snapshot ? first_.snapshot->tokens_dir : "";
    for (const auto& reload : done_) {
      if (reload.outcome == Outcome::published) last = reload.snapshot->tokens_dir;
    }
    return last;
  }
  [[nodiscard]] std::vector<std::string> published() const {
    std::vector<std::string> all;
    for (const auto& reload : done_) {
      if (reload.outcome == Outcome::published) all.push_back(reload.snapshot->tokens_dir);
    }
    return all;
  }
  bool becomes(const std::string& content) {
    return until([&] { return table() == content; });
  }
  // The answer to a SIGHUP; everything that was found before it has been told by then.
  Reload ask() {
    const auto answers = [this] {
      return std::count_if(done_.begin(), done_.end(), [](const Reload& r) { return r.reason == Reason::asked; });
    };
    const auto before = answers();
    reloader_->request();
    EXPECT_TRUE(until([&] { return answers() > before; }));
    return done_.back();
  }

  std::chrono::milliseconds settle_{50};
  Touched touched_;  // of the latest compile
  std::atomic<int> running_{0};
  std::atomic<int> compiles_{0};
  std::atomic<bool> unfinished_{false};                            // the next compile is
  std::atomic<const std::function<void()>*> on_compile_{nullptr};  // runs once, after the files were read
  Loop loop_;
  std::vector<Reload> done_;
  Compiled first_;
  std::unique_ptr<Reloader> reloader_;
};

TEST_F(ReloaderTest, LoadsTheFirstTable) {
  begin();
  ASSERT_NE(first_.snapshot, nullptr);
  EXPECT_EQ(first_.snapshot->generation, 1U);
  EXPECT_EQ(first_.snapshot->tokens_dir, "first");
}

TEST_F(ReloaderTest, ABrokenStartGivesNoTableAndRecovers) {
  write("main.yaml", "broken");
  begin();
  EXPECT_EQ(first_.snapshot, nullptr);
  write("main.yaml", "good");
  ASSERT_TRUE(becomes("good"));
  EXPECT_EQ(done_.back().snapshot->generation, 1U);
}

TEST_F(ReloaderTest, FollowsEveryWayOfWriting) {
  begin();
  write("main.yaml", "in place");
  ASSERT_TRUE(becomes("in place"));
  replace("main.yaml", "renamed over");
  ASSERT_TRUE(becomes("renamed over"));
  write("d/a.yaml", "a");
  ASSERT_TRUE(becomes("renamed over+a"));
  write("d/a.yaml", "b");
  ASSERT_TRUE(becomes("renamed over+b"));
  fs::remove(path("d/a.yaml"));
  ASSERT_TRUE(becomes("renamed over"));
  fs::remove_all(path("d"));
  folder("d");
  write("d/c.yaml", "c");
  ASSERT_TRUE(becomes("renamed over+c"));
  fs::remove(path("main.yaml"));
  write("main.yaml", "again");
  ASSERT_TRUE(becomes("again+c"));
  std::uint64_t last = 1;
  for (const auto& reload : done_) {
    if (reload.outcome == Outcome::published) {
      EXPECT_EQ(reload.snapshot->generation, ++last);
    }
  }
}

TEST_F(ReloaderTest, FollowsKubernetesVolumes) {
  folder("..1");
  folder("..2");
  write("..1/main.yaml", "one");
  write("..2/main.yaml", "two");
  fs::remove(path("main.yaml"));
  fs::create_symlink("..1", path("..data"));
  fs::create_symlink("..data/main.yaml", path("main.yaml"));
  begin();
  EXPECT_EQ(table(), "one");
  swing("..data", "..2");
  ASSERT_TRUE(becomes("two"));
  fs::remove_all(path("..1"));
  folder("..3");
  write("..3/main.yaml", "three");
  swing("..data", "..3");
  ASSERT_TRUE(becomes("three"));
}

TEST_F(ReloaderTest, AWriteInTwoStepsIsOneTable) {
  settle_ = 500ms;
  begin();
  write("main.yaml", "half");
  std::ofstream(path("main.yaml"), std::ios::app) << " and whole";
  ASSERT_TRUE(becomes("half and whole"));
  EXPECT_EQ(published(), std::vector<std::string>{"half and whole"});
}

TEST_F(ReloaderTest, ABurstIsFewCompiles) {
  settle_ = 500ms;
  begin();
  const int before = compiles_;
  for (int i = 0; i <= 100; ++i) write("main.yaml", "write " + std::to_string(i));
  ASSERT_TRUE(becomes("write 100"));
  EXPECT_LE(compiles_ - before, 4);
}

TEST_F(ReloaderTest, AStreamOfChangesDoesNotPostponeForEver) {
  settle_ = 20ms;
  begin();
  std::atomic<bool> stop{false};
  // Another file of the folder changes without end; no moment of quiet comes.
  std::thread noise([&] {
    while (!stop) write("noise.tmp", "x");
  });
  write("main.yaml", "second");
  EXPECT_TRUE(becomes("second"));
  stop = true;
  noise.join();
}

TEST_F(ReloaderTest, WhatChangedDuringTheLoadIsNotPublished) {
  begin();
  // The load has read "half", then the writer goes on.
  const std::function<void()> write_rest = [this] { write("main.yaml", "half and whole"); };
  on_compile_ = &write_rest;
  write("main.yaml", "half");
  ASSERT_TRUE(becomes("half and whole"));
  EXPECT_EQ(published(), std::vector<std::string>{"half and whole"});
}

TEST_F(ReloaderTest, AFileThatNeverHoldsStillIsReportedAndLeftAlone) {
  begin();
  std::atomic<bool> moving{true};
  int rounds = 0;
  const std::function<void()> again = [&] {
    if (!moving) return;
    write("main.yaml", "moving " + std::to_string(++rounds));
    on_compile_ = &again;
  };
  on_compile_ = &again;
  const Reload answer = ask();
  EXPECT_EQ(answer.outcome, Outcome::failed);
  EXPECT_EQ(answer.snapshot, nullptr);
  ASSERT_FALSE(answer.news.fresh.empty());
  EXPECT_NE(answer.news.fresh.back().headline().find("keeps changing"), std::string::npos);
  EXPECT_TRUE(published().empty());
  moving = false;
  EXPECT_TRUE(until([&] { return table().starts_with("moving"); }));
  reloader_.reset();
}

TEST_F(ReloaderTest, AChangeDuringACompileLeadsToAnother) {
  begin();
  // A new name comes while the load runs, after the folder was listed.
  const std::function<void()> add = [this] { write("d/late.yaml", "late"); };
  on_compile_ = &add;
  write("main.yaml", "second");
  ASSERT_TRUE(becomes("second+late"));
}

TEST_F(ReloaderTest, SighupPublishesEqualContentsWithANewGeneration) {
  begin();
  for (std::uint64_t generation = 2; generation < 12; ++generation) {
    const Reload answer = ask();
    ASSERT_EQ(answer.outcome, Outcome::published);
    EXPECT_EQ(answer.snapshot->generation, generation);
  }
}

TEST_F(ReloaderTest, SighupDoesNotWaitForQuiet) {
  settle_ = 1h;
  begin();
  write("main.yaml", "second");
  EXPECT_EQ(ask().outcome, Outcome::published);
  EXPECT_EQ(table(), "second");
}

TEST_F(ReloaderTest, EqualContentsAreNotPublished) {
  begin();
  replace("main.yaml", "first");
  ASSERT_TRUE(until([&] { return !done_.empty(); }));
  EXPECT_EQ(done_.back().outcome, Outcome::unchanged);
  EXPECT_EQ(done_.back().snapshot, nullptr);
  EXPECT_EQ(ask().snapshot->generation, 2U);
}

TEST_F(ReloaderTest, ABrokenFileKeepsWhatIsInForce) {
  begin();
  write("main.yaml", "broken");
  ASSERT_TRUE(until([&] { return !done_.empty() && done_.back().outcome == Outcome::failed; }));
  EXPECT_EQ(done_.back().snapshot, nullptr);
  EXPECT_EQ(done_.back().news.fresh.size(), 1U);
  // Back to what is in force: nothing to publish, and the problem is gone.
  write("main.yaml", "first");
  ASSERT_TRUE(until([&] { return done_.back().outcome == Outcome::unchanged; }));
  EXPECT_EQ(done_.back().news.solved.size(), 1U);
  EXPECT_TRUE(published().empty());
}

TEST_F(ReloaderTest, AProblemIsToldOnceUnlessAsked) {
  begin();
  const auto failures = [this] {
    return std::count_if(done_.begin(), done_.end(), [](const Reload& r) { return r.outcome == Outcome::failed; });
  };
  write("main.yaml", "broken");
  ASSERT_TRUE(until([&] { return failures() >= 1; }));
  write("main.yaml", "broken");
  ASSERT_TRUE(until([&] { return failures() >= 2; }));
  EXPECT_TRUE(done_.back().news.fresh.empty());
  EXPECT_EQ(done_.back().diagnostics.size(), 1U);
  EXPECT_EQ(ask().news.fresh.size(), 1U);
}

TEST_F(ReloaderTest, TheRescanSeesWhatNobodyTold) {
  // A descriptor that stays open tells inotify of no closed write.
  std::ofstream open(path("main.yaml"), std::ios::app);
  begin(200ms);
  open << " and more" << std::flush;
  ASSERT_TRUE(becomes("first and more"));
  EXPECT_TRUE(std::any_of(done_.begin(), done_.end(), [](const Reload& r) { return r.reason == Reason::rescan; }));
}

TEST_F(ReloaderTest, TheRescanOfNothingNewCompilesNothing) {
  begin(1ms);
  ask();
  ask();
  const int before = compiles_;
  // Many rescans go by while this other reloader follows a write.
  const auto deadline = std::chrono::steady_clock::now() + 100ms;
  EXPECT_FALSE(loop_.run_one(deadline));
  EXPECT_EQ(compiles_, before);
}

TEST_F(ReloaderTest, TellsTheCompilerWhatWasTouched) {
  write("d/a", "1");
  write("d/b", "1");
  begin();
  replace("d/a", "2");
  ASSERT_TRUE(becomes("first+2+1"));
  // The loads around the first one may have met their own clock's tick.
  ask();
  replace("d/a", "3");
  ASSERT_TRUE(becomes("first+3+1"));
  EXPECT_TRUE(touched_.contains(path("d/a")));
  EXPECT_FALSE(touched_.contains(path("d/b")));
  ask();
  EXPECT_TRUE(touched_.is_everything()) << "SIGHUP reads everything";
}

TEST_F(ReloaderTest, ACompilerThatThrowsKeepsWhatIsInForce) {
  begin();
  const std::function<void()> fault = [this] {
    running_ = 0;
    throw std::runtime_error("out of luck");
  };
  on_compile_ = &fault;
  const Reload answer = ask();
  EXPECT_EQ(answer.outcome, Outcome::failed);
  ASSERT_EQ(answer.diagnostics.size(), 1U);
  EXPECT_NE(answer.diagnostics[0].message.find("out of luck"), std::string::npos);
  EXPECT_EQ(ask().outcome, Outcome::published);
}

TEST_F(ReloaderTest, WhatIsUnfinishedIsTriedAgainByItself) {
  begin();
  unfinished_ = true;
  write("main.yaml", "second");
  EXPECT_TRUE(becomes("second"));
  EXPECT_TRUE(until([this] { return done_.back().reason == Reason::rescan; }));
  EXPECT_EQ(done_.back().outcome, Outcome::unchanged);
  EXPECT_TRUE(becomes("second"));
  const int before = compiles_;
  EXPECT_EQ(ask().outcome, Outcome::published);
  EXPECT_EQ(compiles_, before + 1) << "once was enough";
}

TEST_F(ReloaderTest, ACompileThatFailedIsTriedAgainByItself) {
  begin();
  const std::function<void()> fault = [this] {
    running_ = 0;
    throw std::bad_alloc();
  };
  on_compile_ = &fault;
  write("main.yaml", "second");
  EXPECT_TRUE(becomes("second"));
  EXPECT_EQ(done_.front().outcome, Outcome::failed);
}

TEST_F(ReloaderTest, CompilesWithLowPriorityOffTheCallersThread) {
  begin();
  std::atomic<int> nice{-100};
  std::atomic<bool> same{true};
  const auto caller = std::this_thread::get_id();
  const std::function<void()> look = [&] {
    nice = ::getpriority(PRIO_PROCESS, 0);
    same = std::this_thread::get_id() == caller;
  };
  const int mine = ::getpriority(PRIO_PROCESS, 0);
  on_compile_ = &look;
  ask();
  EXPECT_FALSE(same);
  EXPECT_EQ(nice, std::max(mine, 10));
  EXPECT_EQ(::getpriority(PRIO_PROCESS, 0), mine);
}

TEST_F(ReloaderTest, WhatTakesTooLongGivesWayNoLonger) {
  const int mine = ::getpriority(PRIO_PROCESS, 0);
  rlimit nice{};
  ASSERT_EQ(::getrlimit(RLIMIT_NICE, &nice), 0);
  if (mine >= 10 || (::geteuid() != 0 && static_cast<int>(nice.rlim_cur) < 20 - mine)) {
    GTEST_SKIP() << "no priority may be raised here";
  }
  begin(30s, 500ms);
  std::atomic<int> last{-100};
  const std::function<void()> outlast = [&] {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while ((last = ::getpriority(PRIO_PROCESS, 0)) != mine && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
  };
  on_compile_ = &outlast;
  ask();
  EXPECT_EQ(last, mine);
  const std::function<void()> look = [&] { last = ::getpriority(PRIO_PROCESS, 0); };
  on_compile_ = &look;
  ask();
  EXPECT_EQ(last, 10) << "the next one gives way again";
}

TEST_F(ReloaderTest, NothingIsCalledAfterTheEnd) {
  begin();
  reloader_->request();
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (compiles_ < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  reloader_.reset();
  const auto before = done_.size();
  while (loop_.run_one(std::chrono::steady_clock::now())) {
  }
  EXPECT_EQ(done_.size(), before);
  EXPECT_EQ(running_, 0);
}

TEST_F(ReloaderTest, StopsWithoutStart) {
  Reloader idle({[this](const Touched&, const Accept&) { return compile(); }, [](const std::function<void()>&) {},
                 [](const Reload&) {}});
  EXPECT_NE(idle.load().snapshot, nullptr);
}

}  // namespace
}  // namespace edgemux::config
