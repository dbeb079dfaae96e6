// Which rule a request gets: conditions, precedence, and that the index answers as a scan would.
#include "routing/table/rule_table.h"

#include <gtest/gtest.h>

#include <ctime>
#include <random>

#include "tests/routing/table/rules.h"

namespace edgemux::routing {
namespace {

using test::named;
using test::Request;
using test::request;
using test::RuleBuilder;

std::string hit(const RuleTable& table, const test::Request& asked) {
  const Rule* rule = table.match(asked.facts());
  return rule == nullptr ? "-" : named(*rule);
}

TEST(RuleConditions, MethodsAreAlternatives) {
  const RuleTable table({RuleBuilder("a").methods({"GET", "PURGE"}).rule()});
  EXPECT_EQ(hit(table, request("/")), "a");
  EXPECT_EQ(hit(table, request("/").method("PURGE")), "a");
  EXPECT_EQ(hit(table, request("/").method("HEAD")), "-");
  EXPECT_EQ(hit(table, request("/").method("get")), "-");
}

TEST(RuleConditions, AllHeadersMustHold) {
  const RuleTable table({RuleBuilder("a").header("x-a", "1").header_regex("x-b", "^2").rule()});
  EXPECT_EQ(hit(table, request("/")), "-");
  EXPECT_EQ(hit(table, request("/").header("x-a", "1")), "-");
  EXPECT_EQ(hit(table, request("/").header("x-a", "1").header("x-b", "2.5")), "a");
  EXPECT_EQ(hit(table, request("/").header("x-a", "1").header("x-b", "12")), "-");
  EXPECT_EQ(hit(table, request("/").header("x-a", "11").header("x-b", "2")), "-");
}

TEST(RuleConditions, EachLineOfAHeaderCountsByItself) {
  const RuleTable table({RuleBuilder("a").header("x-a", "1").rule()});
  EXPECT_EQ(hit(table, request("/").header("x-a", "0").header("x-a", "1")), "a");
  EXPECT_EQ(hit(table, request("/").header("x-a", "0, 1")), "-");
}

TEST(RuleConditions, FieldsThatAreNotForwardedDoNotCount) {
  const RuleTable table(
      {RuleBuilder("a").header("x-a", "1").rule(), RuleBuilder("w").header("upgrade", "websocket").rule()});
  auto listed = request("/").header("x-a", "1");
  listed.fields[0].hop_by_hop = true;
  EXPECT_EQ(hit(table, listed), "-");
  auto upgrade = request("/").header("upgrade", "websocket");
  upgrade.fields[0].hop_by_hop = true;
  EXPECT_EQ(hit(table, upgrade), "w");
}

TEST(RuleConditions, QueryParametersAreDecoded) {
  const RuleTable table({RuleBuilder("a").query("na me", "a&b=c").rule(), RuleBuilder("e").query("empty", "").rule(),
                         RuleBuilder("r").query_regex("n", "^[0-9]+$").rule()});
  EXPECT_EQ(hit(table, request("/?na+me=a%26b=c")), "a");
  EXPECT_EQ(hit(table, request("/?x=1&na%20me=a%26b%3Dc")), "a");
  EXPECT_EQ(hit(table, request("/?na+me=a&b=c")), "-");
  EXPECT_EQ(hit(table, request("/?na+me=a%26b=cd")), "-");
  EXPECT_EQ(hit(table, request("/?NA+me=a%26b=c")), "-");
  EXPECT_EQ(hit(table, request("/?empty")), "e");
  EXPECT_EQ(hit(table, request("/?empty=")), "e");
  EXPECT_EQ(hit(table, request("/?empty=%")), "-");
  EXPECT_EQ(hit(table, request("/?&&n=%31%32")), "r");
  EXPECT_EQ(hit(table, request("/?n=x&n=7")), "r");
  EXPECT_EQ(hit(table, request("/?n=7+7")), "-");
  EXPECT_EQ(hit(table, request("/")), "-");
  EXPECT_EQ(hit(table, request("/?n=" + std::string(3000, '1') + "%31")), "r");
}

TEST(RuleConditions, APatternDescribesTheWholePath) {
  const RuleTable table({RuleBuilder("a").regex("/v[0-9]+/users").rule(), RuleBuilder("b").regex("/x|/y/.*").rule()});
  EXPECT_EQ(hit(table, request("/v12/users")), "a");
  EXPECT_EQ(hit(table, request("/v12/users/7")), "-");
  EXPECT_EQ(hit(table, request("/a/v12/users")), "-");
  EXPECT_EQ(hit(table, request("/y/z")), "b");
  EXPECT_EQ(hit(table, request("/xz")), "-");
}

TEST(RuleConditions, PreflightsGoWhereTheRequestWillGo) {
  const RuleTable table(
      {RuleBuilder("cors").methods({"PUT"}).cors().rule(), RuleBuilder("plain").methods({"DELETE"}).rule()});
  const auto preflight = [](const char* method) {
    return request("/").method("OPTIONS").header("origin", "https://a").header("access-control-request-method", method);
  };
  EXPECT_EQ(hit(table, preflight("PUT")), "cors");
  EXPECT_EQ(hit(table, preflight("DELETE")), "-");
  EXPECT_EQ(hit(table, request("/").method("OPTIONS").header("access-control-request-method", "PUT")), "-");
}

TEST(Precedence, FollowsTheList) {
  // Each goes before all that follow, whatever the order in which they are listed.
  std::vector<Rule> rules = {
      RuleBuilder("priority").prefix("/").priority(1).rule(),
      RuleBuilder("exact").exact("/a/b").rule(),
      RuleBuilder("regex with method").regex("/a/.*").methods({"GET"}).rule(),
      RuleBuilder("regex").regex("/.*").rule(),
      RuleBuilder("long").prefix("/a/b").rule(),
      RuleBuilder("method").prefix("/a").methods({"GET"}).rule(),
      RuleBuilder("two headers").prefix("/a").header("x", "1").header("y", "1").rule(),
      RuleBuilder("one header").prefix("/a").header("x", "1").query("q", "1").query("r", "1").rule(),
      RuleBuilder("two parameters").prefix("/a").query("q", "1").query("r", "1").rule(),
      RuleBuilder("one parameter").prefix("/a").query("q", "1").rule(),
      RuleBuilder("first listed").prefix("/a").rule(),
  };
  const auto asked = request("/a/b?q=1&r=1").header("x", "1").header("y", "1");
  std::mt19937 random(7);
  for (std::size_t gone = 0; gone + 1 < rules.size(); ++gone) {
    std::vector<Rule> rest(rules.begin() + static_cast<std::ptrdiff_t>(gone), rules.end());
    const std::string expected = named(rest.front());
    for (int round = 0; round < 20; ++round) {
      std::shuffle(rest.begin(), rest.end(), random);
      EXPECT_EQ(hit(RuleTable(rest), asked), expected);
    }
  }
}

TEST(Precedence, FirstListedDecidesAtLast) {
  for (const std::size_t fill : {std::size_t{0}, RuleTable::kScanned}) {
    std::vector<Rule> rules = {RuleBuilder("first").prefix("/a").header("x", "1").rule(),
                               RuleBuilder("second").prefix("/a").header("y", "1").rule()};
    for (std::size_t i = 0; i < fill; ++i) rules.push_back(RuleBuilder("fill").exact("/" + std::to_string(i)).rule());
    EXPECT_EQ(hit(RuleTable(rules), request("/a").header("x", "1").header("y", "1")), "first");
    EXPECT_EQ(hit(RuleTable(rules), request("/a").header("y", "1")), "second");
  }
}

TEST(RuleTable, FallsBackToShorterPrefixesWhereConditionsFail) {
  std::vector<Rule> rules = {RuleBuilder("root").prefix("/").rule(),
                             RuleBuilder("a").prefix("/a").header("x", "1").rule(),
                             RuleBuilder("a-b").prefix("/a/b").methods({"POST"}).rule(),
                             RuleBuilder("exact").exact("/a/b").query("q", "1").rule()};
  for (int i = 0; i < 20; ++i) rules.push_back(RuleBuilder("other").prefix("/a-" + std::to_string(i)).rule());
  const RuleTable table(rules);
  EXPECT_EQ(hit(table, request("/a/b?q=1")), "exact");
  EXPECT_EQ(hit(table, request("/a/b").method("POST")), "a-b");
  EXPECT_EQ(hit(table, request("/a/b/").header("x", "1")), "a");
  EXPECT_EQ(hit(table, request("/a/b")), "root");
  EXPECT_EQ(hit(table, request("/a-7/x")), "other");
  EXPECT_EQ(hit(table, request("/a-77")), "root");
  EXPECT_EQ(hit(table, request("*")), "-");
}

// Random rules over a small alphabet, so that they meet: the index and the plain order agree on every request.
TEST(RuleTable, TheIndexAnswersAsAScanWould) {
  std::mt19937 random(1);
  const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  const auto path = [&] {
    std::string out;
    for (unsigned i = 0, n = below(4); i < n; ++i) {
      out += '/';
      for (unsigned k = 0, m = 1 + below(2); k < m; ++k) out += "ab-%0"[below(5)];
    }
    return out.empty() ? std::string("/") : out;
  };
  for (int round = 0; round < 60; ++round) {
    std::vector<Rule> rules;
    for (unsigned i = 0, n = 9 + below(120); i < n; ++i) {
      RuleBuilder builder(std::to_string(i));
      switch (below(8)) {
        case 0:
          builder.regex(path() + (below(2) == 0 ? ".*" : ""));
          break;
        case 1:
        case 2:
          builder.exact(path());
          break;
        default:
          builder.prefix(path());
      }
      if (below(4) == 0) builder.methods({below(2) == 0 ? "GET" : "POST"});
      if (below(4) == 0) builder.header("x", below(2) == 0 ? "1" : "2");
      if (below(4) == 0) builder.query("q", below(2) == 0 ? "1" : "2");
      builder.priority(below(6) == 0 ? below(3) : 0);
      rules.push_back(builder.rule());
    }
    const RuleTable table(rules);
    std::stable_sort(rules.begin(), rules.end(), goes_before);
    for (int i = 0; i < 300; ++i) {
      auto asked = request(path() + (below(3) == 0 ? "/" : "") + (below(2) == 0 ? "?q=1" : ""));
      asked.method(below(2) == 0 ? "GET" : "POST");
      if (below(2) == 0) asked.header("x", below(2) == 0 ? "1" : "2");
      std::string expected = "-";
      for (const Rule& rule : rules) {
        if (rule.test(asked.facts()) != Rule::Verdict::match) continue;
        expected = named(rule);
        break;
      }
      ASSERT_EQ(hit(table, asked), expected) << asked.target;
    }
  }
}

TEST(Pattern, SaysWhatIsWrong) {
  EXPECT_EQ(Pattern::compile("(abc", Pattern::Cover::whole).error().message, "missing ): (abc");
  EXPECT_FALSE(Pattern::compile("a{1001}", Pattern::Cover::whole).has_value());
  EXPECT_FALSE(Pattern::compile(std::string(Pattern::kLongest + 1, 'a'), Pattern::Cover::whole).has_value());
  EXPECT_FALSE(Pattern::compile("((((a{100}){100}){100}){100})", Pattern::Cover::whole).has_value());
  EXPECT_FALSE(Pattern::compile("(a)\\1", Pattern::Cover::whole).has_value());
}

TEST(Pattern, StaysLinearWithinItsMemory) {
  // Backtracking engines need exponential time for this one, and its automaton has 2^20 states.
  const auto pattern = Pattern::compile("(a|aa)*[ab]*a[ab]{20}", Pattern::Cover::whole);
  ASSERT_TRUE(pattern.has_value());
  std::string text;
  std::mt19937 random(3);
  for (int i = 0; i < 20'000; ++i) text += random() % 2 == 0 ? 'a' : 'b';
  EXPECT_FALSE((*pattern)->matches(text + "c"));
  text[text.size() - 21] = 'a';
  EXPECT_TRUE((*pattern)->matches(text));
}

TEST(Pattern, WhatTakesTooMuchSaysWhatToDo) {
  const auto pattern = Pattern::compile("(x?y?z?.?a?b?c?){1,700}", Pattern::Cover::whole);
  ASSERT_FALSE(pattern.has_value());
  EXPECT_EQ(pattern.error().message, "it takes more than 64 KiB; write smaller counts");
}

TEST(Pattern, AnOutlineHasItsTextAndMatchesNothing) {
  const auto pattern = *Pattern::compile("^a.*b$", Pattern::Cover::anywhere);
  const auto outline = pattern->outline();
  EXPECT_TRUE(pattern->matches("a-b"));
  EXPECT_FALSE(outline->matches("a-b"));
  EXPECT_EQ(outline->text(), "^a.*b$");
  EXPECT_EQ(outline->cover(), Pattern::Cover::anywhere);
  EXPECT_EQ(outline->instructions(), pattern->instructions());
  EXPECT_GT(pattern->instructions(), 3U);
}

// What `table` answers within the work of one request: a name, "-", or "too much".
std::string hit_within(const RuleTable& table, const Request& asked) {
  MatchWork work;
  auto facts = asked.facts();
  facts.work = &work;
  const auto began = std::clock();
  const Rule* rule = table.match(facts);
  EXPECT_LT(static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC, 10.0);  // some 0.1 without sanitizers
  if (work.over()) return "too much";
  return rule == nullptr ? "-" : named(*rule);
}

TEST(MatchWork, BoundsWhatPatternsCost) {
  // As hard as can be: what was seen of the text tells little of what comes.
  std::vector<Rule> rules{RuleBuilder("root").prefix("/").rule()};
  std::uint64_t instructions = 0;
  for (int i = 0; instructions < MatchWork::kMostInstructions - 500; ++i) {
    rules.push_back(RuleBuilder("r").regex("(.*x){" + std::to_string(100 + i) + "}y").rule());
    instructions += rules.back().path_pattern->instructions();
  }
  const RuleTable table(rules);
  std::string text = "/";
  std::mt19937 random(3);
  for (int i = 0; i < 1000; ++i) text += "abx"[random() % 3];
  EXPECT_EQ(hit_within(table, request(text)), "root");
  for (int i = 0; i < 64'000; ++i) text += "abx"[random() % 3];
  EXPECT_EQ(hit_within(table, request(text)), "too much");
  const RuleTable easy({RuleBuilder("easy").regex("/[abx]*").rule()});
  EXPECT_EQ(hit_within(easy, request(text)), "easy");

  const RuleTable headers({RuleBuilder("h").header_regex("x", "(.*x){150}y").rule()});
  EXPECT_EQ(hit_within(headers, request("/").header("x", text)), "too much");
  const RuleTable queries({RuleBuilder("q").query_regex("x", "(.*x){150}y").rule()});
  EXPECT_EQ(hit_within(queries, request("/?x=" + text)), "too much");
  EXPECT_EQ(hit_within(queries, request("/?x=%61" + text)), "too much");
}

TEST(MatchWork, BoundsWhatConditionsAndPrioritiesCost) {
  std::vector<Rule> headers;
  std::vector<Rule> queries;
  std::vector<Rule> methods;
  std::vector<Rule> priorities;
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    const std::string name = std::to_string(i);
    headers.push_back(RuleBuilder("h").header("x-" + name, "1").rule());
    queries.push_back(RuleBuilder("q").query("x-" + name, "1").rule());
    methods.push_back(RuleBuilder("m").methods({"PUT"}).cors().rule());
    priorities.push_back(RuleBuilder("p").prefix("/" + std::string(600, 'p') + name).priority(i).rule());
  }
  const RuleTable by_query(std::move(queries));
  const RuleTable by_priority(std::move(priorities));
  auto many = request("/?" + std::string(20, 'a')).method("OPTIONS");
  EXPECT_EQ(hit_within(RuleTable(headers), many), "-");
  EXPECT_EQ(hit_within(by_query, many), "-");
  EXPECT_EQ(hit_within(RuleTable(methods), many), "-");
  EXPECT_EQ(hit_within(by_priority, many), "-");
  // Few enough for fields of a request; more of them than any client sends.
  while (many.fields.size() < core::FieldList::kCapacity) many.header("a", "1");
  const auto five_times = [](const std::vector<Rule>& rules) {
    std::vector<Rule> out;
    out.reserve(5 * rules.size());
    for (int i = 0; i < 5; ++i) out.insert(out.end(), rules.begin(), rules.end());
    return RuleTable(std::move(out));
  };
  EXPECT_EQ(hit_within(five_times(headers), many), "too much");
  EXPECT_EQ(hit_within(five_times(methods), many), "too much");
  EXPECT_EQ(hit_within(by_query, request("/?" + std::string(20'000, '&'))), "too much");
  EXPECT_EQ(hit_within(by_priority, request("/" + std::string(20'000, 'q'))), "too much");
}

TEST(Pattern, TakesAnyByte) {
  const auto pattern = Pattern::compile("^.\xc3\xa9.$", Pattern::Cover::anywhere);
  ASSERT_TRUE(pattern.has_value());
  EXPECT_TRUE((*pattern)->matches("\xff\xc3\xa9\x80"));
}

}  // namespace
}  // namespace edgemux::routing
