#pragma once
// TlsWorker::ClientContext: an SSL_CTX for upstreams of one policy, and the sessions that may be resumed. Private to
// core/tls.
//
// Sessions are kept per server name and endpoint, since endpoints seldom share the keys of their tickets. A TLS 1.3
// session is given out once (RFC 8446 C.4), a TLS 1.2 session until a newer one comes.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tls/context.h"
#include "core/tls/openssl.h"

namespace edgemux::core {

using SessionPtr = std::unique_ptr<SSL_SESSION, FreeWith<SSL_SESSION_free>>;

class SessionCache {
 public:
  static constexpr std::size_t kPerEndpoint = 4;
  static constexpr std::size_t kEndpoints = 256;

  void put(const std::string& key, SessionPtr session);
  // Null: none.
  SessionPtr take(const std::string& key);

 private:
  std::unordered_map<std::string, std::vector<SessionPtr>> sessions_;  // newest last
};

struct TlsWorker::ClientContext {
  TlsClientPolicyPtr policy;
  SslContextPtr ssl;
  SessionCache sessions;
  std::uint64_t epoch = 0;
};

// What a stream of the client's side needs beyond the handshake.
struct TlsStream::ClientSide {
  std::shared_ptr<TlsWorker::ClientContext> context;
  std::string session_key;
};

}  // namespace edgemux::core
