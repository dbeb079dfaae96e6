#pragma once
// `edgemux explain`: what a request or a TLS connection would meet, step by step. Of a file: of the table that it
// compiles to, without writing anything. Of the running process: of the table in force, with the endpoints' state.

#include <iosfwd>
#include <string>

#include "admin/question.h"

namespace edgemux::cli {

struct ExplainOptions {
  std::string config;
  admin::Asked asked;
  bool running = false;
  bool json = false;
};

// 0: explained; 1: the configuration is broken, or the process cannot be asked; 2: the question makes no sense.
int explain(const ExplainOptions& options, std::ostream& out, std::ostream& err);

}  // namespace edgemux::cli
