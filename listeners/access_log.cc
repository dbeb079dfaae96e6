#include "listeners/access_log.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/log.h"
#include "core/base/metrics.h"
#include "listeners/access_format.h"
#include "listeners/log_output.h"
#include "listeners/log_ring.h"

namespace edgemux::listeners {

namespace {

using core::Counter;
using Layout = std::shared_ptr<const AccessLayout>;

constexpr int kNapMs = 20;  // between batches
constexpr int kNapsBeforeSleep = 10;
constexpr int kBlockedMs = 20;     // for a full pipe
constexpr int kBackoffMs = 250;    // after an error of the destination
constexpr int kFarewellMs = 1000;  // for what waits when the log ends
constexpr std::size_t kBatch = 64;
constexpr std::chrono::seconds kTellEvery{10};  // of dropped lines

std::int64_t unix_ms() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return std::int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1'000'000;
}

std::uint64_t lines_in(const char* data, std::size_t size) {
  return static_cast<std::uint64_t>(std::count(data, data + size, '\n'));
}

// What a worker has to itself.
struct alignas(64) Lane {
  explicit Lane(std::size_t ring_bytes) : ring(ring_bytes) {}
  LogRing ring;
  Counter dropped;
  std::uint64_t seen_version = 0;
  std::uint32_t sampled = 0;
  Layout layout;
  AccessFormatter formatter;
};

// What the writer does now; the word that it sleeps on.
enum Phase : std::uint32_t {
  kAwake,
  kNap,      // back within kNapMs: wake it only when a ring fills
  kAsleep,   // for good: any line wakes it
  kBackoff,  // the destination fails: lines cannot help
};

}  // namespace

struct AccessLog::State {
  State(unsigned workers, std::size_t ring_bytes) {
    for (unsigned i = 0; i < workers; ++i) lanes.push_back(std::make_unique<Lane>(ring_bytes));
  }

  // ---- shared ----
  std::vector<std::unique_ptr<Lane>> lanes;
  std::atomic<std::uint32_t> phase{kAwake};
  static_assert(sizeof(phase) == 4, "a futex is four bytes");
  std::atomic<std::uint64_t> version{0};  // of `layout`
  std::atomic<bool> command{false};       // `next` or `stopping` changed
  std::mutex mutex;
  Layout layout;                  // under the mutex
  std::optional<LogOutput> next;  // under the mutex: what to write to from now on
  bool stopping = false;          // under the mutex
  Counter written;
  Counter torn;      // lines that were lost because the destination changed
  std::string path;  // control thread
  std::thread thread;

  // ---- the writer's ----
  LogOutput output;
  std::size_t first = 0;  // the lane to begin with: lanes[first] may have a line half written
  bool half_line = false;
  int last_error = 0;
  std::uint64_t told = 0;  // of the dropped lines
  std::chrono::steady_clock::time_point tell_next;

  enum class Outcome : std::uint8_t { idle, moved, partly, blocked, failed };

