// Handshakes: versions, names, certificates, protocols, tickets, client certificates, and everything that must fail.

#include "tests/core/tls/tls_fixture.h"

namespace edgemux::core {
namespace {

using Handshake = TlsTest;
const std::string kH2Only("\x02h2", 3);
const std::string kBoth("\x02h2\x08http/1.1", 12);

TEST_F(Handshake, OfBothVersionsCarriesDataBothWays) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Connection c(*worker_, policy_, store_, {.version = version});
    c.run();
    ASSERT_EQ(c.server->handshake, HandshakeStatus::done) << c.stream().failure();
    EXPECT_EQ(c.stream().version(), version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
    EXPECT_EQ(c.stream().cipher(),
              version == TLS1_3_VERSION ? "TLS_AES_128_GCM_SHA256" : "ECDHE-ECDSA-AES128-GCM-SHA256");
    EXPECT_EQ(c.stream().alpn(), "");
    EXPECT_FALSE(c.stream().resumed());
    EXPECT_FALSE(c.stream().has_client_certificate());
    c.client->write("ping");
    c.run();
    c.server->send("pong");
    c.run();
    EXPECT_EQ(c.server->received, "ping");
    EXPECT_EQ(c.client->received, "pong");
    EXPECT_EQ(c.stream().failure(), "");
  }
}

TEST_F(Handshake, InPiecesOfAnySize) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (const std::size_t chunk : {1U, 2U, 5U, 100U, 1000U}) {
      Connection c(*worker_, policy_, store_, {.version = version});
      c.link.a_end->read_chunk = c.link.a_end->write_chunk = chunk;
      c.link.a_end->stutter = true;
      c.run();
      ASSERT_EQ(c.server->handshake, HandshakeStatus::done) << c.stream().failure();
      c.client->write("ping");
      c.server->send("pong");
      c.run();
      EXPECT_EQ(c.server->received, "ping");
      EXPECT_EQ(c.client->received, "pong");
    }
  }
}

TEST_F(Handshake, BeginsWithWhatWasReadBefore) {
  // The owner collected the hello (and, with a second flight, more than it) before there was a stream.
  for (const std::size_t extra : {0U, 40000U}) {
    MemoryLink link;
    TlsClient client(std::move(link.b), {});
    client.step();
    std::string hello = link.a_end->arrived;
    link.a_end->arrived.clear();
    ASSERT_FALSE(hello.empty());
    if (extra > 0) hello = std::string(extra, 'x');  // more than the shared buffer holds, and no TLS
    auto stream = worker_->accept(std::move(link.a), hello, policy_, store_, "example.com");
    ASSERT_TRUE(stream);
    ServerSide server(std::move(*stream));
    for (int i = 0; i < 5; ++i) {
      client.step();
      link.deliver();
    }
    EXPECT_EQ(server.handshake, extra == 0 ? HandshakeStatus::done : HandshakeStatus::failed);
  }
}

TEST_F(Handshake, UnknownNameGetsAnAlert) {
  for (const std::string& name : {std::string("unknown.example"), std::string()}) {
    Connection c(*worker_, policy_, store_, {.server_name = name}, name);
    c.run();
    EXPECT_EQ(c.server->handshake, HandshakeStatus::failed);
    EXPECT_EQ(c.stream().failure(), name.empty() ? "no server name" : "no certificate for unknown.example");
    EXPECT_TRUE(c.client->failed);
    EXPECT_NE(c.client->failure.find("unrecognized name"), std::string::npos) << c.client->failure;
  }
}

