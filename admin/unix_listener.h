#pragma once
// UnixListener: a listening Unix socket with mode 0600, and the file that stands for it.
//
// A socket file that a dead process left behind is replaced; one that somebody listens on, and a file that is no
// socket, are errors. The destructor removes the file if it is still the one that was made.

#include <sys/types.h>

#include <string>

#include "core/base/result.h"

namespace edgemux::admin {

class UnixListener {
 public:
  static core::Result<UnixListener> open(const std::string& path);
  ~UnixListener();
  UnixListener(UnixListener&& other) noexcept;
  UnixListener& operator=(UnixListener&& other) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  // Its file is where it was made: nobody has removed or replaced it.
  [[nodiscard]] bool in_place() const;

 private:
  UnixListener(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace edgemux::admin
