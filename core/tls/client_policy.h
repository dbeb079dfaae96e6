#pragma once
// TlsClientPolicy: how TLS is spoken to an upstream, as a value. Two policies that differ in anything share neither a
// context nor a session.

#include <memory>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/tls/ca_bundle.h"
#include "core/tls/certificate_store.h"

namespace edgemux::core {

struct TlsClientPolicy {
  // What is asked for (SNI) and must stand in the certificate; an IP address is compared with the addresses in it and
  // is not asked for (RFC 6066 3). Empty = the host of the endpoint as it was written.
  std::string server_name{};
  CaBundlePtr ca{};                 // who is trusted; null = the system's store
  CertifiedKeyPtr certificate{};    // ours, where the upstream asks for one; null = none
  std::vector<std::string> alpn{};  // offered, by preference; empty = none
  bool verify = true;               // false: whoever answers is taken for the upstream

  // SHA-256 over all of the above, in hex; set by seal(), compared instead of the fields.
  std::string identity{};
};

using TlsClientPolicyPtr = std::shared_ptr<const TlsClientPolicy>;

// Checks that the library takes the names, computes `identity` and makes the value immutable. The error names what was
// refused. Any thread, off the loops.
Result<TlsClientPolicyPtr> seal(TlsClientPolicy policy);

}  // namespace edgemux::core
