#pragma once
// TlsClient: an OpenSSL client at the other end of a MemoryLink.

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <array>
#include <memory>
#include <string>

#include "tests/support/memory_stream.h"
#include "tests/support/test_certificates.h"

namespace edgemux::test {

struct TlsClientOptions {
  int version = TLS1_3_VERSION;
  std::string server_name = "example.com";
  std::string alpn = {};  // on the wire
  const Identity* identity = nullptr;
  SSL_SESSION* session = nullptr;
  const char* signature_algorithms = nullptr;
  const char* groups = nullptr;
};

class TlsClient {
 public:
  TlsClient(std::unique_ptr<MemoryStream> stream, const TlsClientOptions& options) : stream_(std::move(stream)) {
    context_.reset(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL_CTX* context = context_.get();
    SSL_CTX_set_min_proto_version(context, options.version);
    SSL_CTX_set_max_proto_version(context, options.version);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(context, on_session);
    SSL_CTX_set_keylog_callback(context, on_secret);
    if (options.signature_algorithms != nullptr) SSL_CTX_set1_sigalgs_list(context, options.signature_algorithms);
    if (options.groups != nullptr) SSL_CTX_set1_groups_list(context, options.groups);
    if (options.identity != nullptr) {
      SSL_CTX_use_certificate(context, options.identity->certificate.get());
      SSL_CTX_use_PrivateKey(context, options.identity->key.get());
    }
    ssl_.reset(SSL_new(context), SSL_free);
    SSL_set_app_data(ssl_.get(), this);
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(ssl_.get()), -1);
    SSL_set_connect_state(ssl_.get());
    if (!options.server_name.empty()) SSL_set_tlsext_host_name(ssl_.get(), options.server_name.c_str());
    if (!options.alpn.empty()) {
      SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(options.alpn.data()),
                          static_cast<unsigned>(options.alpn.size()));
    }
    if (options.session != nullptr) SSL_set_session(ssl_.get(), options.session);
  }

  // A session that was cut off would not be resumable; the tests end theirs in order.
  ~TlsClient() { SSL_set_shutdown(ssl_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  // Reads and sends what can be; goes on with the handshake. Decrypted bytes are added to `received`.
  void step() {
    fetch();
    if (!SSL_is_init_finished(ssl_.get()) && !failed) {
      ERR_clear_error();
      const int result = SSL_do_handshake(ssl_.get());
      if (result != 1 && SSL_get_error(ssl_.get(), result) == SSL_ERROR_SSL) fail();
    }
    if (SSL_is_init_finished(ssl_.get())) drain();
    flush();
  }

  bool write(const std::string& data) {
    std::size_t wrote = 0;
    const bool taken = SSL_write_ex(ssl_.get(), data.data(), data.size(), &wrote) == 1;
    flush();
    return taken && wrote == data.size();
  }
  void close_notify() {
    SSL_shutdown(ssl_.get());
    flush();
  }
  void send_raw(const std::string& bytes) {
    pending_ += bytes;
    flush();
  }
  void send_fin() { stream_->shutdown_write(); }

  void flush() {
    BIO* out = SSL_get_wbio(ssl_.get());
    while (BIO_pending(out) > 0) {
      std::array<char, 16384> buffer{};
      const int got = BIO_read(out, buffer.data(), static_cast<int>(buffer.size()));
      pending_.append(buffer.data(), static_cast<std::size_t>(got));
    }
    while (!pending_.empty()) {
      const iovec piece{pending_.data(), pending_.size()};
      const core::IoResult sent = stream_->write({&piece, 1});
      if (sent.status != core::IoStatus::ok) break;
      pending_.erase(0, sent.bytes);
    }
  }

  [[nodiscard]] SSL* ssl() { return ssl_.get(); }
  [[nodiscard]] bool ready() const { return SSL_is_init_finished(ssl_.get()) == 1; }
  [[nodiscard]] std::size_t waiting() const { return pending_.size(); }
  [[nodiscard]] std::unique_ptr<MemoryStream>& stream() { return stream_; }

  std::string received;
  std::string failure;
  bool failed = false;
  bool got_close_notify = false;
  bool got_fin = false;
  std::size_t read_limit = SIZE_MAX;  // bytes of ciphertext per step
  std::shared_ptr<SSL_SESSION> session;
  std::string own_secret;     // CLIENT_TRAFFIC_SECRET_0, bytes
  std::string server_secret;  // SERVER_TRAFFIC_SECRET_0

 private:
  static void on_secret(const SSL* ssl, const char* line) {
    auto* client = static_cast<TlsClient*>(SSL_get_app_data(ssl));
    const std::string text(line);
    std::string* to = text.starts_with("CLIENT_TRAFFIC_SECRET_0 ")   ? &client->own_secret
                      : text.starts_with("SERVER_TRAFFIC_SECRET_0 ") ? &client->server_secret
                                                                     : nullptr;
    if (to == nullptr) return;
    to->clear();
    for (std::size_t i = text.rfind(' ') + 1; i + 1 < text.size(); i += 2) {
      *to += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
    }
  }
  static int on_session(SSL* ssl, SSL_SESSION* session) {
    static_cast<TlsClient*>(SSL_get_app_data(ssl))->session.reset(session, SSL_SESSION_free);
    return 1;
  }
  void fail() {
    failed = true;
    const char* reason = ERR_reason_error_string(ERR_peek_error());
    failure = reason != nullptr ? reason : "";
    ERR_clear_error();
  }
  void fetch() {
    std::array<char, 16384> buffer{};
    std::size_t left = read_limit;
    while (left > 0) {
      const core::IoResult got = stream_->read(std::span(buffer).subspan(0, std::min(left, buffer.size())));
      if (got.status == core::IoStatus::eof) got_fin = true;
      if (got.status != core::IoStatus::ok) break;
      BIO_write(SSL_get_rbio(ssl_.get()), buffer.data(), static_cast<int>(got.bytes));
      left -= got.bytes;
    }
  }
  void drain() {
    std::array<char, 16384> buffer{};
    std::size_t got = 0;
    ERR_clear_error();
    while (SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &got) == 1) received.append(buffer.data(), got);
    const int why = SSL_get_error(ssl_.get(), 0);
    if (why == SSL_ERROR_ZERO_RETURN) got_close_notify = true;
    if (why == SSL_ERROR_SSL) fail();
  }

  std::unique_ptr<MemoryStream> stream_;
  std::shared_ptr<SSL_CTX> context_;
  std::shared_ptr<SSL> ssl_;
  std::string pending_;
};

}  // namespace edgemux::test
