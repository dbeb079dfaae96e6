#include "config/reloader.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <csignal>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "core/base/log.h"
#include "routing/table/difference.h"

namespace edgemux::config {

namespace {

using std::chrono::milliseconds;

constexpr int most_attempts = 3;        // that wait for files that change; then as many that hold those
constexpr int lowest = 10;              // nice
constexpr int most_settles = 10;        // a change waits for quiet no longer than this many times `settle`
constexpr milliseconds clock_tick{10};  // the longest tick of the clock that stamps files

Diagnostic problem(std::string message) {
  Diagnostic made;
  made.origin.file = std::make_shared<const std::string>("configuration");
  made.message = std::move(message);
  return made;
}

// Rounded up: waking early would only poll again.
int poll_timeout(std::chrono::steady_clock::duration left) {
  const auto rounded = std::chrono::ceil<milliseconds>(left).count();
  return static_cast<int>(std::clamp<std::int64_t>(rounded, 0, 60'000));
}

}  // namespace

Reloader::Reloader(Hooks hooks, milliseconds rescan, milliseconds patience)
    : hooks_(std::move(hooks)),
      rescan_(rescan),
      patience_(patience),
      wake_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

Reloader::~Reloader() {
  stop_.store(true);
  wake();
  if (thread_.joinable()) thread_.join();
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

void Reloader::wake() {
  const std::uint64_t one = 1;
  // It can only fail when the counter is full, and then the thread is being woken already.
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
}

void Reloader::request() {
  asked_.store(true);
  wake();
}

void Reloader::rejected(routing::SnapshotPtr in_force) {
  const std::lock_guard lock(rejected_mutex_);
  confirmed_ = in_force == nullptr;
  rejected_for_ = std::move(in_force);
  if (!confirmed_) wake();  // what is kept of files is mended at once
}

void Reloader::take_rejection() {
  const std::lock_guard lock(rejected_mutex_);
  if (std::exchange(confirmed_, false) && hooks_.published) hooks_.published();
  if (rejected_for_ == nullptr) return;
  if (hooks_.unpublished) hooks_.unpublished();
  publish(std::exchange(rejected_for_, nullptr), {});
}

Compiled Reloader::load() {
  Compiled compiled = attempt().compiled;
  journal_.update(compiled.diagnostics);
  if (compiled.snapshot != nullptr) {
    compiled.snapshot->generation = ++generation_;
    publish(compiled.snapshot, compiled.fingerprint);
  }
  return compiled;
}

void Reloader::publish(routing::SnapshotPtr snapshot, std::string fingerprint) {
  settle_ = snapshot->settle;
  max_removed_ = snapshot->max_removed.value_or(max_removed_);
  in_force_ = std::move(fingerprint);
  published_ = std::move(snapshot);
}

std::string Reloader::refusal(const routing::Snapshot& fresh) const {
  const std::uint64_t most = fresh.max_removed.value_or(max_removed_);
  if (most >= 100 || published_ == nullptr) return {};
  const auto lost = routing::lost_hosts(*published_, fresh);
  const std::uint64_t before = published_->host_count;
  if (lost.size() * 100 <= most * before) return {};
  constexpr std::size_t examples = 3;
  std::string names;
  for (std::size_t i = 0; i < std::min(lost.size(), examples); ++i) names += (i == 0 ? "" : ", ") + lost[i];
  if (lost.size() > examples) names += ", ...";
  return std::to_string(lost.size()) + " of " + std::to_string(before) + " hosts would be gone (" + names +
         "), and reload.max_removed is " + std::to_string(most) + "%";
}

void Reloader::start() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);  // signals belong to the control loop's thread
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

namespace {

// The workers come first: a tenth of their weight, and no more than 100 us at a time while one of them waits (since
// Linux 6.12; before, a worker that wakes up takes over at once).
void give_way() {
  struct {  // sched_setattr(2), which the C library does not have
    std::uint32_t size = 48;
    std::uint32_t policy = SCHED_OTHER;
    std::uint64_t flags = 0;
    std::int32_t nice = lowest;
    std::uint32_t priority = 0;
    std::uint64_t runtime = 100'000;  // ns
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
  } attributes;
  // Both are of this thread alone.
  if (::syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) ::setpriority(PRIO_PROCESS, 0, lowest);
}

// Ends the giving way of the thread that makes it when it lives longer than `patience`. It gives way again afterwards.
class Patience {
 public:
  explicit Patience(milliseconds patience) : thread_(static_cast<id_t>(::gettid())) {
    try {
      ender_ = std::thread([this, patience] { wait(patience); });
    } catch (const std::system_error&) {  // no thread to be had: it has to do with the time that it gets
    }
  }
  ~Patience() {
    if (!ender_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    ended_.notify_one();
    ender_.join();
    if (ran_out_) give_way();
  }
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;

 private:
  void wait(milliseconds patience) {
    std::unique_lock lock(mutex_);
    if (ended_.wait_for(lock, patience, [this] { return over_; })) return;
    // Linux has a priority for each thread; the process's is that of its first one.
    const int own = ::getpriority(PRIO_PROCESS, static_cast<id_t>(::getpid()));
    ran_out_ = own < lowest && ::setpriority(PRIO_PROCESS, thread_, own) == 0;
    if (!ran_out_) return;
    core::log_info("compiling takes longer than {} ms: it gives way to traffic no longer", patience.count());
  }

  id_t thread_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  bool ran_out_ = false;
  std::thread ender_;
};

}  // namespace

void Reloader::run() {
  pthread_setname_np(pthread_self(), "edgemux-compile");
  give_way();
  next_rescan_ = Clock::now() + (unfinished_ ? std::min<Clock::duration>(pause_, rescan_) : rescan_);
  while (!stop_.load()) {
    wait();
    if (stop_.load()) return;
    take_rejection();
    if (asked_.exchange(false)) {
      pending_.reset();
      const Patience patience(patience_);  // ends behind the delivery, which need not wait for its thread
      deliver(compile(Reload::Reason::asked));
    } else if (pending_ && due()) {
      const auto reason = pending_->reason;
      pending_.reset();
      const Patience patience(patience_);
      deliver(compile(reason));
    } else if (keeping_) {
      keep();
    }
  }
}

// Until something is to be done, or time has come to look.
void Reloader::wait() {
  auto until = next_rescan_;
  if (pending_) until = std::min(until, due_at());
  std::array<pollfd, 2> waiting{pollfd{wake_fd_, POLLIN, 0}, pollfd{watcher_.fd(), POLLIN, 0}};
  const int timeout = asked_.load() || keeping_ ? 0 : poll_timeout(until - Clock::now());
  ::poll(waiting.data(), watcher_.fd() < 0 ? 1 : 2, timeout);

  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = ::read(wake_fd_, &count, sizeof count);
  if (watcher_.drain()) note(Reload::Reason::change);
  if (Clock::now() >= next_rescan_) rescan();
}

void Reloader::keep() {
  const auto kept = hooks_.keep ? hooks_.keep() : Kept::all;
  keeping_ = kept == Kept::some;
  if (kept == Kept::failed) note(Reload::Reason::change);
}

void Reloader::note(Reload::Reason reason) {
  const auto now = Clock::now();
  if (pending_) {
    pending_->last = now;
  } else {
    pending_ = Pending{reason, now, now};
  }
}

Reloader::Clock::time_point Reloader::due_at() const {
  return std::min(pending_->last + settle_, pending_->first + most_settles * settle_);
}

bool Reloader::due() const { return Clock::now() >= due_at(); }

// A difference that nobody announced may be a file that is still being written: it is compiled when a second look, one
// settle later, shows the same. The looks are bounded like every settling.
void Reloader::rescan() {
  Fingerprint now(files_, directories_, seen_);
  const bool differs = !(now == seen_);
  if (unfinished_) note(Reload::Reason::rescan);
  if (differs) {
    note(Reload::Reason::rescan);
    look_everywhere_ = true;
    seen_ = now;
  }
  next_rescan_ = Clock::now() + (differs ? std::min<Clock::duration>(settle_ / 2, rescan_) : rescan_);
}

void Reloader::try_again(bool unfinished) {
  constexpr Clock::duration first = std::chrono::seconds(1);
  pause_ = unfinished ? std::min<Clock::duration>(std::max(first, 2 * pause_), rescan_) : Clock::duration{};
  unfinished_ = unfinished;
  if (unfinished) next_rescan_ = std::min(next_rescan_, Clock::now() + pause_);
}

Compiled Reloader::guarded_compile(Touched touched, const Accept& accept) const {
  try {
    return hooks_.compile(std::move(touched), accept);
  } catch (
      const std::exception& error) {  // a bug, or no memory: the table in force is worth more than this thread's pride
    Compiled nothing;
    nothing.diagnostics.push_back(problem(std::string("the compiler failed: ") + error.what()));
    nothing.files = files_;
    nothing.directories = directories_;
    nothing.unfinished = true;
    return nothing;
  }
}

Touched Reloader::touched() {
  auto told = watcher_.take();
  if (std::exchange(look_everywhere_, true)) told.add_everything();
  return told;
}

// What was compiled is what is watched, and compared with the disk, from now on.
void Reloader::look_at(const Compiled& compiled) {
  if (compiled.read_again && compiled.files == files_ && compiled.directories == directories_) {
    if (!watcher_.problem().empty()) watcher_.set(files_, directories_);
    seen_.look_again(*compiled.read_again);
    return;
  }
  files_ = compiled.files;
  directories_ = compiled.directories;
  watcher_.set(files_, directories_);
  seen_ = Fingerprint(files_, directories_, seen_);
}

// Past the tick of a change, so that the next load can be told apart from it.
void Reloader::wait_a_tick() const {
  pollfd waiting{wake_fd_, 0, 0};
  ::poll(&waiting, 1, static_cast<int>(clock_tick.count()));
}

// One load. `restless`: the files that changed while they were read; afterwards, those that did so here too.
Reloader::Turn Reloader::turn(std::set<std::string>& restless, bool hold, bool last) {
  if (hold && hooks_.hold) hooks_.hold(restless);
  Turn made;
  const timespec started = Fingerprint::now();
  std::optional<std::set<std::string>> moved;
  const auto look = [&](const Compiled& compiled) {
    look_at(compiled);
    moved.emplace(compiled.moved.begin(), compiled.moved.end());
    for (auto& path : seen_.changed_since(started)) moved->insert(std::move(path));
    made.main_holds = moved->erase(compiled.main_file) == 0;
    if (hold) std::erase_if(*moved, [&](const std::string& path) { return restless.count(path) != 0; });
  };
  made.compiled = guarded_compile(touched(), [&](const Compiled& fresh) -> std::string {
    look(fresh);
    const bool holds = made.main_holds && (last || moved->empty());
    return holds ? refusal(*fresh.snapshot) : keeps_changing;
  });
  if (!moved) look(made.compiled);
  made.quiet = made.main_holds && moved->empty();
  made.names_moved = seen_.names_changed_since(started);
  restless.merge(*moved);
  return made;
}

// Files that change while they are read are read again, and held when that does not help. That others begin to change
// then cannot go on for ever: in the last turn they count as they were read.
Reloader::Attempt Reloader::attempt() {
  Turn made;
  std::set<std::string> restless;
  for (int n = 0; n < 2 * most_attempts && !made.quiet; ++n) {
    const bool hold = n >= most_attempts;
    if (hold && !(made.main_holds && made.compiled.main_ok)) break;
    if (n > 0) wait_a_tick();
    if (!hold) restless.clear();
    made = turn(restless, hold, n + 1 == 2 * most_attempts);
  }
  // A name that came or went may lie in a folder that was not watched yet: look again, but what was read holds.
  if (made.names_moved) note(Reload::Reason::change);
  const bool all_read = made.main_holds && restless.empty();
  look_everywhere_ = made.names_moved || !all_read || !made.compiled.main_ok;
  if (watcher_.problem() != watch_problem_) {
    watch_problem_ = watcher_.problem();
    if (!watch_problem_.empty()) {
      core::log_warn("{}; changes there are noticed within {} s", watch_problem_,
                     std::chrono::duration_cast<std::chrono::seconds>(rescan_).count());
    }
  }
  if (!all_read) note(Reload::Reason::change);
  try_again(made.compiled.unfinished);
  return {std::move(made.compiled), made.main_holds};
}

Reload Reloader::compile(Reload::Reason reason) {
  const auto began = Clock::now();
  take_rejection();
  if (reason == Reload::Reason::asked) {
    look_everywhere_ = true;
    if (hooks_.reread) hooks_.reread();
  }
  auto [compiled, main_holds] = attempt();
  keeping_ = true;
  Reload reload;
  reload.reason = reason;
  reload.set_aside = std::move(compiled.set_aside);
  reload.set_aside_named = std::move(compiled.set_aside_named);
  reload.diagnostics = std::move(compiled.diagnostics);
  if (!main_holds) {
    reload.diagnostics.push_back(problem(keeps_changing));
  } else if (compiled.snapshot != nullptr) {
    const bool equal = compiled.fingerprint == in_force_;
    reload.outcome = equal && reason != Reload::Reason::asked ? Reload::Outcome::unchanged : Reload::Outcome::published;
    if (!compiled.refused.empty()) {
      reload.outcome = Reload::Outcome::refused;
      reload.diagnostics.push_back(problem(std::move(compiled.refused)));
      reload.diagnostics.back().hint =
          "what is in force stays; if they are meant to go, set reload.max_removed to more, or to off, in the main "
          "file";
    }
  }
  if (reload.outcome == Reload::Outcome::published) {
    compiled.snapshot->generation = ++generation_;
    publish(compiled.snapshot, std::move(compiled.fingerprint));
    reload.snapshot = std::move(compiled.snapshot);
  }
  const bool whole = reload.outcome != Reload::Outcome::failed && reload.outcome != Reload::Outcome::refused;
  reload.news = journal_.update(reload.diagnostics, reason == Reload::Reason::asked, whole);
  reload.took = std::chrono::duration_cast<milliseconds>(Clock::now() - began);
  return reload;
}

void Reloader::deliver(Reload reload) {
  auto shared = std::make_shared<Reload>(std::move(reload));
  hooks_.post([this, shared, alive = std::weak_ptr<const bool>(alive_)] {
    if (!alive.expired()) hooks_.done(std::move(*shared));
  });
}

void log_reload(const Reload& reload) {
  for (const Diagnostic& fresh : reload.news.fresh) {
    const auto level = fresh.severity == Severity::error ? core::LogLevel::error : core::LogLevel::warn;
    core::log_line(level, fresh.headline());
  }
  for (const std::string& solved : reload.news.solved) core::log_info("solved: {}", solved);
  const bool told = reload.reason == Reload::Reason::asked || !reload.news.fresh.empty();
  switch (reload.outcome) {
    case Reload::Outcome::published:
      core::log_info("generation {}: {} hosts, loaded in {} ms", reload.snapshot->generation,
                     reload.snapshot->host_count, reload.took.count());
      break;
    case Reload::Outcome::failed:
      if (told) core::log_error("the configuration was not loaded; what is in force stays");
      break;
    case Reload::Outcome::refused:
      if (told) core::log_error("the configuration was refused; what is in force stays");
      break;
    case Reload::Outcome::unchanged:
      break;
  }
}

}  // namespace edgemux::config
