// Records: against the trace of RFC 8448, against itself, and against everything that a record must not be.

#include "core/tls/records.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace edgemux::core {
namespace {

std::string hex(std::string_view text) {
  std::string bytes;
  int high = -1;
  for (const char c : text) {
    if (c == ' ') continue;
    const int digit = OPENSSL_hexchar2int(static_cast<unsigned char>(c));
    if (high >= 0) bytes += static_cast<char>(high << 4 | digit);
    high = high >= 0 ? -1 : digit;
  }
  return bytes;
}

TrafficSecrets::Direction direction(std::string_view secret, std::uint64_t records = 0) {
  TrafficSecrets::Direction made;
  std::copy(secret.begin(), secret.end(), made.secret.begin());
  made.size = secret.size();
  made.records = records;
  return made;
}

class RecordsFixture : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(ciphers_.fetch(nullptr)); }

  static std::string seal(Records& from, Records::Type type, std::string_view plain) {
    std::string record(plain.size() + Records::kOverhead, '\0');
    EXPECT_EQ(from.seal(type, plain, record.data()), record.size());
    return record;
  }
  // The plaintext; what else came of it is in `opened_`.
  std::string open(Records& to, const std::string& record) {
    std::string plain(record.size(), '\0');
    opened_ = to.open(record, plain.data());
    return plain.substr(0, opened_.size);
  }

  RecordCiphers ciphers_;
  Records::Opened opened_;
};

class RecordsTest : public RecordsFixture, public ::testing::WithParamInterface<unsigned> {
 protected:
  // Both ends of a connection.
  struct Pair {
    std::unique_ptr<Records> server;
    std::unique_ptr<Records> client;
  };
  Pair make(std::uint64_t rekey_after = 1000) {
    const auto& suite = *ciphers_.find(GetParam());
    TrafficSecrets secrets;
    secrets.read = direction(std::string(suite.hkdf.hash_size(), 'r'));
    secrets.write = direction(std::string(suite.hkdf.hash_size(), 'w'));
    Pair pair;
    pair.server = Records::create(suite, secrets, rekey_after);
    std::swap(secrets.read, secrets.write);
    pair.client = Records::create(suite, secrets, rekey_after);
    return pair;
  }
};

INSTANTIATE_TEST_SUITE_P(Suites, RecordsTest, ::testing::Values(0x1301U, 0x1302U, 0x1303U));

TEST_P(RecordsTest, WhatOneSealsTheOtherOpens) {
  const Pair pair = make();
  for (const std::size_t size : {0U, 1U, 15U, 16U, 2047U, 2048U, 2049U, 16383U, 16384U}) {
    std::string data(size, '\0');
    for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<char>(i * 7);
    EXPECT_TRUE(open(*pair.client, seal(*pair.server, Records::Type::data, data)) == data) << size;
    EXPECT_EQ(opened_.type, Records::Type::data);
    EXPECT_TRUE(open(*pair.server, seal(*pair.client, Records::Type::data, data)) == data) << size;
    EXPECT_EQ(opened_.type, Records::Type::data);
  }
  EXPECT_EQ(open(*pair.client, seal(*pair.server, Records::Type::alert, "ab")), "ab");
  EXPECT_EQ(opened_.type, Records::Type::alert);
}

TEST_P(RecordsTest, ARecordIsOpenedInPlace) {
  const Pair pair = make();
  std::string record = seal(*pair.server, Records::Type::data, "in place");
  const Records::Opened opened = pair.client->open(record, record.data() + Records::kHeader);
  EXPECT_EQ(record.substr(Records::kHeader, opened.size), "in place");
}

TEST_P(RecordsTest, EveryFlippedBitIsNoticed) {
  const std::string data = "something to protect";
  const std::size_t size = data.size() + Records::kOverhead;
  for (std::size_t bit = 0; bit < size * 8; ++bit) {
    const Pair pair = make();
    std::string record = seal(*pair.server, Records::Type::data, data);
    record[bit / 8] = static_cast<char>(record[bit / 8] ^ (1 << bit % 8));
    open(*pair.client, record);
    EXPECT_EQ(opened_.type, Records::Type::none) << bit;
    EXPECT_EQ(opened_.alert, SSL_AD_BAD_RECORD_MAC) << bit;
  }
}

TEST_P(RecordsTest, ACutOrRepeatedOrSkippedRecordIsRefused) {
  for (std::size_t size = Records::kHeader; size < Records::kOverhead + 3; ++size) {
    const Pair pair = make();
    open(*pair.client, seal(*pair.server, Records::Type::data, "abc").substr(0, size));
    EXPECT_EQ(opened_.type, Records::Type::none) << size;
  }
  const Pair pair = make();
  const std::string first = seal(*pair.server, Records::Type::data, "first");
  const std::string second = seal(*pair.server, Records::Type::data, "second");
  EXPECT_EQ(open(*pair.client, first), "first");
  open(*pair.client, first);
  EXPECT_EQ(opened_.type, Records::Type::none);
  const Pair other = make();
  open(*other.client, second);
  EXPECT_EQ(opened_.type, Records::Type::none);
}

