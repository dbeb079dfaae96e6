// TlsStream as a Stream: data both ways, back-pressure, ends of all kinds, shared buffers, floods.

#include "tests/core/tls/tls_fixture.h"

namespace edgemux::core {
namespace {

std::string noise(std::size_t size) {
  std::string data(size, '\0');
  std::uint32_t state = 1;
  for (char& c : data) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24U);
  }
  return data;
}

class TlsStreamTest : public TlsTest, public ::testing::WithParamInterface<int> {
 protected:
  std::unique_ptr<Connection> connect() {
    auto made = std::make_unique<Connection>(*worker_, policy_, store_, TlsClientOptions{.version = GetParam()});
    made->run();
    EXPECT_EQ(made->server->handshake, HandshakeStatus::done) << made->stream().failure();
    return made;
  }
};

INSTANTIATE_TEST_SUITE_P(Versions, TlsStreamTest, ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& tested) { return tested.param == TLS1_3_VERSION ? "Tls13" : "Tls12"; });

TEST_P(TlsStreamTest, LargeTransfersThroughTinyWindows) {
  for (const std::size_t window : {100U, 1000U, 16400U, 100000U}) {
    const std::string up = noise(window < 10000 ? 70000 : 1000000);
    const std::string down = noise(window < 10000 ? 90001 : 1500001);
    const auto c = connect();
    c->link.a_end->capacity = c->link.b_end->capacity = window;
    c->link.a_end->stutter = true;
    c->link.a_end->read_chunk = window / 3 + 1;
    c->client->read_limit = window / 2;
    c->server->piece_size = 40000;
    c->client->write(up);
    c->server->send(down);
    c->run();
    EXPECT_TRUE(c->server->received == up) << window;
    EXPECT_TRUE(c->client->received == down) << window;
    EXPECT_EQ(c->stream().unsent(), 0U);
    EXPECT_LE(c->server->most_unsent, 68U * 1024);
  }
}

TEST_P(TlsStreamTest, SmallReadsAndManyPieces) {
  const std::string data = noise(50000);
  const auto c = connect();
  c->server->buffer_size = 7;
  c->server->piece_size = 3;
  c->client->write(data);
  c->server->send(data);
  c->run();
  EXPECT_TRUE(c->server->received == data);
  EXPECT_TRUE(c->client->received == data);
}

TEST_P(TlsStreamTest, OneSendPerWriteAndOneReceivePerRead) {
  const auto c = connect();
  c->server->buffer_size = 64 * 1024;
  const unsigned long writes = c->link.a_end->writes;
  c->server->piece_size = 1000;
  c->server->send(noise(64 * 1024));  // four records
  EXPECT_EQ(c->link.a_end->writes - writes, 1U);
  c->run();
  EXPECT_EQ(c->client->received.size(), 64U * 1024);

  const unsigned long reads = c->link.a_end->reads;
  c->client->write(noise(20000));  // two records
  c->link.deliver();
  EXPECT_EQ(c->server->received.size(), 20000U);
  EXPECT_EQ(c->link.a_end->reads - reads, 2U);  // the data, and `again`
}

TEST_P(TlsStreamTest, SmallPiecesShareARecord) {
  const auto c = connect();
  c->run();
  EXPECT_TRUE(c->link.b_end->arrived.empty());
  c->server->piece_size = 100;
  c->server->send(std::string(16000, 'x'));
  // One record: its header says how long it is, and nothing follows.
  const std::string& wire = c->link.b_end->arrived;
  ASSERT_GT(wire.size(), 16000U);
  EXPECT_EQ(
      (static_cast<std::size_t>(static_cast<unsigned char>(wire[3])) << 8U | static_cast<unsigned char>(wire[4])) + 5U,
      wire.size());
}

TEST_P(TlsStreamTest, ASlowPeerHoldsLittleMemory) {
  const auto c = connect();
  c->link.b_end->capacity = 1000;
  c->server->send(noise(1000000));
  EXPECT_LE(c->stream().unsent(), 68U * 1024);
  EXPECT_FALSE(c->server->to_send.empty());
  // From now on a record at a time.
  c->server->most_unsent = 0;
  while (!c->server->to_send.empty()) {
    c->client->step();
    c->link.deliver();
    if (c->stream().unsent() == 0) break;
    c->server->most_unsent = 0;
  }
  EXPECT_LE(c->server->most_unsent, 17U * 1024);
  c->run();
  EXPECT_TRUE(c->client->received == noise(1000000));
}

