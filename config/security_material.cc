#include "config/security_material.h"

#include <algorithm>
#include <ctime>
#include <iterator>
#include <utility>

#include "config/reminders.h"
#include "config/values.h"

#include "core/tls/context.h"

namespace edgemux::config {
namespace {

constexpr std::size_t most_told_pairs = 20;  // of a tenant: the log and the status are everybody's

core::TlsPolicy overlay(core::TlsPolicy policy, const TlsSpec& spec) {
  if (spec.min_version) policy.min_version = *spec.min_version;
  if (spec.ciphers) policy.ciphers = texts_of(*spec.ciphers);
  // An empty list asks for the built-in one, as `ciphers: []` does.
  if (spec.curves) policy.curves = spec.curves->empty() ? core::TlsPolicy{}.curves : texts_of(*spec.curves);
  if (spec.alpn) policy.alpn = *spec.alpn;
  policy.opaque = spec.opaque;
  return policy;
}

std::string key_of(const core::TlsPolicy& policy) {
  std::string key = policy.min_version == core::TlsVersion::tls1_3 ? "3" : "2";
  for (const auto* list : {&policy.ciphers, &policy.curves, &policy.alpn}) {
    key += ';';
    for (const auto& name : *list) key += std::to_string(name.size()) + ':' + name;
  }
  key += policy.opaque ? ";o" : ";";
  key += std::to_string(static_cast<int>(policy.client_auth));
  if (policy.client_ca != nullptr) key += ';' + policy.client_ca->fingerprint();
  return key;
}

}  // namespace

std::shared_ptr<const core::CertificateStore> CertificatePairs::load(const Settings& settings,
                                                                     const FolderOwners& folders, Inputs& inputs,
                                                                     Problems& problems) {
  pairs_.begin();
  listed_before_ = std::exchange(listed_, {});
  std::vector<Found> loaded;
  const std::string platform;
  load_all(settings.certificates, {platform, folders, UINT64_MAX}, inputs, problems, loaded);
  for (const auto& tenant : settings.tenants) {
    const std::uint64_t most = tenant.limits.config_size;
    load_all(tenant.certificates, {tenant.name.text, folders, most == 0 ? UINT64_MAX : most}, inputs, problems, loaded);
  }
  // In the order of the store.
  std::stable_sort(loaded.begin(), loaded.end(),
                   [](const Found& a, const Found& b) { return a.pair.scope < b.pair.scope; });
  std::vector<core::ScopedPair> pairs;
  std::vector<routing::Origin> places;
  pairs.reserve(loaded.size());
  places.reserve(loaded.size());
  for (auto& one : loaded) {
    pairs.push_back(std::move(one.pair));
    places.push_back(std::move(one.at));
  }
  places_ = std::make_shared<const std::vector<routing::Origin>>(std::move(places));
  return std::make_shared<const core::CertificateStore>(std::move(pairs));
}

void CertificatePairs::load_all(const std::vector<CertificateEntry>& entries, const Owner& owner, Inputs& inputs,
                                Problems& problems, std::vector<Found>& out) {
  Taken taken;
  struct Rest {
    const CertificateEntry& entry;
    std::vector<core::PairFiles> lone;
    bool any;
  };
  std::vector<Rest> rest;
  const std::size_t first = out.size();
  for (const auto& entry : entries) {
    std::vector<core::PairFiles> pairs{{entry.cert, entry.key}};
    if (!entry.directory.empty()) {
      auto listed = list(entry, owner, inputs, problems, out);
      if (!listed) continue;
      pairs = std::move(*listed);
      std::erase_if(pairs, [&](const core::PairFiles& names) {
        return names.lone && std::any_of(entries.begin(), entries.end(), [&](const CertificateEntry& other) {
                 return other.cert == names.cert || other.key == names.cert;
               });
      });
    }
    const auto lone = std::stable_partition(pairs.begin(), pairs.end(), [](const auto& names) { return !names.lone; });
    Rest& left = rest.emplace_back(Rest{entry, {lone, pairs.end()}, false});
    pairs.erase(lone, pairs.end());
    left.any = load_entry(entry, pairs, owner, taken, inputs, problems, out);
  }
  // What may be no pair at all takes no room from those that are.
  for (std::size_t i = first; i < out.size(); ++i) taken.leaves.insert(out[i].pair.pair->chain_der.front());
  for (const auto& [entry, lone, any] : rest) {
    if (!load_entry(entry, lone, owner, taken, inputs, problems, out) && !any) {
      problems.warning(entry.place, "there is no certificate in " + entry.directory + " yet");
    }
  }
}

std::optional<std::vector<core::PairFiles>> CertificatePairs::list(const CertificateEntry& entry, const Owner& owner,
                                                                   Inputs& inputs, Problems& problems,
                                                                   std::vector<Found>& out) {
  inputs.watch_folders(entry.directory + "/.");
  auto listed = inputs.files().list_pairs(entry.directory, owner.tenant.empty() ? SIZE_MAX : max_tenant_names);
  const std::pair key(owner.tenant, entry.directory);
  const auto before = listed_before_.find(key);
  const std::vector<core::PairFiles> known =
      before == listed_before_.end() ? std::vector<core::PairFiles>{} : before->second;
  if (!listed) {
    inputs.note(listed.error().message);
    if (listed.error().shortage) inputs.watch_file(entry.directory);  // it is looked at again
    problems.flaw(entry.place, listed.error().message,
                  known.empty() ? "no certificate in it is used" : "the certificates that it had stay in use");
    for (const auto& names : known) {
      const PairCache::Pair& pair = pairs_.keep(names, folders_of(names, owner), inputs);
      if (pair.good != nullptr) out.push_back({{pair.good, owner.tenant}, problems.origin(entry.place)});
    }
    listed_[key] = known;
    return std::nullopt;
  }
  std::vector<core::PairFiles> changed;
  std::copy_if(known.begin(), known.end(), std::back_inserter(changed), [&](const core::PairFiles& names) {
    const auto at = std::lower_bound(listed->begin(), listed->end(), names, core::listed_before);
    return !names.lone && (at == listed->end() || at->lone || at->cert != names.cert || at->key != names.key);
  });
  for (const auto& names : changed) {
    if (misses_a_half(names, *listed, owner, inputs)) listed->push_back(names);
  }
  listed_[key] = *listed;
  return std::move(*listed);
}

// Of a pair that was listed before. True: what the listing has of it now is taken out.
bool CertificatePairs::misses_a_half(const core::PairFiles& names, std::vector<core::PairFiles>& listed,
                                     const Owner& owner, Inputs& inputs) {
  Files& files = inputs.files();
  if (!files.exists(names.cert) && !files.exists(names.key)) return false;
  for (const auto& now : listed) {
    if (now.lone && now.cert == names.cert) {  // the key may be in it now
      if (pairs_.peek(now, folders_of(now, owner), files).good != nullptr) return false;
    } else if (now.cert == names.cert || (now.key == names.key && files.exists(now.cert))) {
      return false;
    }
  }
  std::erase_if(listed, [&](const core::PairFiles& now) { return now.cert == names.cert || now.key == names.key; });
  return true;
}

bool CertificatePairs::load_entry(const CertificateEntry& entry, const std::vector<core::PairFiles>& pairs,
                                  const Owner& owner, Taken& taken, Inputs& inputs, Problems& problems,
                                  std::vector<Found>& out) {
  Excess excess;
  bool any = false;
  std::size_t untold = 0;
  Problems unsaid(nullptr, nullptr);
  for (const auto& names : pairs) {
    any = any || !names.lone;
    if (!owner.tenant.empty() && !fits(names, owner, taken, excess, inputs)) continue;
    const PairCache::Pair* pair = load_one(names, entry.place, owner, inputs, problems, out);
    any = any || pair == nullptr || pair->good != nullptr;
    if (pair == nullptr) continue;
    if (taken.leaves.contains(pair->unused_leaf)) {  // a chain beside its pair
      any = true;
      continue;
    }
    const bool say = owner.tenant.empty() || taken.told < most_told_pairs;
    if (!tell(*pair, entry.place, say ? problems : unsaid)) continue;
    any = true;
    ++(say ? taken.told : untold);
  }
  if (untold != 0) {
    problems.flaw(entry.place, "there are problems with " + std::to_string(untold) +
                                   " more certificate pairs of tenant " + quote(owner.tenant));
  }
  report(excess, entry, owner, inputs, problems);
  return any || excess.pairs.count + excess.bytes.count != 0;
}

// What stands on the disk counts, not what could be loaded: broken pairs cost as much.
bool CertificatePairs::fits(const core::PairFiles& names, const Owner& owner, Taken& taken, Excess& excess,
                            Inputs& inputs) {
  const auto leave_out = [&](Excess::Of& of) {
    if (of.count++ == 0) of.first = names.cert;
    return false;
  };
  if (taken.pairs == max_tenant_pairs) return leave_out(excess.pairs);
  ++taken.pairs;
  inputs.watch_file(names.cert);
  inputs.watch_file(names.key);
  const std::uint64_t bytes =
      inputs.files().stamp(names.cert).size() + (names.lone ? 0 : inputs.files().stamp(names.key).size());
  if (bytes > owner.most_bytes - taken.bytes) return leave_out(excess.bytes);
  taken.bytes += bytes;
  return true;
}

void CertificatePairs::report(const Excess& excess, const CertificateEntry& entry, const Owner& owner, Inputs& inputs,
                              Problems& problems) {
  const auto left_out = [](const Excess::Of& of) {
    return ": " + of.first + " is left out" +
           (of.count == 1 ? "" : ", with " + std::to_string(of.count - 1) + " others");
  };
  const auto say = [&](const std::string& message, const std::string& hint) {
    inputs.note(message);
    problems.flaw(entry.place, message, hint);
  };
  const std::string where = entry.directory.empty() ? "" : " with those in " + entry.directory;
  if (excess.pairs.count != 0) {
    say("tenant " + quote(owner.tenant) + " has more than " + std::to_string(max_tenant_pairs) + " certificate pairs" +
            where + left_out(excess.pairs),
        "remove pairs that no host needs, or put more names into a certificate");
  }
  if (excess.bytes.count != 0) {
    say("the certificate pairs of tenant " + quote(owner.tenant) + " take more than " + size_text(owner.most_bytes) +
            " together" + where + left_out(excess.bytes),
        "make them smaller, or set limits.config_size of the tenant in the main file");
  }
}

core::PairFiles CertificatePairs::folders_of(const core::PairFiles& names, const Owner& owner) {
  if (owner.tenant.empty()) return {};
  return {owner.folders.around(names.cert, owner.tenant), owner.folders.around(names.key, owner.tenant)};
}

// Null: it was named before, and its problems are said.
const PairCache::Pair* CertificatePairs::load_one(const core::PairFiles& names, Place place, const Owner& owner,
                                                  Inputs& inputs, const Problems& problems, std::vector<Found>& out) {
  const core::PairFiles folders = folders_of(names, owner);
  const bool twice = pairs_.used(names, folders);
  const PairCache::Pair& pair = pairs_.load(names, folders, inputs);
  if (pair.good != nullptr) out.push_back({{pair.good, owner.tenant}, problems.origin(place)});
  return twice ? nullptr : &pair;
}

// False: all is well.
bool CertificatePairs::tell(const PairCache::Pair& pair, Place place, Problems& problems) {
  if (!pair.error.empty()) {
    problems.flaw(place, pair.error, pair.good != nullptr ? "the pair that was loaded before stays in use" : "");
  }
  for (const auto& warning : pair.warnings) problems.warning(place, warning);
  const bool reminded = pair.good != nullptr && remind_of_expiry(*pair.good, place, std::time(nullptr), problems);
  return reminded || !pair.error.empty() || !pair.warnings.empty();
}

void PairCache::begin() {
  for (auto at = pairs_.begin(); at != pairs_.end();) at = at->second.used ? std::next(at) : pairs_.erase(at);
  for (auto& [names, pair] : pairs_) pair.used = false;
}

void PairCache::settle() {
  for (auto& [names, pair] : pairs_) pair.settled = pair.good;
}

PairCache::Key PairCache::key_of(const core::PairFiles& names, const core::PairFiles& folders) {
  return {names.cert, names.lone ? std::string() : names.key, folders.cert, folders.key};
}

bool PairCache::used(const core::PairFiles& names, const core::PairFiles& folders) const {
  const auto found = pairs_.find(key_of(names, folders));
  return found != pairs_.end() && found->second.used;
}

const PairCache::Pair& PairCache::load(const core::PairFiles& names, const core::PairFiles& folders, Inputs& inputs) {
  inputs.watch_file(names.cert);
  inputs.watch_file(names.key);
  Pair& pair = pairs_[key_of(names, folders)];
  if (pair.used) return pair;
  pair.used = true;
  look(pair, names, folders, inputs.files());
  inputs.note(pair.good != nullptr ? pair.good->fingerprint : std::string());
  inputs.note(pair.error);
  return pair;
}

const PairCache::Pair& PairCache::peek(const core::PairFiles& names, const core::PairFiles& folders, Files& files) {
  Pair& pair = pairs_[key_of(names, folders)];
  if (!pair.used) look(pair, names, folders, files);
  return pair;
}

const PairCache::Pair& PairCache::keep(const core::PairFiles& names, const core::PairFiles& folders, Inputs& inputs) {
  Pair& pair = pairs_[key_of(names, folders)];
  inputs.watch_file(names.cert);
  inputs.watch_file(names.key);
  if (std::exchange(pair.used, true)) return pair;
  inputs.note(pair.good != nullptr ? pair.good->fingerprint : std::string());
  return pair;
}

// What its stamps tell to be the same is not read again, what its bytes tell to be the same is not parsed again, good
// or not.
void PairCache::look(Pair& pair, const core::PairFiles& names, const core::PairFiles& folders, Files& files) {
  for (const auto& path : {names.cert, names.key}) {
    if (!files.held(path)) continue;
    pair.error = path + ": " + keeps_changing;
    pair.good = pair.settled;
    pair.sure = false;
    pair.text.clear();
    return;
  }
  const timespec began = files.now();
  const std::array<Stamp, 2> stamps{files.stamp(names.cert), files.stamp(names.key)};
  if (pair.sure && stamps == pair.stamps) return;
  const auto text = files.read_pair(names, folders);
  pair.stamps = stamps;
  pair.sure = stamps[0].before(began) && stamps[1].before(began) && (text || !text.error().retryable);
  const std::string before = std::exchange(pair.text, text ? text->fingerprint() : std::string());
  if (text && pair.text == before) return;
  auto loaded = text ? core::parse_pair(*text) : tl::unexpected<core::Error>(text.error());
  pair.error = loaded ? std::string() : loaded.error().message;
  pair.warnings = loaded ? std::move(loaded->warnings) : std::vector<std::string>{};
  pair.unused_leaf = loaded ? std::move(loaded->unused_leaf) : std::string();
  if (loaded && loaded->pair != nullptr) {
    pair.good = std::move(loaded->pair);
  } else if (loaded && pair.good != nullptr) {
    pair.error = names.cert + ": it had a pair in it, and has no key any more";
    pair.warnings.clear();
  }
  // Nobody named this file: it need not be one of ours.
  if (!pair.error.empty() && names.lone && pair.good == nullptr) pair.warnings = {std::exchange(pair.error, {})};
}

void TlsPolicies::begin(const TlsSpec& defaults, Problems& problems) {
  bundles_.begin();
  answers_.clear();
  defaults_ = overlay(core::TlsPolicy{}, defaults);
  if (const auto& base = sealed(defaults_); !base) {
    report(defaults, base.error().message, problems);
    defaults_ = {};
  }
}

void TlsPolicies::report(const TlsSpec& spec, const std::string& error, Problems& problems) {
  bool told = false;
  const auto look_at = [&](const std::optional<std::vector<Name>>& names,
                           std::vector<std::string> core::TlsPolicy::*list) {
    if (!names) return;
    for (const Name& name : *names) {
      if (problems.full()) return;
      core::TlsPolicy alone;
      alone.*list = {name.text};
      const auto& made = sealed(alone);
      if (made) continue;
      problems.error(name.place, "bad 'tls': " + made.error().message);
      told = true;
    }
  };
  look_at(spec.ciphers, &core::TlsPolicy::ciphers);
  look_at(spec.curves, &core::TlsPolicy::curves);
  if (!told) problems.error(spec.place, "bad 'tls': " + error);
}

const core::Result<core::TlsPolicyPtr>& TlsPolicies::sealed(const core::TlsPolicy& policy) {
  return seals_.get(key_of(policy), [&] { return core::seal(policy); });
}

const TlsPolicies::Answer& TlsPolicies::get(const TlsSpec* spec, const std::string& folder, Inputs& inputs) {
  auto policy = spec == nullptr ? defaults_ : overlay(defaults_, *spec);
  const bool client_ca = spec != nullptr && !spec->client_ca.text.empty();
  const std::string key =
      key_of(policy) + (client_ca ? ";" + folder + ";" + spec->client_ca.text +
                                        (spec->client_auth == core::ClientAuth::optional ? "?" : "!")
                                  : "");
  const auto [at, fresh] = answers_.try_emplace(key);
  Answer& answer = at->second;
  if (!fresh) return answer;
  const auto& base = sealed(policy);
  if (!base) {
    answer.error = base.error().message;
    return answer;
  }
  answer.policy = *base;
  if (!client_ca) return answer;
  const auto& ca = bundles_.get(spec->client_ca.text, folder, inputs);
  if (ca.bundle == nullptr) {
    answer.refused = ca.unreadable ? "cannot read the client CA " + spec->client_ca.text + ": " + ca.problem
                                   : "the client CA " + spec->client_ca.text + " is broken: " + ca.problem;
    return answer;
  }
  policy.client_auth = spec->client_auth.value_or(core::ClientAuth::require);
  policy.client_ca = ca.bundle;
  const auto& whole = sealed(policy);
  if (whole) {
    answer.policy = *whole;
  } else {
    answer.refused = "bad 'tls': " + whole.error().message;
  }
  return answer;
}

}  // namespace edgemux::config
