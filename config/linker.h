#pragma once
// Linker: joins the files of one unit (linked.h). Names of upstreams and listeners are resolved, hosts are claimed.
//
// Files of a tenant see the tenant's upstreams only, the others those of the platform only. A host that belongs to
// somebody else than its route is left out with an error and harms no other host of its file; in the main file it is an
// error of the file.
//
// Of two files with the same host on a listener, or the same upstream, the later one is refused; but what is in force
// of a file is not taken from it by another, wherever the two stand: then the earlier one has to give way. So it is
// with what was in force once, against who never had it. The main file never has to give way.
//
// Order of calls: admit_upstreams() for every file, then admit_routes() for every file, both in the order of
// precedence, then take(). Each admits all of a file or nothing of it; false means that problems were reported. Where
// somebody has to give way, giving_way() after either of them, nothing can be taken.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "config/inputs.h"
#include "config/linked.h"
#include "config/problems.h"
#include "config/security_material.h"
#include "config/settings.h"
#include "config/spec.h"
#include "config/tenancy.h"
#include "config/upstream_registry.h"
#include "config/upstream_tls.h"

namespace edgemux::config {

class Linker {
 public:
  // Names that files which are set aside would define: an upstream that is missing because of them has no endpoints,
  // instead of being an error of the file that names it. `any_name`: such a file could not even be read.
  struct Doubt {
    std::unordered_set<std::string> names;
    bool any_name = false;
  };
  // What a file of the unit had. Null: nothing.
  struct Held {
    const FileSpec* now = nullptr;   // in force, or when the process before ended
    const FileSpec* once = nullptr;  // of which nothing is in force: the last that was
  };
  struct Shared {
    const Settings& settings;
    UpstreamRegistry& registry;
    TlsPolicies& policies;
    UpstreamTls& upstream_tls;
    Inputs& inputs;
    const core::CertificateStore& certificates;
    const Tenancy& tenancy;
    const routing::Listened& listened;
    Patterns& patterns;
    Doubt doubt;
    const Linked* platform;                                // null while that itself is linked
    std::function<Held(const std::string& display)> held;  // asked where two files clash
  };
  // A file that was admitted and must not be, with what is wrong with it. Those of one file stand in its order.
  struct GivesWay {
    std::shared_ptr<const std::string> file;
    Place place;
    std::string message;
  };
  // What a file was refused for, because another one has it.
  struct Clash {
    Place place;
    std::string message;
  };
  // Whose file is admitted.
  struct Scope {
    routing::TenantPtr tenant;  // null = the platform's
    std::string folder;         // of the tenant; empty = it may name no paths
    bool main = false;
    bool last_good = false;  // the version is not the file's current one
  };

  explicit Linker(Shared shared);

  // `file` lives at least as long as what is taken: Linked::sources.
  bool admit_upstreams(const FileSpec& file, const Scope& scope, Problems& problems);
  bool admit_routes(const FileSpec& file, const Scope& scope, Problems& problems);
  [[nodiscard]] const std::vector<GivesWay>& giving_way() const { return giving_way_; }
  // Of the file that was refused last. They are not among its problems: examine() tells what stands in its way in the
  // end. (Of the main file they are.)
  [[nodiscard]] const std::vector<Clash>& clashes() const { return clashes_; }
  // What is wrong with a file that is set aside, besides what is wrong with it alone: everything is told at once.
  // Admits nothing, but for what is said of the files examined after it. After the routes of all files.
  // Returns whether it could be admitted beside those that are.
  bool examine(const FileSpec& file, const Scope& scope, Problems& problems);
  // After the routes of all files: upstreams of this one that none of them uses, or not for what they say
  // (reminders.cc).
  void remind_of_unused(const FileSpec& file, Problems& problems) const;
  // Likewise: routes of this file whose http listeners redirect to where nobody knows the host.
  void remind_of_redirects(const FileSpec& file, Problems& problems) const;
  [[nodiscard]] LinkedPtr take(std::vector<std::shared_ptr<const Parsed>> sources);

