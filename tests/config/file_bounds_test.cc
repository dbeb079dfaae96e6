// The compiler on a real disk: how much a file may say, and what it costs to find out.
#include <ctime>

#include "config/source_file.h"
#include "tests/config/compiler_fixture.h"

namespace edgemux::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(CompilerTest, MoreErrorsThanAreListedAreCountedAtTheEndOfTheirFile) {
  std::string routes = "routes:\n";
  for (int i = 0; i < 300; ++i) routes += "  - { host: \"bad!\", passthrough: \"10.0.0.1:443\" }\n";
  main_file(routes);
  const auto c = compiler()->compile();
  ASSERT_EQ(c.diagnostics.size(), 201U);
  EXPECT_EQ(c.diagnostics.front().origin.line, 6U);
  EXPECT_THAT(c.diagnostics.back().headline(), HasSubstr("edgemux.yaml: error: and 100 more errors in this file"));
  EXPECT_EQ(c.errors(), 300U);
  EXPECT_EQ(c.warnings(), 0U);
}

// A file is somebody's input: what is wrong in it many times is told without comparing everything with everything.
TEST_F(CompilerTest, ManyUnknownNamesCostInProportionToTheFile) {
  constexpr int many = 20'000;
  std::string text = "upstreams:\n";
  for (int i = 0; i < many; ++i) text += "  u" + std::to_string(i) + ": { endpoints: [\"10.0.0.1:1\"] }\n";
  text += "routes:\n";
  for (int i = 0; i < many; ++i) {
    text += "  - { host: h" + std::to_string(i) + ".example.com, passthrough: v" + std::to_string(i) + " }\n";
  }
  write("many.yaml", text);
  main_file("include: [many.yaml]\n");
  const auto began = std::clock();
  const auto c = compiler()->compile();
  EXPECT_LT(static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC, 30.0);
  EXPECT_EQ(c.errors(), static_cast<std::size_t>(many));
}

TEST_F(CompilerTest, WhatARuleMayNameIsBounded) {
  const auto names = [](int count, const std::string& end) {
    std::string out;
    for (int i = 0; i < count; ++i) out += (i == 0 ? "N" : ", N") + std::to_string(i) + end;
    return out;
  };
  const auto rule = [&](int count) {
    main_file(
        "routes:\n  - host: a.example.com\n    on_http: serve\n    listeners: [http]\n    rules:\n      - match:\n"
        "          methods: [" +
        names(count, "") + "]\n          headers: { " + names(count, ": a") + " }\n          query: { " +
        names(count, ": a") + " }\n        respond: {}\n");
    return compiler()->compile();
  };
  EXPECT_EQ(text(rule(256)), "");
  const auto c = rule(257);
  EXPECT_EQ(c.errors(), 3U);
  EXPECT_THAT(text(c), HasSubstr("a rule may name at most 256 methods"));
  EXPECT_THAT(text(c), HasSubstr("a rule may name at most 256 headers"));
  EXPECT_THAT(text(c), HasSubstr("a rule may name at most 256 parameters"));
}

// What is set and added fits every message that is taken, see test_headers_of_a_rule_fit_every_message.
TEST_F(CompilerTest, WhatARuleMaySetAndAddIsBounded) {
  const auto headers = [](int count, const std::string& name) {
    std::string out = "{ ";
    for (int i = 0; i < count; ++i) out += name + std::to_string(i) + ": a, ";
    return out + "}";
  };
  const auto rules = [&](int more) {
    const std::string change = "{ set: " + headers(40, "s") + ", add: " + headers(24 + more, "a") + " }";
    main_file("routes:\n  - host: a.example.com\n    on_http: serve\n    listeners: [http]\n    rules:\n" +
              ("      - path: /a\n        response_headers: " + change) + "\n        respond: { headers: " +
              headers(64 + more, "r") + " }\n      - path: /b\n        request_headers: " + change +
              "\n        split: [{ upstream: { endpoints: [\"10.0.0.1:1\"] }, response_headers: " + change + " }]\n");
    return compiler()->compile();
  };
  EXPECT_EQ(text(rules(0)), "");
  const auto c = rules(1);
  EXPECT_EQ(c.errors(), 4U);
  EXPECT_THAT(text(c), HasSubstr("at most 64 headers can be set and added in one place"));
}

