#pragma once
// A TlsStream in server's place, a TlsClient against it, and the link between them.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/tls/context.h"
#include "tests/support/memory_stream.h"
#include "tests/support/test_certificates.h"
#include "tests/support/tls_client.h"

namespace edgemux::core {

using test::CertificateSpec;
using test::Identity;
using test::make_certificate;
using test::MemoryLink;
using test::TlsClient;
using test::TlsClientOptions;

// An identity as the store holds it, without files.
CertifiedKeyPtr stored(const Identity& identity, std::vector<std::string> names);

TlsPolicyPtr sealed(TlsPolicy policy);

// Throws what is wrong with it.
CaBundlePtr bundle(std::string_view pem);

// Drives the server's side the way its owner does: handshake until done, then reads until `again`.
class ServerSide final : public StreamObserver {
 public:
  explicit ServerSide(std::unique_ptr<TlsStream> made) : stream(std::move(made)) {
    stream->set_observer(this);
    work();
  }
  void on_ready(Stream& /*stream*/) override {
    ++calls;
    work();
  }
  void work();
  void send(std::string data) {
    to_send += data;
    work();
  }

  std::unique_ptr<TlsStream> stream;
  HandshakeStatus handshake = HandshakeStatus::again;
  std::string received;
  std::string to_send;
  bool reading = true;
  bool eof = false;
  int error = 0;
  std::size_t buffer_size = 64 * 1024;
  std::size_t piece_size = SIZE_MAX;  // how to_send is cut into pieces
  std::size_t most_unsent = 0;
  unsigned calls = 0;
};

// One connection of a worker: server and client, and steps until nothing moves.
struct Connection {
  Connection(TlsWorker& worker, const TlsPolicyPtr& policy, const CertificateStore& store,
             const TlsClientOptions& options = {}, const std::string& name = "example.com");
  // Delivers and steps until nothing changes any more.
  void run();
  [[nodiscard]] TlsStream& stream() const { return *server->stream; }

  MemoryLink link;
  std::unique_ptr<ServerSide> server;
  std::unique_ptr<TlsClient> client;
};

class TlsTest : public ::testing::Test {
 protected:
  TlsTest();
  static std::unique_ptr<TlsWorker> make_worker(TlsWorker::Settings settings);

  Identity identity_;
  CertificateStore store_;
  TlsPolicyPtr policy_;
  std::int64_t now_ = 1000;
  std::shared_ptr<TicketKeys> tickets_;
  std::unique_ptr<TlsWorker> worker_;
};

}  // namespace edgemux::core
