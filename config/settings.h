#pragma once
// Settings: what the main file says besides routes and upstreams. Values with the design's defaults where it says
// nothing.

#include <optional>
#include <string>
#include <vector>

#include "config/node.h"
#include "config/problems.h"
#include "config/spec.h"
#include "routing/table/snapshot.h"

namespace edgemux::config {

// A pair of files, or a directory of pairs; absolute paths.
struct CertificateEntry {
  Place place;
  std::string cert;
  std::string key;
  std::string directory;
};

struct IncludeEntry {
  Place place;
  std::string text;     // as written
  std::string pattern;  // absolute
  [[nodiscard]] bool literal() const { return pattern.find_first_of("*?[") == std::string::npos; }
};

struct Settings {
  std::vector<routing::ListenerSpec> listeners;
  std::optional<unsigned> workers;  // absent = auto
  Name state_dir;                   // absolute; empty = not said
  std::vector<CertificateEntry> certificates;
  std::vector<IncludeEntry> includes;
  TlsSpec tls;
  Name tokens_dir;  // absolute; empty = none
  routing::Timeouts timeouts;
  routing::Limits limits;
  std::chrono::milliseconds settle{50};
  routing::LogSpec log;
  routing::AdminSpec admin{"unix:/run/edgemux/admin.sock", "127.0.0.1:9902"};
};

// `path` is the main file's, absolute. The schema was checked; what is wrong beyond it goes to `problems`.
Settings read_settings(const Node& root, const std::string& path, Problems& problems);

// `listeners:` alone.
std::vector<routing::ListenerSpec> read_listeners(const Node& list, Problems& problems);

}  // namespace edgemux::config
