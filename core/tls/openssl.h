#pragma once
// Owners for OpenSSL's objects, and its errors as text. Private to core/tls: no other folder includes OpenSSL.

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/tls/ca_bundle.h"
#include "core/tls/client_policy.h"
#include "core/tls/policy.h"

namespace edgemux::core {

template <auto Free>
struct FreeWith {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
inline void free_certificates(STACK_OF(X509) * chain) { sk_X509_pop_free(chain, X509_free); }
inline void free_names(STACK_OF(X509_NAME) * names) { sk_X509_NAME_pop_free(names, X509_NAME_free); }

using BioPtr = std::unique_ptr<BIO, FreeWith<BIO_free_all>>;
using BioMethodPtr = std::unique_ptr<BIO_METHOD, FreeWith<BIO_meth_free>>;
using CertificatePtr = std::unique_ptr<X509, FreeWith<X509_free>>;
using CertificatesPtr = std::unique_ptr<STACK_OF(X509), FreeWith<free_certificates>>;
using CipherPtr = std::unique_ptr<EVP_CIPHER, FreeWith<EVP_CIPHER_free>>;
using DigestPtr = std::unique_ptr<EVP_MD, FreeWith<EVP_MD_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, FreeWith<EVP_PKEY_free>>;
using ProviderPtr = std::unique_ptr<OSSL_PROVIDER, FreeWith<OSSL_PROVIDER_unload>>;
using LibraryPtr = std::unique_ptr<OSSL_LIB_CTX, FreeWith<OSSL_LIB_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, FreeWith<SSL_free>>;
using SslContextPtr = std::unique_ptr<SSL_CTX, FreeWith<SSL_CTX_free>>;

inline const unsigned char* as_bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// What the library says went wrong first, "unknown" if nothing; empties its queue.
std::string take_library_error();

// Lower-case hex of the SHA-256 of `bytes`.
std::string sha256_hex(std::string_view bytes);

// A library context without any algorithm. What is parsed in it is checked for its structure alone, which takes a
// fraction of the time: most of it goes into public keys. Any thread.
OSSL_LIB_CTX* no_algorithms();

// Null: it does not parse, and the library's queue says why.
CertificatePtr decode_certificate(std::string_view der, OSSL_LIB_CTX* library);

// Reads the certificates of a PEM text, which outlives it, one after the other.
class CertificateReader {
 public:
  explicit CertificateReader(std::string_view pem);
  // The next one's block; empty: none is left. The error says what is wrong with which.
  Result<std::string> next_der();
  // Adds the next ones until `to` has `most`, or none is left.
  Result<void> read(STACK_OF(X509) & to, int most, OSSL_LIB_CTX* library);
  // The latest one does not parse, as the library says.
  [[nodiscard]] tl::unexpected<Error> broken() const;

 private:
  BioPtr bio_;  // null: the text is too long
  std::size_t read_ = 0;
};

// Makes a fresh context, of this library, trust the certificates of a bundle.
Result<void> trust(SSL_CTX& context, const CaBundlePtr& bundle, OSSL_LIB_CTX* library);
// Names them to clients, as those whose certificates are accepted.
Result<void> ask_for(SSL_CTX& context, const CaBundle& bundle);

// Applies a policy to a fresh context of a server: versions, ciphers, curves, client certificates, and the fixed
// options. The error names the element that the library refuses.
Result<void> configure(SSL_CTX& context, const TlsPolicy& policy, OSSL_LIB_CTX* library);

// The same for a context of a client: versions, ciphers, curves, protocols and trust anchors. Not the certificate, and
// not whether to verify.
Result<void> configure(SSL_CTX& context, const TlsClientPolicy& policy, OSSL_LIB_CTX* library);

// A field of a text that two different lists of fields never share.
void append_field(std::string& to, std::string_view field);
void append_fields(std::string& to, const std::vector<std::string>& list);

// AES-128 before AES-256: the same strength in practice, a quarter less work. ChaCha20 where the client puts it first.
inline constexpr const char* kCiphers13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
inline constexpr const char* kCiphers12 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-"
    "SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

}  // namespace edgemux::core
