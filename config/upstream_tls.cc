#include "config/upstream_tls.h"

#include <ctime>

#include "config/reminders.h"

namespace edgemux::config {
namespace {

std::string key_of(const UpstreamTlsSpec& spec) {
  std::string key = spec.verify ? "verify" : "any";
  for (const auto* text : {&spec.server_name, &spec.ca.text, &spec.cert.text, &spec.key.text}) key += '\n' + *text;
  for (const auto& protocol : spec.alpn) key += '\n' + protocol;
  return key;
}

std::string content_of(const core::TlsClientPolicy& policy) {
  std::string key = policy.verify ? "verify" : "any";
  const auto add = [&key](const std::string& field) { key += ';' + std::to_string(field.size()) + ':' + field; };
  add(policy.server_name);
  add(policy.ca != nullptr ? policy.ca->fingerprint() : std::string());
  add(policy.certificate != nullptr ? policy.certificate->fingerprint : std::string());
  for (const auto& protocol : policy.alpn) add(protocol);
  return key;
}

}  // namespace

void UpstreamTls::begin() {
  answers_.clear();
  bundles_.begin();
  pairs_.begin();
}

const UpstreamTls::Answer& UpstreamTls::get(const UpstreamTlsSpec& spec, const std::string& folder, Inputs& inputs) {
  const auto [at, fresh] = answers_.try_emplace(key_of(spec) + '\n' + folder);
  if (fresh) at->second = make(spec, folder, inputs);
  return at->second;
}

bool UpstreamTls::add_pair(const UpstreamTlsSpec& spec, const std::string& folder, Inputs& inputs,
                           core::TlsClientPolicy& policy, Answer& answer) {
  const PairCache::Pair& pair = pairs_.load({spec.cert.text, spec.key.text}, {folder, folder}, inputs);
  if (pair.good == nullptr) {
    answer.refused = pair.error;
    answer.place = spec.cert.place;
    return false;
  }
  if (!pair.error.empty()) {
    answer.warnings.emplace_back(spec.cert.place, pair.error + "; the pair that was loaded before stays in use");
  }
  if (auto why = out_of_date(*pair.good, std::time(nullptr)); !why.empty()) {
    answer.warnings.emplace_back(spec.cert.place, std::move(why));
  }
  for (const auto& warning : pair.warnings) {
    // A client's certificate names a client.
    if (!pair.good->names.empty() || !warning.ends_with("it serves nobody")) {
      answer.warnings.emplace_back(spec.cert.place, warning);
    }
  }
  policy.certificate = pair.good;
  return true;
}

UpstreamTls::Answer UpstreamTls::make(const UpstreamTlsSpec& spec, const std::string& folder, Inputs& inputs) {
  Answer answer;
  core::TlsClientPolicy policy;
  policy.server_name = spec.server_name;
  policy.alpn = spec.alpn;
  policy.verify = spec.verify;
  if (!spec.verify) {
    answer.warnings.emplace_back(spec.place,
                                 "with 'insecure_skip_verify: true' whoever answers is taken for the upstream");
  }
  if (!spec.ca.text.empty()) {
    const auto& ca = bundles_.get(spec.ca.text, folder, inputs);
    answer.place = spec.ca.place;
    if (ca.bundle == nullptr && (ca.unreadable || spec.verify)) {
      answer.refused = ca.unreadable ? "cannot read the CA " + spec.ca.text + ": " + ca.problem
                                     : "the CA " + spec.ca.text + " is broken: " + ca.problem;
      return answer;
    }
    policy.ca = ca.bundle;
  }
  if (!spec.cert.text.empty() && !add_pair(spec, folder, inputs, policy, answer)) return answer;
  const auto& sealed = seals_.get(content_of(policy), [&] { return core::seal(policy); });
  if (sealed) {
    answer.policy = *sealed;
  } else {
    answer.refused = "bad 'tls': " + sealed.error().message;
  }
  return answer;
}

}  // namespace edgemux::config
