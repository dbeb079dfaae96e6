#pragma once
// The TLS side of a worker: sealed policies become library contexts, stored pairs become decoded keys, connections, the
// accepted ones and those to upstreams, become TlsStreams.

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/result.h"
#include "core/io/stream.h"
#include "core/tls/certificate_store.h"
#include "core/tls/client_policy.h"
#include "core/tls/policy.h"
#include "core/tls/ticket_keys.h"
#include "core/tls/tls_stream.h"

struct ssl_ctx_st;
struct ssl_st;

namespace edgemux::core {

// Checks that the library takes every cipher, curve and protocol name, computes `identity` and makes the value
// immutable. The error names the element that was refused. Any thread, off the loops.
//
// `ciphers` is the whole list: without a TLS 1.3 name in it TLS 1.3 is not offered, with nothing else in it TLS 1.2 is
// not.
Result<TlsPolicyPtr> seal(TlsPolicy policy);

// One per worker thread, and of that thread alone. Owns its library context (OpenSSL 3.0 locks are contended between
// threads otherwise), one SSL_CTX per policy, the decoded pairs, and the buffers that its streams share. Outlives its
// streams.
class TlsWorker {
 public:
  struct Settings {
    std::shared_ptr<TicketKeys> ticket_keys{};            // the process's
    std::vector<std::string> served_alpn{"http/1.1"};     // protocols that have a codec
    std::size_t max_contexts = 512;                       // policies; the one unused for longest goes
    std::size_t max_decoded_pairs = 4096;                 // certificates, the same way
    std::uint64_t rekey_after = std::uint64_t{1} << 24U;  // records of TLS 1.3 under one key, RFC 8446 5.5
  };
  static Result<std::unique_ptr<TlsWorker>> create(Settings settings);
  ~TlsWorker();
  TlsWorker(const TlsWorker&) = delete;
  TlsWorker& operator=(const TlsWorker&) = delete;

  // Makes the server's side of a connection; nothing is sent before handshake(). `already_read` is what was received to
  // find the server name (the whole hello and whatever came with it); it is copied. `certificates` is looked at during
  // the call only: the ECDSA and the RSA pair of `server_name` in `scope` are taken, and the client's abilities choose
  // between them. Without a pair the handshake fails with an alert (unrecognized_name), resumptions included. Sessions
  // are resumed only under the same policy and the same name (RFC 6066 3, RFC 8446 4.6.1). ALPN: the policy's list, as
  // far as it is served, or all of it where the policy is opaque. No overlap with the client's list ends the handshake
  // (RFC 7301 3.2); a client without ALPN, and a policy with an empty list, go on without. acme-tls/1 is never agreed
  // on. The error is internal (memory, a library that refuses): the connection is gone with `inner`.
  Result<std::unique_ptr<TlsStream>> accept(std::unique_ptr<Stream> inner, std::span<const char> already_read,
                                            const TlsPolicyPtr& policy, const CertificateStore& certificates,
                                            std::string_view server_name, std::string_view scope = {});

  // Makes the client's side of a connection to an upstream; nothing is sent before handshake(). `host` is what the
  // endpoint was written as, and counts where the policy has no server name; `endpoint` tells endpoints apart, for the
  // sessions to be resumed; `only_protocol` is offered in place of the policy's protocols. The handshake fails, with
  // failure() saying why, unless the server's certificate is valid, carries the name and leads to somebody trusted.
  // Which protocol was agreed on, if any, is the caller's to look at (alpn()). The error is internal, or a name that is
  // none: the connection is gone with `inner`.
  Result<std::unique_ptr<TlsStream>> connect(std::unique_ptr<Stream> inner, const TlsClientPolicyPtr& policy,
                                             std::string_view host, std::string_view endpoint,
                                             std::string_view only_protocol = {});

  // Drops contexts and pairs that nobody has used since the call before. For a slow timer (hourly). Connections keep
  // what they have.
  void evict_unused();

  [[nodiscard]] std::size_t contexts() const { return contexts_.size(); }
  [[nodiscard]] std::size_t client_contexts() const { return clients_.size(); }
  [[nodiscard]] std::size_t decoded_pairs() const;

 private:
  friend class TlsStream;
  friend struct TlsCallbacks;
  struct Library;        // the library context and what is fetched from it
  struct Context;        // SSL_CTX and what its callbacks need
  struct ClientContext;  // the same for upstreams, and their sessions
  struct KeyCache;       // decoded pairs

  explicit TlsWorker(Settings settings);
  Result<std::shared_ptr<Context>> context(const TlsPolicyPtr& policy);
  Result<std::shared_ptr<Context>> make_context(const TlsPolicy& policy);
  void drop_oldest();
  Result<std::shared_ptr<ClientContext>> client_context(const TlsClientPolicyPtr& policy);
  Result<std::shared_ptr<ClientContext>> make_client_context(const TlsClientPolicyPtr& policy);

  Settings settings_;
  std::unique_ptr<Library> library_;
  std::unique_ptr<KeyCache> keys_;
  std::unique_ptr<TlsBuffers> buffers_;
  using Recent = std::list<std::shared_ptr<Context>>;
  Recent recent_;                                                    // used last first
  std::unordered_map<std::string_view, Recent::iterator> contexts_;  // by policy identity
  std::list<std::shared_ptr<ClientContext>> clients_;                // used last first
  std::uint64_t epoch_ = 0;
};

}  // namespace edgemux::core
