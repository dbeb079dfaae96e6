#pragma once
// Reloader: keeps the table in step with the disk. Owns the thread that compiles, the Watcher and the generation
// numbers.
//
//   Reloader reloader({compile, post, done});
//   Compiled first = reloader.load();   // on the caller's thread; generation 1, or no snapshot and the process ends
//   reloader.start();
//   reloader.request();                 // SIGHUP
//
// - A change on disk is compiled after `reload.settle` of quiet, at the latest after ten times that. SIGHUP is compiled
// at once.
// - Two compiles never overlap. A change or SIGHUP during one leads to another.
// - A file that changed while it was read: the load is repeated, three times at most. Then, if it is the main file,
// what
//   is in force stays. Any other one is held: for this load it counts as unreadable, so that its last good bytes serve,
//   and the rest is published. Either way the next attempt comes after the next settle.
// - Every 30 s the disk is compared with what was loaded, for changes that inotify does not tell of.
// - Equal contents are not published again, except after SIGHUP: then the generation rises all the same.
// - A table that loses a larger share of the hosts in force than `reload.max_removed` is refused, after SIGHUP too.
//   What it says of that itself counts; where it says nothing, what was said last. load() refuses nothing.
//
// `compile` runs on the reloader's thread (nice 10, all signals blocked), but for load(). On a machine that is busy
// without end that may be no processor at all: what takes longer than `patience` goes on with the process's own
// priority, where the process may raise it (RLIMIT_NICE, CAP_SYS_NICE). `done` is handed to `post`
// and runs where that says, on the thread that owns the Reloader; it is called once per compile and never after the
// destructor. The destructor waits for a compile under way. `post` is called from the reloader's thread.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "config/compiler.h"
#include "config/fingerprint.h"
#include "config/problem_journal.h"
#include "config/watcher.h"
#include "routing/table/snapshot.h"

namespace edgemux::config {

// What came of one compile.
struct Reload {
  enum class Reason : std::uint8_t { start, change, rescan, asked };
  enum class Outcome : std::uint8_t {
    published,  // `snapshot` is to be put in force
    unchanged,  // the contents are those in force
    refused,    // it loses too many hosts (reload.max_removed): what is in force stays
    failed,     // the main file is broken or does not hold still: what is in force stays
  };
  Reason reason = Reason::change;
  Outcome outcome = Outcome::failed;
  routing::SnapshotPtr snapshot;        // set when published
  std::vector<Diagnostic> diagnostics;  // all that stand now
  std::vector<std::string> set_aside;   // as in Compiled
  std::vector<std::string> set_aside_named;
  ProblemJournal::News news;  // what of them is to be told
  std::chrono::milliseconds took{0};
};

// One line per new problem, one per solved one, and one for the outcome when it says something new.
void log_reload(const Reload& reload);

class Reloader {
 public:
  struct Hooks {
    std::function<Compiled(Touched, const Accept&)> compile;
    std::function<void(std::function<void()>)> post;
    std::function<void(Reload)> done;
    // Before the compile that was asked for: it has to read everything. May be empty.
    std::function<void()> reread{};
    // Before a compile: these files keep changing, and count as unreadable for it. May be empty.
    std::function<void(std::set<std::string>)> hold{};
    // What a compile has left for when nothing else is to be done; again as long as it says Kept::some. May be empty.
    std::function<Kept()> keep{};
    // Before a compile: what was delivered last is in force; or it could not be put in force. May be empty.
    std::function<void()> published{};
    std::function<void()> unpublished{};
  };

  explicit Reloader(Hooks hooks, std::chrono::milliseconds rescan = std::chrono::seconds(30),
                    std::chrono::milliseconds patience = std::chrono::seconds(10));
  ~Reloader();
  Reloader(const Reloader&) = delete;
  Reloader& operator=(const Reloader&) = delete;

  // Once, before start(). Its problems count as told. `done` is not called.
  Compiled load();
  void start();

  // What was delivered last could not be put in force: `in_force` stays. The next compile is held against that, and is
  // published even if nothing has changed since. Null: it was put in force. On the owner's thread.
  void rejected(routing::SnapshotPtr in_force);

  // SIGHUP: compile at once. Requests that come before their compile has begun are one. Any thread.
  void request();

 private:
  using Clock = std::chrono::steady_clock;

  // What is waiting to be compiled.
  struct Pending {
    Reload::Reason reason = Reload::Reason::change;
    Clock::time_point first;
    Clock::time_point last;
  };

  void run();
  void wait();
  void note(Reload::Reason reason);
  void rescan();
  // As Compiled::unfinished says: the first time in a second, then in twice as long each, up to a rescan.
  void try_again(bool unfinished);
  [[nodiscard]] bool due() const;
  [[nodiscard]] Clock::time_point due_at() const;
  struct Turn {
    Compiled compiled;
    bool main_holds = false;  // the main file did not change meanwhile
    bool quiet = false;       // nor did any file that was read
    bool names_moved = false;
  };
  struct Attempt {
    Compiled compiled;
    bool main_holds = false;
  };
  // What was touched since the turn before.
  Touched touched();
  Turn turn(std::set<std::string>& restless, bool hold, bool last);
  Attempt attempt();
  void look_at(const Compiled& compiled);
  void wait_a_tick() const;
  Reload compile(Reload::Reason reason);
  // Empty, or why the table may not replace the one in force.
  [[nodiscard]] std::string refusal(const routing::Snapshot& fresh) const;
  void publish(routing::SnapshotPtr snapshot, std::string fingerprint);
  void take_rejection();
  void deliver(Reload reload);
  void wake();
  void keep();
  [[nodiscard]] Compiled guarded_compile(Touched touched, const Accept& accept) const;

  Hooks hooks_;
  std::chrono::milliseconds rescan_;
  std::chrono::milliseconds patience_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> asked_{false};
  std::mutex rejected_mutex_;
  bool confirmed_ = false;             // what was delivered is in force
  routing::SnapshotPtr rejected_for_;  // what is in force in place of what was delivered; null = that is
  int wake_fd_ = -1;

  // Of the thread, and of load() before it.
  Watcher watcher_;
  Fingerprint seen_;  // of files_ and directories_ as they were loaded
  std::vector<std::string> files_;
  std::vector<std::string> directories_;
  std::optional<Pending> pending_;
  bool keeping_ = true;          // something may be left for hooks_.keep
  bool look_everywhere_ = true;  // the next time: what the watcher tells is not all
  Clock::time_point next_rescan_;
  bool unfinished_ = false;  // as the latest compile said
  Clock::duration pause_{};  // before it is tried again
  ProblemJournal journal_;
  std::string in_force_;             // Compiled::fingerprint of what was published last
  routing::SnapshotPtr published_;   // that
  std::uint32_t max_removed_ = 100;  // percent; what was said last
  std::string watch_problem_;
  std::uint64_t generation_ = 0;
  std::chrono::milliseconds settle_{50};

  std::thread thread_;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);  // calls of `done` that are under way ask it
};

}  // namespace edgemux::config
