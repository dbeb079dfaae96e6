#pragma once
// The process log: lines for people on standard error. A thin layer over spdlog.
//
//   log_warn("upstream {}: {} did not answer within {} ms", name, endpoint, ms);
//
// A line is "2026-01-31T12:00:00.123Z warn message"; under systemd (JOURNAL_STREAM names our standard error) it is
// "<4>message", because the journal keeps time and priority itself. Control characters in a message come out as \xNN,
// so nothing that a stranger sent can make a second line or move a terminal's cursor.
//
// Until start_log() lines are written at once by the caller. After it a thread of its own writes them: a caller never
// waits for the terminal, the pipe or the journal. When its queue is full the oldest line is dropped and counted. The
// destination is always standard error: there is no file to reopen.
//
// Threads: everything may be called from any thread, start_log() and stop_log() from one.

#include <fmt/core.h>  // not format.h: every file that logs would compile the formatter

#include <cstdint>
#include <string>
#include <string_view>

namespace edgemux::core {

enum class LogLevel : std::uint8_t { trace, debug, info, warn, error };

std::string_view log_level_name(LogLevel level);

struct LogTarget {
  int fd = 2;            // stays the caller's
  bool journal = false;  // "<N>" prefixes instead of time and level
};
// Standard error, with `journal` where JOURNAL_STREAM says that it is the journal's socket.
LogTarget log_target_of_stderr();

// From now on a thread writes the lines. `queue_lines` bounds what waits.
void start_log(LogTarget target, std::size_t queue_lines = 8192);
// Writes what waits and goes back to writing at once. Called before the process ends.
void stop_log();
// For tests: the descriptor that gets lines while no thread runs.
void set_log_target(LogTarget target);

void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);

// Lines that were lost: the queue was full, or standard error could not be written.
std::uint64_t log_drops();

void log_line(LogLevel level, std::string_view message);
// The same, of a format and its arguments; with how many like it were left out before, if any.
void log_formatted(LogLevel level, fmt::string_view format, fmt::format_args args, std::uint64_t suppressed = 0);

// What lines are alike by: what they say, and of whom. Whoever chooses keys freely silences others: names that a
// stranger sent are none.
struct LogKey {
  // NOLINTBEGIN(google-explicit-constructor): mostly a word says it
  LogKey(const char* kind) : what(kind) {}
  LogKey(std::string_view kind, std::string_view name = {}) : what(kind), whose(name) {}
  LogKey(const std::string& kind) : what(kind) {}
  // NOLINTEND(google-explicit-constructor)
  std::string_view what;
  std::string_view whose;
};

// True when the line for `key` is due: at most one per key in `interval_ms`. `suppressed` = how many were not due since
// the last. The table is bounded: when too many different keys come in one interval, the rest is left out as well, and
// once a second a line of its own says how many that were. `now_ms` is any monotonic clock.
bool log_due(const LogKey& key, std::uint64_t now_ms, std::uint64_t interval_ms, std::uint64_t& suppressed);
// The monotonic clock in milliseconds, for the above.
std::uint64_t log_clock();

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (!log_enabled(level)) return;
  log_formatted(level, format, fmt::make_format_args(args...));
}

template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::debug, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::info, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::warn, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::error, format, std::forward<Args>(args)...);
}

// For what repeats with every request: at most one line per key in ten seconds; the next one says how many were left
// out.
template <class... Args>
void log_limited(LogLevel level, const LogKey& key, fmt::format_string<Args...> format, Args&&... args) {
  if (!log_enabled(level)) return;
  std::uint64_t suppressed = 0;
  if (!log_due(key, log_clock(), 10'000, suppressed)) return;
  log_formatted(level, format, fmt::make_format_args(args...), suppressed);
}

}  // namespace edgemux::core
