#pragma once
// `edgemux run`: the process. Puts the parts together on the control thread and lives until it is told to end.
//
// SIGTERM, SIGINT: drain, at most timeouts.drain; a second one ends at once. SIGHUP: reload now. SIGUSR1: reopen the
// access log. SIGUSR2: not supported yet, says so. Exit status: 0 after a drain, 1 when it could not start, 3 when it
// was cut short with connections open.

#include <string>

namespace edgemux::cli {

int run(const std::string& config);

}  // namespace edgemux::cli
