#pragma once
// TlsPolicy: what a host demands of a TLS connection, as a value. The certificate is no part of it: hosts with equal
// policies share one SSL_CTX per worker, and one kind of ticket. Two policies that differ in anything never resume each
// other's sessions: `identity` goes into the session id context (RFC 8446 4.6.1; the lesson of CVE-2025-23419).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tls/ca_bundle.h"

namespace edgemux::core {

enum class TlsVersion : std::uint8_t { tls1_2, tls1_3 };
enum class ClientAuth : std::uint8_t { none, optional, require };

struct TlsPolicy {
  TlsVersion min_version = TlsVersion::tls1_2;
  std::vector<std::string> ciphers{};  // OpenSSL names, TLS 1.2 and 1.3 mixed; empty = the built-in list
  std::vector<std::string> curves{"X25519", "P-256"};
  std::vector<std::string> alpn{"h2", "http/1.1"};  // by preference; protocols that no codec serves yet are left out
  bool opaque = false;                              // what is inside goes on as it is: any protocol may be agreed on
  ClientAuth client_auth = ClientAuth::none;
  CaBundlePtr client_ca{};  // whose certificates clients show, when client_auth is not none

  // SHA-256 over all of the above, in hex; set by seal(), compared instead of the fields.
  std::string identity{};

  // Whoever was let in under `before` would be let in by what it has shown: the client rules are the same, or weaker,
  // or trust more. Nothing else is compared.
  [[nodiscard]] bool lets_in_clients_of(const TlsPolicy& before) const;
};

using TlsPolicyPtr = std::shared_ptr<const TlsPolicy>;

// Checks that the library takes every cipher and curve, computes `identity` and makes the value
// immutable. The error names the element that was refused. (declared in core/tls/context.h, where OpenSSL is known)

}  // namespace edgemux::core
