#pragma once
// Shortage: what the process or the machine has run out of, whoever was asked for what could not be had.

#include <cerrno>

namespace edgemux::core {

// Whether errno says that there was no descriptor or no memory to be had.
inline bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

// What to do about it: "raise LimitNOFILE (ulimit -n)".
inline const char* shortage_remedy(int error) {
  if (error == EMFILE) return "raise LimitNOFILE (ulimit -n)";
  if (error == ENFILE) return "raise fs.file-max";
  return "the machine is short of memory";
}

}  // namespace edgemux::core
