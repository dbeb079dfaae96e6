// KeySchedule: through the library's own interface, against the trace of RFC 8448 and the library's own derivation.

#include "core/tls/key_schedule.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <optional>
#include <random>
#include <string>

namespace edgemux::core {
namespace {

struct Question {
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  std::string digest = "SHA2-256";
  std::optional<std::string> key;
  std::optional<std::string> salt;
  std::string label = "key";
  std::optional<std::string> data;
  std::size_t size = 32;
  std::string prefix = "tls13 ";
};

class KeyScheduleTest : public ::testing::Test {
 protected:
  void SetUp() override {
    library_.reset(OSSL_LIB_CTX_new());
    provider_.reset(OSSL_PROVIDER_load(library_.get(), "default"));
    ASSERT_TRUE(provider_);
    ASSERT_TRUE(schedule_.join(library_.get()));
  }
  void TearDown() override { schedule_.leave(); }

  // As libssl asks. Nothing: it was refused.
  std::optional<std::string> ask(const Question& question, const char* properties) {
    using Kdf = std::unique_ptr<EVP_KDF, FreeWith<EVP_KDF_free>>;
    using Context = std::unique_ptr<EVP_KDF_CTX, FreeWith<EVP_KDF_CTX_free>>;
    const Kdf kdf(EVP_KDF_fetch(library_.get(), OSSL_KDF_NAME_TLS1_3_KDF, properties));
    const Context context(EVP_KDF_CTX_new(kdf.get()));
    int mode = question.mode;
    const auto bytes = [](const char* name, const std::string& text) {
      return OSSL_PARAM_construct_octet_string(name, const_cast<char*>(text.data()), text.size());
    };
    std::vector<OSSL_PARAM> parameters;
    parameters.push_back(OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode));
    parameters.push_back(
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, const_cast<char*>(question.digest.c_str()), 0));
    if (question.key) parameters.push_back(bytes(OSSL_KDF_PARAM_KEY, *question.key));
    if (question.salt) parameters.push_back(bytes(OSSL_KDF_PARAM_SALT, *question.salt));
    parameters.push_back(bytes(OSSL_KDF_PARAM_PREFIX, question.prefix));
    parameters.push_back(bytes(OSSL_KDF_PARAM_LABEL, question.label));
    if (question.data) parameters.push_back(bytes(OSSL_KDF_PARAM_DATA, *question.data));
    parameters.push_back(OSSL_PARAM_construct_end());
    std::string out(question.size, '\0');
    const int made =
        EVP_KDF_derive(context.get(), reinterpret_cast<unsigned char*>(out.data()), out.size(), parameters.data());
    ERR_clear_error();
    if (made != 1) return std::nullopt;
    return out;
  }
  std::optional<std::string> ours(const Question& question) { return ask(question, KeySchedule::kProperties); }
  std::optional<std::string> theirs(const Question& question) { return ask(question, "provider=default"); }

  static std::string hex(const std::optional<std::string>& text) {
    std::string out;
    for (const char c : text.value_or("")) {
      out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4U];
      out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15U];
    }
    return out;
  }

  KeySchedule schedule_;
  LibraryPtr library_;
  ProviderPtr provider_;
};

TEST_F(KeyScheduleTest, IsAskedWithItsPropertiesOnly) {
  const auto provider_of = [&](const char* properties) {
    const std::unique_ptr<EVP_KDF, FreeWith<EVP_KDF_free>> kdf(
        EVP_KDF_fetch(library_.get(), OSSL_KDF_NAME_TLS1_3_KDF, properties));
    return std::string(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf.get())));
  };
  EXPECT_EQ(provider_of(KeySchedule::kProperties), "edgemux");
  EXPECT_EQ(provider_of(nullptr), "default");
  // What it does not have comes from the library as before.
  const CipherPtr cipher(EVP_CIPHER_fetch(library_.get(), "AES-128-GCM", KeySchedule::kProperties));
  EXPECT_TRUE(cipher);
}

