#pragma once
// What TLS needs besides names: certificate pairs and policies. Both keep over compiles what has not changed.

#include <array>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "config/inputs.h"
#include "config/problems.h"
#include "config/seal_cache.h"
#include "config/settings.h"
#include "config/tenancy.h"
#include "core/tls/policy.h"

namespace edgemux::config {

// Certificate pairs by their files: loaded again when a file changes, with the last good pair kept meanwhile.
class PairCache {
 public:
  struct Pair {
    std::string signature;
    core::CertifiedKeyPtr good;  // null: none was ever good
    std::string error;           // of the latest load
    std::vector<std::string> warnings;
    bool used = false;
  };
  // Starts a compile: what was not used in the one before is forgotten.
  void begin();
  // `folders`: as for Files::load_pair().
  const Pair& load(const core::PairFiles& names, const core::PairFiles& folders, Inputs& inputs);
  [[nodiscard]] bool used(const core::PairFiles& names, const core::PairFiles& folders) const;

 private:
  std::map<std::array<std::string, 4>, Pair> pairs_;
};

// The pairs of `certificates:`. One that cannot be loaded is a problem at its entry and harms nothing else; while this
// object lives, its last good pair stays in use for as long as the files are named (a renewal replaces two files, one
// after the other).
// Those of a tenant serve its own hosts only. Where they lie in the tenant's own folder, no link may lead out of it.
class CertificatePairs {
 public:
  std::shared_ptr<const core::CertificateStore> load(const Settings& settings, const FolderOwners& folders,
                                                     Inputs& inputs, Problems& problems);
  // Of each of the store's pairs(): the entry that names it. Never null after load().
  [[nodiscard]] const std::shared_ptr<const std::vector<routing::Origin>>& places() const { return places_; }

 private:
  struct Found {
    core::ScopedPair pair;
    routing::Origin at;
  };
  struct Owner {
    const std::string& tenant;  // empty = the platform
    const FolderOwners& folders;
  };
  void load_all(const std::vector<CertificateEntry>& entries, const Owner& owner, Inputs& inputs, Problems& problems,
                std::vector<Found>& out);
  void load_one(const core::PairFiles& names, Place place, const Owner& owner, Inputs& inputs, Problems& problems,
                std::vector<Found>& out);

  PairCache pairs_;
  std::shared_ptr<const std::vector<routing::Origin>> places_;
};

// What `tls:` of the routes of one unit says on top of the defaults. Equal demands give the same policy.
class TlsPolicies {
 public:
  struct Answer {
    core::TlsPolicyPtr policy;  // null: `error`
    std::string error;          // ciphers or curves that the library does not take
    std::string refused;        // the client CA is broken: `policy` is one without it, and must not be served
  };
  using Seals = SealCache<core::TlsPolicyPtr>;

  explicit TlsPolicies(Seals& seals) : seals_(seals) {}

  // Starts a linking. Problems of the defaults are reported.
  void begin(const TlsSpec& defaults, Problems& problems);
  // `folder`: of a tenant's file, the folder that its paths must not lead out of, by links either; else empty.
  // `spec` may be null.
  const Answer& get(const TlsSpec* spec, const std::string& folder, Inputs& inputs);

 private:
  struct Bundle {
    bool ok = false;
    std::string bytes;  // or the reason
  };
  const Bundle& bundle(const std::string& path, const std::string& folder, Inputs& inputs);
  const core::Result<core::TlsPolicyPtr>& sealed(const core::TlsPolicy& policy);

  Seals& seals_;
  core::TlsPolicy defaults_;
  std::unordered_map<std::string, Bundle> bundles_;  // of this linking
  std::unordered_map<std::string, Answer> answers_;  // of this linking
};

}  // namespace edgemux::config
