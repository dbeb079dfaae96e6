#pragma once
// `edgemux check`: every problem of a configuration at once. Nothing is opened, bound or written.

#include <iosfwd>
#include <string>

namespace edgemux::cli {

struct CheckOptions {
  enum class Format { text, json };
  std::string config;
  Format format = Format::text;
};

// Exit status: 0 good (warnings may have been printed), 1 errors, 2 no configuration was named.
int check(const CheckOptions& options, std::ostream& out);

}  // namespace edgemux::cli
