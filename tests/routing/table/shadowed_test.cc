#include "routing/table/shadowed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "tests/routing/table/rules.h"

namespace edgemux::routing {
namespace {

using test::named;
using test::RuleBuilder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> found(std::vector<Rule> rules) {
  const RuleTable table(std::move(rules));
  std::vector<std::string> out;
  for (const auto& one : shadowed_rules(table)) out.push_back(named(table[one.rule]) + " by " + named(table[one.by]));
  return out;
}

TEST(Shadowed, MoreSpecificRulesShadowNothing) {
  EXPECT_THAT(found({RuleBuilder("root").prefix("/").rule(), RuleBuilder("a").prefix("/a").rule(),
                     RuleBuilder("exact").exact("/a").rule(), RuleBuilder("get").prefix("/a").methods({"GET"}).rule(),
                     RuleBuilder("x").prefix("/a").header("x", "1").rule(),
                     RuleBuilder("y").prefix("/a").header("y", "1").rule()}),
              IsEmpty());
}

TEST(Shadowed, TheSameConditionsTwice) {
  EXPECT_THAT(found({RuleBuilder("one").regex("/a.*").rule(), RuleBuilder("two").regex("/a.*").rule()}),
              ElementsAre("two by one"));
  EXPECT_THAT(found({RuleBuilder("one").header("x", "1").query("q", "1").rule(),
                     RuleBuilder("two").header("x", "1").query("q", "1").rule()}),
              ElementsAre("two by one"));
}

TEST(Shadowed, AHigherPriorityTakesAllBelowIt) {
  EXPECT_THAT(found({RuleBuilder("wide").prefix("/a").priority(1).rule(), RuleBuilder("b").prefix("/a/b").rule(),
                     RuleBuilder("exact").exact("/a/c").methods({"GET"}).rule(), RuleBuilder("ab").prefix("/ab").rule(),
                     RuleBuilder("regex").regex("/a/.*").rule()}),
              ElementsAre("exact by wide", "b by wide"));
  EXPECT_THAT(found({RuleBuilder("all").priority(1).rule(), RuleBuilder("regex").regex("/a/.*").rule()}),
              ElementsAre("regex by all"));
  EXPECT_THAT(found({RuleBuilder("regex").regex("/a/.*").priority(1).rule(), RuleBuilder("exact").exact("/a/b").rule(),
                     RuleBuilder("other").exact("/b").rule()}),
              ElementsAre("exact by regex"));
}

TEST(Shadowed, ConditionsMustCoverToo) {
  EXPECT_THAT(found({RuleBuilder("get").methods({"GET", "PUT"}).priority(1).rule(), RuleBuilder("any").rule(),
                     RuleBuilder("put").methods({"PUT"}).rule(), RuleBuilder("both").methods({"PUT", "POST"}).rule()}),
              ElementsAre("put by get"));
  EXPECT_THAT(
      found({RuleBuilder("x").header("x", "1").priority(1).rule(),
             RuleBuilder("xy").header("x", "1").header("y", "1").rule(), RuleBuilder("x2").header("x", "2").rule()}),
      ElementsAre("xy by x"));
  EXPECT_THAT(found({RuleBuilder("^1").header_regex("x", "^1").rule(), RuleBuilder("12").header("x", "12").rule(),
                     RuleBuilder("21").header("x", "21").rule()}),
              ElementsAre("12 by ^1"));
}

TEST(Shadowed, ARuleWithCorsTakesPreflightsThatOthersLeave) {
  EXPECT_THAT(found({RuleBuilder("plain").methods({"GET"}).priority(1).rule(),
                     RuleBuilder("cors").methods({"GET"}).cors().rule()}),
              IsEmpty());
}

// A file of rules is somebody's input: 50,000 of them, compared each with each, took half a minute.
// CPU seconds for so many rules, and one more that says again what a far one says. With `levels` each has a priority.
double seconds_for(std::uint32_t many, bool levels) {
  std::vector<Rule> rules;
  rules.reserve(many + 1);
  for (std::uint32_t i = 0; i < many; ++i) {
    RuleBuilder one(std::to_string(i));
    one.prefix("/a").header("x", std::to_string(i));
    rules.push_back(levels ? one.priority(many - i).rule() : one.rule());
  }
  rules.push_back(RuleBuilder("again").prefix("/a").header("x", "7").rule());
  const auto began = std::clock();
  // What is said twice is found however far apart; what a far one above covers is not.
  EXPECT_EQ(found(std::move(rules)), levels ? std::vector<std::string>() : std::vector<std::string>{"again by 7"});
  return static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
}

TEST(Shadowed, IsNotQuadratic) {
  for (const bool levels : {false, true}) {
    const double few = seconds_for(1'000, levels);
    EXPECT_LT(seconds_for(8'000, levels), 24 * few + 0.05) << few;  // 8 if it is linear, 64 if it is quadratic
  }
}

}  // namespace
}  // namespace edgemux::routing
