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
#include "routing/table/tenant.h"

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
  std::string text;                  // as written
  std::string pattern;               // absolute; "{tenant}" is a '*'
  std::string tenant;                // the files are that tenant's; empty = the platform's, or by folder
  std::size_t tenant_component = 0;  // of the pattern, from 1: the folder whose name is the tenant's; 0 = none
  [[nodiscard]] bool literal() const { return pattern.find_first_of("*?[") == std::string::npos; }
};

struct TenantSpec {
  Name name;
  std::vector<Name> hosts;  // normalised
  std::vector<core::Network> networks;
  std::vector<CertificateEntry> certificates;
  Name tokens_dir;  // absolute; empty = none
  routing::TenantLimits limits;
};

// Whether the sections of a main file were read without an error. Of one that was not, some of what it says is missing,
// and nothing is to be told that follows from it.
struct Soundness {
  bool listeners = true;
  bool tenants = true;
  bool includes = true;
};

struct Settings {
  Soundness sound;
  std::vector<routing::ListenerSpec> listeners;
  std::optional<unsigned> workers;  // absent = auto
  Name state_dir;                   // absolute; empty = not said
  std::vector<CertificateEntry> certificates;
  std::vector<TenantSpec> tenants;
  std::vector<IncludeEntry> includes;
  TlsSpec tls;
  Name tokens_dir;  // absolute; empty = none
  routing::Origin tokens_place;
  routing::Timeouts timeouts;
  routing::Limits limits;
  std::chrono::milliseconds settle{50};
  std::optional<std::uint32_t> max_removed;  // percent; 100 = off
  routing::LogSpec log;
  Place log_place;  // of log.access.path; line 0: not said
  routing::AdminSpec admin{"unix:/run/edgemux/admin.sock", "127.0.0.1:9902"};
  Place admin_place;  // of admin.bind, where it names another socket than the default; else line 0
};

// `path` is the main file's, absolute. The schema was checked; what is wrong beyond it goes to `problems`.
Settings read_settings(const Node& root, const std::string& path, Problems& problems);

// `tenants:` alone.
std::vector<TenantSpec> read_tenants(const Node& map, const std::string& path, Problems& problems);
// `include:` alone. `tenants` are those that exist.
std::vector<IncludeEntry> read_includes(const Node& list, const std::string& path,
                                        const std::vector<TenantSpec>& tenants, Problems& problems);
std::vector<CertificateEntry> read_certificates(const Node& list, const std::string& path, Problems& problems);
// A path in the file: not empty, made absolute. Empty: a problem was reported.
std::string read_path(const Node* node, std::string_view key, const std::string& path, Problems& problems);

// `listeners:` alone.
std::vector<routing::ListenerSpec> read_listeners(const Node& list, Problems& problems);

}  // namespace edgemux::config
