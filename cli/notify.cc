#include "cli/notify.h"

#include <systemd/sd-daemon.h>
#include <time.h>

#include <algorithm>
#include <utility>

namespace edgemux::cli {

namespace {

// A newline would begin another assignment.
std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

void tell(const std::string& what) { sd_notify(0, what.c_str()); }

}  // namespace

Notify::Notify() {
  std::uint64_t micros = 0;
  if (sd_watchdog_enabled(0, &micros) > 0) interval_ms_ = std::max<std::uint64_t>(1, micros / 2000);
}

void Notify::ready(const std::string& text) { tell("READY=1\nSTATUS=" + one_line(text)); }

void Notify::reloading() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto micros =
      static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000;
  tell("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(micros));
}

void Notify::status(const std::string& text) { tell("STATUS=" + one_line(text)); }

void Notify::stopping() { tell("STOPPING=1\nSTATUS=draining"); }

void Notify::ping() { tell("WATCHDOG=1"); }

}  // namespace edgemux::cli
