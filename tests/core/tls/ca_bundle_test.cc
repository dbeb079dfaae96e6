#include "core/tls/ca_bundle.h"

#include <functional>
#include <string>
#include <vector>

#include "tests/core/tls/tls_fixture.h"

namespace edgemux::core {
namespace {

std::string why_not(const std::string& pem) {
  const auto made = CaBundle::parse(pem);
  return made ? std::to_string((*made)->size()) + " certificates" : made.error().message;
}

// With one key, as those are what takes long.
std::string certificates(std::size_t count, const std::function<std::string(std::size_t)>& name) {
  static const auto key = test::make_ec_key();
  std::string pem;
  for (std::size_t i = 0; i < count; ++i) {
    pem += make_certificate({.names = {}, .common_name = name(i), .key = key, .ca = true}).cert_pem();
  }
  return pem;
}

std::string numbered(std::size_t i) { return "ca " + std::to_string(i); }

TEST(CaBundleTest, TellsWhatIsWrong) {
  const std::string whole = make_certificate({.ca = true}).cert_pem();
  EXPECT_EQ(why_not(""), "no certificate in it");
  EXPECT_EQ(why_not("nonsense"), "no certificate in it");
  EXPECT_TRUE(why_not(whole + whole.substr(0, whole.size() / 2)).starts_with("certificate 2 does not parse: "));
  // What is none inside says so after one that is equal, too.
  const std::string hollow = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
  EXPECT_TRUE(why_not(whole + whole + hollow).starts_with("certificate 3 does not parse: ")) << why_not(whole + hollow);
  EXPECT_EQ(why_not(whole), "1 certificates");
  EXPECT_EQ(why_not("Somebody's CA\n" + whole + "and once more\n" + whole), "1 certificates");
}

TEST(CaBundleTest, HasABoundOfCertificatesWhichEqualOnesDoNotReach) {
  const std::string most = certificates(CaBundle::kMost, numbered);
  EXPECT_EQ(why_not(most), "1000 certificates");
  EXPECT_EQ(why_not(most + most), "1000 certificates");
  EXPECT_EQ(why_not(most + make_certificate({.ca = true}).cert_pem()), "more than 1000 certificates");
}

TEST(CaBundleTest, HasABoundOfThoseWithOneSubject) {
  const auto same = [](std::size_t) { return std::string("the same"); };
  const std::string most = certificates(CaBundle::kMostOfOneSubject, same);
  const std::string others = certificates(CaBundle::kMostOfOneSubject, numbered);
  EXPECT_EQ(why_not(others + most), "128 certificates");
  EXPECT_EQ(why_not(others + most + certificates(1, same)), "more than 64 certificates of one subject");
}

TEST(CaBundleTest, TextsTellBundlesApart) {
  const std::string pem = make_certificate({.ca = true}).cert_pem();
  EXPECT_EQ(bundle(pem)->fingerprint(), bundle(pem)->fingerprint());
  EXPECT_EQ(bundle(pem)->fingerprint(), CaBundle::fingerprint_of(pem));
  EXPECT_NE(bundle(pem)->fingerprint(), bundle(pem + "\n")->fingerprint());
}

TEST(CaBundleTest, CoversWhatHasNoCertificateThatItLacks) {
  const auto same = [](std::size_t) { return std::string("the same"); };
  const std::string some = certificates(3, numbered) + certificates(2, same);
  const std::string another = certificates(1, same);  // of the same subject
  EXPECT_TRUE(bundle(some)->covers(*bundle(some)));
  EXPECT_TRUE(bundle(another + some)->covers(*bundle(some)));
  EXPECT_TRUE(bundle(some + "\n")->covers(*bundle(some)));
  EXPECT_FALSE(bundle(some)->covers(*bundle(another + some)));
  EXPECT_FALSE(bundle(another)->covers(*bundle(some)));
}

TEST(CaBundleTest, APolicyThatAsksForNoMoreLetsClientsOfAnotherIn) {
  const std::string first = certificates(1, numbered);
  const CaBundlePtr old = bundle(first);
  const CaBundlePtr more = bundle(certificates(1, numbered) + first);
  const auto lets_in = [](ClientAuth now, const CaBundlePtr& trusted, ClientAuth before, const CaBundlePtr& was) {
    TlsPolicy policy{.client_auth = now, .client_ca = trusted};
    return policy.lets_in_clients_of({.client_auth = before, .client_ca = was});
  };
  using enum ClientAuth;
  EXPECT_TRUE(lets_in(none, nullptr, require, old));
  EXPECT_FALSE(lets_in(optional, old, none, nullptr));
  EXPECT_FALSE(lets_in(require, old, optional, old));
  EXPECT_TRUE(lets_in(optional, old, require, old));
  EXPECT_TRUE(lets_in(require, more, require, old));
  EXPECT_FALSE(lets_in(require, old, require, more));
}

// Of those with the issuer's name the one that is valid counts, wherever it stands.
TEST_F(TlsTest, ABundleIsSearchedForTheIssuer) {
  const Identity authority = make_certificate({.names = {}, .common_name = "clients", .ca = true});
  const Identity client = make_certificate({.names = {"me"}, .common_name = "me", .issuer = &authority});
  const std::string expired =
      make_certificate({.names = {}, .common_name = "clients", .ca = true, .starts_in = -7200, .ends_in = -3600})
          .cert_pem();
  const std::string others = certificates(20, numbered) + expired;
  for (const auto& [pem, accepted] :
       {std::pair(others + authority.cert_pem(), true), std::pair(authority.cert_pem() + others, true),
        std::pair(others, false), std::pair(certificates(20, numbered) + client.cert_pem(), true)}) {
    const auto policy = sealed({.client_auth = ClientAuth::require, .client_ca = bundle(pem)});
    for (int i = 0; i < 2; ++i) {
      Connection c(*worker_, policy, store_, {.identity = &client});
      c.run();
      EXPECT_EQ(c.server->handshake == HandshakeStatus::done, accepted) << c.stream().failure();
    }
  }
}

}  // namespace
}  // namespace edgemux::core