TEST_F(Handshake, GivesEcdsaWhereTheClientCan) {
  const Identity rsa = make_certificate({.key = test::rsa_key()});
  const CertificateStore both({stored(rsa, {"example.com"}), stored(identity_, {"example.com"})});
  const auto key_type = [](TlsClient& client) {
    X509* certificate = SSL_get0_peer_certificate(client.ssl());
    return certificate != nullptr ? EVP_PKEY_get_base_id(X509_get0_pubkey(certificate)) : 0;
  };
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Connection able(*worker_, policy_, both, {.version = version});
    able.run();
    EXPECT_EQ(key_type(*able.client), EVP_PKEY_EC);
    Connection rsa_first(*worker_, policy_, both,
                         {.version = version, .signature_algorithms = "rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256"});
    rsa_first.run();
    EXPECT_EQ(key_type(*rsa_first.client), EVP_PKEY_EC);
    Connection rsa_only(*worker_, policy_, both,
                        {.version = version, .signature_algorithms = "rsa_pss_rsae_sha256:RSA+SHA256"});
    rsa_only.run();
    EXPECT_EQ(key_type(*rsa_only.client), EVP_PKEY_RSA);
    Connection none(*worker_, policy_, store_,
                    {.version = version, .signature_algorithms = "rsa_pss_rsae_sha256:RSA+SHA256"});
    none.run();
    EXPECT_EQ(none.server->handshake, HandshakeStatus::failed);
    EXPECT_EQ(none.stream().failure(),
              version == TLS1_3_VERSION ? "no suitable signature algorithm" : "no shared cipher");
  }
  EXPECT_EQ(worker_->decoded_pairs(), 3U);
}

TEST_F(Handshake, AgreesOnAProtocolThatIsServed) {
  Connection both(*worker_, policy_, store_, {.alpn = kBoth});
  both.run();
  EXPECT_EQ(both.server->handshake, HandshakeStatus::done);
  EXPECT_EQ(both.stream().alpn(), "http/1.1");  // the policy prefers h2, which is not served

  Connection none(*worker_, policy_, store_, {.alpn = kH2Only});
  none.run();
  EXPECT_EQ(none.server->handshake, HandshakeStatus::failed);
  EXPECT_EQ(none.stream().failure(), "no application protocol in common");
  EXPECT_NE(none.client->failure.find("no application protocol"), std::string::npos) << none.client->failure;

  Connection acme(*worker_, policy_, store_, {.alpn = std::string("\x0a") + "acme-tls/1"});
  acme.run();
  EXPECT_EQ(acme.server->handshake, HandshakeStatus::failed);

  Connection off(*worker_, sealed({.alpn = {}}), store_, {.alpn = kH2Only});
  off.run();
  EXPECT_EQ(off.server->handshake, HandshakeStatus::done);
  EXPECT_EQ(off.stream().alpn(), "");

  const auto serving_h2 = make_worker({.ticket_keys = tickets_, .served_alpn = {"http/1.1", "h2"}});
  Connection ours(*serving_h2, policy_, store_, {.alpn = std::string("\x08http/1.1\x02h2", 12)});
  ours.run();
  EXPECT_EQ(ours.stream().alpn(), "h2");
}

TEST_F(Handshake, AgreesOnAnyProtocolOfAnOpaquePolicy) {
  const TlsPolicyPtr mqtt = sealed({.alpn = {"x-mqtt", "mqtt"}, .opaque = true});
  const TlsPolicyPtr served = sealed({.alpn = {"x-mqtt", "mqtt"}});
  EXPECT_NE(mqtt->identity, served->identity);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Connection both(*worker_, mqtt, store_, {.version = version, .alpn = std::string("\x02h2\x04mqtt", 8)});
    both.run();
    EXPECT_EQ(both.server->handshake, HandshakeStatus::done);
    EXPECT_EQ(both.stream().alpn(), "mqtt");
    Connection none(*worker_, mqtt, store_, {.version = version, .alpn = kH2Only});
    none.run();
    EXPECT_EQ(none.server->handshake, HandshakeStatus::failed);
    Connection not_served(*worker_, served, store_, {.version = version, .alpn = std::string("\x04mqtt", 5)});
    not_served.run();
    EXPECT_EQ(not_served.server->handshake, HandshakeStatus::failed);
  }
}

