#include "core/base/log.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace edgemux::core {

namespace {

constexpr std::array<std::string_view, 5> kNames{"trace", "debug", "info", "warn", "error"};
constexpr std::array<std::string_view, 5> kPriorities{"<7>", "<7>", "<6>", "<4>", "<3>"};
// What a pipe takes whole once it is writable at all.
constexpr std::size_t kChunk = 4096;
constexpr std::size_t kMaxMessage = 16 * 1024;
constexpr int kWaitMs = 200;

std::atomic<LogLevel> level_limit{LogLevel::info};
std::atomic<std::uint64_t> lost_lines{0};

void append_clean(std::string& out, std::string_view message) {
  constexpr char kHex[] = "0123456789abcdef";
  const auto escape = [&](unsigned char byte) {
    out += "\\x";
    out += kHex[byte >> 4U];
    out += kHex[byte & 15U];
  };
  const bool cut = message.size() > kMaxMessage;
  if (cut) message = message.substr(0, kMaxMessage);
  for (std::size_t i = 0; i < message.size(); ++i) {
    const auto byte = static_cast<unsigned char>(message[i]);
    if (byte < 0x20 || byte == 0x7f) {
      escape(byte);
    } else if (byte == 0xc2 && i + 1 < message.size() && static_cast<unsigned char>(message[i + 1]) < 0xa0) {
      escape(static_cast<unsigned char>(message[++i]));  // a C1 control character in UTF-8
    } else {
      out += message[i];
    }
  }
  if (cut) out += "...";
}

void append_time(std::string& out, std::chrono::system_clock::time_point when) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(when.time_since_epoch()).count();
  const auto seconds = static_cast<std::time_t>(ms / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text;
  out.append(text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts));
  fmt::format_to(std::back_inserter(out), ".{:03}Z ", ms % 1000);
}

// Writes lines to a descriptor; waits a little for a full pipe, then gives the line up. While it is stuck nothing
// waits.
class LineWriter {
 public:
  void set(LogTarget target) { target_ = target; }

  void write(LogLevel level, std::chrono::system_clock::time_point when, std::string_view message) {
    const auto index = static_cast<std::size_t>(level);
    line_.clear();
    if (cut_) line_ += '\n';
    if (target_.journal) {
      line_ += kPriorities[index];
    } else {
      append_time(line_, when);
      line_ += kNames[index];
      line_ += ' ';
    }
    append_clean(line_, message);
    line_ += '\n';
    if (!put()) lost_lines.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  bool put() {
    std::string_view rest = line_;
    while (!rest.empty()) {
      pollfd waiting{target_.fd, POLLOUT, 0};
      const int ready = ::poll(&waiting, 1, stuck_ ? 0 : kWaitMs);
      stuck_ = ready == 0;
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) break;
      const auto done = ::write(target_.fd, rest.data(), std::min(rest.size(), kChunk));
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) break;
      rest.remove_prefix(static_cast<std::size_t>(done));
    }
    if (rest.size() < line_.size()) cut_ = !rest.empty();
    return rest.empty();
  }

  LogTarget target_;
  std::string line_;
  bool stuck_ = false;
  bool cut_ = false;  // the last thing written was the beginning of a line
};

LogLevel from_spdlog(spdlog::level::level_enum level) {
  return static_cast<LogLevel>(std::min(static_cast<int>(level), static_cast<int>(LogLevel::error)));
}

class LineSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit LineSink(LogTarget target) { writer_.set(target); }

 protected:
  void sink_it_(const spdlog::details::log_msg& msg) override {
    writer_.write(from_spdlog(msg.level), msg.time, {msg.payload.data(), msg.payload.size()});
  }
  void flush_() override {}

 private:
  LineWriter writer_;
};

struct Direct {
  std::mutex mutex;
  LineWriter writer;
};
Direct& direct() {
  static Direct value;
  return value;
}

// The queue and its thread. The loggers stay allocated: a thread may hold one while stop_log() runs.
struct Queued {
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::vector<std::shared_ptr<spdlog::async_logger>> loggers;
  std::atomic<spdlog::async_logger*> current{nullptr};
  std::mutex mutex;
};
Queued& queued() {
  static auto* value = new Queued;  // lives as long as the last thread that logs
  return *value;
}

void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

std::uint64_t hash_of(const LogKey& key) {
  std::uint64_t hash = 1469598103934665603U;
  const auto add = [&hash](char c) { hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U; };
  for (const char c : key.what) add(c);
  add('\0');
  for (const char c : key.whose) add(c);
  return hash | 1U;
}

struct LimitSlot {
  std::atomic<std::uint64_t> key{0};
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> suppressed{0};
};
constexpr std::size_t kLimitSlots = 512;
constexpr std::size_t kProbes = 4;
std::array<LimitSlot, kLimitSlots> limit_slots;

// Lines whose keys found no slot.
constexpr std::uint64_t kOverflowMs = 1000;
std::atomic<std::uint64_t> overflow_lines{0};
std::atomic<std::uint64_t> overflow_next{0};  // when they may be told again

