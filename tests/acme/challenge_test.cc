#include "acme/challenge.h"

#include <gtest/gtest.h>

#include <string>

namespace edgemux::acme {
namespace {

const std::string prefix = "/.well-known/acme-challenge/";

TEST(Challenge, TakesExactlyAToken) {
  EXPECT_EQ(token_of(prefix + "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"),
            "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0");
  EXPECT_EQ(token_of(prefix + "a"), "a");
  EXPECT_EQ(token_of(prefix + "-_09azAZ"), "-_09azAZ");
  EXPECT_EQ(token_of(prefix + std::string(256, 'x')), std::string(256, 'x'));
}

TEST(Challenge, RefusesEverythingElse) {
  for (const std::string& target : {prefix,
                                    prefix + "a/",
                                    prefix + "a/b",
                                    prefix + "../etc/passwd",
                                    prefix + "..",
                                    prefix + ".",
                                    prefix + "a.b",
                                    prefix + "%61",
                                    prefix + "a%2f..",
                                    prefix + "a?x=1",
                                    prefix + "a#x",
                                    prefix + "a b",
                                    prefix + "a=",
                                    prefix + "/a",
                                    prefix + "a\\b",
                                    prefix + std::string("a\0", 2),
                                    prefix + "caf\xc3\xa9",
                                    prefix + std::string(257, 'x'),
                                    std::string("/.well-known/acme-challenge"),
                                    std::string("/.well-known/acme-challengex/a"),
                                    std::string("/.Well-Known/acme-challenge/a"),
                                    std::string("//.well-known/acme-challenge/a"),
                                    std::string("/x/.well-known/acme-challenge/a"),
                                    std::string(".well-known/acme-challenge/a"),
                                    std::string("/"),
                                    std::string("*"),
                                    std::string()}) {
    EXPECT_EQ(token_of(target), std::nullopt) << target;
  }
}

TEST(Challenge, RefusesEveryByteThatIsNoBase64Url) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool good = (byte < 128 && std::isalnum(byte) != 0) || c == '-' || c == '_';
    EXPECT_EQ(token_of(prefix + "a" + c + "b").has_value(), good) << byte;
  }
}

TEST(Challenge, KnowsThePrefix) {
  EXPECT_TRUE(is_challenge_path(prefix));
  EXPECT_TRUE(is_challenge_path(prefix + "../x"));
  EXPECT_TRUE(is_challenge_path(prefix + "a?b"));
  EXPECT_FALSE(is_challenge_path("/.well-known/acme-challenge"));
  EXPECT_FALSE(is_challenge_path("/"));
}

}  // namespace
}  // namespace edgemux::acme