TEST_F(Handshake, FollowsThePolicy) {
  Connection old(*worker_, sealed({.min_version = TlsVersion::tls1_3}), store_, {.version = TLS1_2_VERSION});
  old.run();
  EXPECT_EQ(old.server->handshake, HandshakeStatus::failed);
  EXPECT_EQ(old.stream().failure(), "unsupported protocol");

  const TlsPolicyPtr only12 = sealed({.ciphers = {"ECDHE-ECDSA-AES256-GCM-SHA384"}});
  Connection new_client(*worker_, only12, store_, {});
  new_client.run();
  EXPECT_EQ(new_client.server->handshake, HandshakeStatus::failed);
  Connection old_client(*worker_, only12, store_, {.version = TLS1_2_VERSION});
  old_client.run();
  EXPECT_EQ(old_client.stream().cipher(), "ECDHE-ECDSA-AES256-GCM-SHA384");

  Connection curve(*worker_, sealed({.curves = {"P-384"}}), store_, {.groups = "X25519"});
  curve.run();
  EXPECT_EQ(curve.server->handshake, HandshakeStatus::failed);
  EXPECT_EQ(worker_->contexts(), 3U);
}

TEST_F(Handshake, TellsHowItEnded) {
  Connection garbage(*worker_, policy_, store_, {});
  garbage.client->send_raw("GET / HTTP/1.1\r\n\r\n");
  garbage.link.deliver();
  EXPECT_EQ(garbage.server->handshake, HandshakeStatus::failed);
  EXPECT_EQ(garbage.stream().failure(), "http request");

  Connection closed(*worker_, policy_, store_, {});
  closed.client->step();
  closed.client->send_fin();
  closed.link.deliver();
  EXPECT_EQ(closed.server->handshake, HandshakeStatus::failed);
  EXPECT_EQ(closed.stream().failure(), "client closed during the handshake");

  Connection reset(*worker_, policy_, store_, {});
  reset.client->stream()->abort();
  reset.link.deliver();
  EXPECT_EQ(reset.server->handshake, HandshakeStatus::failed);
  EXPECT_EQ(reset.stream().failure(), "connection lost during the handshake: Connection reset by peer");

  Connection alert(*worker_, policy_, store_, {});
  SSL_set_verify(alert.client->ssl(), SSL_VERIFY_PEER, nullptr);
  alert.run();
  EXPECT_EQ(alert.server->handshake, HandshakeStatus::failed);
  EXPECT_EQ(alert.stream().failure(), "client sent alert: unknown CA");

  // Change-cipher-spec records are ignored before the hello is answered; not without end.
  Connection endless(*worker_, policy_, store_, {});
  endless.client->step();
  std::string flood;
  for (int i = 0; i < 60000; ++i) flood += std::string("\x14\x03\x03\x00\x01\x01", 6);
  endless.client->send_raw(flood);
  endless.link.deliver();
  EXPECT_EQ(endless.server->handshake, HandshakeStatus::failed) << endless.stream().failure();
}

TEST_F(Handshake, ClientCertificates) {
  const Identity authority = make_certificate({.names = {}, .common_name = "clients", .ca = true});
  const Identity other_authority = make_certificate({.names = {}, .common_name = "others", .ca = true});
  const Identity good = make_certificate({.names = {"me"}, .common_name = "me", .issuer = &authority});
  const Identity wrong = make_certificate({.names = {"me"}, .common_name = "me", .issuer = &other_authority});
  const Identity late = make_certificate({.names = {"me"}, .issuer = &authority, .starts_in = -7200, .ends_in = -3600});
  const auto policy = [&](ClientAuth auth) {
    return sealed({.client_auth = auth, .client_ca = bundle(authority.cert_pem())});
  };
  struct Case {
    ClientAuth auth;
    const Identity* identity;
    bool accepted;
    const char* failure;
  };
  const std::vector<Case> cases{
      {ClientAuth::optional, &good, true, ""},
      {ClientAuth::optional, nullptr, true, ""},
      {ClientAuth::optional, &wrong, false, "client certificate: unable to get local issuer certificate"},
      {ClientAuth::require, &good, true, ""},
      {ClientAuth::require, nullptr, false, "peer did not return a certificate"},
      {ClientAuth::require, &wrong, false, "client certificate: unable to get local issuer certificate"},
      {ClientAuth::require, &late, false, "client certificate: certificate has expired"},
      {ClientAuth::none, &good, true, ""},
  };
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      SCOPED_TRACE(std::to_string(i) + (version == TLS1_3_VERSION ? " TLS 1.3" : " TLS 1.2"));
      Connection c(*worker_, policy(cases[i].auth), store_, {.version = version, .identity = cases[i].identity});
      c.run();
      EXPECT_EQ(c.server->handshake == HandshakeStatus::done, cases[i].accepted);
      EXPECT_EQ(c.stream().failure(), cases[i].failure);
      if (!cases[i].accepted) continue;
      EXPECT_EQ(c.stream().has_client_certificate(), cases[i].identity != nullptr && cases[i].auth != ClientAuth::none);
      const bool asked = SSL_get0_peer_CA_list(c.client->ssl()) != nullptr &&
                         sk_X509_NAME_num(SSL_get0_peer_CA_list(c.client->ssl())) == 1;
      EXPECT_EQ(asked, cases[i].auth != ClientAuth::none);
    }
  }
}

