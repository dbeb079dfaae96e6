#pragma once
// LogOutput: where access-log lines go: a file, standard output or standard error, whatever that is (file, terminal,
// pipe, journal socket). write() never waits, and never changes the blocking mode of a descriptor that other processes
// share.

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/base/result.h"

namespace edgemux::listeners {

class LogOutput {
 public:
  LogOutput() = default;
  // "stdout", "stderr" or a file, which is made with mode 0640 where it is missing.
  static core::Result<LogOutput> open(const std::string& path);
  ~LogOutput();
  LogOutput(LogOutput&& other) noexcept { swap(other); }
  LogOutput& operator=(LogOutput&& other) noexcept {
    swap(other);
    return *this;
  }

  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  [[nodiscard]] const std::string& path() const { return path_; }

  // Bytes taken (at least one), or minus the error number; -EAGAIN: wait_writable() first.
  std::ptrdiff_t write(std::span<const iovec> pieces);
  // Returns when something can be written, or after `ms`.
  void wait_writable(int ms) const;

 private:
  enum class Kind : std::uint8_t {
    plain,   // write() does not block: a file, or a description of our own that is non-blocking
    socket,  // non-blocking per call
    shared,  // may block: written only when poll() says so, in pieces that a pipe takes whole
  };
  void swap(LogOutput& other) noexcept;

  int fd_ = -1;
  bool owned_ = false;
  Kind kind_ = Kind::plain;
  std::string path_;
};

}  // namespace edgemux::listeners
