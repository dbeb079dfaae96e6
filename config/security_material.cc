#include "config/security_material.h"

#include <algorithm>
#include <ctime>

#include "config/reminders.h"

#include "core/tls/context.h"

namespace edgemux::config {
namespace {

core::TlsPolicy overlay(core::TlsPolicy policy, const TlsSpec& spec) {
  if (spec.min_version) policy.min_version = *spec.min_version;
  if (spec.ciphers) policy.ciphers = *spec.ciphers;
  // An empty list asks for the built-in one, as `ciphers: []` does.
  if (spec.curves) policy.curves = spec.curves->empty() ? core::TlsPolicy{}.curves : *spec.curves;
  if (spec.alpn) policy.alpn = *spec.alpn;
  policy.opaque = spec.opaque;
  return policy;
}

std::string key_of(const core::TlsPolicy& policy, std::string_view ca) {
  Digest bytes;
  bytes.add(ca);
  std::string key = policy.min_version == core::TlsVersion::tls1_3 ? "3" : "2";
  for (const auto* list : {&policy.ciphers, &policy.curves, &policy.alpn}) {
    key += ';';
    for (const auto& name : *list) key += std::to_string(name.size()) + ':' + name;
  }
  key += policy.opaque ? ";o" : ";";
  key += std::to_string(static_cast<int>(policy.client_auth));
  if (!ca.empty()) key += ';' + std::to_string(ca.size()) + bytes.hex();
  return key;
}

}  // namespace

std::shared_ptr<const core::CertificateStore> CertificatePairs::load(const Settings& settings,
                                                                     const FolderOwners& folders, Inputs& inputs,
                                                                     Problems& problems) {
  pairs_.begin();
  std::vector<Found> loaded;
  const std::string platform;
  load_all(settings.certificates, {platform, folders}, inputs, problems, loaded);
  for (const auto& tenant : settings.tenants) {
    load_all(tenant.certificates, {tenant.name.text, folders}, inputs, problems, loaded);
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
  for (const auto& entry : entries) {
    if (entry.directory.empty()) {
      load_one({entry.cert, entry.key}, entry.place, owner, inputs, problems, out);
      continue;
    }
    inputs.watch_folders(entry.directory + "/.");
    auto listed = inputs.files().list_pairs(entry.directory);
    if (!listed) {
      inputs.note(listed.error().message);
      problems.flaw(entry.place, listed.error().message);
      continue;
    }
    if (listed->empty()) problems.warning(entry.place, "there is no certificate in " + entry.directory + " yet");
    for (const auto& names : *listed) load_one(names, entry.place, owner, inputs, problems, out);
  }
}

void CertificatePairs::load_one(const core::PairFiles& names, Place place, const Owner& owner, Inputs& inputs,
                                Problems& problems, std::vector<Found>& out) {
  core::PairFiles folders;
  if (!owner.tenant.empty()) {
    folders = {owner.folders.around(names.cert, owner.tenant), owner.folders.around(names.key, owner.tenant)};
  }
  const bool twice = pairs_.used(names, folders);
  const PairCache::Pair& pair = pairs_.load(names, folders, inputs);
  if (pair.good != nullptr) out.push_back({{pair.good, owner.tenant}, problems.origin(place)});
  if (twice) return;  // its problems are said
  if (!pair.error.empty()) {
    problems.flaw(place, pair.error, pair.good != nullptr ? "the pair that was loaded before stays in use" : "");
  }
  for (const auto& warning : pair.warnings) problems.warning(place, warning);
  if (pair.good != nullptr) remind_of_expiry(*pair.good, place, std::time(nullptr), problems);
}

void PairCache::begin() {
  for (auto at = pairs_.begin(); at != pairs_.end();) at = at->second.used ? std::next(at) : pairs_.erase(at);
  for (auto& [names, pair] : pairs_) pair.used = false;
}

bool PairCache::used(const core::PairFiles& names, const core::PairFiles& folders) const {
  const auto found = pairs_.find({names.cert, names.key, folders.cert, folders.key});
  return found != pairs_.end() && found->second.used;
}

const PairCache::Pair& PairCache::load(const core::PairFiles& names, const core::PairFiles& folders, Inputs& inputs) {
  inputs.watch_file(names.cert);
  inputs.watch_file(names.key);
  auto& files = inputs.files();
  Pair& pair = pairs_[{names.cert, names.key, folders.cert, folders.key}];
  if (pair.used) return pair;
  pair.used = true;
  const std::string signature = files.signature(names.cert) + "/" + files.signature(names.key);
  if (signature != pair.signature || pair.good == nullptr || !pair.error.empty()) {
    auto loaded = files.load_pair(names, folders);
    pair.signature = signature;
    pair.error = loaded ? std::string() : loaded.error().message;
    pair.warnings = loaded ? std::move(loaded->warnings) : std::vector<std::string>{};
    if (loaded) pair.good = std::move(loaded->pair);
  }
  inputs.note(pair.good != nullptr ? pair.good->fingerprint : std::string());
  inputs.note(pair.error);
  return pair;
}

void TlsPolicies::begin(const TlsSpec& defaults, Problems& problems) {
  bundles_.clear();
  answers_.clear();
  defaults_ = overlay(core::TlsPolicy{}, defaults);
  if (const auto& base = sealed(defaults_); !base) {
    problems.error(defaults.place, "bad 'tls': " + base.error().message);
    defaults_ = {};
  }
}

const core::Result<core::TlsPolicyPtr>& TlsPolicies::sealed(const core::TlsPolicy& policy) {
  return seals_.get(key_of(policy, policy.client_ca_pem), [&] { return core::seal(policy); });
}

const TlsPolicies::Bundle& TlsPolicies::bundle(const std::string& path, const std::string& folder, Inputs& inputs) {
  const auto [at, fresh] = bundles_.try_emplace(folder + '\n' + path);
  if (fresh) {
    auto bytes = inputs.read(path, folder);
    at->second = {bytes.has_value(), bytes ? std::move(*bytes) : bytes.error().message};
  }
  return at->second;
}

const TlsPolicies::Answer& TlsPolicies::get(const TlsSpec* spec, const std::string& folder, Inputs& inputs) {
  auto policy = spec == nullptr ? defaults_ : overlay(defaults_, *spec);
  const bool client_ca = spec != nullptr && !spec->client_ca.text.empty();
  const std::string key =
      key_of(policy, "") + (client_ca ? ";" + folder + ";" + spec->client_ca.text +
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
  const auto& ca = bundle(spec->client_ca.text, folder, inputs);
  if (!ca.ok) {
    answer.refused = "cannot read the client CA " + spec->client_ca.text + ": " + ca.bytes;
    return answer;
  }
  policy.client_auth = spec->client_auth.value_or(core::ClientAuth::require);
  policy.client_ca_pem = ca.bytes;
  const auto& whole = sealed(policy);
  if (whole) {
    answer.policy = *whole;
  } else {
    answer.refused = "the client CA " + spec->client_ca.text + " is broken: " + whole.error().message;
  }
  return answer;
}

}  // namespace edgemux::config