// ---- tickets

class Tickets : public TlsTest, public ::testing::WithParamInterface<int> {
 protected:
  // A session as a client holds it after a connection.
  std::shared_ptr<SSL_SESSION> session(TlsWorker& worker, const TlsPolicyPtr& policy,
                                       const Identity* identity = nullptr) {
    Connection c(worker, policy, store_, {.version = GetParam(), .identity = identity});
    c.run();
    EXPECT_EQ(c.server->handshake, HandshakeStatus::done) << c.stream().failure();
    EXPECT_FALSE(c.stream().resumed());
    EXPECT_NE(c.client->session, nullptr);
    return c.client->session;
  }
  bool resumes(TlsWorker& worker, const TlsPolicyPtr& policy, const std::shared_ptr<SSL_SESSION>& session,
               const std::string& name = "example.com", const Identity* identity = nullptr) {
    Connection c(worker, policy, store_,
                 {.version = GetParam(), .server_name = name, .identity = identity, .session = session.get()}, name);
    c.run();
    last_ = c.client->session;
    now_held_.reset(SSL_get1_session(c.client->ssl()), SSL_SESSION_free);
    EXPECT_EQ(c.server->handshake, HandshakeStatus::done) << c.stream().failure();
    c.client->write("x");
    c.run();
    EXPECT_EQ(c.server->received, "x");
    EXPECT_EQ(c.stream().resumed(), SSL_session_reused(c.client->ssl()) == 1);
    return c.stream().resumed();
  }
  static std::string ticket(const std::shared_ptr<SSL_SESSION>& session) {
    const unsigned char* data = nullptr;
    std::size_t size = 0;
    SSL_SESSION_get0_ticket(session.get(), &data, &size);
    return {reinterpret_cast<const char*>(data), size};
  }
  std::shared_ptr<SSL_SESSION> last_;      // what the last connection was told is new, if anything
  std::shared_ptr<SSL_SESSION> now_held_;  // its session at the end
};

INSTANTIATE_TEST_SUITE_P(Versions, Tickets, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& tested) { return tested.param == TLS1_3_VERSION ? "Tls13" : "Tls12"; });

TEST_P(Tickets, ResumeAtEveryWorker) {
  const auto first = session(*worker_, policy_);
  EXPECT_TRUE(resumes(*worker_, policy_, first));
  EXPECT_EQ(last_ != nullptr, GetParam() == TLS1_3_VERSION);  // each TLS 1.3 resumption brings the next ticket
  const auto other = make_worker({.ticket_keys = tickets_});
  EXPECT_TRUE(resumes(*other, policy_, session(*worker_, policy_)));
  const auto stranger = make_worker({.ticket_keys = std::make_shared<TicketKeys>()});
  EXPECT_FALSE(resumes(*stranger, policy_, session(*worker_, policy_)));
}