TEST_P(TlsStreamTest, StreamsOfAWorkerShareItsBuffers) {
  // Each reads a little of what has come, so that the rest waits while the others use the buffer.
  std::vector<std::unique_ptr<Connection>> all;
  for (int i = 0; i < 3; ++i) {
    all.push_back(connect());
    all.back()->server->reading = false;
  }
  std::vector<std::string> sent;
  std::vector<std::string> got(all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    sent.push_back(std::to_string(i) + noise(60000 + i));
    all[i]->client->write(sent[i]);
    all[i]->link.deliver();
  }
  std::vector<char> buffer(1000);
  for (bool more = true; more;) {
    more = false;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const IoResult result = all[i]->stream().read(buffer);
      if (result.status != IoStatus::ok) continue;
      got[i].append(buffer.data(), result.bytes);
      more = true;
      EXPECT_EQ(all[i]->stream().readable(), got[i].size() < sent[i].size());
    }
  }
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_TRUE(got[i] == sent[i]) << i;
  // A stream that dies with the buffer in its hands harms nobody.
  all[0]->client->write(noise(30000));
  EXPECT_EQ(all[0]->stream().read(std::span(buffer).subspan(0, 1)).status, IoStatus::ok);
  all.erase(all.begin());
  all[0]->client->write("next");
  EXPECT_EQ(all[0]->stream().read(buffer).bytes, 4U);
}

TEST_P(TlsStreamTest, ReadableStaysTrueWhileSomethingIsLeft) {
  const auto c = connect();
  c->server->reading = false;
  c->client->write("0123456789");
  c->client->write("abc");
  c->link.deliver();
  std::vector<char> buffer(4);
  std::string got;
  while (c->stream().readable()) {
    const IoResult result = c->stream().read(buffer);
    if (result.status != IoStatus::ok) break;
    got.append(buffer.data(), result.bytes);
  }
  EXPECT_EQ(got, "0123456789abc");
  EXPECT_EQ(c->stream().read(buffer).status, IoStatus::again);
}

TEST_P(TlsStreamTest, HalfCloseByTheClient) {
  const auto c = connect();
  c->client->write("last words");
  c->client->close_notify();
  c->run();
  EXPECT_EQ(c->server->received, "last words");
  EXPECT_TRUE(c->server->eof);
  EXPECT_FALSE(c->stream().truncated());
  EXPECT_FALSE(c->stream().readable());
  std::vector<char> buffer(10);
  EXPECT_EQ(c->stream().read(buffer).status, IoStatus::eof);  // repeated
  c->server->send("an answer");
  EXPECT_TRUE(c->server->to_send.empty());
  c->stream().shutdown_write();
  c->run();
  EXPECT_TRUE(c->client->got_fin);
}

// Who reads only what is readable must find the end, too.
TEST_P(TlsStreamTest, AnEndThatCameWithTheLastDataIsReadable) {
  for (const bool notified : {true, false}) {
    const auto c = connect();
    c->stream().set_observer(nullptr);
    c->client->write("last words");
    if (notified) c->client->close_notify();
    c->client->send_fin();
    std::vector<char> buffer(1000);
    IoResult result;
    std::size_t got = 0;
    while (c->stream().readable() && (result = c->stream().read(buffer)).status == IoStatus::ok) got += result.bytes;
    EXPECT_EQ(got, 10U);
    EXPECT_EQ(result.status, IoStatus::eof);
    EXPECT_EQ(c->stream().truncated(), !notified);
    EXPECT_FALSE(c->stream().readable());
  }
}

TEST_P(TlsStreamTest, HalfCloseByUs) {
  const auto c = connect();
  c->link.b_end->capacity = 500;
  c->server->send(noise(30000));
  EXPECT_GT(c->stream().unsent(), 0U);
  EXPECT_TRUE(c->server->to_send.empty());
  c->stream().shutdown_write();
  c->stream().shutdown_write();
  EXPECT_FALSE(c->link.b_end->fin);  // the tail goes first
  c->run();
  EXPECT_TRUE(c->client->received == noise(30000));
  EXPECT_TRUE(c->client->got_close_notify);
  EXPECT_TRUE(c->client->got_fin);
  const std::string word = "late";
  const iovec piece{const_cast<char*>(word.data()), word.size()};
  EXPECT_EQ(c->stream().write({&piece, 1}).error, EPIPE);
  c->client->write("still heard");
  c->run();
  EXPECT_EQ(c->server->received, "still heard");
}