TEST_P(RecordsTest, PaddingIsTakenOff) {
  // What is sealed as data, with a type of its own and zeros behind it, is what another implementation pads.
  const auto& suite = *ciphers_.find(GetParam());
  TrafficSecrets secrets;
  secrets.read = secrets.write = direction(std::string(suite.hkdf.hash_size(), 's'));
  const auto ends = Records::create(suite, secrets, 1000);
  std::string padded = "hello";
  padded += static_cast<char>(Records::Type::data);
  padded += std::string(40, '\0');
  // seal() adds the type behind it: zero, as one more byte of padding.
  EXPECT_EQ(open(*ends, seal(*ends, Records::Type::none, padded)), "hello");
  EXPECT_EQ(opened_.type, Records::Type::data);
  EXPECT_EQ(open(*ends, seal(*ends, Records::Type::none, std::string(100, '\0'))), "");
  EXPECT_EQ(opened_.type, Records::Type::none);
  EXPECT_EQ(opened_.alert, SSL_AD_UNEXPECTED_MESSAGE);
}

TEST_P(RecordsTest, TypesThatAreNoneAndTooMuchInside) {
  for (const int type : {1, 19, 20, 24, 255}) {
    const Pair pair = make();
    open(*pair.client, seal(*pair.server, static_cast<Records::Type>(type), "x"));
    EXPECT_EQ(opened_.type, Records::Type::none) << type;
    EXPECT_EQ(opened_.alert, SSL_AD_UNEXPECTED_MESSAGE) << type;
  }
  const Pair pair = make();
  open(*pair.client, seal(*pair.server, Records::Type::data, std::string(Records::kPlain + 1, 'x')));
  EXPECT_EQ(opened_.alert, SSL_AD_RECORD_OVERFLOW);
}

TEST_P(RecordsTest, KeysAreReplacedByBothEndsAlike) {
  const Pair pair = make(3);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(pair.server->write_keys_are_old(), i > 0 && i % 3 == 0);
    if (pair.server->write_keys_are_old()) {
      ASSERT_TRUE(pair.server->next_write_keys());
      ASSERT_TRUE(pair.client->next_read_keys());
    }
    EXPECT_EQ(open(*pair.client, seal(*pair.server, Records::Type::data, "x")), "x") << i;
  }
  ASSERT_TRUE(pair.server->next_write_keys());
  open(*pair.client, seal(*pair.server, Records::Type::data, "x"));  // the client has not
  EXPECT_EQ(opened_.type, Records::Type::none);
}

TEST_P(RecordsTest, SecretsOfAnotherSizeAreRefused) {
  const auto& suite = *ciphers_.find(GetParam());
  TrafficSecrets secrets;
  secrets.read = direction(std::string(suite.hkdf.hash_size(), 'r'));
  secrets.write = direction(std::string(16, 'w'));
  EXPECT_EQ(Records::create(suite, secrets, 1000), nullptr);
}

// RFC 8448 3, "Simple 1-RTT Handshake": the server has sent a ticket before.
TEST_F(RecordsFixture, TheTraceOfRfc8448) {
  TrafficSecrets secrets;
  secrets.read = direction(hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"));
  secrets.write = direction(hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"), 1);
  const auto server = Records::create(*ciphers_.find(0x1301), secrets, 1000);
  ASSERT_NE(server, nullptr);
  std::string data;
  for (int i = 0; i < 50; ++i) data += static_cast<char>(i);
  EXPECT_EQ(open(*server, hex("17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 "
                              "bc ab 3f 2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 "
                              "14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4")),
            data);
  EXPECT_EQ(seal(*server, Records::Type::data, data),
            hex("17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e "
                "fa f9 7d 90 e6 df fc 60 2d cb 50 1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 "
                "67 c2 95 5d"));
  EXPECT_EQ(open(*server, hex("17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3")),
            std::string("\x01\x00", 2));
  EXPECT_EQ(opened_.type, Records::Type::alert);
}

TEST(RecordCiphers, OnlyThreeSuitesAreTaken) {
  RecordCiphers ciphers;
  ASSERT_TRUE(ciphers.fetch(nullptr));
  EXPECT_EQ(ciphers.find(0x1300), nullptr);
  EXPECT_EQ(ciphers.find(0x1304), nullptr);  // CCM
  EXPECT_EQ(ciphers.find(0xC02B), nullptr);  // of TLS 1.2
}

}  // namespace
}  // namespace edgemux::core
