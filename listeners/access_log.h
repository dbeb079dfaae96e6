#pragma once
// AccessLog: one line per request or connection, written to a file or a standard stream without ever holding up a
// worker.
//
// A worker formats the line and puts it into its own ring (one producer, one consumer, no lock, no system call, no
// allocation); a thread drains the rings in batches. Lines appear within 100 ms. When the destination is slow, full or
// gone the rings fill, and further lines are dropped and counted; what is in the rings is written when it can be again.
// The process log tells of dropped lines, at most once in ten seconds and at the end.
// Lines are always whole.
//
// JSON: one object per line, always valid: control characters are escaped, bytes that are not UTF-8 become U+FFFD. Long
// values are cut (see access_format.h). Text: name=value, quoted where needed. Fields and their names:
// routing/table/access_fields.h.
//
// Threads: write() from the worker that owns the index; everything else from the control thread.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/base/result.h"
#include "listeners/access_record.h"
#include "routing/table/snapshot.h"

namespace edgemux::listeners {

class AccessLog {
 public:
  // Off until configure().
  explicit AccessLog(unsigned workers, std::size_t ring_bytes = 1024 * 1024);
  // Writes what waits, for at most a second.
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  // Takes over destination, format, fields and sampling; while it is off no file is open. A file that cannot be opened
  // is the error, and everything stays as it was.
  core::Result<void> configure(const routing::AccessLogSpec& spec);

  // Opens the file again (it was renamed by logrotate). A standard stream stays as it is.
  core::Result<void> reopen();

  void write(unsigned worker, const AccessRecord& record);

  // True when lines are written at all: saves filling a record in.
  [[nodiscard]] bool enabled() const { return enabled_.load(std::memory_order_relaxed); }

  // Lines lost: a ring was full, or the destination changed in the middle of one.
  [[nodiscard]] std::uint64_t dropped() const;
  // Lines handed to the destination.
  [[nodiscard]] std::uint64_t written() const;

 private:
  struct State;
  std::atomic<bool> enabled_{false};
  std::unique_ptr<State> state_;
};

}  // namespace edgemux::listeners