// RFC 8448 3: the early secret, and the salt of the next one within it.
TEST_F(KeyScheduleTest, FollowsTheTrace) {
  Question question;
  question.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
  question.label = "derived";
  const auto early = ours(question);
  EXPECT_EQ(hex(early), "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");
  const DigestPtr sha256(EVP_MD_fetch(library_.get(), "SHA256", nullptr));
  std::string nothing(32, '\0');
  ASSERT_EQ(EVP_Digest("", 0, reinterpret_cast<unsigned char*>(nothing.data()), nullptr, sha256.get(), nullptr), 1);
  Question derived;
  derived.key = early;
  derived.label = "derived";
  derived.data = nothing;
  EXPECT_EQ(hex(ours(derived)), "6f2615a108c702c5678f54fc9dbab69716c076189c48250cebeac3576c3611ba");
}

TEST_F(KeyScheduleTest, AgreesWithTheLibrarysOwn) {
  std::mt19937 random(5);
  const auto text = [&](std::size_t size) {
    std::string made(size, '\0');
    for (char& c : made) c = static_cast<char>(random());
    return made;
  };
  for (int round = 0; round < 2'000; ++round) {
    Question question;
    const std::size_t hash = random() % 2 == 0 ? 32 : 48;
    question.digest =
        hash == 32 ? (random() % 2 == 0 ? "SHA2-256" : "SHA256") : (random() % 2 == 0 ? "SHA2-384" : "SHA384");
    question.label = text(random() % 40);
    if (random() % 3 == 0) {
      question.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
      question.size = hash;
      question.label = "derived";
      if (random() % 3 > 0) question.key = text(1 + random() % 1'100);  // a shared secret of ffdhe8192 has 1,024 bytes
      if (random() % 3 > 0) question.salt = text(hash);
    } else {
      question.key = text(hash);
      if (random() % 4 > 0) question.data = text(random() % 65);
      question.size = random() % 4 == 0 ? 1 + random() % 3'000 : 1 + random() % hash;
    }
    const auto expected = theirs(question);
    ASSERT_TRUE(expected);
    ASSERT_EQ(hex(ours(question)), hex(expected)) << "round " << round;
  }
}

TEST_F(KeyScheduleTest, RefusesWhatTlsHasNot) {
  Question good;
  good.key = std::string(32, 'k');
  ASSERT_TRUE(ours(good));
  auto question = good;
  question.digest = "SHA512";
  EXPECT_FALSE(ours(question));
  question = good;
  question.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
  EXPECT_FALSE(ours(question));
  question = good;
  question.key.reset();
  EXPECT_FALSE(ours(question));
  question = good;
  question.key = std::string(65, 'k');
  EXPECT_FALSE(ours(question));
  question = good;
  question.label = std::string(250, 'l');
  EXPECT_FALSE(ours(question));
  question = good;
  question.data = std::string(256, 'd');
  EXPECT_FALSE(ours(question));
  question = good;
  question.size = 255 * 32 + 1;
  EXPECT_FALSE(ours(question));
  question = good;
  question.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
  question.size = 31;
  EXPECT_FALSE(ours(question));
}

TEST_F(KeyScheduleTest, DeliversTheSecretsOfDataToWhoWantsThem) {
  std::unique_ptr<TrafficSecrets> secrets;
  Question question;
  question.key = std::string(32, 'k');
  question.data = std::string(32, 'h');
  question.label = "s ap traffic";
  ASSERT_TRUE(ours(question));
  schedule_.deliver_to(&secrets);
  for (const char* label : {"s hs traffic", "c hs traffic", "exp master", "res master", "key", "iv", "s ap traffic!"}) {
    question.label = label;
    ASSERT_TRUE(ours(question));
    EXPECT_EQ(secrets, nullptr) << label;
  }
  question.label = "s ap traffic";
  const auto write = ours(question);
  ASSERT_TRUE(secrets);
  EXPECT_EQ(secrets->read.size, 0U);
  question.label = "c ap traffic";
  const auto read = ours(question);
  schedule_.deliver_to(nullptr);
  question.data = std::string(32, 'x');
  ASSERT_TRUE(ours(question));
  const auto kept = [](const TrafficSecrets::Direction& from) {
    return std::string(from.secret.begin(), from.secret.begin() + static_cast<long>(from.size));
  };
  EXPECT_EQ(hex(kept(secrets->write)), hex(write));
  EXPECT_EQ(hex(kept(secrets->read)), hex(read));
}

}  // namespace
}  // namespace edgemux::core
