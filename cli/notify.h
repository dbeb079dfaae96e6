#pragma once
// Notify: tells systemd (Type=notify) what the process does. Without NOTIFY_SOCKET every call does nothing.
//
// Order: ready() once, then any number of reloading() ... ready() pairs, then stopping(). ping() every
// watchdog_interval_ms() while the process is well.

#include <cstdint>
#include <string>

namespace edgemux::cli {

class Notify {
 public:
  // Reads WATCHDOG_USEC and WATCHDOG_PID.
  Notify();

  // Up, or the reload is over. `status` is what `systemctl status` shows.
  void ready(const std::string& status);
  // A reload begins. The time goes with it, so that systemd knows which ready() belongs to it.
  void reloading();
  void status(const std::string& text);
  void stopping();

  // Half of what systemd allows between two pings; 0 = it expects none.
  [[nodiscard]] std::uint64_t watchdog_interval_ms() const { return interval_ms_; }
  void ping();

 private:
  std::uint64_t interval_ms_ = 0;
};

}  // namespace edgemux::cli
