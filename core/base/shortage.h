#pragma once
// Shortage: what the process or the machine has run out of, whoever was asked for what could not be had.

#include <cerrno>

namespace edgemux::core {

// Whether errno says that there was no descriptor or no memory to be had.
inline bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

// Whether what failed with this errno may work the next time, without anything that tells: a shortage, or a disk or
// network file system that is not well.
inline bool may_pass(int error) {
  return is_shortage(error) || error == EIO || error == ESTALE || error == ETIMEDOUT || error == EAGAIN;
}

// What to do about it: "raise LimitNOFILE (ulimit -n)".
inline const char* shortage_remedy(int error) {
  if (error == EMFILE) return "raise LimitNOFILE (ulimit -n)";
  if (error == ENFILE) return "raise fs.file-max";
  return "the machine is short of memory";
}

}  // namespace edgemux::core
