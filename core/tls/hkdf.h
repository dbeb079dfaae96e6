#pragma once
// Hkdf: HKDF over one hash (RFC 5869), in the form that TLS 1.3 uses (RFC 8446 7.1). Private to core/tls.
//
// The hash is the library's. Its own HKDF looks algorithms up by name and copies every input at each call, which costs
// several times what the hashing does, and a handshake has some twenty of them.

#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

#include "core/tls/openssl.h"

namespace edgemux::core {

// Not thread safe.
class Hkdf {
 public:
  using Bytes = std::span<const unsigned char>;
  static constexpr std::size_t kMostHash = 64;
  static constexpr std::size_t kMostBlock = 128;

  // False: the library lacks it.
  bool fetch(OSSL_LIB_CTX* library, const char* digest);
  [[nodiscard]] std::size_t hash_size() const { return size_; }

  // Each returns false where the library refuses or a size is out of bounds; what `out` holds is then garbage.
  //
  // RFC 5869 2.2. `salt` is at most a block of the hash, `out` hash_size().
  [[nodiscard]] bool extract(Bytes salt, Bytes input, std::span<unsigned char> out) const;
  // HKDF-Expand-Label. `prefix` and `label` are at most 255 bytes together, `context` at most 255, `out` at most 255
  // times hash_size().
  [[nodiscard]] bool expand_label(Bytes secret, Bytes prefix, Bytes label, Bytes context,
                                  std::span<unsigned char> out) const;
  // `out` has hash_size() bytes.
  [[nodiscard]] bool hash_of_nothing(std::span<unsigned char> out) const;

 private:
  [[nodiscard]] bool hmac(Bytes key, std::initializer_list<Bytes> texts, unsigned char* out) const;
  [[nodiscard]] bool keyed_hash(Bytes key, unsigned char pad, std::initializer_list<Bytes> texts,
                                unsigned char* out) const;

  DigestPtr digest_;
  std::unique_ptr<EVP_MD_CTX, FreeWith<EVP_MD_CTX_free>> context_;
  std::size_t size_ = 0;
  std::size_t block_ = 0;
};

}  // namespace edgemux::core
