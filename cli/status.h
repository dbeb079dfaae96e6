#pragma once
// `edgemux status` and `edgemux top`: ask the running process through its admin socket.

#include <iosfwd>
#include <string>

namespace edgemux::cli {

struct StatusOptions {
  std::string config;     // names the socket
  std::string socket;     // the socket itself; beats `config`
  bool json = false;      // status: as the process says it
  bool once = false;      // top: one interval, one page
  unsigned interval = 1;  // top: seconds
};

// 0: told; 1: nobody can be asked.
int status(const StatusOptions& options, std::ostream& out, std::ostream& err);
int top(const StatusOptions& options, std::ostream& out, std::ostream& err);

// The pages, from what GET /status said. `seconds`: between the two. Empty: it is no status.
std::string status_page(const std::string& status);
std::string top_page(const std::string& before, const std::string& after, double seconds);

}  // namespace edgemux::cli
