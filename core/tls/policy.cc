// The checks of seal(), and a policy put into force on a library context.

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>

#include "core/tls/context.h"
#include "core/tls/openssl.h"

namespace edgemux::core {
namespace {

constexpr std::int64_t kSessionLifetime = TicketKeys::kRotation;

std::string joined(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) {
    if (!list.empty()) list += ':';
    list += name;
  }
  return list;
}

bool is_tls13(const std::string& cipher) { return cipher.starts_with("TLS_"); }

// The library's lists take keywords ("ALL", "!RC4") and skip names they do not know; we want names, each known.
bool plain_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

// Encrypts, and goes with a certificate. The library would take the others into the list and never agree on them.
bool is_sound(const SSL_CIPHER& cipher) {
  const int auth = SSL_CIPHER_get_auth_nid(&cipher);
  return SSL_CIPHER_get_bits(&cipher, nullptr) >= 112 &&
         (auth == NID_auth_any || auth == NID_auth_rsa || auth == NID_auth_ecdsa);
}

bool knows_cipher(SSL_CTX& context, const std::string& name) {
  if (!plain_name(name)) return false;
  const int taken = is_tls13(name) ? SSL_CTX_set_ciphersuites(&context, name.c_str())
                                   : SSL_CTX_set_cipher_list(&context, name.c_str());
  if (taken != 1) return false;
  const STACK_OF(SSL_CIPHER)* ciphers = SSL_CTX_get_ciphers(&context);
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); ++i) {
    const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(ciphers, i);
    if (name == SSL_CIPHER_get_name(cipher)) return is_sound(*cipher);
  }
  return false;
}

std::string no_such(const std::vector<std::string>& names, std::string_view what) {
  std::string text;
  for (const std::string& name : names) text += fmt::format("{}\"{}\"", text.empty() ? "" : ", ", name);
  text += names.size() == 1 ? " is no " : " are no ";
  return text.append(what).append(names.size() == 1 ? "" : "s").append(" that can be used here");
}

Result<void> set_ciphers(SSL_CTX& context, const TlsPolicy& policy) {
  std::vector<std::string> unknown;
  std::vector<std::string> old_names;
  std::vector<std::string> new_names;
  for (const std::string& name : policy.ciphers) {
    (!knows_cipher(context, name) ? unknown : is_tls13(name) ? new_names : old_names).push_back(name);
  }
  if (!unknown.empty()) return fail(no_such(unknown, "cipher"));
  const bool any = !policy.ciphers.empty();
  const bool tls13 = !any || !new_names.empty();
  const bool tls12 = policy.min_version == TlsVersion::tls1_2 && (!any || !old_names.empty());
  if (!tls13 && !tls12) return fail("min_version 1.3 needs a TLS 1.3 cipher in the list");
  SSL_CTX_set_min_proto_version(&context, tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(&context, tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  const std::string list12 = old_names.empty() ? kCiphers12 : joined(old_names);
  const std::string list13 = !any ? kCiphers13 : joined(new_names);
  if (SSL_CTX_set_cipher_list(&context, list12.c_str()) != 1 ||
      SSL_CTX_set_ciphersuites(&context, list13.c_str()) != 1) {
    return fail("the library refuses the ciphers: " + take_library_error());
  }
  return {};
}

Result<void> set_curves(SSL_CTX& context, const TlsPolicy& policy) {
  if (policy.curves.empty()) return fail("the list of curves is empty");
  std::vector<std::string> unknown;
  for (const std::string& name : policy.curves) {
    if (!plain_name(name) || SSL_CTX_set1_groups_list(&context, name.c_str()) != 1) unknown.push_back(name);
  }
  ERR_clear_error();
  if (!unknown.empty()) return fail(no_such(unknown, "curve"));
  if (SSL_CTX_set1_groups_list(&context, joined(policy.curves).c_str()) != 1) {
    return fail(fmt::format("the library refuses the curves {}: {}", joined(policy.curves), take_library_error()));
  }
  return {};
}

Result<void> set_client_auth(SSL_CTX& context, const TlsPolicy& policy, OSSL_LIB_CTX* library) {
  if (policy.client_auth == ClientAuth::none) return {};
  if (!policy.client_ca) return fail("client_ca: no certificate in it");
  if (auto trusted = trust(context, policy.client_ca, library); !trusted) return trusted;
  if (auto named = ask_for(context, *policy.client_ca); !named) return named;
  SSL_CTX_set_verify(
      &context, SSL_VERIFY_PEER | (policy.client_auth == ClientAuth::require ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
      nullptr);
  return {};
}

std::string identity_of(const TlsPolicy& policy) {
  std::string text;
  append_field(text, std::to_string(static_cast<int>(policy.min_version)));
  append_fields(text, policy.ciphers);
  append_fields(text, policy.curves);
  append_fields(text, policy.alpn);
  append_field(text, std::to_string(static_cast<int>(policy.client_auth)));
  append_field(text, policy.client_ca ? policy.client_ca->fingerprint() : "");
  append_field(text, policy.opaque ? "opaque" : "");
  return sha256_hex(text);
}

}  // namespace

bool TlsPolicy::lets_in_clients_of(const TlsPolicy& before) const {
  if (client_auth == ClientAuth::none) return true;
  if (before.client_auth < client_auth) return false;
  return client_ca != nullptr && before.client_ca != nullptr && client_ca->covers(*before.client_ca);
}

Result<void> configure(SSL_CTX& context, const TlsPolicy& policy, OSSL_LIB_CTX* library) {
  ERR_clear_error();
  SSL_CTX_set_options(&context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                    SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(&context, SSL_MODE_RELEASE_BUFFERS);
  // Control records come back to us one by one, to be counted.
  SSL_CTX_clear_mode(&context, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_timeout(&context, kSessionLifetime);
  SSL_CTX_set_num_tickets(&context, 1);
  auto ciphers = set_ciphers(context, policy);
  auto curves = set_curves(context, policy);
  if (!ciphers && !curves) return fail(ciphers.error().message + "; " + curves.error().message);
  if (!ciphers) return ciphers;
  if (!curves) return curves;
  return set_client_auth(context, policy, library);
}

Result<TlsPolicyPtr> seal(TlsPolicy policy) {
  for (const std::string& protocol : policy.alpn) {
    if (protocol.empty() || protocol.size() > 255) return fail("alpn: a protocol name has 1 to 255 bytes");
    if (protocol == "acme-tls/1") return fail("alpn: acme-tls/1 is never served; it passes through to its host");
  }
  if (policy.client_auth == ClientAuth::none) policy.client_ca.reset();
  const SslContextPtr context(SSL_CTX_new_ex(nullptr, nullptr, TLS_server_method()));
  if (!context) return fail("no TLS context: " + take_library_error());
  if (auto taken = configure(*context, policy, nullptr); !taken) return tl::unexpected<Error>(taken.error());
  policy.identity = identity_of(policy);
  return std::make_shared<const TlsPolicy>(std::move(policy));
}

}  // namespace edgemux::core
