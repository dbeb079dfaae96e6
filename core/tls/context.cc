#include "core/tls/context.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include "core/tls/callbacks.h"
#include "core/tls/client_context.h"
#include "core/tls/key_cache.h"
#include "core/tls/library.h"
#include "core/tls/openssl.h"
#include "core/tls/records.h"
#include "core/tls/tls_buffers.h"

namespace edgemux::core {

// Both pairs are put in; the library takes the ECDSA one where the client's algorithms and ciphers allow it, as ours
// are ordered that way. Runs on full handshakes only.
int TlsCallbacks::choose_pair(SSL* ssl, void* argument) {
  TlsWorker& worker = *static_cast<TlsWorker::Context*>(argument)->worker;
  TlsStream::Pending* pending = TlsBio::stream_of(ssl)->pending_.get();
  if (pending == nullptr) return 0;
  bool any = false;
  for (const CertifiedKeyPtr* pair : {&pending->rsa, &pending->ecdsa}) {
    if (*pair == nullptr) continue;
    auto decoded = worker.keys_->find(**pair, worker.epoch_);
    if (!decoded) {
      pending->note = decoded.error().message;
      continue;
    }
    if (SSL_use_cert_and_key(ssl, (*decoded)->leaf.get(), (*decoded)->key.get(), (*decoded)->chain.get(), 1) == 1) {
      any = true;
    } else {
      pending->note = (*pair)->cert_file + ": " + take_library_error();
    }
  }
  if (any) pending->note.clear();
  return any ? 1 : 0;
}

// RFC 7301 3.2. Our order of preference counts.
int TlsCallbacks::choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                                  unsigned in_size, void* argument) {
  const auto& context = *static_cast<const TlsWorker::Context*>(argument);
  if (context.alpn_off) return SSL_TLSEXT_ERR_NOACK;
  const std::string_view ours = context.alpn;
  const std::string_view theirs(reinterpret_cast<const char*>(in), in_size);
  for (std::size_t i = 0; i < ours.size(); i += 1 + static_cast<unsigned char>(ours[i])) {
    const std::string_view protocol = ours.substr(i, 1 + static_cast<unsigned char>(ours[i]));
    for (std::size_t j = 0; j < theirs.size(); j += 1 + static_cast<unsigned char>(theirs[j])) {
      if (theirs.substr(j, 1 + static_cast<unsigned char>(theirs[j])) != protocol) continue;
      *out = as_bytes(protocol) + 1;
      *out_size = static_cast<unsigned char>(protocol.size() - 1);
      return SSL_TLSEXT_ERR_OK;
    }
  }
  if (TlsStream::Pending* pending = TlsBio::stream_of(ssl)->pending_.get())
    pending->note = "no application protocol in common";
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// RFC 6066 3: a server that used the name says so.
int TlsCallbacks::acknowledge_name(SSL* ssl, int* /*alert*/, void* /*argument*/) {
  return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) != nullptr ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

// Tickets are sent under the secret that data is sent under, so that data is not the first.
void TlsCallbacks::count_record(int written, int /*version*/, int type, const void* /*data*/, std::size_t /*size*/,
                                SSL* ssl, void* /*argument*/) {
  if (type != SSL3_RT_HEADER) return;
  TlsStream::Pending* pending = TlsBio::stream_of(ssl)->pending_.get();
  if (pending == nullptr || pending->secrets == nullptr) return;
  auto& direction = written != 0 ? pending->secrets->write : pending->secrets->read;
  if (direction.size != 0) ++direction.records;
}

// 1 = go on, 2 = go on and give the client a fresh ticket, 0 = no ticket (a full handshake), -1 = fatal.
int TlsCallbacks::seal_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                              EVP_MAC_CTX* mac, int sealing) {
  const auto& context = *static_cast<const TlsWorker::Context*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  const TlsWorker& worker = *context.worker;
  const EVP_CIPHER* algorithm = worker.library_->ticket_cipher.get();
  TicketKey key;
  int verdict = 1;
  if (sealing != 0) {
    auto current = worker.settings_.ticket_keys->current();
    if (!current) return -1;
    key = *current;
    if (RAND_bytes_ex(worker.library_->context.get(), iv, static_cast<std::size_t>(EVP_CIPHER_get_iv_length(algorithm)),
                      0) != 1) {
      return -1;
    }
    std::copy(key.name.begin(), key.name.end(), name);
  } else {
    auto found = worker.settings_.ticket_keys->find(std::span<const unsigned char, 16>(name, 16));
    if (!found) return 0;
    key = found->key;
    // A TLS 1.3 ticket is used once (RFC 8446 C.4), so each resumption brings the next.
    verdict = found->renew || SSL_version(ssl) >= TLS1_3_VERSION ? 2 : 1;
    OPENSSL_cleanse(&found->key, sizeof(found->key));
  }
  char digest[] = "SHA256";  // NOLINT(*-avoid-c-arrays)
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac.data(),
                                                                     key.mac.size()),  // NOLINT(*-avoid-c-arrays)
                                   OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                   OSSL_PARAM_construct_end()};
  const int set = sealing != 0 ? EVP_EncryptInit_ex(cipher, algorithm, nullptr, key.cipher.data(), iv)
                               : EVP_DecryptInit_ex(cipher, algorithm, nullptr, key.cipher.data(), iv);
  if (set != 1 || EVP_MAC_CTX_set_params(mac, parameters) != 1) verdict = -1;
  OPENSSL_cleanse(&key, sizeof(key));
  return verdict;
}

TlsWorker::TlsWorker(Settings settings) : settings_(std::move(settings)) {}

TlsWorker::~TlsWorker() {
  contexts_.clear();
  recent_.clear();
  clients_.clear();
  keys_.reset();
}

