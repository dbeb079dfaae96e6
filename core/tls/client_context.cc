// The client's side of TlsWorker: connections to upstreams.

#include "core/tls/client_context.h"

#include <fmt/core.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>

#include "core/base/address.h"
#include "core/tls/certificate_text.h"
#include "core/tls/key_cache.h"
#include "core/tls/library.h"

namespace edgemux::core {

void SessionCache::put(const std::string& key, SessionPtr session) {
  auto found = sessions_.find(key);
  if (found == sessions_.end()) {
    if (sessions_.size() >= kEndpoints) sessions_.erase(sessions_.begin());
    found = sessions_.try_emplace(key).first;
  }
  auto& kept = found->second;
  if (kept.size() >= kPerEndpoint) kept.erase(kept.begin());
  kept.push_back(std::move(session));
}

SessionPtr SessionCache::take(const std::string& key) {
  const auto found = sessions_.find(key);
  if (found == sessions_.end()) return nullptr;
  auto& kept = found->second;
  SessionPtr taken;
  while (!kept.empty() && !taken) {
    SSL_SESSION* newest = kept.back().get();
    const bool once = SSL_SESSION_get_protocol_version(newest) >= TLS1_3_VERSION;
    if (SSL_SESSION_is_resumable(newest) == 1 && !once) {
      SSL_SESSION_up_ref(newest);
      return SessionPtr(newest);
    }
    if (SSL_SESSION_is_resumable(newest) == 1) taken = std::move(kept.back());
    kept.pop_back();
  }
  if (kept.empty()) sessions_.erase(found);
  return taken;
}

struct TlsClientCallbacks {
  // Only the first finding is told: it ends the handshake.
  static int verify(int accepted, X509_STORE_CTX* store) {
    if (accepted != 0) return accepted;
    const auto* ssl = static_cast<const SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    TlsStream* stream = TlsBio::stream_of(ssl);
    if (stream->pending_ && stream->pending_->note.empty()) {
      const bool own_ca = stream->client_->context->policy->ca != nullptr;
      stream->pending_->note = why_not_trusted(*store, stream->pending_->server_name, own_ca);
    }
    return 0;
  }

  // Returning 1 takes the session over.
  static int keep_session(SSL* ssl, SSL_SESSION* session) {
    TlsStream* stream = TlsBio::stream_of(ssl);
    stream->client_->context->sessions.put(stream->client_->session_key, SessionPtr(session));
    return 1;
  }
};

Result<std::shared_ptr<TlsWorker::ClientContext>> TlsWorker::make_client_context(const TlsClientPolicyPtr& policy) {
  auto made = std::make_shared<ClientContext>();
  made->policy = policy;
  made->ssl.reset(SSL_CTX_new_ex(library_->context.get(), KeySchedule::kProperties, TLS_client_method()));
  if (!made->ssl) return fail("no TLS context: " + take_library_error());
  SSL_CTX* ssl = made->ssl.get();
  if (auto set = configure(*ssl, *policy, library_->context.get()); !set) return tl::unexpected<Error>(set.error());
  if (policy->verify) SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, TlsClientCallbacks::verify);
  if (policy->certificate) {
    auto pair = keys_->find(*policy->certificate, epoch_);
    if (!pair) return tl::unexpected<Error>(pair.error());
    if (SSL_CTX_use_cert_and_key(ssl, (*pair)->leaf.get(), (*pair)->key.get(), (*pair)->chain.get(), 1) != 1) {
      return fail(policy->certificate->cert_file + ": " + take_library_error());
    }
  }
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(ssl, TlsClientCallbacks::keep_session);
  return made;
}

Result<std::shared_ptr<TlsWorker::ClientContext>> TlsWorker::client_context(const TlsClientPolicyPtr& policy) {
  const auto found = std::find_if(clients_.begin(), clients_.end(), [&](const auto& context) {
    return context->policy == policy || context->policy->identity == policy->identity;
  });
  if (found != clients_.end()) {
    clients_.splice(clients_.begin(), clients_, found);
  } else {
    auto made = make_client_context(policy);
    if (!made) return made;
    while (!clients_.empty() && clients_.size() >= std::max<std::size_t>(settings_.max_contexts, 1)) {
      clients_.pop_back();
    }
    clients_.push_front(std::move(*made));
  }
  clients_.front()->epoch = epoch_;
  return clients_.front();
}

Result<std::unique_ptr<TlsStream>> TlsWorker::connect(std::unique_ptr<Stream> inner, const TlsClientPolicyPtr& policy,
                                                      std::string_view host, std::string_view endpoint,
                                                      std::string_view only_protocol) {
  ERR_clear_error();
  auto used = client_context(policy);
  if (!used) return tl::unexpected<Error>(used.error());
  SslPtr ssl(SSL_new((*used)->ssl.get()));
  if (!ssl) return fail("no TLS connection: " + take_library_error());
  SSL_set_connect_state(ssl.get());
  if (!only_protocol.empty()) {
    std::string wire(1, static_cast<char>(only_protocol.size()));
    wire += only_protocol;
    if (SSL_set_alpn_protos(ssl.get(), as_bytes(wire), static_cast<unsigned>(wire.size())) != 0) {
      return fail("no TLS connection: " + take_library_error());
    }
  }

  std::string name(policy->server_name.empty() ? host : std::string_view(policy->server_name));
  const auto address = SocketAddress::parse_ip(name, 0);
  bool named = true;
  if (address) {
    X509_VERIFY_PARAM* demand = SSL_get0_param(ssl.get());
    named = X509_VERIFY_PARAM_set1_ip(demand, as_bytes(address->bytes()), address->bytes().size()) == 1;
  } else {
    // RFC 9525 6.3: names stand in the SAN, a wildcard is a whole label.
    SSL_set_hostflags(ssl.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    named = !name.empty() && SSL_set1_host(ssl.get(), name.c_str()) == 1 &&
            SSL_set_tlsext_host_name(ssl.get(), name.c_str()) == 1;
  }
  if (!named) return fail("no TLS connection to \"" + name + "\": that is no server name");

  auto pending = std::make_unique<TlsStream::Pending>();
  auto client = std::make_unique<TlsStream::ClientSide>();
  client->session_key = name;
  client->session_key += '|';
  client->session_key += endpoint;
  client->context = std::move(*used);
  pending->server_name = std::move(name);
  if (SessionPtr session = client->context->sessions.take(client->session_key)) {
    SSL_set_session(ssl.get(), session.get());
  }
  SSL* raw = ssl.release();
  std::unique_ptr<TlsStream> stream(new TlsStream(*this, std::move(inner), raw, std::move(pending)));
  stream->client_ = std::move(client);
  TlsBio::attach(raw, library_->bio.get());
  return stream;
}

}  // namespace edgemux::core
