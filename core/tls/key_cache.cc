#include "core/tls/key_cache.h"

namespace edgemux::core {
Result<const TlsWorker::KeyCache::Decoded*> TlsWorker::KeyCache::find(const CertifiedKey& pair, std::uint64_t epoch) {
  if (const auto found = index.find(pair.fingerprint); found != index.end()) {
    recent.splice(recent.begin(), recent, found->second);
    found->second->epoch = epoch;
    return &*found->second;
  }
  Decoded decoded;
  decoded.fingerprint = pair.fingerprint;
  decoded.epoch = epoch;
  decoded.chain.reset(sk_X509_new_null());
  for (const std::string& der : pair.chain_der) {
    CertificatePtr certificate = decode_certificate(der, library);
    if (!certificate) return fail(pair.cert_file + ": a certificate does not parse: " + take_library_error());
    if (!decoded.leaf) {
      decoded.leaf = std::move(certificate);
    } else if (sk_X509_push(decoded.chain.get(), certificate.get()) != 0) {
      static_cast<void>(certificate.release());
    }
  }
  const unsigned char* at = as_bytes(pair.key_der);
  decoded.key.reset(d2i_PrivateKey_ex(pair.ecdsa ? EVP_PKEY_EC : EVP_PKEY_RSA, nullptr, &at,
                                      static_cast<long>(pair.key_der.size()), library, nullptr));
  if (!decoded.leaf || !decoded.key) return fail(pair.key_file + ": the key does not parse: " + take_library_error());
  while (!recent.empty() && recent.size() >= capacity) {
    index.erase(recent.back().fingerprint);
    recent.pop_back();
  }
  recent.push_front(std::move(decoded));
  index.emplace(recent.front().fingerprint, recent.begin());
  return &recent.front();
}

void TlsWorker::KeyCache::evict_before(std::uint64_t epoch) {
  while (!recent.empty() && recent.back().epoch < epoch) {
    index.erase(recent.back().fingerprint);
    recent.pop_back();
  }
}

}  // namespace edgemux::core
