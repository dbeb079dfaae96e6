#pragma once
// Asking the running process through its admin socket. Blocking, with a deadline.

#include <string>

#include "core/base/result.h"

namespace edgemux::cli {

// The path of `admin.bind` in the configuration file, the rest of which may be broken. The error says what is missing.
core::Result<std::string> admin_socket_of(const std::string& config);

struct AdminAnswer {
  int status = 0;
  std::string body;
};
// GET `target` of the process that listens on the Unix socket `path`. The error says why nobody answers and what to do.
core::Result<AdminAnswer> ask_admin(const std::string& path, const std::string& target);

}  // namespace edgemux::cli
