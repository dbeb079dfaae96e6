// Certificate pairs of a configuration: files that are named and directories, what of them is kept, and what is told.
#include <ctime>

#include "tests/config/compiler_fixture.h"

namespace edgemux::config {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A directory, and the pairs in it.
class DirectoryOfPairs : public CompilerTest {
 protected:
  void SetUp() override {
    folder("certs");
    main_file("certificates: [{ directory: certs }]\nroutes: [{ host: a.example.com, rules: [{ respond: {} }] }]\n");
  }
  void secret(const std::string& name, const std::string& content) const {
    write(name, content);
    ::chmod(path(name).c_str(), 0600);
  }
  static bool serves(const Compiled& c, const char* host) { return bool{c.snapshot->certificates->find(host)}; }

  edgemux::test::Identity authority_ =
      edgemux::test::make_certificate({.names = {}, .common_name = "some CA", .ca = true});
  edgemux::test::Identity a_ = edgemux::test::make_certificate({.names = {"a.example.com"}, .issuer = &authority_});
};

TEST_F(DirectoryOfPairs, AChainBesideItsPairIsNotMissed) {
  write("certs/a.crt", a_.cert_pem());
  secret("certs/a.key", a_.key_pem());
  write("certs/a.fullchain.crt", a_.cert_pem() + authority_.cert_pem());
  const auto it = compiler();
  EXPECT_THAT(text(it->compile()), IsEmpty());
  const auto other = edgemux::test::make_certificate({.names = {"a.example.com"}, .issuer = &authority_});
  write("certs/a.fullchain.crt", other.cert_pem() + authority_.cert_pem());
  EXPECT_THAT(text(it->compile()), HasSubstr("a.fullchain.crt: the certificate for a.example.com is not used"));
}

TEST_F(DirectoryOfPairs, AFileThatLosesItsKeyIsToldForAsLongAsItsPairServes) {
  secret("certs/site.pem", a_.cert_pem() + a_.key_pem());
  const auto it = compiler();
  EXPECT_THAT(text(it->compile()), IsEmpty());
  for (const std::string& left : {a_.cert_pem(), authority_.cert_pem(), std::string("nothing of the kind\n")}) {
    secret("certs/site.pem", left);
    const auto c = it->compile();
    EXPECT_TRUE(serves(c, "a.example.com"));
    EXPECT_THAT(text(c), HasSubstr("error: " + path("certs/site.pem") +
                                   ": it had a pair in it, and has no key any more; the pair that was loaded before "
                                   "stays in use\n"));
    EXPECT_EQ(c.diagnostics.size(), 1U) << text(c);
  }
  secret("certs/site.pem", a_.cert_pem() + a_.key_pem());
  EXPECT_THAT(text(it->compile()), IsEmpty());
}

TEST_F(DirectoryOfPairs, AKeyThatMovesIntoItsCertificatesFileIsLookedAt) {
  write("certs/a.pem", a_.cert_pem());
  secret("certs/a.key", a_.key_pem());
  const auto it = compiler();
  EXPECT_THAT(text(it->compile()), IsEmpty());
  fs::remove(path("certs/a.key"));
  write("certs/a.pem", a_.cert_pem() + a_.key_pem());
  ::chmod(path("certs/a.pem").c_str(), 0644);
  const auto c = it->compile();
  EXPECT_TRUE(serves(c, "a.example.com"));
  EXPECT_THAT(text(c), HasSubstr("a.pem: every user can read the key"));
}

// HAProxy has certificate and key in one file.
TEST_F(CompilerTest, TheKeyMayBeInsideOfACertificateFileOfADirectory) {
  for (const char* name : {"one", "keyless", "odd"}) folder(name);
  const auto made = edgemux::test::make_certificate({.names = {"a.example.com"}});
  const auto authority = edgemux::test::make_certificate({.names = {}, .common_name = "some CA", .ca = true});
  const auto other = edgemux::test::make_certificate({.names = {"b.example.com"}, .issuer = &authority});
  write("one/site.pem", made.cert_pem() + made.key_pem());
  ::chmod(path("one/site.pem").c_str(), 0600);
  write("keyless/b.crt", other.cert_pem());
  write("keyless/dhparam.pem", "-----BEGIN DH PARAMETERS-----\nMAA=\n-----END DH PARAMETERS-----\n");
  write("odd/broken.pem", other.cert_pem() + made.key_pem());
  ::chmod(path("odd/broken.pem").c_str(), 0600);
  main_file(
      "certificates: [{ directory: one }, { directory: keyless }, { directory: odd }]\n"
      "routes: [{ host: a.example.com, rules: [{ respond: {} }] }]\n");
  const auto it = compiler();
  const auto c = it->compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  EXPECT_TRUE(c.snapshot->certificates->find("a.example.com"));
  EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:5:36: warning: " + path("keyless/b.crt") +
                                 ": the certificate for b.example.com is not used: there is no key in it, and no "
                                 "b.key beside it\n"));
  EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:5:60: warning: " + path("odd/broken.pem") + ": the key does not match"));
  EXPECT_EQ(c.errors(), 0U) << text(c);
  EXPECT_EQ(c.warnings(), 2U) << text(c);

  // What is no host's is passed over.
  fs::remove(path("keyless/b.crt"));
  write("keyless/b.key", other.key_pem());
  ::chmod(path("keyless/b.key").c_str(), 0600);
  write("keyless/b.pem", other.cert_pem());
  EXPECT_TRUE(it->compile().snapshot->certificates->find("b.example.com"));
  fs::remove(path("keyless/b.pem"));
  fs::remove(path("keyless/b.key"));
  EXPECT_THAT(text(it->compile()), HasSubstr("there is no certificate in " + path("keyless") + " yet"));
}

