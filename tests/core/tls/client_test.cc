// The client's side: TLS to upstreams. Both ends are ours, over memory.

#include <ctime>
#include <functional>

#include "core/tls/client_context.h"
#include "core/tls/client_hello.h"
#include "tests/core/tls/tls_fixture.h"

namespace edgemux::core {
namespace {

TlsClientPolicyPtr sealed_client(TlsClientPolicy policy) {
  auto made = seal(std::move(policy));
  if (!made) {
    ADD_FAILURE() << made.error().message;
    return nullptr;
  }
  return *made;
}

// A connection from one worker to another (or the same). ServerSide drives any TlsStream.
struct Pair {
  struct To {
    std::string host = "example.com";
    std::string endpoint = "10.0.0.7:443";
  };
  Pair(TlsWorker& server_worker, const TlsPolicyPtr& server_policy, const CertificateStore& store,
       TlsWorker& client_worker, const TlsClientPolicyPtr& client_policy, const To& to, std::size_t chunk = SIZE_MAX) {
    if (chunk != SIZE_MAX) {
      for (auto* end : {link.a_end.get(), link.b_end.get()}) {
        end->read_chunk = end->write_chunk = chunk;
        end->stutter = true;
      }
    }
    // The certificate does not depend on the name that the client asks for.
    auto accepted = server_worker.accept(std::move(link.a), {}, server_policy, store, "example.com");
    auto connected = client_worker.connect(std::move(link.b), client_policy, to.host, to.endpoint);
    if (!accepted) throw std::runtime_error(accepted.error().message);
    if (!connected) throw std::runtime_error(connected.error().message);
    server = std::make_unique<ServerSide>(std::move(*accepted));
    client = std::make_unique<ServerSide>(std::move(*connected));
    run();
  }
  void run() {
    while (link.deliver()) {
    }
  }
  [[nodiscard]] bool done() const {
    return client->handshake == HandshakeStatus::done && server->handshake == HandshakeStatus::done;
  }
  [[nodiscard]] const std::string& failure() const { return client->stream->failure(); }
  // A request and its answer: what a client must see before it knows the tickets.
  void talk() {
    client->send("ping");
    run();
    server->send("pong");
    run();
    EXPECT_EQ(server->received, "ping");
    EXPECT_EQ(client->received, "pong");
  }

  MemoryLink link;
  std::unique_ptr<ServerSide> server;
  std::unique_ptr<ServerSide> client;
};

class ClientTest : public TlsTest {
 protected:
  ClientTest()
      : authority_(make_certificate({.names = {}, .common_name = "upstream CA", .ca = true})),
        leaf_(make_certificate(
            {.names = {"example.com", "*.example.com", "IP:10.0.0.7", "IP:::1"}, .issuer = &authority_})),
        servers_({stored(leaf_, {"example.com"})}),
        client_(make_worker({})) {}

  TlsClientPolicyPtr trusting(TlsClientPolicy policy = {}) {
    policy.ca = bundle(authority_.cert_pem());
    return sealed_client(std::move(policy));
  }
  std::unique_ptr<Pair> connect(const TlsClientPolicyPtr& policy, const Pair::To& to = {},
                                const CertificateStore* store = nullptr, const TlsPolicyPtr& server = nullptr) {
    return std::make_unique<Pair>(*worker_, server ? server : policy_, store != nullptr ? *store : servers_, *client_,
                                  policy, to);
  }
  std::string failure_of(const Identity& server, Pair::To to = {}) {
    to.endpoint = "fresh";  // nothing to resume
    const CertificateStore store({stored(server, {"example.com"})});
    const auto pair = connect(trusting(), to, &store);
    EXPECT_FALSE(pair->client->handshake == HandshakeStatus::done);
    EXPECT_NE(pair->server->handshake, HandshakeStatus::done);  // the alert came through
    return pair->failure();
  }

