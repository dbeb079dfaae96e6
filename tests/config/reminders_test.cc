#include "config/reminders.h"

#include <gtest/gtest.h>

namespace edgemux::config {
namespace {

constexpr std::int64_t kDay = 24 * 3600;
constexpr std::int64_t kNow = 1'798'761'600;  // 2027-01-01

std::string told(std::int64_t not_after, std::int64_t not_before = 0) {
  core::CertifiedKey pair;
  pair.cert_file = "a.pem";
  pair.names = {"a.example.com", "b.example.com"};
  pair.not_after = not_after;
  pair.not_before = not_before;
  Problems problems(std::make_shared<const std::string>("f"), nullptr);
  remind_of_expiry(pair, {2, 3}, kNow, problems);
  const auto all = problems.take();
  return all.empty() ? "" : all.front().headline();
}

TEST(Reminders, ACertificateThatExpiresWithinTwoWeeksIsNamed) {
  EXPECT_EQ(told(kNow + 14 * kDay + 1), "");
  EXPECT_EQ(
      told(kNow + 14 * kDay),
      "f:2:3: warning: a.pem: the certificate for a.example.com expires on 2027-01-15, in 14 days; renew it; a new "
      "file is taken up by itself");
  EXPECT_NE(told(kNow + kDay + 1).find("on 2027-01-02, in 1 day;"), std::string::npos);
  EXPECT_NE(told(kNow + 10).find("in less than a day;"), std::string::npos);
  EXPECT_EQ(told(kNow - 1), "f:2:3: warning: a.pem: expired on 2026-12-31");
  EXPECT_EQ(told(kNow + 90 * kDay, kNow + kDay), "f:2:3: warning: a.pem: not valid before 2027-01-02");
}

TEST(Reminders, AWildcardIsAskedForAsAnyOfItsNames) {
  EXPECT_EQ(name_to_serve("a.example.com"), "a.example.com");
  EXPECT_EQ(name_to_serve("*.example.com"), "any-name-of-a-wildcard.example.com");
}

}  // namespace
}  // namespace edgemux::config
