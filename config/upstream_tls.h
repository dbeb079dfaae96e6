#pragma once
// UpstreamTls: what `tls:` of the upstreams of one unit comes to, with its files read. Keeps over compiles what has not
// changed; while it lives, the last good pair stays in use for as long as its files are named (a renewal replaces two
// files, one after the other).

#include <map>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "config/ca_bundles.h"
#include "config/inputs.h"
#include "config/security_material.h"
#include "config/spec.h"
#include "core/tls/client_policy.h"

namespace edgemux::config {

class UpstreamTls {
 public:
  struct Answer {
    core::TlsClientPolicyPtr policy;  // null: `refused`
    std::string refused;              // why nothing may be sent to the upstream
    Place place;                      // of what is broken
    std::vector<std::pair<Place, std::string>> warnings;
  };

  explicit UpstreamTls(TlsSeals& seals) : seals_(seals.upstreams), bundles_(seals.bundles) {}

  // Starts a linking.
  void begin();
  // What it came to is in force: that is what a file which keeps changing falls back to.
  void settle() { pairs_.settle(); }
  // Lives until the next begin(). Two upstreams that say the same get the same answer, with the places of the first.
  // `folder`: where the files must lie, links followed, as for Files::read().
  const Answer& get(const UpstreamTlsSpec& spec, const std::string& folder, Inputs& inputs);

 private:
  Answer make(const UpstreamTlsSpec& spec, const std::string& folder, Inputs& inputs);
  bool add_pair(const UpstreamTlsSpec& spec, const std::string& folder, Inputs& inputs, core::TlsClientPolicy& policy,
                Answer& answer);

  SealCache<core::TlsClientPolicyPtr>& seals_;
  CaBundles bundles_;
  PairCache pairs_;
  std::unordered_map<std::string, Answer> answers_;  // of this linking
};

}  // namespace edgemux::config
