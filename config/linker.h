#pragma once
// Linker: joins the files of one compile. Names of upstreams and listeners are resolved, hosts are claimed, listeners
// get their tables.
//
// Files of a tenant see the tenant's upstreams only, the others those of the platform only. A host that belongs to
// somebody else than its route is left out with an error and harms no other host of its file; in the main file it is an
// error of the file.
//
// Order of calls: admit_upstreams() for every file, then admit_routes() for every file, both in the order of
// precedence, then finish(). Each admits all of a file or nothing of it; false means that problems were reported.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "config/inputs.h"
#include "config/problems.h"
#include "config/security_material.h"
#include "config/settings.h"
#include "config/spec.h"
#include "config/tenancy.h"
#include "config/upstream_registry.h"
#include "routing/table/snapshot.h"

namespace edgemux::config {

class Linker {
 public:
  // Names that files which are set aside would define: an upstream that is missing because of them has no endpoints,
  // instead of being an error of the file that names it. `any_name`: such a file could not even be read.
  struct Doubt {
    std::unordered_set<std::string> names;
    bool any_name = false;
  };
  struct Shared {
    const Settings& settings;
    UpstreamRegistry& registry;
    TlsPolicies& policies;
    Inputs& inputs;
    const core::CertificateStore& certificates;
    const Tenancy& tenancy;
    // By tenant, "" for the platform.
    std::unordered_map<std::string, Doubt> doubts;
  };
  // Whose file is admitted.
  struct Scope {
    routing::TenantPtr tenant;  // null = the platform's
    std::string folder;         // of the tenant; empty = it may name no paths
    bool main = false;
  };

  explicit Linker(Shared shared);

  bool admit_upstreams(const FileSpec& file, const Scope& scope, Problems& problems);
  bool admit_routes(const FileSpec& file, const Scope& scope, Problems& problems);
  // Fills listeners, upstreams and host_count.
  void finish(routing::Snapshot& snapshot);

  [[nodiscard]] std::size_t routes() const { return routes_.size(); }

 private:
  struct Named {
    const UpstreamSpec* spec;
    routing::Origin origin;
    routing::UpstreamPtr made;
  };
  // The upstreams' names of one tenant, or of the platform.
  struct Space {
    routing::TenantPtr tenant;
    std::unordered_map<std::string_view, Named> named;
    const Doubt* doubt = nullptr;
  };
  // A route's right to a host on some listeners. Several claims on one host stand on different listeners.
  struct Claim {
    std::uint64_t listeners = 0;
    std::uint32_t route = 0;
    std::uint32_t next = 0;  // index + 1 into claims_
    std::uint32_t file = 0;  // into files_
    std::uint32_t host = 0;  // into hosts_
    Place place;
  };
  struct Host {
    std::string_view name;
    std::uint32_t claim = 0;  // the newest, index + 1 into claims_
  };

  Space& space_of(const Scope& scope);
  bool check_scope(const FileSpec& file, const Scope& scope, Problems& problems) const;
  routing::TenantPtr tenant_of(const RouteSpec& spec, const Scope& scope, Problems& problems) const;
  bool belongs(const Name& host, Problems& problems) const;
  static void check_networks(const UpstreamSpec& spec, const routing::Tenant* tenant, Place place, Problems& problems);
  void add_claims(std::vector<routing::HostTable::Entry>& entries, std::size_t listener) const;
  [[nodiscard]] routing::RoutePtr route_on(const Host& host, std::size_t listener) const;
  routing::UpstreamPtr make(const UpstreamSpec& spec, const routing::Origin& origin, const routing::TenantPtr& tenant,
                            std::string_view lineage);
  routing::UpstreamPtr resolve(const TargetSpec& target, Problems& problems);
  routing::UpstreamPtr backend_solver(const routing::Upstream& backend, const routing::Origin& origin);
  std::uint64_t listeners_of(const RouteSpec& spec, Problems& problems);
  std::shared_ptr<const routing::Route> make_route(const RouteSpec& spec, Problems& problems);
  routing::Rule make_rule(const RuleSpec& spec, Problems& problems);
  void make_host(const RouteSpec& spec, routing::Route& route, Problems& problems);
  // How many hosts of the route it got.
  std::size_t claim(const RouteSpec& spec, std::uint64_t listeners, Problems& problems);
  void remind(const RouteSpec& spec, const routing::Route& route, std::uint64_t listeners, Problems& problems);
  void grow(std::size_t routes);
  void use(const routing::UpstreamPtr& upstream);

  Shared shared_;
  std::uint64_t tls_mask_ = 0;
  std::uint64_t http_mask_ = 0;
  std::unordered_map<const routing::Tenant*, Space> spaces_;
  // Of the file, and of the route at hand.
  const Scope* scope_ = nullptr;
  Space* space_ = nullptr;
  routing::TenantPtr tenant_;
  std::unordered_map<std::string_view, std::uint32_t> host_index_;  // into hosts_
  std::vector<Host> hosts_;
  std::vector<std::shared_ptr<const std::string>> files_;
  std::vector<Claim> claims_;
  std::vector<routing::RoutePtr> routes_;
  std::unordered_map<std::string, routing::UpstreamPtr> tcp_upstreams_;  // by listener
  std::vector<routing::UpstreamPtr> upstreams_;
  std::unordered_set<std::uint32_t> upstream_ids_;
  std::size_t reminded_ = 0;  // hosts without certificate, of the file at hand
};

}  // namespace edgemux::config
