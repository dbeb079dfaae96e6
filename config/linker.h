#pragma once
// Linker: joins the files of one compile. Names of upstreams and listeners are resolved, hosts are claimed, listeners
// get their tables.
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
#include "config/upstream_registry.h"
#include "routing/table/snapshot.h"

namespace edgemux::config {

class Linker {
 public:
  struct Shared {
    const Settings& settings;
    UpstreamRegistry& registry;
    TlsPolicies& policies;
    Inputs& inputs;
    const core::CertificateStore& certificates;
    // Names that files which are set aside would define: an upstream that is missing because of them has no endpoints,
    // instead of being an error of the file that names it. `any_name`: such a file could not even be read.
    std::unordered_set<std::string> doubtful;
    bool any_name = false;
  };

  explicit Linker(Shared shared);

  bool admit_upstreams(const FileSpec& file, Problems& problems);
  bool admit_routes(const FileSpec& file, Problems& problems);
  // After the routes of all files: upstreams of this one that none of them uses (reminders.cc).
  void remind_of_unused(const FileSpec& file, Problems& problems) const;
  // Fills listeners, upstreams and host_count.
  void finish(routing::Snapshot& snapshot);

  [[nodiscard]] std::size_t routes() const { return routes_.size(); }

 private:
  struct Named {
    const UpstreamSpec* spec;
    routing::Origin origin;
    routing::UpstreamPtr made;
  };
  // A route's right to a host on some listeners. Several claims on one host stand on different listeners.
  struct Claim {
    std::uint64_t listeners = 0;
    std::uint32_t route = 0;
    std::uint32_t next = 0;  // index + 1 into claims_
    std::uint32_t file = 0;  // into files_
    Place place;
  };
  struct Host {
    std::string_view name;
    std::uint32_t claim = 0;  // the newest, index + 1 into claims_
  };

  routing::UpstreamPtr make(const UpstreamSpec& spec, const routing::Origin& origin, std::string_view lineage);
  routing::UpstreamPtr resolve(const TargetSpec& target, Problems& problems);
  routing::UpstreamPtr backend_solver(const routing::Upstream& backend, const routing::Origin& origin);
  std::uint64_t listeners_of(const RouteSpec& spec, Problems& problems);
  std::shared_ptr<const routing::Route> make_route(const RouteSpec& spec, Problems& problems);
  routing::Rule make_rule(const RuleSpec& spec, Problems& problems);
  void make_host(const RouteSpec& spec, routing::Route& route, Problems& problems);
  void claim(const RouteSpec& spec, std::uint64_t listeners, Problems& problems);
  void remind(const RouteSpec& spec, const routing::Route& route, std::uint64_t listeners, Problems& problems);
  void grow(std::size_t routes);
  void use(const routing::UpstreamPtr& upstream);

  Shared shared_;
  std::uint64_t tls_mask_ = 0;
  std::uint64_t http_mask_ = 0;
  std::unordered_map<std::string_view, Named> named_;
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