TEST_P(Tickets, DoNotCrossPolicies) {
  const Identity authority = make_certificate({.names = {}, .common_name = "clients", .ca = true});
  const Identity other = make_certificate({.names = {}, .common_name = "other clients", .ca = true});
  const Identity mine = make_certificate({.names = {"me"}, .issuer = &authority});
  const auto open = policy_;
  const auto optional = sealed({.client_auth = ClientAuth::optional, .client_ca = bundle(authority.cert_pem())});
  const auto require = sealed({.client_auth = ClientAuth::require, .client_ca = bundle(authority.cert_pem())});
  const auto require_both =
      sealed({.client_auth = ClientAuth::require, .client_ca = bundle(authority.cert_pem() + other.cert_pem())});
  const std::vector<TlsPolicyPtr> policies{open, optional, require, require_both};
  for (std::size_t from = 0; from < policies.size(); ++from) {
    for (std::size_t to = 0; to < policies.size(); ++to) {
      EXPECT_EQ(resumes(*worker_, policies[to], session(*worker_, policies[from], &mine), "example.com", &mine),
                from == to)
          << from << " to " << to;
    }
  }
  // The session of a client without certificate opens no door.
  Connection c(*worker_, require, store_, {.version = GetParam(), .session = session(*worker_, open).get()});
  c.run();
  EXPECT_EQ(c.server->handshake, HandshakeStatus::failed);
  EXPECT_EQ(c.stream().failure(), "peer did not return a certificate");
}

TEST_P(Tickets, DoNotCrossNames) {
  EXPECT_FALSE(resumes(*worker_, policy_, session(*worker_, policy_), "other.example.com"));
}

TEST_P(Tickets, OutliveTheirKeysTurnButNotTwo) {
  const auto first = session(*worker_, policy_);
  now_ += TicketKeys::kRotation;
  EXPECT_TRUE(resumes(*worker_, policy_, first));
  const auto renewed = last_ != nullptr ? last_ : now_held_;
  EXPECT_NE(ticket(renewed).substr(0, 16), ticket(first).substr(0, 16));  // under the new key
  now_ += TicketKeys::kRotation;
  EXPECT_FALSE(resumes(*worker_, policy_, first));
  EXPECT_TRUE(resumes(*worker_, policy_, renewed));
}

TEST(TicketKeys, RotateAndExpire) {
  std::int64_t now = 0;
  TicketKeys keys([&now] { return now; });
  const TicketKey first = keys.current().value();
  EXPECT_EQ(keys.current()->name, first.name);
  EXPECT_NE(first.cipher, first.mac);
  now = TicketKeys::kRotation - 1;
  EXPECT_EQ(keys.current()->name, first.name);
  EXPECT_FALSE(keys.find(first.name)->renew);
  now = TicketKeys::kRotation;
  EXPECT_TRUE(keys.find(first.name)->renew);
  const TicketKey second = keys.current().value();
  EXPECT_NE(second.name, first.name);
  EXPECT_EQ(keys.find(first.name)->key.cipher, first.cipher);
  now = 2 * TicketKeys::kRotation;
  EXPECT_FALSE(keys.find(first.name).has_value());
  EXPECT_TRUE(keys.find(second.name).has_value());
}

// ---- the worker's caches

TEST_F(Handshake, ContextsAndPairsAreBounded) {
  const auto worker = make_worker({.ticket_keys = tickets_, .max_contexts = 2, .max_decoded_pairs = 2});
  std::vector<CertifiedKeyPtr> pairs;
  for (int i = 0; i < 4; ++i) pairs.push_back(stored(identity_, {"h" + std::to_string(i) + ".example"}));
  const CertificateStore store(pairs);
  const std::vector<std::vector<std::string>> lists{{"a"}, {"b"}, {"c"}, {"http/1.1"}};
  // The first handshake is still under way when its context is evicted.
  Connection slow(*worker, sealed({.alpn = {"http/1.1", "x"}}), store, {.server_name = "h0.example", .alpn = kBoth},
                  "h0.example");
  for (std::size_t i = 0; i < lists.size(); ++i) {
    const std::string name = "h" + std::to_string(i) + ".example";
    Connection c(*worker, sealed({.alpn = lists[i]}), store, {.server_name = name}, name);
    c.run();
    EXPECT_EQ(c.server->handshake, HandshakeStatus::done);
    EXPECT_LE(worker->contexts(), 2U);
    EXPECT_LE(worker->decoded_pairs(), 2U);
  }
  slow.run();
  EXPECT_EQ(slow.server->handshake, HandshakeStatus::done);
  EXPECT_EQ(slow.stream().alpn(), "http/1.1");
  worker->evict_unused();
  EXPECT_GT(worker->contexts(), 0U);
  worker->evict_unused();
  EXPECT_EQ(worker->contexts(), 0U);
  EXPECT_EQ(worker->decoded_pairs(), 0U);
  slow.client->write("still here");
  slow.run();
  EXPECT_EQ(slow.server->received, "still here");
}

