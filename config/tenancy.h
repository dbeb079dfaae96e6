#pragma once
// Tenancy: who is who in one compile: the tenants, their claims, which file is whose, and which folder.
//
// A tenant's folder is where its files are included from: the folder of the pattern that binds them, before its first
// wildcard, or the one that {tenant} stands for. It is the tenant's own when neither the main file nor a file that is
// somebody else's can lie in it. Files of a tenant may name paths inside its own folder only.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/problems.h"
#include "config/settings.h"
#include "core/base/result.h"
#include "routing/table/claims.h"
#include "routing/table/tenant.h"

namespace edgemux::config {

// Keeps tenants over compiles: the state of one by its name, for as long as anybody holds it, and the very object while
// nothing of it changes.
class TenantRegistry {
 public:
  routing::TenantPtr make(routing::Tenant tenant);
  void prune();

 private:
  struct Known {
    std::uint32_t number;
    std::weak_ptr<routing::TenantState> state;
    std::weak_ptr<const routing::Tenant> last;
  };
  std::unordered_map<std::string, Known> known_;
  std::set<std::uint32_t> free_;
  std::shared_ptr<routing::OtherTenants> others_ = std::make_shared<routing::OtherTenants>();
  std::uint32_t next_ = 0;
};

// Whose an included file is.
struct Binding {
  std::string tenant;  // empty = the platform's
  std::string folder;  // absolute; where its paths may lead; empty = nowhere, for a tenant's file
  friend bool operator==(const Binding&, const Binding&) = default;
};
Binding binding_of(const IncludeEntry& entry, const std::string& path);

// Which folders are somebody's own.
class FolderOwners {
 public:
  void add(const std::string& folder, const std::string& tenant);
  // To be asked when all were added.
  [[nodiscard]] bool own(const std::string& folder) const { return shared_.count(folder) == 0; }
  // The tenant's own folder that the path lies in; empty = none.
  [[nodiscard]] std::string around(const std::string& path, const std::string& tenant) const;
  void settle();
  friend bool operator==(const FolderOwners&, const FolderOwners&) = default;

 private:
  std::map<std::string, std::string> owners_;
  std::set<std::string> shared_;
};

// Whether the path, as it is written, lies below the folder.
bool inside(std::string_view folder, std::string_view path);

// The addresses that the machine has now, but for those that no endpoint may have anyhow. An error: the kernel does not
// tell.
core::Result<std::vector<core::SocketAddress>> machine_addresses();
// Where this process listens, as the settings say.
routing::Listened listened(const Settings& settings, std::vector<core::SocketAddress> machine);

class Tenancy {
 public:
  Tenancy() = default;
  // Equal claims are reported; the first holds.
  Tenancy(const Settings& settings, const FolderOwners& folders,
          const std::shared_ptr<const routing::OwnAddresses>& own, TenantRegistry& registry, Problems& problems);

  // Null: there is no such tenant.
  [[nodiscard]] routing::TenantPtr find(std::string_view name) const;
  [[nodiscard]] std::vector<std::string_view> names() const;
  [[nodiscard]] const routing::ClaimTable& claims() const { return *claims_; }
  [[nodiscard]] const std::vector<routing::TenantPtr>& tenants() const { return tenants_; }
  // Where the tenants stand in the main file, in the same order. No part of a tenant: lines move when nothing changes.
  [[nodiscard]] const std::vector<routing::Origin>& places() const { return places_; }
  [[nodiscard]] routing::Origin place_of(const routing::Tenant& tenant) const;
  [[nodiscard]] const std::shared_ptr<const routing::ClaimTable>& shared_claims() const { return claims_; }

 private:
  std::vector<routing::TenantPtr> tenants_;
  std::vector<routing::Origin> places_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
  std::shared_ptr<const routing::ClaimTable> claims_ = routing::none_claimed();
};

}  // namespace edgemux::config
