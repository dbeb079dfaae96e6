#pragma once
// ProblemJournal: which problems of the configuration are new and which are gone, so that each is told once and not at
// every rescan. Two problems are the same when place, severity, message and hint are; one that is only at another place
// of its file than before has moved, and is neither new nor gone. Holds what the last update() held, no more.

#include <set>
#include <string>
#include <vector>

#include "config/diagnostic.h"

namespace edgemux::config {

class ProblemJournal {
 public:
  struct News {
    std::vector<Diagnostic> fresh;    // in the order given, each once
    std::vector<std::string> solved;  // headlines that stood the last time and do not any more
  };
  // With `repeat` (the operator asked for a reload) everything that stands is fresh again. `whole` = false: what was
  // found before the load failed; what else stood may stand still, and nothing is solved.
  News update(const std::vector<Diagnostic>& standing, bool repeat = false, bool whole = true);

 private:
  std::set<std::string> told_;
  bool partial_ = false;              // the last one was not whole
  std::vector<Diagnostic> standing_;  // when told_ was made; mostly nothing changes
};

}  // namespace edgemux::config
