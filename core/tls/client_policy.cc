// The checks of seal() for a client's policy, and the policy put into force on a library context.

#include "core/tls/client_policy.h"

#include "core/base/address.h"
#include "core/tls/openssl.h"

namespace edgemux::core {
namespace {

constexpr const char* kCurves = "X25519:P-256:P-384:P-521";

Result<void> trust_anchors(SSL_CTX& context, const TlsClientPolicy& policy, OSSL_LIB_CTX* library) {
  if (!policy.verify) return {};
  if (policy.ca) return trust(context, policy.ca, library);
  // Looked up when a chain is built; SSL_CERT_FILE and SSL_CERT_DIR are honoured.
  if (SSL_CTX_set_default_verify_paths(&context) != 1) return fail("no system CA store: " + take_library_error());
  return {};
}

std::string identity_of(const TlsClientPolicy& policy) {
  std::string text;
  append_field(text, policy.server_name);
  append_field(text, policy.ca ? policy.ca->fingerprint() : "");
  append_field(text, policy.certificate ? policy.certificate->fingerprint : "");
  append_fields(text, policy.alpn);
  append_field(text, policy.verify ? "verify" : "");
  return sha256_hex(text);
}

}  // namespace

Result<void> configure(SSL_CTX& context, const TlsClientPolicy& policy, OSSL_LIB_CTX* library) {
  ERR_clear_error();
  SSL_CTX_set_options(&context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(&context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_clear_mode(&context, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION);
  if (SSL_CTX_set_cipher_list(&context, kCiphers12) != 1 || SSL_CTX_set_ciphersuites(&context, kCiphers13) != 1 ||
      SSL_CTX_set1_groups_list(&context, kCurves) != 1) {
    return fail("the library refuses the ciphers: " + take_library_error());
  }
  std::string wire;
  for (const std::string& protocol : policy.alpn) {
    wire += static_cast<char>(protocol.size());
    wire += protocol;
  }
  if (!wire.empty() && SSL_CTX_set_alpn_protos(&context, as_bytes(wire), static_cast<unsigned>(wire.size())) != 0) {
    return fail("the library refuses the protocols: " + take_library_error());
  }
  return trust_anchors(context, policy, library);
}

Result<TlsClientPolicyPtr> seal(TlsClientPolicy policy) {
  for (const std::string& protocol : policy.alpn) {
    if (protocol.empty() || protocol.size() > 255) return fail("alpn: a protocol name has 1 to 255 bytes");
  }
  if (policy.server_name.size() > 253) return fail("server_name: longer than a name can be");
  const SslContextPtr context(SSL_CTX_new_ex(nullptr, nullptr, TLS_client_method()));
  if (!context) return fail("no TLS context: " + take_library_error());
  if (auto taken = configure(*context, policy, nullptr); !taken) return tl::unexpected<Error>(taken.error());
  policy.identity = identity_of(policy);
  return std::make_shared<const TlsClientPolicy>(std::move(policy));
}

}  // namespace edgemux::core
