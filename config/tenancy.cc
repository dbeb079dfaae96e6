#include "config/tenancy.h"

#include <ifaddrs.h>

#include <cerrno>
#include <cstring>

#include "routing/table/binds.h"

namespace edgemux::config {

routing::TenantPtr TenantRegistry::make(routing::Tenant tenant) {
  auto [at, fresh] = known_.try_emplace(tenant.name);
  Known& known = at->second;
  if (fresh) {
    if (free_.empty()) {
      known.number = next_++;
    } else {
      known.number = *free_.begin();
      free_.erase(free_.begin());
    }
  }
  tenant.state = known.state.lock();
  if (tenant.state == nullptr) {
    tenant.state = std::make_shared<routing::TenantState>(known.number, others_);
    known.state = tenant.state;
  }
  if (auto last = known.last.lock(); last != nullptr && last->networks == tenant.networks && last->own == tenant.own &&
                                     last->tokens_dir == tenant.tokens_dir && last->tokens_root == tenant.tokens_root &&
                                     last->limits == tenant.limits) {
    return last;
  }
  auto made = std::make_shared<const routing::Tenant>(std::move(tenant));
  known.last = made;
  return made;
}

void TenantRegistry::prune() {
  for (auto at = known_.begin(); at != known_.end();) {
    if (at->second.state.expired()) {
      free_.insert(at->second.number);
      at = known_.erase(at);
    } else {
      ++at;
    }
  }
}

Binding binding_of(const IncludeEntry& entry, const std::string& path) {
  Binding out;
  out.tenant = entry.tenant;
  if (entry.tenant_component != 0) {
    std::size_t begin = 0;
    std::size_t end = 0;
    for (std::size_t i = 0; i < entry.tenant_component; ++i) {
      begin = end + 1;
      end = path.find('/', begin);
    }
    out.tenant = path.substr(begin, end - begin);
    out.folder = path.substr(0, end);
  } else if (!entry.tenant.empty()) {
    const auto wild = entry.pattern.find_first_of("*?[");
    out.folder = entry.pattern.substr(0, entry.pattern.rfind('/', wild));
  }
  return out;
}

bool inside(std::string_view folder, std::string_view path) {
  return !folder.empty() && path.size() > folder.size() + 1 && path.starts_with(folder) && path[folder.size()] == '/';
}

void FolderOwners::add(const std::string& folder, const std::string& tenant) {
  const auto [at, fresh] = owners_.try_emplace(folder, tenant);
  if (!fresh && at->second != tenant) shared_.insert(folder);
}

void FolderOwners::settle() {
  for (const auto& [folder, tenant] : owners_) {
    for (auto slash = folder.rfind('/'); slash != std::string::npos && slash != 0;
         slash = folder.rfind('/', slash - 1)) {
      const auto above = owners_.find(folder.substr(0, slash));
      if (above != owners_.end() && above->second != tenant) shared_.insert(above->first);
    }
    if (folder.empty() || folder == "/") shared_.insert(folder);
  }
}

std::string FolderOwners::around(const std::string& path, const std::string& tenant) const {
  for (auto slash = path.rfind('/'); slash != std::string::npos && slash != 0; slash = path.rfind('/', slash - 1)) {
    const auto at = owners_.find(path.substr(0, slash));
    if (at != owners_.end() && at->second == tenant && own(at->first)) return at->first;
  }
  return {};
}

core::Result<std::vector<core::SocketAddress>> machine_addresses() {
  std::vector<core::SocketAddress> out;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return core::fail(std::strerror(errno));
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr) continue;
    const int family = at->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    auto address =
        core::SocketAddress::from(at->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    address.set_port(0);
    if (routing::endpoint_refusal(address, {}, false) == nullptr) out.push_back(address);
  }
  ::freeifaddrs(list);
  return out;
}

routing::Listened listened(const Settings& settings, std::vector<core::SocketAddress> machine) {
  routing::Listened own;
  own.machine = std::move(machine);
  const auto add = [&](const core::SocketAddress& address) {
    if (routing::every_address(address)) {
      own.ports.push_back(address.port());
    } else {
      own.listeners.push_back(address);
    }
  };
  for (const auto& listener : settings.listeners) {
    for (const auto& bind : listener.binds) add(bind.address);
  }
  if (const auto probes = core::parse_host_port(settings.admin.probes, true)) {
    if (probes->host.empty()) {
      own.ports.push_back(probes->port);
    } else if (const auto address = core::SocketAddress::parse_ip(probes->host, probes->port)) {
      add(*address);
    }
  }
  return own;
}

Tenancy::Tenancy(const Settings& settings, const FolderOwners& folders,
                 const std::shared_ptr<const routing::OwnAddresses>& own, TenantRegistry& registry,
                 Problems& problems) {
  if (settings.tenants.empty()) return;
  std::vector<routing::Claim> claims;
  std::vector<Place> places;
  tenants_.reserve(settings.tenants.size());
  for (const auto& spec : settings.tenants) {
    routing::Tenant tenant;
    tenant.name = spec.name.text;
    tenant.networks = spec.networks;
    tenant.own = own;
    tenant.tokens_dir = spec.tokens_dir.text;
    if (!tenant.tokens_dir.empty()) tenant.tokens_root = folders.around(tenant.tokens_dir, tenant.name);
    tenant.limits = spec.limits;
    tenants_.push_back(registry.make(std::move(tenant)));
    places_.push_back(problems.origin(spec.name.place));
    for (const auto& host : spec.hosts) {
      claims.push_back({host.text, tenants_.back(), problems.origin(host.place)});
      places.push_back(host.place);
    }
    if (spec.networks.empty()) {
      problems.warning(spec.name.place, "tenant " + quote(spec.name.text) + " has no 'networks'",
                       "its endpoints may be anywhere but on this machine; say where they are");
    }
  }
  for (std::size_t i = 0; i < tenants_.size(); ++i) by_name_.emplace(tenants_[i]->name, i);
  std::vector<std::pair<std::size_t, std::size_t>> again;
  claims_ = std::make_shared<const routing::ClaimTable>(std::move(claims), &again);
  for (const auto& [second, first] : again) {
    const auto& kept = claims_->claims()[first];
    problems.flaw(places[second],
                  "tenant " + quote(claims_->claims()[second].tenant->name) + " claims " + quote(kept.host) +
                      ", as tenant " + quote(kept.tenant->name) + " does at " + kept.origin.to_string(),
                  "the first claim holds");
  }
}

routing::TenantPtr Tenancy::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : tenants_[at->second];
}

routing::Origin Tenancy::place_of(const routing::Tenant& tenant) const {
  const auto at = by_name_.find(tenant.name);
  return at == by_name_.end() ? routing::Origin() : places_[at->second];
}

std::vector<std::string_view> Tenancy::names() const {
  std::vector<std::string_view> out;
  out.reserve(tenants_.size());
  for (const auto& tenant : tenants_) out.push_back(tenant->name);
  return out;
}

}  // namespace edgemux::config