  void wake() {
    if (phase.exchange(kAwake, std::memory_order_seq_cst) == kAwake) return;
    ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&phase), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }

  void after_push(const LogRing& ring) {
    const auto now = phase.load(std::memory_order_seq_cst);
    if (now == kAsleep || (now == kNap && ring.used() > ring.capacity() / 2)) wake();
  }

  bool anything_waits() const {
    return std::any_of(lanes.begin(), lanes.end(), [](const auto& lane) { return lane->ring.used() != 0; });
  }

  // ms < 0: until somebody wakes us.
  void sleep(Phase how, int ms) {
    phase.store(how, std::memory_order_seq_cst);
    if (!command.load(std::memory_order_seq_cst) && (how != kAsleep || !anything_waits())) {
      const timespec limit{ms / 1000, (ms % 1000) * 1'000'000L};
      ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&phase), FUTEX_WAIT_PRIVATE, how, ms < 0 ? nullptr : &limit,
                nullptr, 0);
    }
    phase.store(kAwake, std::memory_order_seq_cst);
  }

  // One batch of what is there.
  Outcome write_batch() {
    std::array<iovec, kBatch> pieces;
    std::array<std::size_t, kBatch> owners;
    std::size_t count = 0;
    std::size_t total = 0;
    for (std::size_t i = 0; i < lanes.size() && count + 2 <= kBatch; ++i) {
      const std::size_t index = (first + i) % lanes.size();
      for (const auto& piece : lanes[index]->ring.peek()) {
        if (piece.iov_len == 0) continue;
        pieces[count] = piece;
        owners[count++] = index;
        total += piece.iov_len;
      }
    }
    if (count == 0) return Outcome::idle;
    if (!output.is_open()) return discard();
    const auto done = output.write({pieces.data(), count});
    if (done < 0) return complain(static_cast<int>(-done));
    if (last_error != 0) core::log_info("access log: '{}' can be written again", output.path());
    last_error = 0;
    auto left = static_cast<std::size_t>(done);
    for (std::size_t i = 0; i < count && left != 0; ++i) {
      const auto* data = static_cast<const char*>(pieces[i].iov_base);
      const std::size_t taken = std::min(left, pieces[i].iov_len);
      written.add(lines_in(data, taken));
      half_line = data[taken - 1] != '\n';
      first = owners[i];
      lanes[owners[i]]->ring.consume(taken);
      left -= taken;
    }
    if (!half_line) first = (first + 1) % lanes.size();
    return static_cast<std::size_t>(done) == total && count + 2 <= kBatch ? Outcome::moved : Outcome::partly;
  }

  // The log is off: these are of workers that had not heard of it. Unless it is on again: then they may be new ones.
  Outcome discard() {
    {
      const std::lock_guard lock(mutex);
      if (next) return Outcome::moved;
    }
    for (auto& lane : lanes) {
      for (const auto& piece : lane->ring.peek()) {
        torn.add(lines_in(static_cast<const char*>(piece.iov_base), piece.iov_len));
        lane->ring.consume(piece.iov_len);
      }
    }
    return Outcome::moved;
  }

  Outcome complain(int error) {
    if (error == EAGAIN) return Outcome::blocked;
    if (error != last_error) {
      core::log_error("access log: cannot write to '{}': {}; lines are kept while there is room, then dropped",
                      output.path(), std::strerror(error));
    }
    last_error = error;
    return Outcome::failed;
  }

  [[nodiscard]] std::uint64_t dropped() const {
    std::uint64_t sum = 0;
    for (const auto& lane : lanes) sum += lane->dropped.read();
    return sum;
  }

  void tell_dropped(std::uint64_t lines) const {
    if (lines == 0) return;
    if (last_error != 0) {
      core::log_warn("access log: {} lines were dropped: cannot write to '{}': {}", lines, output.path(),
                     std::strerror(last_error));
    } else {
      core::log_warn("access log: {} lines were dropped: '{}' does not take them fast enough", lines, output.path());
    }
  }

  // True: there is nothing left to tell.
  bool tell_dropped_in_time() {
    const std::uint64_t now_dropped = dropped();
    if (now_dropped == told) return true;
    const auto now = std::chrono::steady_clock::now();
    if (now < tell_next) return false;
    tell_next = now + kTellEvery;
    tell_dropped(now_dropped - std::exchange(told, now_dropped));
    return true;
  }

  // What is in the rings at the end nobody writes any more.
  void tell_lost() {
    std::uint64_t lost = 0;
    for (auto& lane : lanes) {
      for (const auto& piece : lane->ring.peek()) {
        lost += lines_in(static_cast<const char*>(piece.iov_base), piece.iov_len);
      }
    }
    torn.add(lost);
    tell_dropped(lost + dropped() - told);
  }

  // The rest of a line whose beginning is in another file would be no line.
  void skip_half_line() {
    if (!half_line) return;
    half_line = false;
    auto& ring = lanes[first]->ring;
    for (const auto& piece : ring.peek()) {
      if (piece.iov_len == 0) continue;
      const void* end = std::memchr(piece.iov_base, '\n', piece.iov_len);
      if (end == nullptr) {
        ring.consume(piece.iov_len);
        continue;
      }
      ring.consume(static_cast<std::size_t>(static_cast<const char*>(end) - static_cast<const char*>(piece.iov_base)) +
                   1);
      torn.add();
      return;
    }
  }

  // False: the end.
  bool obey() {
    command.store(false, std::memory_order_seq_cst);
    std::optional<LogOutput> other;
    bool end = false;
    {
      const std::lock_guard lock(mutex);
      other = std::move(next);
      next.reset();
      end = stopping;
    }
    if (other) {
      // Lines from before the change belong to the old file, as far as it takes them without waiting.
      auto outcome = output.is_open() ? Outcome::partly : Outcome::idle;
      for (std::size_t turns = 0; turns < 4 * lanes.size() && outcome == Outcome::partly; ++turns)
        outcome = write_batch();
      skip_half_line();
      output = std::move(*other);
      last_error = 0;
    }
    return !end;
  }

  void run() {
    int naps = 0;
    while (!command.load(std::memory_order_seq_cst) || obey()) {
      const auto outcome = write_batch();
      const bool all_told = tell_dropped_in_time();
      switch (outcome) {
        case Outcome::moved:
          naps = 0;
          sleep(kNap, kNapMs);
          break;
        case Outcome::idle:
          if (++naps < kNapsBeforeSleep || !all_told) {
            sleep(kNap, kNapMs);
          } else {
            sleep(kAsleep, -1);
            naps = 0;
          }
          break;
        case Outcome::partly:
          naps = 0;
          break;
        case Outcome::blocked:
          output.wait_writable(kBlockedMs);
          break;
        case Outcome::failed:
          sleep(kBackoff, kBackoffMs);
          break;
      }
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kFarewellMs);
    while (std::chrono::steady_clock::now() < end) {
      const auto outcome = write_batch();
      if (outcome == Outcome::idle || outcome == Outcome::failed) break;
      if (outcome == Outcome::blocked) output.wait_writable(kBlockedMs);
    }
    tell_lost();
  }

  void change(std::optional<LogOutput> to, const Layout& how, bool end) {
    {
      const std::lock_guard lock(mutex);
      if (to) next = std::move(to);
      if (how != nullptr) layout = how;
      stopping = end;
    }
    if (how != nullptr) version.fetch_add(1, std::memory_order_release);
    command.store(true, std::memory_order_seq_cst);
    wake();
  }
};

