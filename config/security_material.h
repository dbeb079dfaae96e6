#pragma once
// What TLS needs besides names: certificate pairs and policies. Both keep over compiles what has not changed.

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "config/ca_bundles.h"
#include "config/inputs.h"
#include "config/problems.h"
#include "config/seal_cache.h"
#include "config/settings.h"
#include "config/tenancy.h"
#include "core/tls/policy.h"

namespace edgemux::config {

// Certificate pairs by their files: loaded again when a file changes, with the last good pair kept meanwhile. One that
// does not parse is parsed once; what cannot be read is tried again. Files that are written again with the same bytes
// are not parsed again.
class PairCache {
 public:
  struct Pair {
    std::array<Stamp, 2> stamps;    // of the certificate and of the key, before the latest load
    bool sure = false;              // equal stamps mean that loading it comes to the same
    core::CertifiedKeyPtr good;     // null: none was ever good
    core::CertifiedKeyPtr settled;  // what of it was put in force
    std::string error;              // of the latest load
    std::string text;               // core::PairText::fingerprint() of the latest load; empty: it could not be read
    std::vector<std::string> warnings;
    std::string unused_leaf;  // core::LoadedPair::unused_leaf of the latest load
    bool used = false;
  };
  // Starts a compile: what was not used in the one before is forgotten.
  void begin();
  // What was loaded is put in force.
  void settle();
  // `folders`: as for Files::read_pair().
  const Pair& load(const core::PairFiles& names, const core::PairFiles& folders, Inputs& inputs);
  // The same for who only wants to know what is in it: it counts as neither used nor watched.
  const Pair& peek(const core::PairFiles& names, const core::PairFiles& folders, Files& files);
  // As it was loaded before, whatever its files say now.
  const Pair& keep(const core::PairFiles& names, const core::PairFiles& folders, Inputs& inputs);
  [[nodiscard]] bool used(const core::PairFiles& names, const core::PairFiles& folders) const;

 private:
  static void look(Pair& pair, const core::PairFiles& names, const core::PairFiles& folders, Files& files);

  using Key = std::array<std::string, 4>;
  static Key key_of(const core::PairFiles& names, const core::PairFiles& folders);

  std::map<Key, Pair> pairs_;
};

constexpr std::size_t max_tenant_pairs = 1024;  // of one tenant, over all entries of its certificates

// The pairs of `certificates:`. One that cannot be loaded is a problem at its entry and harms nothing else; while this
// object lives, its last good pair stays in use for as long as the files are named (a renewal replaces two files, one
// after the other). So do all pairs of a directory that cannot be looked into, and one of whose halves one is missing.
// Those of a tenant serve its own hosts only. Where they lie in the tenant's own folder, no link may lead out of it.
// They are max_tenant_pairs at most, and take limits.config_size together; those beyond are not read.
class CertificatePairs {
 public:
  std::shared_ptr<const core::CertificateStore> load(const Settings& settings, const FolderOwners& folders,
                                                     Inputs& inputs, Problems& problems);
  // What was loaded latest is put in force: of files that keep changing, those pairs stay.
  void settle() { pairs_.settle(); }
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
    std::uint64_t most_bytes;
  };
  // By the pairs of one tenant so far.
  struct Taken {
    std::size_t pairs = 0;
    std::uint64_t bytes = 0;
    std::size_t told = 0;
    std::unordered_set<std::string_view> leaves;  // certificates of the pairs, DER; once all are loaded
  };
  // What is left out of one entry, as there are too many pairs, or too many bytes.
  struct Excess {
    struct Of {
      std::size_t count = 0;
      std::string first;
    };
    Of pairs;
    Of bytes;
  };
  using Listing = std::map<std::pair<std::string, std::string>, std::vector<core::PairFiles>>;  // tenant, directory
  // Nothing, where the directory cannot be looked into: its problem is told, and what it had is kept.
  std::optional<std::vector<core::PairFiles>> list(const CertificateEntry& entry, const Owner& owner, Inputs& inputs,
                                                   Problems& problems, std::vector<Found>& out);
  bool misses_a_half(const core::PairFiles& names, std::vector<core::PairFiles>& listed, const Owner& owner,
                     Inputs& inputs);
  void load_all(const std::vector<CertificateEntry>& entries, const Owner& owner, Inputs& inputs, Problems& problems,
                std::vector<Found>& out);
  // False: there is nothing in it, and nothing to tell.
  bool load_entry(const CertificateEntry& entry, const std::vector<core::PairFiles>& pairs, const Owner& owner,
                  Taken& taken, Inputs& inputs, Problems& problems, std::vector<Found>& out);
  static bool fits(const core::PairFiles& names, const Owner& owner, Taken& taken, Excess& excess, Inputs& inputs);
  static void report(const Excess& excess, const CertificateEntry& entry, const Owner& owner, Inputs& inputs,
                     Problems& problems);
  const PairCache::Pair* load_one(const core::PairFiles& names, Place place, const Owner& owner, Inputs& inputs,
                                  const Problems& problems, std::vector<Found>& out);
  // Where a tenant's files must lie; nowhere, for the platform's.
  static core::PairFiles folders_of(const core::PairFiles& names, const Owner& owner);
  static bool tell(const PairCache::Pair& pair, Place place, Problems& problems);

  PairCache pairs_;
  Listing listed_;         // of this compile, so far
  Listing listed_before_;  // of the one before
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
  explicit TlsPolicies(TlsSeals& seals) : seals_(seals.policies), bundles_(seals.bundles) {}

  // Starts a linking. Problems of the defaults are reported.
  void begin(const TlsSpec& defaults, Problems& problems);
  // `folder`: of a tenant's file, the folder that its paths must not lead out of, by links either; else empty.
  // `spec` may be null.
  const Answer& get(const TlsSpec* spec, const std::string& folder, Inputs& inputs);
  // `error` of its answer: the entries that the library does not take each at its place, or the whole.
  void report(const TlsSpec& spec, const std::string& error, Problems& problems);

 private:
  const core::Result<core::TlsPolicyPtr>& sealed(const core::TlsPolicy& policy);

  SealCache<core::TlsPolicyPtr>& seals_;
  CaBundles bundles_;
  core::TlsPolicy defaults_;
  std::unordered_map<std::string, Answer> answers_;  // of this linking
};

}  // namespace edgemux::config
