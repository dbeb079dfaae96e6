#pragma once
// Certificates for tests, made on the spot: key pairs, a CA, leaves with names.

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <vector>

namespace edgemux::test {

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeCertificate {
  void operator()(X509* certificate) const { X509_free(certificate); }
};

// A certificate with its key.
struct Identity {
  std::shared_ptr<EVP_PKEY> key;
  std::shared_ptr<X509> certificate;

  [[nodiscard]] std::string cert_pem() const {
    return text([this](BIO* bio) { PEM_write_bio_X509(bio, certificate.get()); });
  }
  // PKCS#8, encrypted where there is a passphrase.
  [[nodiscard]] std::string key_pem(const char* passphrase = nullptr) const {
    return text([&](BIO* bio) {
      PEM_write_bio_PKCS8PrivateKey(bio, key.get(), passphrase != nullptr ? EVP_aes_128_cbc() : nullptr, nullptr, 0,
                                    nullptr, const_cast<char*>(passphrase));
    });
  }
  // "BEGIN EC PRIVATE KEY", "BEGIN RSA PRIVATE KEY"
  [[nodiscard]] std::string old_key_pem() const {
    return text([this](BIO* bio) {
      PEM_write_bio_PrivateKey_traditional(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
  }

 private:
  template <class Write>
  static std::string text(Write write) {
    BIO* bio = BIO_new(BIO_s_mem());
    write(bio);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string pem(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    return pem;
  }
};

inline std::shared_ptr<EVP_PKEY> make_ec_key() { return {EVP_EC_gen("P-256"), FreeKey()}; }
// Made once per size: RSA keys take long.
inline std::shared_ptr<EVP_PKEY> rsa_key(unsigned bits = 2048) {
  static const std::shared_ptr<EVP_PKEY> kUsual(EVP_RSA_gen(2048), FreeKey());
  return bits == 2048 ? kUsual : std::shared_ptr<EVP_PKEY>(EVP_RSA_gen(bits), FreeKey());
}

struct CertificateSpec {
  std::vector<std::string> names{"example.com"};  // dNSName; "IP:10.0.0.7" an address
  std::string common_name = "test";
  std::shared_ptr<EVP_PKEY> key = {};  // null = a fresh P-256 key
  const Identity* issuer = nullptr;    // null = signed by itself
  bool ca = false;
  long starts_in = -3600;  // seconds from now
  long ends_in = 30L * 24 * 3600;
};

inline Identity make_certificate(const CertificateSpec& spec) {
  static long serial = 1;
  Identity made;
  made.key = spec.key ? spec.key : make_ec_key();
  made.certificate.reset(X509_new(), FreeCertificate());
  X509* certificate = made.certificate.get();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), spec.starts_in);
  X509_gmtime_adj(X509_getm_notAfter(certificate), spec.ends_in);
  X509_set_pubkey(certificate, made.key.get());
  X509_NAME* subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(spec.common_name.c_str()), -1, -1, 0);
  X509* issuer = spec.issuer != nullptr ? spec.issuer->certificate.get() : certificate;
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const auto extend = [&](int nid, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  };
  extend(NID_basic_constraints, spec.ca ? "critical,CA:TRUE" : "CA:FALSE");
  if (!spec.names.empty()) {
    std::string list;
    for (const std::string& name : spec.names) {
      list += list.empty() ? "" : ",";
      list += (name.starts_with("IP:") ? "" : "DNS:") + name;
    }
    extend(NID_subject_alt_name, list);
  }
  X509_sign(certificate, spec.issuer != nullptr ? spec.issuer->key.get() : made.key.get(), EVP_sha256());
  return made;
}

}  // namespace edgemux::test
