// What a client may send behind the handshake of TLS 1.3 beside data, and what it may not: forged with its own keys.

#include "core/tls/records.h"
#include "tests/core/tls/tls_fixture.h"

namespace edgemux::core {
namespace {

constexpr int kAlert = 21;
constexpr int kHandshake = 22;
constexpr int kData = 23;

class ControlRecords : public TlsTest {
 protected:
  void SetUp() override { ASSERT_TRUE(ciphers_.fetch(nullptr)); }

  // A connection whose client's records are made here from now on.
  std::unique_ptr<Connection> connect() {
    auto made = std::make_unique<Connection>(*worker_, policy_, store_, TlsClientOptions{});
    made->run();
    EXPECT_EQ(made->server->handshake, HandshakeStatus::done);
    EXPECT_EQ(made->stream().cipher(), "TLS_AES_128_GCM_SHA256");
    TrafficSecrets secrets;
    take(secrets.write, made->client->own_secret);
    take(secrets.read, made->client->server_secret);
    forger_ = Records::create(*ciphers_.find(0x1301), secrets, 1000);
    return made;
  }
  std::string forge(int type, std::string_view plain) {
    std::string record(plain.size() + Records::kOverhead, '\0');
    EXPECT_EQ(forger_->seal(static_cast<Records::Type>(type), plain, record.data()), record.size());
    return record;
  }
  // The connection ends with that reason, and the client gets that alert.
  void expect_refused(const std::string& sent, const std::string& reason, const char* alert) {
    const auto c = connect();
    c->client->send_raw(forge(kData, "before"));
    c->client->send_raw(sent.empty() ? forge(type_, plain_) : sent);
    c->run();
    EXPECT_EQ(c->server->received, "before");
    EXPECT_EQ(c->server->error, EPROTO);
    EXPECT_EQ(c->stream().failure(), reason);
    EXPECT_TRUE(c->client->failed);
    EXPECT_NE(c->client->failure.find(alert), std::string::npos) << c->client->failure;
    EXPECT_TRUE(c->stream().readable());  // so that the owner finds out
  }
  void expect_refused(int type, std::string_view plain, const std::string& reason, const char* alert) {
    type_ = type;
    plain_ = plain;
    expect_refused("", reason, alert);
  }

  RecordCiphers ciphers_;
  std::unique_ptr<Records> forger_;

