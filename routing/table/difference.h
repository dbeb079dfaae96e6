#pragma once
// What two tables do differently, by host and listener: which appear, which vanish, which change hands. A name that is
// claimed, but has no route, vanishes where a wildcard covered it before. Pure. For `edgemux diff`;
// and lost_hosts() for `reload.max_removed`.

#include <string>
#include <vector>

#include "routing/table/snapshot.h"

namespace edgemux::routing {

struct Difference {
  // What one table does for a host.
  struct Host {
    std::string name;
    std::string listeners;  // "http, https"
    std::string tenant;
    std::string kind;      // the route's key: "passthrough", "terminate" or "rules"
    std::string upstream;  // name and endpoints, of all rules: "shop [10.0.0.7:80] (h2, TLS)"
    std::string identity;  // of the same upstreams: everything that was written of them
    std::string solver;    // that gets HTTP-01 challenges: the same as of an upstream
    // That covers it on these listeners, in place of a route of its own; empty = it has one.
    std::string wildcard;
    Origin at;
  };
  struct Change {
    std::string name;
    std::string what;  // "tenant", "kind", "upstream", "acme_solver", "listeners"
    std::string before;
    std::string after;
    Origin at_before;
    Origin at_after;
    std::string listeners;  // of the host's, those that it is about; empty = all
  };
  std::vector<Host> appear;  // each sorted by name
  std::vector<Host> vanish;
  std::vector<Change> change;
  std::vector<Change> listeners;  // what: "appears", "vanishes", "protocol", "bind", "upstream"

  [[nodiscard]] bool none() const { return appear.empty() && vanish.empty() && change.empty() && listeners.empty(); }
};

Difference compare(const Snapshot& before, const Snapshot& after);

// Hosts that some listener serves in one table and none serves in the other, sorted, and names that a new claim takes
// from a wildcard. Costs little where `after` was
// made out of `before`.
std::vector<std::string> lost_hosts(const Snapshot& before, const Snapshot& after);

}  // namespace edgemux::routing
