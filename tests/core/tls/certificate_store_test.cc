// Pairs from files and folders, and which of them a name gets.

#include "core/tls/certificate_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>

#include "tests/support/test_certificates.h"

namespace edgemux::core {
namespace {

namespace fs = std::filesystem;
using test::Identity;
using test::make_certificate;

class CertificateFiles : public ::testing::Test {
 protected:
  CertificateFiles() {
    std::string pattern = (fs::temp_directory_path() / "edgemux-certs-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~CertificateFiles() override { fs::remove_all(folder_); }
  std::string put(const std::string& name, const std::string& text, mode_t mode = 0600) {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    chmod(path.c_str(), mode);
    return path.string();
  }
  std::string at(const std::string& name) { return (folder_ / name).string(); }
  // The error of a pair, without the folder's name.
  std::string error(const std::string& cert, const std::string& key) {
    auto loaded = load_pair(at(cert), at(key));
    return loaded ? "loaded" : relative(loaded.error().message);
  }
  std::string relative(std::string text) {
    const std::string prefix = folder_.string() + "/";
    for (std::size_t i = text.find(prefix); i != std::string::npos; i = text.find(prefix)) text.erase(i, prefix.size());
    return text;
  }
  fs::path folder_;
};

TEST_F(CertificateFiles, PairsOfEveryKindLoad) {
  const Identity ca = make_certificate({.names = {}, .common_name = "ca", .ca = true});
  const Identity ec = make_certificate({.names = {"A.Example.com", "*.b.example.com", "a.example.com"}, .issuer = &ca});
  const Identity rsa = make_certificate({.names = {}, .common_name = "cn.example.com", .key = test::rsa_key()});
  put("ec.pem", ec.cert_pem() + ca.cert_pem());
  put("ec.key", ec.key_pem());
  put("ec-old.key", "comment\n" + ec.old_key_pem());
  put("rsa.pem", rsa.cert_pem());
  put("rsa.key", rsa.key_pem());
  put("rsa-old.key", rsa.old_key_pem());

  const auto first = load_pair(at("ec.pem"), at("ec.key"));
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE(first->warnings.empty()) << first->warnings.front();
  EXPECT_TRUE(first->pair->ecdsa);
  EXPECT_EQ(first->pair->names, (std::vector<std::string>{"a.example.com", "*.b.example.com"}));
  EXPECT_EQ(first->pair->chain_der.size(), 2U);
  EXPECT_NEAR(static_cast<double>(first->pair->not_after), static_cast<double>(std::time(nullptr) + 30L * 24 * 3600),
              60);
  EXPECT_LT(first->pair->not_before, std::time(nullptr));

  const auto old = load_pair(at("ec.pem"), at("ec-old.key"));
  ASSERT_TRUE(old) << old.error().message;
  EXPECT_EQ(old->pair->fingerprint, first->pair->fingerprint);  // both forms are stored as PKCS#8

  const auto second = load_pair(at("rsa.pem"), at("rsa.key"));
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_FALSE(second->pair->ecdsa);
  EXPECT_EQ(second->pair->names, std::vector<std::string>{"cn.example.com"});
  EXPECT_NE(second->pair->fingerprint, first->pair->fingerprint);
  EXPECT_EQ(load_pair(at("rsa.pem"), at("rsa-old.key"))->pair->fingerprint, second->pair->fingerprint);
}

TEST_F(CertificateFiles, ErrorsSayWhatIsWrong) {
  const Identity ca = make_certificate({.names = {}, .common_name = "ca", .ca = true});
  const Identity one = make_certificate({.issuer = &ca});
  const Identity two = make_certificate({});
  const Identity small = make_certificate({.key = test::rsa_key(1024)});
  put("a.pem", one.cert_pem());
  put("a.key", one.key_pem());
  put("b.key", two.key_pem());
  put("secret.key", one.key_pem("passphrase"));
  put("empty.pem", "");
  put("text.pem", "hello\n");
  put("reversed.pem", ca.cert_pem() + one.cert_pem());
  put("half.pem", one.cert_pem().substr(0, 300));
  put("chain.pem", one.cert_pem() + ca.cert_pem().substr(0, 200));
  put("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  put("damaged.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
  put("small.pem", small.cert_pem());
  put("small.key", small.key_pem());
  const std::shared_ptr<EVP_PKEY> edwards(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), test::FreeKey());
  put("ed.key", Identity{edwards, nullptr}.key_pem());

  EXPECT_EQ(error("none.pem", "a.key"), "none.pem: No such file or directory");
  EXPECT_EQ(error("a.pem", "none.key"), "none.key: No such file or directory");
  EXPECT_EQ(error(".", "a.key"), ".: not a regular file");
  EXPECT_EQ(error("empty.pem", "a.key"), "empty.pem: the file is empty");
  EXPECT_EQ(error("text.pem", "a.key"), "text.pem: no certificate in it");
  EXPECT_EQ(error("a.key", "a.key"), "a.key: no certificate in it");
  EXPECT_TRUE(error("half.pem", "a.key").starts_with("half.pem: certificate 1 does not parse: "))
      << error("half.pem", "a.key");
  EXPECT_TRUE(error("chain.pem", "a.key").starts_with("chain.pem: certificate 2 does not parse: "));
  EXPECT_TRUE(error("damaged.pem", "a.key").starts_with("damaged.pem: certificate 1 does not parse: "));
  EXPECT_EQ(error("a.pem", "a.pem"), "a.pem: no private key in it (PEM, \"BEGIN PRIVATE KEY\")");
  EXPECT_TRUE(error("a.pem", "damaged.key").starts_with("damaged.key: the key does not parse: "));
  EXPECT_EQ(error("a.pem", "secret.key"),
            "secret.key: the key is encrypted; store it without a passphrase, readable by this process alone");
  EXPECT_EQ(error("a.pem", "b.key"),
            "b.key: the key does not match the certificate a.pem; one of the two files is from another pair or not yet "
            "renewed");
  EXPECT_EQ(error("reversed.pem", "a.key"),
            "a.key: the key matches certificate 2 of reversed.pem; the host's own certificate must come first");
  EXPECT_EQ(error("small.pem", "small.key"), "small.key: the key has 1024 bits, too few for any client");
  EXPECT_EQ(error("a.pem", "ed.key"), "ed.key: the key is neither RSA nor ECDSA");
}

TEST_F(CertificateFiles, TheKeyIsComparedBeforeTheChainIsReadWhichIsBounded) {
  const Identity ca = make_certificate({.names = {}, .common_name = "ca", .ca = true});
  const Identity one = make_certificate({.issuer = &ca});
  std::string chain = one.cert_pem();
  for (int n = 1; n < kMostCertificates; ++n) chain += ca.cert_pem();
  put("most.pem", chain);
  put("beyond.pem", chain + ca.cert_pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  put("a.key", one.key_pem());
  put("b.key", make_certificate({}).key_pem());
  EXPECT_EQ(error("most.pem", "a.key"), "loaded");
  EXPECT_EQ(error("beyond.pem", "a.key"),
            "beyond.pem: more than 16 certificates; keep the host's own and those between it and its root");
  EXPECT_TRUE(error("beyond.pem", "b.key").starts_with("b.key: the key does not match the certificate beyond.pem;"));
  EXPECT_FALSE(load_pair(at("beyond.pem"), at("b.key")).error().retryable);
  EXPECT_TRUE(load_pair(at("most.pem"), at("none.key")).error().retryable);
}

// Every client of the host would be sent it, and would give up.
TEST_F(CertificateFiles, ACertificateThatNoClientTakesIsRefused) {
  std::vector<std::string> names;
  while (names.size() < 2'000) names.push_back(std::string(50, 'n') + std::to_string(names.size()) + ".example.com");
  const Identity large = make_certificate({.names = names});
  put("large.pem", large.cert_pem());
  put("large.key", large.key_pem());
  EXPECT_EQ(
      error("large.pem", "large.key"),
      "large.pem: its certificates take 133 KiB, and clients take no more than 100; keep the host's own and those "
      "between it and its root");
}

TEST_F(CertificateFiles, AnUnreadableKeySaysWhoLacksWhat) {
  const Identity one = make_certificate({});
  put("a.pem", one.cert_pem(), 0644);
  put("a.key", one.key_pem(), 0000);
  chmod(folder_.c_str(), 0755);
  // Root reads everything: look as somebody else, and come back.
  const uid_t me = geteuid();
  const uid_t nobody = 65534;
  if (me == 0) {
    ASSERT_EQ(seteuid(nobody), 0);
  }
  const std::string text = error("a.pem", "a.key");
  if (me == 0) {
    ASSERT_EQ(seteuid(me), 0);
  }
  EXPECT_TRUE(text.starts_with("a.key: Permission denied; this process runs as ")) << text;
  EXPECT_TRUE(text.ends_with(" and has mode 0000")) << text;
}

TEST_F(CertificateFiles, WarningsDoNotStopAPair) {
  const auto warnings = [&](const Identity& identity, const std::string& more = "", mode_t mode = 0600) {
    put("w.pem", identity.cert_pem() + more);
    put("w.key", identity.key_pem(), mode);
    auto loaded = load_pair(at("w.pem"), at("w.key"));
    if (!loaded) return loaded.error().message;
    return loaded->warnings.size() == 1 ? relative(loaded->warnings.front())
                                        : std::to_string(loaded->warnings.size()) + " warnings";
  };
  EXPECT_EQ(warnings(make_certificate({.starts_in = -7200, .ends_in = -3600})), "0 warnings") << "not the file's fault";
  EXPECT_EQ(warnings(make_certificate({}), "", 0644), "w.key: every user can read the key; chmod o-r it");
  EXPECT_EQ(warnings(make_certificate({.names = {"bad name"}})),
            "w.pem: no host name in the certificate; it serves nobody");
  const Identity stranger = make_certificate({.common_name = "stranger", .ca = true});
  EXPECT_EQ(warnings(make_certificate({}), stranger.cert_pem()),
            "w.pem: certificate 2 did not issue certificate 1; clients may refuse the chain");
}

TEST_F(CertificateFiles, DirectoriesOfEveryLayout) {
  for (const char* name : {"a.pem",
                           "a.key",
                           "b.crt",
                           "b.key",
                           "both.pem",
                           "both.crt",
                           "both.key",
                           "lonely.pem",
                           "orphan.key",
                           "kube/tls.crt",
                           "kube/tls.key",
                           "kube/ca.crt",
                           "bot/fullchain.pem",
                           "bot/privkey.pem",
                           "bot/chain.pem",
                           "bot/cert.pem",
                           "tls.crt",
                           "tls.key",
                           ".hidden.pem",
                           ".hidden.key",
                           ".dir/tls.key",
                           "README"}) {
    put(name, "");
  }
  fs::create_directory_symlink(folder_ / "bot", folder_ / "link");
  const auto listed = list_pairs(folder_.string());
  ASSERT_TRUE(listed);
  std::vector<std::string> found;
  for (const PairFiles& pair : *listed) found.push_back(relative(pair.cert) + " " + relative(pair.key));
  EXPECT_EQ(found, (std::vector<std::string>{"a.pem a.key", "b.crt b.key", "bot/fullchain.pem bot/privkey.pem",
                                             "both.pem both.key", "kube/tls.crt kube/tls.key",
                                             "link/fullchain.pem link/privkey.pem", "orphan.pem orphan.key",
                                             "tls.crt tls.key"}));
  EXPECT_EQ(relative(list_pairs(at("nowhere")).error().message), "nowhere: No such file or directory");
  // Nothing of a mounted secret lies beside them.
  fs::remove(folder_ / "tls.key");
  const auto lone = list_pairs(folder_.string());
  ASSERT_TRUE(lone);
  found.clear();
  for (const PairFiles& pair : *lone) {
    if (pair.lone) found.push_back(relative(pair.cert) + " " + relative(pair.key));
  }
  EXPECT_EQ(found, (std::vector<std::string>{"lonely.pem lonely.pem", "tls.crt tls.crt"}));
}

// ---- the store

CertifiedKeyPtr pair(std::vector<std::string> names, bool ecdsa = true, std::int64_t not_after = 1) {
  auto made = std::make_shared<CertifiedKey>();
  made->names = std::move(names);
  made->ecdsa = ecdsa;
  made->not_after = not_after;
  return made;
}

TEST(CertificateStore, ExactBeforeWildcardOfOneLabel) {
  const auto exact = pair({"a.example.com"});
  const auto wild = pair({"*.example.com", "example.com"});
  const CertificateStore store({wild, exact});
  const auto found = [&](std::string_view name) {
    return store.find(name).ecdsa != nullptr ? *store.find(name).ecdsa : nullptr;
  };
  EXPECT_EQ(found("a.example.com"), exact);
  EXPECT_EQ(found("b.example.com"), wild);
  EXPECT_EQ(found("example.com"), wild);
  for (const char* name :
       {"x.b.example.com", ".example.com", "*.example.com", "com", "", "b.example.org", "example.co"}) {
    EXPECT_FALSE(store.find(name)) << name;
  }
  EXPECT_FALSE(CertificateStore().find("a"));
}

TEST(CertificateStore, TheLastToExpireWinsPerKeyType) {
  const auto old = pair({"a", "b"}, true, 100);
  const auto renewed = pair({"a"}, true, 200);
  const auto rsa = pair({"a"}, false, 50);
  const auto same = pair({"a"}, false, 50);
  for (const auto& order : {std::vector{old, renewed, rsa, same}, std::vector{rsa, renewed, same, old}}) {
    const CertificateStore store(order);
    EXPECT_EQ(*store.find("a").ecdsa, renewed);
    EXPECT_EQ(*store.find("a").rsa, rsa);
    EXPECT_EQ(*store.find("b").ecdsa, old);
    EXPECT_EQ(store.find("b").rsa, nullptr);
    EXPECT_EQ(store.pairs().size(), 4U);
  }
}

TEST(CertificateStore, OfSeveralPairsThoseThatAreValidNowComeFirst) {
  const auto pair = [](bool ecdsa, std::int64_t from, std::int64_t to) {
    auto made = std::make_shared<CertifiedKey>();
    made->names = {"a.example.com"};
    made->ecdsa = ecdsa;
    made->not_before = from;
    made->not_after = to;
    return made;
  };
  const auto now_ec = pair(true, 100, 200);
  const auto next_ec = pair(true, 180, 400);
  const auto old_ec = pair(true, 50, 90);
  const auto rsa = pair(false, 100, 300);
  const CertificateStore staged({old_ec, now_ec, next_ec});
  const auto ecdsa = [](const CertificateStore& store, std::int64_t at) {
    const auto choice = store.find("a.example.com", {}, at);
    return choice.ecdsa == nullptr ? nullptr : *choice.ecdsa;
  };
  EXPECT_EQ(ecdsa(staged, 60), old_ec);
  EXPECT_EQ(ecdsa(staged, 150), now_ec);
  EXPECT_EQ(ecdsa(staged, 190), next_ec) << "both are valid: who expires last";
  EXPECT_EQ(ecdsa(staged, 500), next_ec) << "none is valid";
  // Of two key types the one that is valid alone.
  const CertificateStore moved({old_ec, rsa});
  EXPECT_EQ(ecdsa(moved, 150), nullptr);
  EXPECT_EQ(*moved.find("a.example.com", {}, 150).rsa, rsa);
  EXPECT_EQ(ecdsa(moved, 60), old_ec);
  EXPECT_EQ(moved.find("a.example.com", {}, 60).rsa, nullptr);
  EXPECT_TRUE(moved.find("a.example.com", {}, 500).ecdsa != nullptr &&
              moved.find("a.example.com", {}, 500).rsa != nullptr);
}

}  // namespace
}  // namespace edgemux::core