// ---- seal()

TEST(TlsPolicy, NamesWhatIsRefused) {
  const auto refused = [](TlsPolicy policy) {
    auto made = seal(std::move(policy));
    return made ? std::string("accepted") : made.error().message;
  };
  EXPECT_EQ(refused({.ciphers = {"TLS_AES_128_GCM_SHA256", "RC4-NOPE"}}),
            "\"RC4-NOPE\" is no cipher that can be used here");
  EXPECT_EQ(refused({.ciphers = {"ALL"}}), "\"ALL\" is no cipher that can be used here");
  EXPECT_EQ(refused({.ciphers = {"AECDH-NULL-SHA"}}), "\"AECDH-NULL-SHA\" is no cipher that can be used here");
  EXPECT_EQ(refused({.ciphers = {"TLS_NO_SUCH"}}), "\"TLS_NO_SUCH\" is no cipher that can be used here");
  EXPECT_EQ(refused({.min_version = TlsVersion::tls1_3, .ciphers = {"ECDHE-RSA-AES128-GCM-SHA256"}}),
            "min_version 1.3 needs a TLS 1.3 cipher in the list");
  EXPECT_EQ(refused({.curves = {"X25519", "P-257"}}), "\"P-257\" is no curve that can be used here");
  EXPECT_EQ(refused({.curves = {}}), "the list of curves is empty");
  EXPECT_EQ(refused({.alpn = {"acme-tls/1"}}), "alpn: acme-tls/1 is never served; it passes through to its host");
  EXPECT_EQ(refused({.alpn = {""}}), "alpn: a protocol name has 1 to 255 bytes");
  EXPECT_EQ(refused({.client_auth = ClientAuth::require}), "client_ca: no certificate in it");
  const std::string whole = make_certificate({.ca = true}).cert_pem();
  EXPECT_EQ(refused({.client_auth = ClientAuth::require, .client_ca = bundle(whole)}), "accepted");
  EXPECT_EQ(refused({.curves = {"X25519", "P-256", "P-384", "P-521"}}), "accepted");
}

TEST(TlsPolicy, IdentityTellsEveryDifference) {
  const std::string ca = make_certificate({.ca = true}).cert_pem();
  const std::vector<TlsPolicy> policies{
      {},
      {.min_version = TlsVersion::tls1_3},
      {.ciphers = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"}},
      {.ciphers = {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"}},
      {.curves = {"P-256", "X25519"}},
      {.alpn = {"http/1.1"}},
      {.alpn = {"h", "2http/1.1"}},
      {.client_auth = ClientAuth::optional, .client_ca = bundle(ca)},
      {.client_auth = ClientAuth::require, .client_ca = bundle(ca)},
      {.client_auth = ClientAuth::require, .client_ca = bundle(ca + "\n")},
  };
  for (std::size_t a = 0; a < policies.size(); ++a) {
    for (std::size_t b = 0; b < policies.size(); ++b) {
      EXPECT_EQ(sealed(policies[a])->identity == sealed(policies[b])->identity, a == b) << a << ", " << b;
    }
  }
  EXPECT_EQ(sealed({.client_ca = bundle(ca)})->identity, sealed({})->identity);  // a CA that nobody is asked for
}

}  // namespace
}  // namespace edgemux::core