TEST_P(TlsStreamTest, FinWithoutCloseNotifyIsATruncation) {
  const auto c = connect();
  c->client->write("cut");
  c->client->send_fin();
  c->run();
  EXPECT_EQ(c->server->received, "cut");
  EXPECT_TRUE(c->server->eof);
  EXPECT_TRUE(c->stream().truncated());
  c->server->send("we may still answer");
  EXPECT_TRUE(c->server->to_send.empty());
  EXPECT_EQ(c->server->error, 0);
}

TEST_P(TlsStreamTest, FinWithinARecordIsATruncation) {
  const auto c = connect();
  c->client->send_raw(std::string("\x17\x03\x03\x40\x00partial", 12));
  c->client->send_fin();
  c->run();
  EXPECT_TRUE(c->server->eof);
  EXPECT_TRUE(c->stream().truncated());
}

TEST_P(TlsStreamTest, DataBeforeAResetIsThenAnError) {
  const auto c = connect();
  c->client->stream()->abort();
  c->link.deliver();
  EXPECT_EQ(c->server->error, ECONNRESET);
  EXPECT_TRUE(c->stream().readable());
  const std::string word = "x";
  const iovec piece{const_cast<char*>(word.data()), word.size()};
  EXPECT_EQ(c->stream().write({&piece, 1}).status, IoStatus::error);
}

// A server that refuses our certificate after its handshake says so and goes, while we already send the request.
TEST_P(TlsStreamTest, WhatThePeerSaidBeforeItWentIsReadAfterAFailedWrite) {
  const auto c = connect();
  c->client->write("last words");
  c->client.reset();
  std::string word = "x";
  const iovec piece{word.data(), word.size()};
  EXPECT_EQ(c->stream().write({&piece, 1}).status, IoStatus::error);
  std::string got(64, 0);
  const IoResult result = c->stream().read(got);
  ASSERT_EQ(result.status, IoStatus::ok);
  EXPECT_EQ(got.substr(0, result.bytes), "last words");
  EXPECT_TRUE(c->stream().readable());
  EXPECT_EQ(c->stream().read(got).status, IoStatus::error);
}

TEST_P(TlsStreamTest, AbortReachesThePeer) {
  const auto c = connect();
  c->stream().abort();
  EXPECT_TRUE(c->link.b_end->reset);
}

TEST_P(TlsStreamTest, GarbageAfterTheHandshake) {
  const auto c = connect();
  c->client->send_raw("this is no record of TLS at all");
  c->run();
  EXPECT_EQ(c->server->error, EPROTO);
  EXPECT_NE(c->stream().failure(), "");
  EXPECT_TRUE(c->client->failed);  // the alert arrived
}

TEST_P(TlsStreamTest, AForgedRecordIsRefused) {
  const auto c = connect();
  c->client->send_raw(std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
  c->run();
  EXPECT_EQ(c->server->error, EPROTO);
  EXPECT_EQ(c->stream().failure(), "decryption failed or bad record mac");
  EXPECT_TRUE(c->server->received.empty());
}

class TlsControl : public TlsTest {};

TEST_F(TlsControl, KeyUpdatesAreFollowed) {
  Connection c(*worker_, policy_, store_, {});
  c.run();
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(SSL_key_update(c.client->ssl(), i % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    c.client->write("x");
    c.server->send("y");
    c.run();
  }
  EXPECT_EQ(c.server->received, std::string(100, 'x'));
  EXPECT_EQ(c.client->received, std::string(100, 'y'));
  EXPECT_EQ(c.stream().failure(), "");
}

TEST_F(TlsControl, AFloodOfKeyUpdatesEnds) {
  Connection c(*worker_, policy_, store_, {});
  c.run();
  for (unsigned i = 0; i <= TlsStream::kMaxControlRecords + 1; ++i) {
    SSL_key_update(c.client->ssl(), SSL_KEY_UPDATE_NOT_REQUESTED);
    SSL_do_handshake(c.client->ssl());
  }
  c.client->flush();
  c.link.deliver();
  EXPECT_EQ(c.server->error, EPROTO);
  EXPECT_EQ(c.stream().failure(), "too many control records");
}

TEST_F(TlsControl, RenegotiationIsRefused) {
  Connection c(*worker_, policy_, store_, {.version = TLS1_2_VERSION});
  c.run();
  ASSERT_EQ(SSL_renegotiate(c.client->ssl()), 1);
  SSL_do_handshake(c.client->ssl());
  c.run();
  EXPECT_TRUE(c.client->failed);
  EXPECT_NE(c.client->failure.find("no renegotiation"), std::string::npos) << c.client->failure;
  EXPECT_TRUE(c.server->received.empty());
}

}  // namespace
}  // namespace edgemux::core
