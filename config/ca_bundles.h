#pragma once
// CaBundles: the CA bundles that one unit names, each read and parsed once in a linking.

#include <string>
#include <unordered_map>

#include "config/inputs.h"
#include "config/seal_cache.h"
#include "core/tls/ca_bundle.h"

namespace edgemux::config {

class CaBundles {
 public:
  struct Answer {
    core::CaBundlePtr bundle;  // null: `problem`
    bool unreadable = false;
    std::string problem;
  };

  explicit CaBundles(SealCache<core::CaBundlePtr>& seals) : seals_(seals) {}

  // Starts a linking.
  void begin() { answers_.clear(); }
  // Lives until the next begin(). `folder`: as for Files::read().
  const Answer& get(const std::string& path, const std::string& folder, Inputs& inputs) {
    const auto [at, fresh] = answers_.try_emplace(folder + '\n' + path);
    if (fresh) at->second = read(path, folder, inputs);
    return at->second;
  }

 private:
  Answer read(const std::string& path, const std::string& folder, Inputs& inputs) {
    const auto pem = inputs.read(path, folder);
    if (!pem) return {nullptr, true, pem.error().message};
    const auto& parsed = seals_.get(core::CaBundle::fingerprint_of(*pem), [&] { return core::CaBundle::parse(*pem); });
    if (!parsed) return {nullptr, false, parsed.error().message};
    return {*parsed, false, {}};
  }

  SealCache<core::CaBundlePtr>& seals_;
  std::unordered_map<std::string, Answer> answers_;
};

}  // namespace edgemux::config
