#pragma once
// SealCache: policies that were sealed already, by what they say, so that equal demands share one policy over tenants
// and over compiles; CA bundles, by their bytes, in the same way. What only the cache holds is forgotten by sweep().

#include <functional>
#include <string>
#include <unordered_map>

#include "core/base/result.h"
#include "core/tls/ca_bundle.h"
#include "core/tls/client_policy.h"
#include "core/tls/policy.h"

namespace edgemux::config {

template <typename PolicyPtr>
class SealCache {
 public:
  using Sealed = core::Result<PolicyPtr>;

  template <typename Make>
  const Sealed& get(const std::string& key, Make&& make) {
    auto at = sealed_.find(key);
    if (at == sealed_.end()) at = sealed_.emplace(key, make()).first;
    return at->second;
  }
  void sweep() {
    std::erase_if(sealed_, [](const auto& entry) { return !entry.second || entry.second->use_count() == 1; });
    swept_ = sealed_.size();
  }
  // Grown a good deal since.
  [[nodiscard]] bool full() const { return sealed_.size() > 2 * swept_ + 64; }

 private:
  std::unordered_map<std::string, Sealed> sealed_;
  std::size_t swept_ = 0;
};

// Keys must not be had by two different demands: tenants share what is found.
struct TlsSeals {
  SealCache<core::TlsPolicyPtr> policies;
  SealCache<core::TlsClientPolicyPtr> upstreams;
  SealCache<core::CaBundlePtr> bundles;

  // Policies first: they hold bundles.
  void sweep() {
    policies.sweep();
    upstreams.sweep();
    bundles.sweep();
  }
  void sweep_full() {
    if (policies.full()) policies.sweep();
    if (upstreams.full()) upstreams.sweep();
    if (bundles.full()) bundles.sweep();
  }
};

}  // namespace edgemux::config
