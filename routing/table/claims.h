#pragma once
// ClaimTable: which tenant a host name belongs to. Built once, then immutable; reading is thread safe.
//
// A claim is a name or a wildcard ("*.a.example": one or more labels, never "a.example" itself). The most specific
// claim owns a name: an exact one beats a wildcard, a longer wildcard a shorter one. What nobody claims is the
// platform's.

#include <bitset>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "routing/table/origin.h"
#include "routing/table/tenant.h"

namespace edgemux::routing {

struct Claim {
  std::string host;  // normalised; "*.example.com" for a wildcard
  TenantPtr tenant;
  Origin origin;
};

class ClaimTable {
 public:
  ClaimTable() = default;
  // Of two equal claims the first holds; the indices of the others come back through `again`, each with the index of
  // the one that holds.
  explicit ClaimTable(std::vector<Claim> claims, std::vector<std::pair<std::size_t, std::size_t>>* again = nullptr);
  ClaimTable(ClaimTable&&) noexcept = default;
  ClaimTable& operator=(ClaimTable&&) noexcept = default;

  // The claim that decides about a normalised name, or about all names of a wildcard that no more specific claim takes
  // out. Null: nobody claims it.
  [[nodiscard]] const Claim* find(std::string_view host) const;
  // Null: the platform.
  [[nodiscard]] const Tenant* owner(std::string_view host) const {
    const Claim* claim = find(host);
    return claim == nullptr ? nullptr : claim->tenant.get();
  }
  [[nodiscard]] const std::vector<Claim>& claims() const { return claims_; }

 private:
  std::vector<Claim> claims_;
  std::unordered_map<std::string_view, std::uint32_t> index_;  // by host, a wildcard as ".example.com"
  std::bitset<128> wildcard_labels_;                           // label counts that some wildcard has
};

// The table of a configuration without claims.
inline const std::shared_ptr<const ClaimTable>& none_claimed() {
  static const auto none = std::make_shared<const ClaimTable>();
  return none;
}

}  // namespace edgemux::routing