  Identity authority_;
  Identity leaf_;
  CertificateStore servers_;
  std::unique_ptr<TlsWorker> client_;
};

const TlsPolicy kOnly12{.ciphers = {"ECDHE-ECDSA-AES128-GCM-SHA256"}};

TEST_F(ClientTest, SpeaksBothVersions) {
  for (const bool old : {true, false}) {
    const auto pair = connect(trusting(), {}, nullptr, old ? sealed(kOnly12) : policy_);
    ASSERT_TRUE(pair->done()) << pair->failure();
    EXPECT_EQ(pair->client->stream->version(), old ? "TLSv1.2" : "TLSv1.3");
    EXPECT_EQ(pair->client->stream->alpn(), "");
    pair->talk();
    pair->client->stream->shutdown_write();
    pair->run();
    EXPECT_TRUE(pair->server->eof);
    EXPECT_FALSE(pair->server->stream->truncated());
  }
}

TEST_F(ClientTest, HandshakesInPiecesOfAnySize) {
  for (const bool old : {true, false}) {
    for (const std::size_t chunk : {1U, 2U, 5U, 100U, 1000U}) {
      Pair pair(*worker_, old ? sealed(kOnly12) : policy_, servers_, *client_, trusting(), {}, chunk);
      ASSERT_TRUE(pair.done()) << pair.failure();
      pair.talk();
    }
  }
}

TEST_F(ClientTest, EndsAnywhereWithoutHarm) {
  // The server's flight is cut after every byte: never done, always told.
  Pair whole(*worker_, policy_, servers_, *client_, trusting(), {});
  ASSERT_TRUE(whole.done());
  std::size_t cuts = 0;
  for (std::size_t cut = 0;; ++cut) {
    MemoryLink link;
    auto accepted = worker_->accept(std::move(link.a), {}, policy_, servers_, "example.com");
    ServerSide server(std::move(*accepted));
    auto client = client_->connect(std::move(link.b), trusting(), "example.com", "other");
    ASSERT_EQ((*client)->handshake(), HandshakeStatus::again);
    link.deliver();
    if (cut >= link.b_end->arrived.size()) break;
    link.b_end->arrived.resize(cut);
    link.b_end->fin = true;
    ASSERT_EQ((*client)->handshake(), HandshakeStatus::failed) << cut;
    EXPECT_EQ((*client)->failure(), "server closed during the handshake") << cut;
    ++cuts;
  }
  EXPECT_GT(cuts, 500U);
}

TEST_F(ClientTest, VerifiesTheNameThatItWanted) {
  for (const char* host : {"example.com", "a.example.com", "10.0.0.7", "::1"}) {
    const auto pair = connect(trusting(), {.host = host});
    EXPECT_TRUE(pair->done()) << host << ": " << pair->failure();
  }
  EXPECT_EQ(failure_of(leaf_, {.host = "example.org"}),
            "the server certificate is for example.com, *.example.com, 10.0.0.7, ::1, not for example.org");
  EXPECT_EQ(failure_of(leaf_, {.host = "a.b.example.com"}),
            "the server certificate is for example.com, *.example.com, 10.0.0.7, ::1, not for a.b.example.com");
  EXPECT_EQ(failure_of(leaf_, {.host = "10.0.0.8"}),
            "the server certificate is for example.com, *.example.com, 10.0.0.7, ::1, not for 10.0.0.8");
  // The policy's name beats the endpoint's host.
  EXPECT_TRUE(connect(trusting({.server_name = "example.com"}), {.host = "10.1.1.1"})->done());
  EXPECT_FALSE(connect(trusting({.server_name = "example.org"}), {.host = "example.com"})->done());
  // No common name in place of a SAN (RFC 9525).
  const Identity nameless = make_certificate({.names = {}, .common_name = "example.com", .issuer = &authority_});
  EXPECT_EQ(failure_of(nameless), "the server certificate names no host (no SAN); example.com was expected");
  const Identity many = make_certificate({.names = {"a.x", "b.x", "c.x", "d.x", "e.x", "f.x"}, .issuer = &authority_});
  EXPECT_EQ(failure_of(many), "the server certificate is for a.x, b.x, c.x, d.x, e.x, ..., not for example.com");
}

TEST_F(ClientTest, AsksForTheNameButNotForAnAddress) {
  const auto asked = [&](const char* host) {
    MemoryLink link;
    auto client = client_->connect(std::move(link.b), trusting(), host, "x");
    (*client)->handshake();
    std::string scratch(link.a_end->arrived.size(), '\0');
    return std::string(parse_client_hello(link.a_end->arrived, scratch).server_name);
  };
  EXPECT_EQ(asked("a.example.com"), "a.example.com");
  EXPECT_EQ(asked("10.0.0.7"), "");
  EXPECT_EQ(asked("::1"), "");
}

TEST_F(ClientTest, RefusesWhatIsNoName) {
  MemoryLink link;
  const auto made = client_->connect(std::move(link.b), trusting(), "", "x");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message, "no TLS connection to \"\": that is no server name");
}

TEST_F(ClientTest, TrustsNobodyElse) {
  const Identity other = make_certificate({.names = {}, .common_name = "other CA", .ca = true});
  const Identity same_name = make_certificate({.names = {}, .common_name = "upstream CA", .ca = true});
  EXPECT_EQ(failure_of(make_certificate({.issuer = &other})),
            "the server certificate is signed by CN=other CA, which is not in 'ca'");
  EXPECT_EQ(failure_of(make_certificate({.issuer = &same_name})),
            "the server certificate is signed by CN=upstream CA, which is not in 'ca'");
  EXPECT_EQ(failure_of(make_certificate({})), "the server certificate is signed by itself and not in 'ca'");
  // The system's store does not know our CA.
  const auto pair = connect(sealed_client({}));
  EXPECT_EQ(pair->failure(), "the server certificate is signed by CN=upstream CA, which is not in the system's store");
}

TEST_F(ClientTest, TrustsAPinnedCertificate) {
  const Identity self = make_certificate({});
  const CertificateStore store({stored(self, {"example.com"})});
  EXPECT_TRUE(connect(sealed_client({.ca = bundle(self.cert_pem())}), {}, &store)->done());
  const auto wrong_name = connect(sealed_client({.ca = bundle(self.cert_pem())}), {.host = "example.org"}, &store);
  EXPECT_EQ(wrong_name->failure(), "the server certificate is for example.com, not for example.org");
}

TEST_F(ClientTest, TellsWhenACertificateExpired) {
  const std::time_t then = std::time(nullptr) - 3600;
  const std::string failure =
      failure_of(make_certificate({.issuer = &authority_, .starts_in = -7200, .ends_in = -3600}));
  std::array<char, 32> expected{};
  bool matched = false;  // the certificate was made within two seconds after `then` was taken
  for (std::time_t at = then; at <= then + 2; ++at) {
    std::tm parts{};
    gmtime_r(&at, &parts);
    std::strftime(expected.data(), expected.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
    matched = matched || failure == std::string("the server certificate expired on ") + expected.data();
  }
  EXPECT_TRUE(matched) << failure;
  EXPECT_TRUE(failure_of(make_certificate({.issuer = &authority_, .starts_in = 3600}))
                  .starts_with("the server certificate is not valid before "));
}

TEST_F(ClientTest, VerifiesNothingWhereToldSo) {
  const Identity stranger = make_certificate({.names = {"stranger"}, .starts_in = -7200, .ends_in = -3600});
  const CertificateStore store({stored(stranger, {"example.com"})});
  const auto pair = connect(sealed_client({.verify = false}), {}, &store);
  EXPECT_TRUE(pair->done()) << pair->failure();
}

TEST_F(ClientTest, ShowsItsCertificate) {
  const Identity me = make_certificate({.names = {"me"}, .common_name = "me", .issuer = &authority_});
  const auto demands = sealed({.client_auth = ClientAuth::require, .client_ca = bundle(authority_.cert_pem())});
  const auto with = connect(trusting({.certificate = stored(me, {"me"})}), {}, nullptr, demands);
  ASSERT_TRUE(with->done()) << with->failure();
  EXPECT_TRUE(with->server->stream->has_client_certificate());
  with->talk();
  // TLS 1.3: the client is done before the server has looked; the refusal comes with the first read.
  const auto without = connect(trusting(), {}, nullptr, demands);
  EXPECT_EQ(without->server->handshake, HandshakeStatus::failed);
  EXPECT_NE(without->client->error, 0);
  EXPECT_EQ(without->failure(), "server sent alert: certificate required");
  // Sessions of one certificate are no good for another.
  EXPECT_NE(trusting()->identity, trusting({.certificate = stored(me, {"me"})})->identity);
}

TEST_F(ClientTest, AgreesOnAProtocol) {
  const auto h2_worker = make_worker({.ticket_keys = tickets_, .served_alpn = {"http/1.1", "h2"}});
  const auto agreed = [&](std::vector<std::string> ours, TlsWorker& server) {
    Pair pair(server, policy_, servers_, *client_, trusting({.alpn = std::move(ours)}), {});
    return pair.done() ? std::string(pair.client->stream->alpn()) : pair.failure();
  };
  EXPECT_EQ(agreed({"h2", "http/1.1"}, *h2_worker), "h2");
  EXPECT_EQ(agreed({"http/1.1"}, *h2_worker), "http/1.1");
  EXPECT_EQ(agreed({"h2"}, *worker_), "server sent alert: no application protocol");
}

TEST_F(ClientTest, TellsAlertsAndLostConnections) {
  const auto pair = connect(trusting(), {}, nullptr, sealed({.ciphers = {"ECDHE-RSA-AES128-GCM-SHA256"}}));
  EXPECT_EQ(pair->failure(), "server sent alert: handshake failure");

  MemoryLink reset;
  auto client = client_->connect(std::move(reset.b), trusting(), "example.com", "x");
  reset.a->abort();
  EXPECT_EQ((*client)->handshake(), HandshakeStatus::failed);
  EXPECT_EQ((*client)->failure(), "connection lost during the handshake: Connection reset by peer");

  MemoryLink plain;
  auto other = client_->connect(std::move(plain.b), trusting(), "example.com", "x");
  plain.b_end->arrived = "HTTP/1.1 400 Bad Request\r\n\r\n";
  EXPECT_EQ((*other)->handshake(), HandshakeStatus::failed);
  EXPECT_EQ((*other)->failure(), "wrong version number");
}

// ---- sessions

TEST_F(ClientTest, ResumesSessionsOfTheSameEndpointOnly) {
  for (const bool old : {true, false}) {
    const auto server = old ? sealed(kOnly12) : policy_;
    const auto policy = trusting({.server_name = old ? "a.example.com" : ""});
    const auto resumed = [&](const Pair::To& to, const TlsClientPolicyPtr& with) {
      const auto pair = connect(with, to, nullptr, server);
      EXPECT_TRUE(pair->done()) << pair->failure();
      pair->talk();
      EXPECT_EQ(pair->client->stream->resumed(), pair->server->stream->resumed());
      return pair->client->stream->resumed();
    };
    EXPECT_FALSE(resumed({}, policy));
    EXPECT_TRUE(resumed({}, policy)) << old;
    EXPECT_TRUE(resumed({}, policy)) << old;
    EXPECT_FALSE(resumed({.endpoint = "10.0.0.8:443"}, policy));
    EXPECT_FALSE(resumed({}, trusting({.server_name = policy->server_name, .alpn = {"http/1.1"}})));
    if (!old) {
      EXPECT_FALSE(resumed({.host = "a.example.com"}, policy));
    }
    EXPECT_TRUE(resumed({}, policy));
  }
}

TEST_F(ClientTest, UsesATls13TicketOnce) {
  const auto policy = trusting();
  connect(policy)->talk();  // one ticket is left
  const auto first = connect(policy);
  const auto second = connect(policy);  // at the same time: the next ticket has not come
  EXPECT_TRUE(first->client->stream->resumed());
  EXPECT_TRUE(first->done());
  EXPECT_TRUE(second->done());
}

TEST_F(ClientTest, KeepsABoundedNumberOfSessions) {
  SessionCache cache;
  const auto make = [](int version) {
    SessionPtr session(SSL_SESSION_new());
    SSL_SESSION_set_protocol_version(session.get(), version);
    const unsigned char id = 1;
    SSL_SESSION_set1_id(session.get(), &id, 1);
    return session;
  };
  for (std::size_t i = 0; i < 10; ++i) cache.put("a", make(TLS1_3_VERSION));
  std::size_t taken = 0;
  while (cache.take("a")) ++taken;
  EXPECT_EQ(taken, SessionCache::kPerEndpoint);
  for (std::size_t i = 0; i < 2 * SessionCache::kEndpoints; ++i) cache.put(std::to_string(i), make(TLS1_3_VERSION));
  taken = 0;
  for (std::size_t i = 0; i < 2 * SessionCache::kEndpoints; ++i) taken += cache.take(std::to_string(i)) ? 1U : 0U;
  EXPECT_EQ(taken, SessionCache::kEndpoints);
  cache.put("old", make(TLS1_2_VERSION));
  EXPECT_NE(cache.take("old"), nullptr);
  EXPECT_NE(cache.take("old"), nullptr);
}

TEST_F(ClientTest, ContextsAreBoundedAndEvicted) {
  const auto worker = make_worker({.max_contexts = 2});
  const auto policy = trusting({.alpn = {"a"}});
  const auto connect_with = [&](const TlsClientPolicyPtr& with) {
    Pair pair(*worker_, sealed({.alpn = {}}), servers_, *worker, with, {});
    EXPECT_TRUE(pair.done()) << pair.failure();
    pair.talk();
  };
  // The first connection outlives its context.
  Pair first(*worker_, sealed({.alpn = {}}), servers_, *worker, policy, {});
  for (const char* protocol : {"b", "c", "d"}) connect_with(trusting({.alpn = {protocol}}));
  EXPECT_EQ(worker->client_contexts(), 2U);
  first.talk();
  worker->evict_unused();
  EXPECT_EQ(worker->client_contexts(), 2U);
  worker->evict_unused();
  EXPECT_EQ(worker->client_contexts(), 0U);
  first.client->send("more");
  first.run();
  EXPECT_EQ(first.server->received, "pingmore");
}

// ---- seal()

TEST_F(ClientTest, SealNamesWhatIsRefused) {
  const auto refused = [](TlsClientPolicy policy) {
    auto made = seal(std::move(policy));
    return made ? std::string("accepted") : made.error().message;
  };
  EXPECT_EQ(refused({.alpn = {""}}), "alpn: a protocol name has 1 to 255 bytes");
  EXPECT_EQ(refused({.server_name = std::string(300, 'x')}), "server_name: longer than a name can be");
  EXPECT_EQ(refused({}), "accepted");
}

TEST_F(ClientTest, IdentityTellsEveryDifference) {
  const Identity me = make_certificate({});
  const std::vector<TlsClientPolicy> policies{
      {},
      {.server_name = "a"},
      {.ca = bundle(authority_.cert_pem())},
      {.certificate = stored(me, {})},
      {.certificate = stored(me, {})},  // another fingerprint
      {.alpn = {"h2"}},
      {.alpn = {"h2", "http/1.1"}},
      {.verify = false},
  };
  const auto identities = [&] {
    std::vector<std::string> made;
    for (const auto& policy : policies) made.push_back(sealed_client(policy)->identity);
    return made;
  };
  const auto ones = identities();
  EXPECT_EQ(ones, identities());
  for (std::size_t a = 0; a < ones.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) EXPECT_NE(ones[a], ones[b]) << a << "," << b;
  }
}

}  // namespace
}  // namespace edgemux::core