TEST_F(CompilerTest, CertificatesComeFromFilesAndDirectories) {
  folder("certs.d");
  pair("a.pem", "a.key", {"a.example.com"});
  pair("certs.d/b.pem", "certs.d/b.key", {"b.example.com"});
  pair("certs.d/broken.pem", "certs.d/other.key", {"x.example.com"});
  fs::rename(path("certs.d/other.key"), path("certs.d/broken.key"));
  write("certs.d/broken.pem", "nothing");
  main_file(
      "certificates:\n"
      "  - { cert: a.pem, key: a.key }\n"
      "  - { directory: certs.d }\n"
      "  - { cert: none.pem, key: none.key }\n"
      "routes: [{ hosts: [a.example.com, b.example.com, c.example.com], rules: [{ respond: {} }] }]\n");
  const auto it = compiler();
  const auto c = it->compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  EXPECT_TRUE(c.snapshot->certificates->find("a.example.com"));
  EXPECT_TRUE(c.snapshot->certificates->find("b.example.com"));
  EXPECT_EQ(c.errors(), 2U) << text(c);
  EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:7:5: error: "));
  EXPECT_THAT(text(c), HasSubstr("broken.pem"));
  EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:8:5: error: "));
  EXPECT_THAT(text(c), HasSubstr("no certificate serves 'c.example.com'"));
  EXPECT_THAT(c.directories, Contains(path("certs.d")));
  EXPECT_THAT(c.files, Contains(path("none.pem")));

  // A renewal, half done: the pair that was good stays until the second file is there.
  const auto before = c.snapshot->certificates->pairs();
  const auto renewed = edgemux::test::make_certificate({{"a.example.com"}});
  replace("a.pem", renewed.cert_pem());
  const auto half = it->compile();
  EXPECT_EQ(half.errors(), 3U) << text(half);
  EXPECT_THAT(text(half), HasSubstr("the pair that was loaded before stays in use"));
  EXPECT_TRUE(half.snapshot->certificates->find("a.example.com"));
  replace("a.key", renewed.key_pem());
  ::chmod(path("a.key").c_str(), 0600);
  const auto whole = it->compile();
  EXPECT_EQ(whole.errors(), 2U) << text(whole);
  EXPECT_NE(whole.fingerprint, half.fingerprint);
  ASSERT_TRUE(whole.snapshot->certificates->find("a.example.com"));
  EXPECT_NE((*whole.snapshot->certificates->find("a.example.com").ecdsa)->fingerprint,
            (*c.snapshot->certificates->find("a.example.com").ecdsa)->fingerprint);
  // Unchanged pairs are not read again.
  EXPECT_EQ(*whole.snapshot->certificates->find("b.example.com").ecdsa,
            *c.snapshot->certificates->find("b.example.com").ecdsa);
}