Result<std::unique_ptr<TlsWorker>> TlsWorker::create(Settings settings) {
  if (settings.ticket_keys == nullptr) settings.ticket_keys = std::make_shared<TicketKeys>();
  std::unique_ptr<TlsWorker> worker(new TlsWorker(std::move(settings)));
  auto library = std::make_unique<Library>();
  library->context.reset(OSSL_LIB_CTX_new());
  if (library->context) library->provider.reset(OSSL_PROVIDER_load(library->context.get(), "default"));
  if (!library->provider) return fail("OpenSSL's default provider does not load: " + take_library_error());
  library->bio_method = TlsBio::method();
  worker->buffers_ = std::make_unique<TlsBuffers>();
  if (library->bio_method) {
    library->bio = TlsBio::make(library->bio_method.get(), library->context.get(), worker->buffers_.get());
  }
  library->ticket_cipher.reset(EVP_CIPHER_fetch(library->context.get(), "AES-256-CBC", nullptr));
  library->sha256.reset(EVP_MD_fetch(library->context.get(), "SHA256", nullptr));
  if (!library->bio || !library->ticket_cipher || !library->sha256 || !library->ciphers.fetch(library->context.get()) ||
      !library->schedule.join(library->context.get()))
    return fail("OpenSSL lacks an algorithm: " + take_library_error());
  worker->keys_ =
      std::make_unique<KeyCache>(library->context.get(), std::max<std::size_t>(worker->settings_.max_decoded_pairs, 2));
  worker->library_ = std::move(library);
  return worker;
}

Result<std::shared_ptr<TlsWorker::Context>> TlsWorker::make_context(const TlsPolicy& policy) {
  auto made = std::make_shared<Context>();
  made->worker = this;
  made->identity = policy.identity;
  made->alpn_off = policy.alpn.empty();
  for (const std::string& protocol : policy.alpn) {
    const auto& served = settings_.served_alpn;
    if (!policy.opaque && std::find(served.begin(), served.end(), protocol) == served.end()) continue;
    made->alpn += static_cast<char>(protocol.size());
    made->alpn += protocol;
  }
  made->ssl.reset(SSL_CTX_new_ex(library_->context.get(), KeySchedule::kProperties, TLS_server_method()));
  if (!made->ssl) return fail("no TLS context: " + take_library_error());
  SSL_CTX* ssl = made->ssl.get();
  if (auto set = configure(*ssl, policy, library_->context.get()); !set) return tl::unexpected<Error>(set.error());
  SSL_CTX_set_app_data(ssl, made.get());
  SSL_CTX_set_cert_cb(ssl, TlsCallbacks::choose_pair, made.get());
  SSL_CTX_set_alpn_select_cb(ssl, TlsCallbacks::choose_protocol, made.get());
  SSL_CTX_set_tlsext_servername_callback(ssl, TlsCallbacks::acknowledge_name);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, TlsCallbacks::seal_ticket);
  SSL_CTX_set_msg_callback(ssl, TlsCallbacks::count_record);
  return made;
}

Result<std::shared_ptr<TlsWorker::Context>> TlsWorker::context(const TlsPolicyPtr& policy) {
  if (const auto found = contexts_.find(policy->identity); found != contexts_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    (*found->second)->epoch = epoch_;
    return *found->second;
  }
  auto made = make_context(*policy);
  if (!made) return tl::unexpected<Error>(made.error());
  while (!recent_.empty() && recent_.size() >= std::max<std::size_t>(settings_.max_contexts, 1)) drop_oldest();
  (*made)->epoch = epoch_;
  recent_.push_front(std::move(*made));
  contexts_.emplace(recent_.front()->identity, recent_.begin());
  return recent_.front();
}

void TlsWorker::drop_oldest() {
  contexts_.erase(recent_.back()->identity);
  recent_.pop_back();
}

void TlsWorker::evict_unused() {
  while (!recent_.empty() && recent_.back()->epoch < epoch_) drop_oldest();
  while (!clients_.empty() && clients_.back()->epoch < epoch_) clients_.pop_back();
  keys_->evict_before(epoch_);
  ++epoch_;
}

std::size_t TlsWorker::decoded_pairs() const { return keys_->recent.size(); }

Result<std::unique_ptr<TlsStream>> TlsWorker::accept(std::unique_ptr<Stream> inner, std::span<const char> already_read,
                                                     const TlsPolicyPtr& policy, const CertificateStore& certificates,
                                                     std::string_view server_name, std::string_view scope) {
  ERR_clear_error();
  auto used = context(policy);
  if (!used) return tl::unexpected<Error>(used.error());
  SslPtr ssl(SSL_new((*used)->ssl.get()));
  if (!ssl) return fail("no TLS connection: " + take_library_error());
  SSL_set_accept_state(ssl.get());

  // Tickets are bound to the policy and the name.
  std::string bound = policy->identity;
  bound += server_name;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(bound.data(), bound.size(), digest.data(), &size, library_->sha256.get(), nullptr) != 1 ||
      SSL_set_session_id_context(ssl.get(), digest.data(), size) != 1) {
    return fail("no TLS connection: " + take_library_error());
  }

  auto pending = std::make_unique<TlsStream::Pending>();
  const CertificateChoice choice = certificates.find(server_name, scope);
  if (choice.ecdsa != nullptr) pending->ecdsa = *choice.ecdsa;
  if (choice.rsa != nullptr) pending->rsa = *choice.rsa;
  pending->server_name = server_name;
  pending->context = std::move(*used);
  SSL* raw = ssl.release();
  std::unique_ptr<TlsStream> stream(new TlsStream(*this, std::move(inner), raw, std::move(pending)));
  TlsBio::attach(raw, library_->bio.get());
  stream->put_back(already_read);
  return stream;
}

}  // namespace edgemux::core