// What every slow client may make us hold; see test_what_a_rule_says_costs_a_slow_client_little.
TEST_F(CompilerTest, HowMuchARuleMaySayIsBounded) {
  const auto action = [&](const std::string& of) {
    main_file(
        "routes:\n  - host: a.example.com\n    on_http: serve\n    listeners: [http]\n    rules:\n      - path: /\n" +
        ("        " + of) + "\n");
    return text(compiler()->compile());
  };
  const auto many = [](std::size_t size) { return std::string(size, 'x'); };
  constexpr std::size_t kKiB = 1024;
  const std::string to = "        upstream: { endpoints: [\"10.0.0.1:1\"] }";
  EXPECT_EQ(action("respond: { body: " + many(1024 * kKiB) + " }"), "");
  EXPECT_THAT(action("respond: { body: " + many(1024 * kKiB + 1) + " }"),
              HasSubstr("'body' may have at most 1MiB, and has 1048577 bytes"));
  EXPECT_EQ(action("respond: { headers: { x-a: " + many(8 * kKiB) + " } }"), "");
  EXPECT_THAT(action("respond: { headers: { x-a: " + many(8 * kKiB + 1) + " } }"),
              HasSubstr("'x-a' may have at most 8KiB"));
  EXPECT_THAT(action("request_headers: { set: { x-a: " + many(8 * kKiB + 1) + " } }\n" + to),
              HasSubstr("'x-a' may have at most 8KiB"));
  EXPECT_THAT(action("redirect: { path: /" + many(8 * kKiB) + " }"), HasSubstr("'path' may have at most 8KiB"));
  EXPECT_THAT(action("redirect: { prefix: /" + many(8 * kKiB) + " }"), HasSubstr("'prefix' may have at most 8KiB"));
  EXPECT_THAT(action("redirect: { host: " + many(513) + " }"), HasSubstr("'host' may have at most 512 bytes"));
  EXPECT_THAT(action("rewrite: { path: /" + many(8 * kKiB) + " }\n" + to), HasSubstr("'path' may have at most 8KiB"));
  std::string headers;
  for (int i = 0; i < 5; ++i) headers += "x-" + std::to_string(i) + ": " + many(8 * kKiB - 3) + ", ";
  const std::string changes = "response_headers: { set: { " + headers.substr(0, headers.size() * 3 / 5) + " } }";
  EXPECT_EQ(action(changes + "\n        respond: { headers: { " + headers + "} }"), "");
  EXPECT_THAT(action(changes + "\n        respond: { headers: { " + headers + "y: z } }"),
              HasSubstr("the headers of a rule may have at most 64KiB together"));
}

// Hosts from `first` on with a regular expression each.
std::string patterns(int first, int count, const std::string& expression = "/[a-z]+/") {
  std::string out = "routes:\n";
  for (int i = first; i < first + count; ++i) {
    const std::string number = std::to_string(i);
    out += "  - { host: h" + number + ".example.com, rules: [{ regex_path: \"" + expression + number +
           "\", respond: {} }] }\n";
  }
  return out;
}

