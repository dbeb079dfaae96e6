// The parts of tls_fixture.h; compiled into the same program as the tests that use them.

#include "tests/core/tls/tls_fixture.h"

#include <array>

namespace edgemux::core {
namespace {

std::string certificate_der(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  std::string text(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return text;
}

std::string key_der(EVP_PKEY* key) {
  PKCS8_PRIV_KEY_INFO* info = EVP_PKEY2PKCS8(key);
  unsigned char* der = nullptr;
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
  PKCS8_PRIV_KEY_INFO_free(info);
  std::string text(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return text;
}

}  // namespace

CertifiedKeyPtr stored(const Identity& identity, std::vector<std::string> names) {
  static int count = 0;
  auto pair = std::make_shared<CertifiedKey>();
  pair->names = std::move(names);
  pair->chain_der.push_back(certificate_der(identity.certificate.get()));
  pair->key_der = key_der(identity.key.get());
  pair->ecdsa = EVP_PKEY_get_base_id(identity.key.get()) == EVP_PKEY_EC;
  pair->not_after = 1;
  pair->fingerprint = "made " + std::to_string(++count);
  return pair;
}

CaBundlePtr bundle(std::string_view pem) {
  auto parsed = CaBundle::parse(pem);
  if (!parsed) throw std::runtime_error(parsed.error().message);
  return *parsed;
}

TlsPolicyPtr sealed(TlsPolicy policy) {
  auto made = seal(std::move(policy));
  if (!made) {
    ADD_FAILURE() << made.error().message;
    return nullptr;
  }
  return *made;
}

void ServerSide::work() {
  if (handshake == HandshakeStatus::again) handshake = stream->handshake();
  if (handshake != HandshakeStatus::done) return;
  std::vector<char> buffer(buffer_size);
  while (reading && !eof && error == 0) {
    const IoResult got = stream->read(buffer);
    if (got.status == IoStatus::ok) received.append(buffer.data(), got.bytes);
    if (got.status == IoStatus::eof) eof = true;
    if (got.status == IoStatus::error) error = got.error;
    if (got.status == IoStatus::again) break;
  }
  while (!to_send.empty()) {
    std::vector<iovec> pieces;
    for (std::size_t at = 0; at < to_send.size() && pieces.size() < 1000;
         at += std::min(piece_size, to_send.size() - at)) {
      pieces.push_back({to_send.data() + at, std::min(piece_size, to_send.size() - at)});
    }
    const IoResult sent = stream->write(pieces);
    most_unsent = std::max(most_unsent, stream->unsent());
    if (sent.status != IoStatus::ok) break;
    to_send.erase(0, sent.bytes);
  }
}

Connection::Connection(TlsWorker& worker, const TlsPolicyPtr& policy, const CertificateStore& store,
                       const TlsClientOptions& options, const std::string& name) {
  auto accepted = worker.accept(std::move(link.a), {}, policy, store, name);
  if (!accepted) throw std::runtime_error(accepted.error().message);
  server = std::make_unique<ServerSide>(std::move(*accepted));
  client = std::make_unique<TlsClient>(std::move(link.b), options);
}

void Connection::run() {
  for (int idle = 0; idle < 3;) {
    const std::size_t before =
        client->received.size() + server->received.size() + server->to_send.size() + client->waiting();
    client->step();
    const bool moved = link.deliver();
    const std::size_t after =
        client->received.size() + server->received.size() + server->to_send.size() + client->waiting();
    idle = moved || before != after || !link.b_end->arrived.empty() ? 0 : idle + 1;
  }
}

TlsTest::TlsTest()
    : identity_(make_certificate({})),
      store_({stored(identity_, {"example.com", "other.example.com"})}),
      policy_(sealed({})),
      tickets_(std::make_shared<TicketKeys>([this] { return now_; })),
      worker_(make_worker({.ticket_keys = tickets_})) {}

std::unique_ptr<TlsWorker> TlsTest::make_worker(TlsWorker::Settings settings) {
  auto made = TlsWorker::create(std::move(settings));
  if (!made) throw std::runtime_error(made.error().message);
  return std::move(*made);
}

}  // namespace edgemux::core
