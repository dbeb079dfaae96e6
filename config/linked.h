#pragma once
// Linked: what the linking of one unit came to: its hosts, with who serves them where. A unit is a tenant, or the
// platform with the main file. A name has one owner, so units are independent of each other, but for the routes that
// the main file itself writes for a tenant.
//
// Immutable once linked; units that do not change keep theirs between compiles.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "config/node.h"
#include "config/source_file.h"
#include "routing/table/route.h"

namespace edgemux::config {

struct Linked {
  // Of those that have hosts: also those that are added at the end of the list later.
  static constexpr std::uint64_t kEveryListener = UINT64_MAX;
  // A route's right to a host on some listeners. Several claims on one host stand on different listeners.
  struct Claim {
    std::uint64_t listeners = 0;
    std::uint32_t route = 0;
    std::uint32_t next = 0;  // index + 1 into claims
    std::uint32_t file = 0;  // into files
    std::uint32_t host = 0;  // into hosts
    Place place;
  };
  struct Host {
    std::string_view name;
    std::uint32_t claim = 0;  // the newest, index + 1 into claims
  };

  std::vector<std::shared_ptr<const Parsed>> sources;  // where names point into
  std::vector<std::shared_ptr<const std::string>> files;
  std::vector<Host> hosts;
  std::unordered_map<std::string_view, std::uint32_t> index;  // into hosts
  std::vector<Claim> claims;
  std::vector<routing::RoutePtr> routes;
  std::unordered_map<std::string, routing::UpstreamPtr> tcp_upstreams;  // by listener
  std::shared_ptr<const std::vector<routing::UpstreamPtr>> upstreams;   // each once; never null
  std::unordered_set<std::uint32_t> lent;  // of the platform: ids of upstreams that its routes use for a tenant
  bool apart = true;                       // of the platform: it serves no host of a tenant
  std::uint64_t named_listeners = 0;       // by its routes
  bool has_tls = false;                    // some of its routes end TLS, for which the main file has defaults
  std::size_t shared_hosts = 0;            // of a tenant: that the main file serves too, on other listeners

  [[nodiscard]] const Host* find(std::string_view name) const {
    const auto at = index.find(name);
    return at == index.end() ? nullptr : &hosts[at->second];
  }
  [[nodiscard]] const Claim* claim_of(const Host& host) const {
    return host.claim == 0 ? nullptr : &claims[host.claim - 1];
  }
  [[nodiscard]] const Claim* after(const Claim& claim) const {
    return claim.next == 0 ? nullptr : &claims[claim.next - 1];
  }
  // Null: owned, but not on this listener.
  [[nodiscard]] const routing::RoutePtr& route_on(const Host& host, std::size_t listener) const {
    static const routing::RoutePtr none;
    for (const Claim* claim = claim_of(host); claim != nullptr; claim = after(*claim)) {
      if ((claim->listeners >> listener & 1U) != 0) return routes[claim->route];
    }
    return none;
  }
};

using LinkedPtr = std::shared_ptr<const Linked>;

}  // namespace edgemux::config
