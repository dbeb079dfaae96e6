#pragma once
// `edgemux diff OLD NEW`: which hosts appear, vanish, or change owner, kind, upstream or listeners.

#include <iosfwd>
#include <string>

namespace edgemux::cli {

struct DiffOptions {
  std::string before;
  std::string after;
  bool json = false;
};

// 0: the same; 1: differences; 2: one of them cannot be compiled. Includes that are broken are left out and told of.
int diff(const DiffOptions& options, std::ostream& out, std::ostream& err);

}  // namespace edgemux::cli
