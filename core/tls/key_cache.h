#pragma once
// TlsWorker::KeyCache: pairs decoded in the worker's library context, by fingerprint; the one unused for longest goes
// first. Private to core/tls.

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/tls/context.h"
#include "core/tls/openssl.h"

namespace edgemux::core {

struct TlsWorker::KeyCache {
  struct Decoded {
    std::string fingerprint;
    CertificatePtr leaf;
    CertificatesPtr chain;  // without the leaf
    KeyPtr key;
    std::uint64_t epoch = 0;
  };

  KeyCache(OSSL_LIB_CTX* library_context, std::size_t most) : library(library_context), capacity(most) {}

  // Decodes at first use. Valid until the next call.
  Result<const Decoded*> find(const CertifiedKey& pair, std::uint64_t epoch);
  void evict_before(std::uint64_t epoch);

  OSSL_LIB_CTX* library;
  std::size_t capacity;
  std::list<Decoded> recent;  // used last first
  std::unordered_map<std::string_view, std::list<Decoded>::iterator> index;
};

}  // namespace edgemux::core
