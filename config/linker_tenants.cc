// Linker, the part about tenants: whose a file, a route and a host are, and where endpoints may be.

#include "config/linker.h"

namespace edgemux::config {
namespace {

std::string of_tenant(const routing::Tenant& tenant) { return "tenant " + quote(tenant.name); }

}  // namespace

bool Linker::check_scope(const FileSpec& file, const Scope& scope, Problems& problems) const {
  bool ok = true;
  const auto refuse = [&](Place place, const std::string& message, const std::string& hint) {
    problems.error(place, message, hint);
    ok = false;
  };
  if (const auto& said = file.tenant; !said.text.empty()) {
    if (scope.main) {
      refuse(said.place, "the main file belongs to the platform", "write 'tenant' on a route");
    } else if (scope.tenant == nullptr) {
      refuse(said.place, "this file belongs to the platform, not to tenant " + quote(said.text),
             "its 'include' entry binds a file to a tenant: { files: ..., tenant: NAME }");
    } else if (scope.tenant->name != said.text) {
      refuse(said.place, "this file belongs to " + of_tenant(*scope.tenant) + ", not to " + quote(said.text),
             "its 'include' entry says so; leave the line out");
    }
  }
  if (scope.tenant == nullptr) return ok;
  const auto confine = [&](const Name& path) {
    if (path.text.empty() || inside(scope.folder, path.text)) return;
    if (scope.folder.empty()) {
      refuse(path.place, of_tenant(*scope.tenant) + " has no folder of its own that a file could be named in",
             "include its files from a folder where nobody else's are");
    } else {
      refuse(path.place, quote(path.text) + " lies outside the tenant's folder " + scope.folder, "");
    }
  };
  const auto confine_upstream = [&](const UpstreamSpec& upstream) {
    // Others trust the gateway's addresses; which one a tenant's connections come from is not its own to say.
    if (upstream.value.transport.source_address) {
      refuse(upstream.source_place,
             "a tenant's file may not choose source_address, the gateway's address that connections come from",
             "leave it out, or ask for the upstream and its route to be written into the main file, with 'tenant: " +
                 scope.tenant->name + "'");
    }
    if (!upstream.tls) return;
    for (const Name* path : {&upstream.tls->ca, &upstream.tls->cert, &upstream.tls->key}) confine(*path);
  };
  const auto confine_target = [&](const TargetSpec& target) {
    if (target.inline_upstream != nullptr) confine_upstream(*target.inline_upstream);
  };
  for (const auto& upstream : file.upstreams) confine_upstream(upstream);
  for (const auto& route : file.routes) {
    if (route.tls) confine(route.tls->client_ca);
    if (route.target) confine_target(*route.target);
    if (route.solver) confine_target(*route.solver);
    for (const auto& rule : route.rules) {
      for (const auto& target : rule.targets) confine_target(target);
      for (const auto& mirror : rule.mirrors) confine_target(mirror.target);
    }
  }
  return ok;
}

routing::TenantPtr Linker::tenant_of(const RouteSpec& spec, const Scope& scope, Problems& problems) const {
  const auto& said = spec.tenant;
  if (said.text.empty()) return scope.tenant;
  if (scope.main) {
    auto tenant = shared_.tenancy.find(said.text);
    if (tenant == nullptr) {
      problems.error(said.place, "unknown tenant " + quote(said.text),
                     did_you_mean(said.text, shared_.tenancy.names()));
    }
    return tenant;
  }
  if (scope.tenant == nullptr) {
    problems.error(said.place, "this file belongs to the platform, not to tenant " + quote(said.text),
                   "its 'include' entry binds a file to a tenant: { files: ..., tenant: NAME }");
  } else if (scope.tenant->name != said.text) {
    problems.error(said.place, "this file belongs to " + of_tenant(*scope.tenant) + ", not to " + quote(said.text),
                   "its 'include' entry says so; leave the line out");
  }
  return scope.tenant;
}

bool Linker::belongs(const Name& host, Problems& problems) const {
  if (!shared_.settings.sound.tenants) return true;
  const routing::Claim* claim = shared_.tenancy.claims().find(host.text);
  if (claim == nullptr ? tenant_ == nullptr : claim->tenant == tenant_) return true;
  std::string message = "host " + quote(host.text);
  std::string hint;
  if (claim != nullptr) {
    message += " belongs to " + of_tenant(*claim->tenant) + ", which claims " + quote(claim->host) + " at " +
               claim->origin.to_string();
    if (tenant_ == nullptr) {
      hint = scope_->main ? "write 'tenant: " + claim->tenant->name + "' on the route, or claim less"
                          : "write the route into a file of that tenant";
    }
  } else {
    message +=
        " is outside what " + of_tenant(*tenant_) + " claims at " + shared_.tenancy.place_of(*tenant_).to_string();
  }
  // A route of a tenant's is refused alone, wherever it stands; the platform's own makes the main file wrong.
  if (scope_->main && tenant_ == nullptr) {
    problems.error(host.place, std::move(message), std::move(hint));
  } else {
    problems.flaw(host.place, std::move(message), std::move(hint));
  }
  return false;
}

void Linker::check_networks(const UpstreamSpec& spec, const routing::Tenant* tenant, Place place,
                            Problems& problems) const {
  if (tenant == nullptr) return;
  for (const auto& endpoint : spec.value.endpoints) {
    if (!endpoint.address) continue;
    const auto& address = *endpoint.address;
    const char* why = routing::endpoint_refusal(address, tenant->networks, shared_.listened.hold(address));
    if (why == nullptr) continue;
    problems.flaw(place,
                  "endpoint " + quote(endpoint.text) + " " + why + ", so " + of_tenant(*tenant) + " may not use it",
                  "what it may use stands at " + shared_.tenancy.place_of(*tenant).to_string());
  }
}

}  // namespace edgemux::config
