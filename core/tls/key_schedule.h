#pragma once
// KeySchedule: derives the secrets of TLS 1.3 (RFC 8446 7.1) for the library, in place of the library's own, and keeps
// the two that a connection's data is protected with. Private to core/tls.
//
// It is a provider of the one algorithm that libssl asks for this ("TLS13-KDF"), in a worker's library context. So it
// sees the secrets as they come up; the other way to learn them, the library's key log, prints each byte with a printf.

#include <memory>

#include "core/tls/hkdf.h"
#include "core/tls/openssl.h"
#include "core/tls/records.h"

namespace edgemux::core {

// Of one thread, and of one library context, that it outlives.
class KeySchedule {
 public:
  // The properties to make an SSL_CTX with, so that it is asked.
  static constexpr const char* kProperties = "?provider=edgemux";

  KeySchedule() = default;
  KeySchedule(const KeySchedule&) = delete;
  KeySchedule& operator=(const KeySchedule&) = delete;
  // Once. False: the library refuses, or lacks an algorithm.
  bool join(OSSL_LIB_CTX* library);
  // Before the library context goes.
  void leave() { provider_.reset(); }

  // Where the secrets of the connection that the library is at work for go; made with the first one. Null: nobody wants
  // them.
  void deliver_to(std::unique_ptr<TrafficSecrets>* secrets) { wanted_ = secrets; }

 private:
  struct Provider;
  struct Input;
  [[nodiscard]] const Hkdf* find(const char* digest) const;
  bool derive(const Input& input, std::span<unsigned char> out) const;
  bool generate(const Hkdf& hkdf, const Input& input, std::span<unsigned char> out) const;

  std::unique_ptr<TrafficSecrets>* wanted_ = nullptr;
  Hkdf sha256_;
  Hkdf sha384_;
  ProviderPtr provider_;
};

}  // namespace edgemux::core