void tell_overflow() {
  const std::uint64_t lines = overflow_lines.exchange(0, std::memory_order_relaxed);
  if (lines == 0) return;
  log_warn("{} lines were left out: too many different ones came at once", lines);
}

void tell_overflow_at(std::uint64_t now_ms) {
  if (overflow_lines.load(std::memory_order_relaxed) == 0) return;
  std::uint64_t next = overflow_next.load(std::memory_order_relaxed);
  if (now_ms < next || !overflow_next.compare_exchange_strong(next, now_ms + kOverflowMs)) return;
  tell_overflow();
}

}  // namespace

std::string_view log_level_name(LogLevel level) { return kNames[static_cast<std::size_t>(level)]; }

LogTarget log_target_of_stderr() {
  LogTarget target;
  const char* journal = std::getenv("JOURNAL_STREAM");
  struct stat info {};
  if (journal != nullptr && ::fstat(target.fd, &info) == 0) {
    target.journal = fmt::format("{}:{}", info.st_dev, info.st_ino) == journal;
  }
  return target;
}

void start_log(LogTarget target, std::size_t queue_lines) {
  set_log_target(target);
  Queued& q = queued();
  const std::lock_guard lock(q.mutex);
  if (q.pool != nullptr) return;
  q.pool = std::make_shared<spdlog::details::thread_pool>(queue_lines, 1, block_signals);
  q.loggers.push_back(std::make_shared<spdlog::async_logger>("edgemux", std::make_shared<LineSink>(target), q.pool,
                                                             spdlog::async_overflow_policy::overrun_oldest));
  q.loggers.back()->set_level(spdlog::level::trace);
  q.current = q.loggers.back().get();
}

void stop_log() {
  tell_overflow();
  Queued& q = queued();
  const std::lock_guard lock(q.mutex);
  if (q.pool == nullptr) return;
  q.current = nullptr;
  lost_lines.fetch_add(q.pool->overrun_counter(), std::memory_order_relaxed);
  q.pool.reset();  // writes what waits and joins
}

void set_log_target(LogTarget target) {
  const std::lock_guard lock(direct().mutex);
  direct().writer.set(target);
}

void set_log_level(LogLevel level) { level_limit.store(level, std::memory_order_relaxed); }

bool log_enabled(LogLevel level) { return level >= level_limit.load(std::memory_order_relaxed); }

std::uint64_t log_drops() {
  Queued& q = queued();
  const std::lock_guard lock(q.mutex);
  const std::uint64_t overrun = q.pool == nullptr ? 0 : q.pool->overrun_counter();
  return lost_lines.load(std::memory_order_relaxed) + overrun;
}

void log_formatted(LogLevel level, fmt::string_view format, fmt::format_args args, std::uint64_t suppressed) {
  fmt::memory_buffer text;
  fmt::vformat_to(fmt::appender(text), format, args);
  if (suppressed != 0) fmt::format_to(fmt::appender(text), " ({} more like this were left out)", suppressed);
  log_line(level, {text.data(), text.size()});
}

void log_line(LogLevel level, std::string_view message) {
  if (auto* logger = queued().current.load(std::memory_order_acquire)) {
    logger->log(static_cast<spdlog::level::level_enum>(level), spdlog::string_view_t(message.data(), message.size()));
    return;
  }
  const std::lock_guard lock(direct().mutex);
  direct().writer.write(level, std::chrono::system_clock::now(), message);
}

bool log_due(const LogKey& key, std::uint64_t now_ms, std::uint64_t interval_ms, std::uint64_t& suppressed) {
  tell_overflow_at(now_ms);
  const std::uint64_t hash = hash_of(key);
  for (std::size_t i = 0; i < kProbes; ++i) {
    LimitSlot& slot = limit_slots[(hash + i) % kLimitSlots];
    if (slot.key.load(std::memory_order_acquire) != hash) continue;
    std::uint64_t next = slot.next.load(std::memory_order_relaxed);
    if (now_ms < next || !slot.next.compare_exchange_strong(next, now_ms + interval_ms)) {
      slot.suppressed.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    suppressed = slot.suppressed.exchange(0, std::memory_order_relaxed);
    return true;
  }
  for (std::size_t i = 0; i < kProbes; ++i) {
    LimitSlot& slot = limit_slots[(hash + i) % kLimitSlots];
    std::uint64_t old = slot.key.load(std::memory_order_acquire);
    if (old != 0 && now_ms < slot.next.load(std::memory_order_relaxed)) continue;
    if (!slot.key.compare_exchange_strong(old, hash)) continue;
    slot.next.store(now_ms + interval_ms, std::memory_order_relaxed);
    slot.suppressed.store(0, std::memory_order_relaxed);
    suppressed = 0;
    return true;
  }
  overflow_lines.fetch_add(1, std::memory_order_relaxed);
  tell_overflow_at(now_ms);
  return false;
}

std::uint64_t log_clock() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

}  // namespace edgemux::core