 private:
  static void take(TrafficSecrets::Direction& to, const std::string& secret) {
    std::copy(secret.begin(), secret.end(), to.secret.begin());
    to.size = secret.size();
  }
  int type_ = 0;
  std::string plain_;
};

TEST_F(ControlRecords, HandshakeMessagesOtherThanKeyUpdate) {
  const char* reason = "a handshake message after the handshake";
  expect_refused(kHandshake, std::string("\x01\0\0\x01x", 5), reason, "unexpected message");       // a ClientHello
  expect_refused(kHandshake, std::string("\x18\0\0\x01", 4), reason, "unexpected message");        // in pieces
  expect_refused(kHandshake, std::string("\x18\0\0\x01\0\x18", 6), reason, "unexpected message");  // and more
  expect_refused(kHandshake, std::string("\x18\x01\0\x01\0", 5), reason, "unexpected message");
  expect_refused(kHandshake, "", reason, "unexpected message");
  expect_refused(kHandshake, std::string("\x18\0\0\x01\x02", 5), "a KeyUpdate that is none", "illegal parameter");
}

TEST_F(ControlRecords, AlertsAreTold) {
  const auto c = connect();
  c->client->send_raw(forge(kAlert, std::string("\x02\x28", 2)));
  c->run();
  EXPECT_EQ(c->server->error, EPROTO);
  EXPECT_EQ(c->stream().failure(), "client sent alert: handshake failure");
  expect_refused(kAlert, "\x01", "an alert that is none", "decode error");
  expect_refused(kAlert, std::string("\x01\0\x01", 3), "an alert that is none", "decode error");
}

TEST_F(ControlRecords, AUserWhoCancelsIsFollowedByTheEnd) {
  const auto c = connect();
  c->client->send_raw(forge(kAlert, "\x01\x5a"));
  c->client->send_raw(forge(kData, "still"));
  c->client->send_raw(forge(kAlert, std::string("\x01\0", 2)));
  c->run();
  EXPECT_EQ(c->server->received, "still");
  EXPECT_TRUE(c->server->eof);
  EXPECT_FALSE(c->stream().truncated());
}

TEST_F(ControlRecords, RecordsInTheOpenAreRefused) {
  expect_refused(std::string("\x14\x03\x03\0\x01\x01", 6), "not a record of application data", "unexpected message");
  expect_refused(std::string("\x15\x03\x03\0\x02\x01\0", 7), "not a record of application data", "unexpected message");
  expect_refused(std::string("\x16\x03\x03\0\x05\x18\0\0\x01\0", 10), "not a record of application data",
                 "unexpected message");
}

TEST_F(ControlRecords, RecordsThatAreTooLong) {
  // The header alone tells.
  expect_refused(std::string("\x17\x03\x03\x41\x01", 5), "a record too long", "record overflow");
  expect_refused(kData, std::string(Records::kPlain + 1, 'x'), "a record too long", "record overflow");
}

TEST_F(ControlRecords, TypesThatAreNone) {
  expect_refused(20, "\x01", "a record of an unknown type", "unexpected message");
  expect_refused(0, "", "a record without a type", "unexpected message");
}

TEST_F(ControlRecords, EmptyRecordsAreCounted) {
  const auto c = connect();
  std::string some;
  for (unsigned i = 0; i < TlsStream::kMaxControlRecords; ++i) some += forge(kData, "");
  some += forge(kData, "data");
  c->client->send_raw(some);
  c->run();
  EXPECT_EQ(c->server->received, "data");
  some.clear();
  for (unsigned i = 0; i <= TlsStream::kMaxControlRecords; ++i) some += forge(kData, "");
  c->client->send_raw(some);
  c->run();
  EXPECT_EQ(c->stream().failure(), "too many control records");
}

TEST_F(ControlRecords, EveryCutOfRecordsComesToTheSame) {
  for (std::size_t chunk = 1; chunk < 60; ++chunk) {
    const auto c = connect();
    c->link.a_end->read_chunk = chunk;
    c->client->send_raw(forge(kData, "one"));
    c->client->send_raw(forge(kHandshake, std::string("\x18\0\0\x01\0", 5)));
    ASSERT_TRUE(forger_->next_write_keys());
    c->client->send_raw(forge(kData, "two"));
    c->client->send_raw(forge(kAlert, std::string("\x01\0", 2)));
    c->run();
    EXPECT_EQ(c->server->received, "onetwo") << chunk;
    EXPECT_TRUE(c->server->eof && !c->stream().truncated()) << chunk;
  }
}

TEST_F(ControlRecords, OurKeysAreReplacedInTime) {
  const auto worker = make_worker({.ticket_keys = tickets_, .rekey_after = 3});
  Connection c(*worker, policy_, store_, {});
  c.run();
  const std::string data(400000, 'x');
  c.server->send(data);
  c.run();
  EXPECT_EQ(c.client->received.size(), data.size());
  EXPECT_FALSE(c.client->failed) << c.client->failure;
  c.client->write("and back");
  c.run();
  EXPECT_EQ(c.server->received, "and back");
}

TEST_F(ControlRecords, NothingIsSentBehindOurEnd) {
  const auto c = connect();
  c->stream().shutdown_write();
  c->run();
  const unsigned long writes = c->link.a_end->writes;
  c->client->send_raw(forge(kHandshake, std::string("\x18\0\0\x01\x01", 5)));
  ASSERT_TRUE(forger_->next_write_keys());
  c->client->send_raw(forge(kData, "heard"));
  c->run();
  EXPECT_EQ(c->server->received, "heard");
  EXPECT_EQ(c->link.a_end->writes, writes);
}

}  // namespace
}  // namespace edgemux::core