TEST_F(CompilerTest, ADirectoryOfCertificatesThatIsAwayForAMomentTakesNoneAway) {
  folder("certs.d");
  pair("certs.d/a.pem", "certs.d/a.key", {"a.example.com"});
  pair("certs.d/b.pem", "certs.d/b.key", {"b.example.com"});
  main_file(
      "certificates: [{ directory: certs.d }]\n"
      "routes: [{ hosts: [a.example.com, b.example.com], rules: [{ respond: {} }] }]\n");
  const auto it = compiler();
  const auto serves = [](const Compiled& c, const char* name) {
    return static_cast<bool>(c.snapshot->certificates->find(name));
  };
  ASSERT_EQ(it->compile().errors(), 0U);

  fs::rename(path("certs.d"), path("elsewhere"));
  for (int i = 0; i < 2; ++i) {
    const auto away = it->compile();
    EXPECT_THAT(text(away), HasSubstr("the certificates that it had stay in use"));
    EXPECT_EQ(away.errors(), 1U) << text(away);
    EXPECT_TRUE(serves(away, "a.example.com") && serves(away, "b.example.com"));
  }
  fs::rename(path("elsewhere"), path("certs.d"));
  EXPECT_EQ(it->compile().errors(), 0U);

  // One half of a pair goes before the new one comes.
  fs::remove(path("certs.d/a.key"));
  for (int i = 0; i < 2; ++i) {
    const auto half = it->compile();
    EXPECT_THAT(text(half), HasSubstr("the pair that was loaded before stays in use"));
    EXPECT_TRUE(serves(half, "a.example.com"));
  }
  // Both are gone: it is meant.
  fs::remove(path("certs.d/a.pem"));
  const auto gone = it->compile();
  EXPECT_THAT(text(gone), HasSubstr("no certificate serves 'a.example.com'"));
  EXPECT_FALSE(serves(gone, "a.example.com"));
  EXPECT_TRUE(serves(gone, "b.example.com"));

  // The certificate goes for a moment, and the key later moves into its file.
  fs::rename(path("certs.d/b.pem"), path("b.pem"));
  EXPECT_TRUE(serves(it->compile(), "b.example.com"));
  fs::rename(path("b.pem"), path("certs.d/b.pem"));

  // Under another name, with the same key.
  fs::rename(path("certs.d/b.pem"), path("certs.d/b.crt"));
  const auto renamed = it->compile();
  EXPECT_TRUE(serves(renamed, "b.example.com"));
  EXPECT_THAT(text(renamed), Not(HasSubstr("certs.d/b.pem")));
  fs::rename(path("certs.d/b.crt"), path("b.crt"));
  EXPECT_TRUE(serves(it->compile(), "b.example.com")) << "as b.pem does";
  fs::rename(path("b.crt"), path("certs.d/b.crt"));
  EXPECT_EQ(text(it->compile()), text(renamed));

  // Both in one file.
  const auto both = edgemux::test::make_certificate({.names = {"b.example.com"}});
  write("certs.d/b.crt", both.cert_pem() + both.key_pem());
  ::chmod(path("certs.d/b.crt").c_str(), 0600);
  fs::remove(path("certs.d/b.key"));
  const auto joined = it->compile();
  EXPECT_TRUE(serves(joined, "b.example.com"));
  EXPECT_THAT(text(joined), Not(HasSubstr("certs.d/b")));
}

}  // namespace
}  // namespace edgemux::config