TEST_F(CompilerTest, TheRegularExpressionsOfAFileAreCounted) {
  main_file("include: [many.yaml]\n" + patterns(10'000, 1100));
  write("many.yaml",
        patterns(0, 1024) + "  - { host: z.example.com, rules: [{ regex_path: \"/[a-z]+/7\", respond: {} }] }\n");
  EXPECT_EQ(compiler()->compile().errors(), 0U);
  write("many.yaml", patterns(0, 3000));
  const auto c = compiler()->compile();
  ASSERT_TRUE(c.main_ok);
  EXPECT_EQ(c.errors(), 1U);
  EXPECT_THAT(text(c),
              HasSubstr("many.yaml:1026:54: error: a file may have at most 1024 different regular expressions; "
                        "write 'path', 'exact_path' or whole values instead, or put the rest into another file"));
  EXPECT_THAT(c.set_aside, ElementsAre(path("many.yaml")));
  EXPECT_EQ(route_of(c, 1, "h11099.example.com"), "h11099.example.com");
}

TEST_F(CompilerTest, LargeRegularExpressionsCostLittleTimeHoweverManyThereAre) {
  // As large as can be; and too large, so that each is compiled in vain.
  for (const auto& [expression, errors] :
       {std::pair{"(x?y?z?.?a?b?c?){1,250}", 1}, {"(x?y?z?.?a?b?c?){1,700}", 1025}}) {
    main_file("include: [many.yaml]\n");
    write("many.yaml", patterns(0, 20'000, expression));
    const auto began = std::clock();
    EXPECT_EQ(compiler()->compile().errors(), static_cast<std::size_t>(errors));
    EXPECT_LT(static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC, 30.0);
  }
}

TEST_F(CompilerTest, TheRegularExpressionsOfAHostAreBounded) {
  const auto host = [&](int rules) {
    std::string out = "routes:\n  - host: a.example.com\n    listeners: [http]\n    on_http: serve\n    rules:\n";
    for (int i = 0; i < rules; ++i) {
      out += "      - { match: { headers: { x-a: { regex: \"^v" + std::to_string(i) + "\" } } }, respond: {} }\n";
    }
    main_file(out);
    return compiler()->compile();
  };
  EXPECT_EQ(text(host(500)), "");
  const auto c = host(10'000);
  EXPECT_FALSE(c.main_ok);
  EXPECT_EQ(c.errors(), 1U);
  EXPECT_THAT(text(c),
              ::testing::ContainsRegex(
                  "edgemux.yaml:2058:45: error: with this one the regular expressions of the route have 8[12][0-9]+ "
                  "instructions; there may be 8192; write 'path', 'exact_path' or whole values"));
}

TEST_F(CompilerTest, EqualRegularExpressionsAreOneAndAFileHoldsNone) {
  const auto pattern = [](const Compiled& c, const std::string& host) {
    const auto* route = c.snapshot->listeners[1]->hosts.find(host);
    return std::get<routing::VirtualHost>((*route)->action).rules[0].path_pattern;
  };
  const auto it = compiler();
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  const std::string rule = ", rules: [{ regex_path: \"/[a-z]+\", respond: {} }] }\n";
  write("routes.d/a.yaml", "routes:\n  - { host: a.example.com" + rule + "  - { host: b.example.com" + rule);
  write("routes.d/b.yaml", "routes:\n  - { host: c.example.com" + rule);
  const auto first = it->compile();
  ASSERT_TRUE(first.main_ok) << text(first);
  const auto one = pattern(first, "a.example.com");
  EXPECT_TRUE(one->matches("/abc"));
  EXPECT_EQ(pattern(first, "b.example.com"), one);
  EXPECT_EQ(pattern(first, "c.example.com"), one);
  write("routes.d/a.yaml", "routes:\n  - { host: d.example.com" + rule);
  const auto second = it->compile();
  EXPECT_EQ(pattern(second, "d.example.com"), one) << "it is not compiled again";

  const auto bytes = std::make_shared<const std::string>("routes:\n  - { host: a.example.com" + rule);
  const auto parsed = parse_file(bytes, "/a.yaml", std::make_shared<const std::string>("a.yaml"), false);
  ASSERT_TRUE(parsed->ok);
  EXPECT_FALSE(parsed->spec.routes[0].rules[0].value.path_pattern->matches("/abc"));
}

}  // namespace
}  // namespace edgemux::config