 private:
  struct Named {
    const UpstreamSpec* spec;
    routing::Origin origin;
    std::string folder;  // that its files must lie in; empty = anywhere
    routing::UpstreamPtr made;
    bool has_requests = false;  // not tunnels alone
  };
  // Where the files must lie that a file of that scope names.
  [[nodiscard]] static const std::string& folder_of(const Scope& scope) {
    static const std::string anywhere;
    return scope.tenant == nullptr ? anywhere : scope.folder;
  }
  // What is wrong with the files of its `tls:`; no error of the file.
  void report(const UpstreamSpec& spec, const std::string& folder, Problems& problems);
  void refuse_tls(const routing::UpstreamPtr& upstream, std::string_view what, Place place, Problems& problems);
  bool check_scope(const FileSpec& file, const Scope& scope, Problems& problems) const;
  routing::TenantPtr tenant_of(const RouteSpec& spec, const Scope& scope, Problems& problems) const;
  bool belongs(const Name& host, Problems& problems) const;
  void check_networks(const UpstreamSpec& spec, const routing::Tenant* tenant, Place place, Problems& problems) const;
  routing::UpstreamPtr make(const UpstreamSpec& spec, const routing::Origin& origin, const routing::TenantPtr& tenant,
                            std::string_view lineage, const std::string& folder);
  enum class Traffic : std::uint8_t { requests, tunnels };
  routing::UpstreamPtr resolve(const TargetSpec& target, Traffic traffic, Problems& problems);
  void report_unknown(const TargetSpec& target, Problems& problems) const;
  void examine_target(const TargetSpec& target, bool material, Problems& problems);
  void examine_route(const RouteSpec& route, bool material, Problems& problems);
  routing::UpstreamPtr backend_solver(const routing::Upstream& backend, const routing::Origin& origin);
  std::uint64_t listeners_of(const RouteSpec& spec, Problems& problems);
  std::shared_ptr<const routing::Route> make_route(const RouteSpec& spec, Problems& problems);
  const TlsPolicies::Answer& policy_of(const RouteSpec& spec, Problems& problems);
  static void report_refused(const RouteSpec& spec, const std::string& refused, Problems& problems);
  core::TlsPolicyPtr make_policy(const RouteSpec& spec, routing::Route& route, Problems& problems);
  routing::Rule make_rule(const RuleSpec& spec, Problems& problems);
  void make_host(const RouteSpec& spec, routing::Route& route, Problems& problems);
  // The same as Held, by names.
  struct Had {
    struct Names {
      std::unordered_set<std::string_view> upstreams;
      std::unordered_map<std::string_view, std::uint64_t> hosts;  // and on which listeners
    };
    Names now;
    Names once;
  };
  const Had& had(const std::string& file);
  void note(const FileSpec* spec, Had::Names& names) const;
  template <typename Has>
  bool takes_from(const std::shared_ptr<const std::string>& other, const Problems& problems, Has has);
  void clash(Place place, std::string message, Problems& problems);
  [[nodiscard]] bool is_examined(const Linked& among, const Linked::Claim& claim) const;
  bool check_free(const Linked& among, const Linked::Host& host, const Name& name, std::uint64_t listeners,
                  Problems& problems);
  // Ends an admission: those give way indeed only if the file that they make room for is admitted.
  bool admitted(bool ok, const Scope& scope);
  [[nodiscard]] std::uint64_t mask_of(const RouteSpec& spec) const;
  // How many hosts of the route it got.
  std::size_t claim(const RouteSpec& spec, std::uint64_t listeners, Problems& problems);
  void remind(const RouteSpec& spec, const routing::Route& route, std::uint64_t listeners, Problems& problems);
  [[nodiscard]] std::uint64_t redirected_to(std::size_t from) const;
  [[nodiscard]] bool served_on(std::string_view host, std::uint64_t listeners) const;
  void grow(std::size_t routes);
  // The claims, routes and hosts from these on.
  void withdraw(std::size_t first_claim, std::size_t first_route, std::size_t first_host);
  void end_examining();
  void use(const routing::UpstreamPtr& upstream);

  Shared shared_;
  std::uint64_t tls_mask_ = 0;
  std::uint64_t http_mask_ = 0;
  std::unordered_map<std::string_view, Named> named_;  // upstreams
  // Of the file, and of the route at hand.
  const Scope* scope_ = nullptr;
  routing::TenantPtr tenant_;
  Linked made_;
  std::vector<routing::UpstreamPtr> upstreams_;
  std::unordered_set<std::uint32_t> upstream_ids_;
  std::unordered_map<std::string, routing::UpstreamPtr> solvers_;  // of backends, by what they have of those
  struct Inline {
    const UpstreamSpec* spec;
    bool of_tenant;
    Traffic traffic;
  };
  std::vector<Inline> inline_;                     // of the file at hand
  std::unordered_map<std::string_view, Had> had_;  // by file
  std::shared_ptr<const std::string> main_;        // the main file, once it is admitted
  bool examining_ = false;
  std::size_t among_examined_ = 0;  // clashes of the file at hand with those that are not admitted either
  // Of those that were admitted, behind which the examined ones stand.
  std::size_t admitted_claims_ = 0;
  std::size_t admitted_routes_ = 0;
  std::size_t admitted_hosts_ = 0;
  std::size_t admitted_files_ = 0;
  std::unordered_map<std::string_view, routing::Origin> examined_;  // upstreams of files that were examined
  std::vector<Clash> clashes_;                                      // of the file at hand
  std::vector<GivesWay> giving_way_;
  struct Wanted {
    GivesWay of;
    Clash otherwise;
  };
  std::vector<Wanted> to_give_way_;  // for the file at hand
  std::size_t reminded_ = 0;         // hosts without certificate, of the file at hand
};

}  // namespace edgemux::config