AccessLog::AccessLog(unsigned workers, std::size_t ring_bytes)
    : state_(std::make_unique<State>(workers, std::max(ring_bytes, 2 * kMaxLine))) {
  // Signals are the control thread's; SIGPIPE becomes EPIPE.
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  state_->thread = std::thread([state = state_.get()] { state->run(); });
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

AccessLog::~AccessLog() {
  state_->change(std::nullopt, nullptr, true);
  state_->thread.join();
}

core::Result<void> AccessLog::configure(const routing::AccessLogSpec& spec) {
  auto layout = std::make_shared<const AccessLayout>(spec);
  std::optional<LogOutput> output;
  if (!layout->off && spec.path != state_->path) {
    auto opened = LogOutput::open(spec.path);
    if (!opened) return tl::unexpected(opened.error());
    output = std::move(*opened);
    state_->path = spec.path;
  }
  const bool on = !layout->off;
  if (!on) {
    output.emplace();  // nothing: the file that has the name when the log comes on again is another one, maybe
    state_->path.clear();
  }
  state_->change(std::move(output), layout, false);
  enabled_.store(on, std::memory_order_relaxed);
  return {};
}

core::Result<void> AccessLog::reopen() {
  if (state_->path.empty() || state_->path == "stdout" || state_->path == "stderr") return {};
  auto opened = LogOutput::open(state_->path);
  if (!opened) return tl::unexpected(opened.error());
  state_->change(std::move(*opened), nullptr, false);
  return {};
}

void AccessLog::write(unsigned worker, const AccessRecord& record) {
  Lane& lane = *state_->lanes[worker];
  const auto version = state_->version.load(std::memory_order_acquire);
  if (version != lane.seen_version) {
    const std::lock_guard lock(state_->mutex);
    lane.layout = state_->layout;
    lane.seen_version = version;
    lane.sampled = 0;
  }
  if (lane.layout == nullptr || lane.layout->off) return;
  if (lane.layout->sample > 1 && record.status < 400 && !is_failure(record.reason)) {
    const bool due = lane.sampled == 0;
    if (++lane.sampled == lane.layout->sample) lane.sampled = 0;
    if (!due) return;
  }
  if (!lane.ring.push(lane.formatter.format(*lane.layout, record, unix_ms))) lane.dropped.add();
  state_->after_push(lane.ring);
}

std::uint64_t AccessLog::dropped() const { return state_->torn.read() + state_->dropped(); }

std::uint64_t AccessLog::written() const { return state_->written.read(); }

}  // namespace edgemux::listeners
