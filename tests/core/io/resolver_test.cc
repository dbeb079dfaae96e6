#include "core/io/resolver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "core/io/timer_wheel.h"
#include "tests/support/dns_server.h"

namespace edgemux::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using tests::DnsServer;
using Mode = DnsServer::Mode;
using Outcome = Result<Resolver::Answer>;

// Runs until somebody stops it, at most twenty seconds.
class BoundedLoop : public EventLoop {
 public:
  void run_bounded() {
    Timer limit(
        [](void* self) {
          ADD_FAILURE() << "the loop was not stopped in time";
          static_cast<BoundedLoop*>(self)->stop();
        },
        this);
    timers().arm(limit, now() + 20'000);
    run();
  }
};

std::vector<std::string> texts(const Outcome& outcome) {
  std::vector<std::string> out;
  if (!outcome.has_value()) return {"error: " + outcome.error().message};
  for (const auto& address : outcome->addresses) out.push_back(address.ip());
  return out;
}

class ResolverTest : public testing::Test {
 protected:
  Resolver::Options options() {
    return {.servers = server.address(),
            .timeout = milliseconds(2'000),
            .tries = 2,
            .resolv_conf = "/dev/null",
            .hosts_file = false};
  }

  // Asks for all the names at the same time.
  std::map<std::string, Outcome> resolve_all(const std::vector<std::string>& names, const Resolver::Options& with) {
    BoundedLoop loop;
    Resolver resolver(loop, with);
    std::map<std::string, Outcome> outcomes;
    std::vector<Resolver::Query> queries;
    for (const auto& name : names) {
      queries.push_back(resolver.resolve(name, [&, name](Outcome outcome) {
        EXPECT_TRUE(outcomes.emplace(name, std::move(outcome)).second) << "called twice";
        if (outcomes.size() == names.size()) loop.stop();
      }));
      EXPECT_TRUE(outcomes.empty()) << "called from inside resolve()";
    }
    loop.run_bounded();
    for (const auto& query : queries) EXPECT_FALSE(query.active());
    return outcomes;
  }
  Outcome resolve(const std::string& name, const Resolver::Options& with) { return resolve_all({name}, with).at(name); }
  Outcome resolve(const std::string& name) { return resolve(name, options()); }

  DnsServer server;
};

TEST_F(ResolverTest, BothFamiliesIpv4FirstInTheOrderOfTheAnswer) {
  server.set("a.test", {.v4 = {"10.0.0.2", "10.0.0.1"}, .v6 = {"fd00::2", "fd00::1"}, .ttl = 77});
  const auto outcome = resolve("a.test");
  EXPECT_THAT(texts(outcome), ElementsAre("10.0.0.2", "10.0.0.1", "fd00::2", "fd00::1"));
  EXPECT_EQ(outcome->ttl, seconds(77));
  EXPECT_EQ(outcome->addresses[0].port(), 0);
}

TEST_F(ResolverTest, OneFamilyIsEnough) {
  server.set("four.test", {.v4 = {"10.0.0.1"}});
  server.set("six.test", {.v6 = {"fd00::1"}});
  auto outcomes = resolve_all({"four.test", "six.test"}, options());
  EXPECT_THAT(texts(outcomes.at("four.test")), ElementsAre("10.0.0.1"));
  EXPECT_THAT(texts(outcomes.at("six.test")), ElementsAre("fd00::1"));
}

TEST_F(ResolverTest, AliasIsFollowedAndItsTtlCounts) {
  server.set("alias.test", {.v4 = {"10.0.0.1"}, .v6 = {"fd00::1"}, .ttl = 300, .alias = "real.test", .alias_ttl = 9});
  const auto outcome = resolve("alias.test");
  EXPECT_THAT(texts(outcome), ElementsAre("10.0.0.1", "fd00::1"));
  EXPECT_EQ(outcome->ttl, seconds(9));
}

TEST_F(ResolverTest, RepeatedAndMappedAddressesAreOne) {
  server.set("a.test", {.v4 = {"10.0.0.1", "10.0.0.1"}, .v6 = {"::ffff:10.0.0.1"}});
  EXPECT_THAT(texts(resolve("a.test")), ElementsAre("10.0.0.1"));
}

TEST_F(ResolverTest, FailuresSayWhyAndWhetherAnotherTryCanHelp) {
  server.set("empty.test", {});
  server.set("broken.test", {.mode = Mode::server_error});
  server.set("silent.test", {.mode = Mode::silent});
  auto with = options();
  with.timeout = milliseconds(300);
  auto outcomes = resolve_all({"none.test", "empty.test", "broken.test", "silent.test", "bad..test"}, with);
  const auto expect = [&](const std::string& name, bool retryable, const std::string& text) {
    const auto& outcome = outcomes.at(name);
    ASSERT_FALSE(outcome.has_value()) << name;
    EXPECT_EQ(outcome.error().retryable, retryable) << name;
    EXPECT_EQ(outcome.error().side, Side::upstream);
    EXPECT_THAT(outcome.error().message, HasSubstr(text));
  };
  expect("none.test", false, "not found");
  expect("empty.test", false, "no address");
  expect("broken.test", true, "server");
  expect("silent.test", true, "Timeout");
  expect("bad..test", false, "Misformatted");
  EXPECT_EQ(server.queries("silent.test"), 2U);  // `tries`
  EXPECT_EQ(server.queries("silent.test", DnsServer::kAaaa), 2U);
}

TEST_F(ResolverTest, NoServerListensThere) {
  auto with = options();
  // A port that was free a moment ago and that nobody listens on.
  { with.servers = DnsServer().address(); }
  with.timeout = milliseconds(100);
  const auto outcome = resolve("a.test", with);
  ASSERT_FALSE(outcome.has_value());
  EXPECT_TRUE(outcome.error().retryable);
}

TEST_F(ResolverTest, AServerListThatIsNoneFailsEveryQuery) {
  auto with = options();
  with.servers = "not an address";
  const auto outcome = resolve("a.test", with);
  ASSERT_FALSE(outcome.has_value());
}

TEST_F(ResolverTest, TruncatedAnswerIsFetchedOverTcp) {
  server.set("big.test", {.mode = Mode::truncated});
  DnsServer::Record record{.mode = Mode::truncated};
  for (int i = 1; i <= 200; ++i) record.v4.push_back("10.0.1." + std::to_string(i));
  server.set("big.test", record);
  const auto outcome = resolve("big.test");
  ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
  EXPECT_EQ(outcome->addresses.size(), 200U);
  EXPECT_EQ(server.tcp_queries(), 2U);
}

TEST_F(ResolverTest, AsManyAddressesAsAnAnswerHoldsEachOnce) {
  DnsServer::Record record{.mode = Mode::truncated};
  for (int i = 0; i < 1'300; ++i) {
    for (int twice = 0; twice < 2; ++twice) {
      record.v4.push_back("10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250));
    }
  }
  server.set("a.test", record);
  const auto outcome = resolve("a.test");
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->addresses.size(), 1'300U);
  EXPECT_EQ(outcome->addresses.back().ip(), "10.0.5.49");
}

TEST_F(ResolverTest, RubbishAndWrongIdsAreIgnored) {
  server.set("a.test", {.v4 = {"10.0.0.1"}, .mode = Mode::noise_first});
  EXPECT_THAT(texts(resolve("a.test")), ElementsAre("10.0.0.1"));
}

TEST_F(ResolverTest, AnswerCutAtEveryByteNeverYieldsHalfAnAddress) {
  std::vector<std::string> names;
  // Header 12, question 16, two records of 12 + 10 + 4 bytes.
  const std::size_t whole = 12 + 16 + 2 * 26;
  for (std::size_t cut = 0; cut <= whole; ++cut) {
    names.push_back("cut-" + std::to_string(100 + cut) + ".xt");
    server.set(names.back(), {.v4 = {"10.0.0.1", "10.0.0.2"}, .mode = Mode::cut, .cut = cut});
  }
  auto with = options();
  with.timeout = milliseconds(300);
  const auto outcomes = resolve_all(names, with);
  EXPECT_THAT(texts(outcomes.at(names.back())), ElementsAre("10.0.0.1", "10.0.0.2"));
  for (const auto& [name, outcome] : outcomes) {
    if (!outcome.has_value()) continue;
    for (const auto& text : texts(outcome)) EXPECT_THAT(text, testing::AnyOf("10.0.0.1", "10.0.0.2")) << name;
  }
}

TEST_F(ResolverTest, ManyNamesAtOnce) {
  std::vector<std::string> names;
  for (int i = 0; i < 200; ++i) {
    names.push_back("n" + std::to_string(i) + ".test");
    server.set(names.back(), {.v4 = {"10.1.0." + std::to_string(i)}});
  }
  const auto outcomes = resolve_all(names, options());
  for (int i = 0; i < 200; ++i) {
    EXPECT_THAT(texts(outcomes.at(names[static_cast<std::size_t>(i)])), ElementsAre("10.1.0." + std::to_string(i)));
  }
}

TEST_F(ResolverTest, AnAddressIsItsOwnAnswer) {
  EXPECT_THAT(texts(resolve("10.9.8.7")), ElementsAre("10.9.8.7"));
  EXPECT_THAT(texts(resolve("fd00::7")), ElementsAre("fd00::7"));
  EXPECT_EQ(server.all_queries(), 0U);
}

// The machine's own file: every name in it, at the least "localhost".
TEST_F(ResolverTest, TheHostsFileComesFirst) {
  std::map<std::string, std::vector<std::string>> known{{"localhost", {"127.0.0.1", "::1"}}};
  std::ifstream file("/etc/hosts");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string address;
    words >> address;
    for (std::string name; words >> name;) known[name].push_back(address);
  }
  auto with = options();
  with.hosts_file = true;
  for (const auto& [name, expected] : known) {
    const auto outcome = resolve(name, with);
    ASSERT_TRUE(outcome.has_value()) << name << ": " << outcome.error().message;
    for (const auto& text : texts(outcome)) EXPECT_THAT(expected, testing::Contains(text)) << name;
  }
  EXPECT_EQ(server.all_queries(), 0U);
}

TEST_F(ResolverTest, DestroyingTheQueryCancelsIt) {
  server.set("a.test", {.v4 = {"10.0.0.1"}});
  BoundedLoop loop;
  Resolver resolver(loop, options());
  bool called = false;
  auto cancelled = resolver.resolve("a.test", [&](const Outcome&) { called = true; });
  auto replaced = resolver.resolve("a.test", [&](const Outcome&) { called = true; });
  // Both answers come before this one's.
  replaced = resolver.resolve("a.test", [&](const Outcome&) { loop.stop(); });
  { const auto gone = std::move(cancelled); }
  EXPECT_FALSE(cancelled.active());
  loop.run_bounded();
  EXPECT_FALSE(called);
}

TEST_F(ResolverTest, CancellingAnotherQueryFromTheCallback) {
  BoundedLoop loop;
  Resolver resolver(loop, options());
  bool called = false;
  Resolver::Query second;
  // Both are known at once: the second is already waiting to be delivered when it is cancelled.
  auto first = resolver.resolve("10.0.0.1", [&](const Outcome&) {
    second.cancel();
    loop.post([&] { loop.stop(); });
  });
  second = resolver.resolve("10.0.0.2", [&](const Outcome&) { called = true; });
  loop.run_bounded();
  EXPECT_FALSE(called);
}

TEST_F(ResolverTest, TheCallbackMayDestroyEverything) {
  server.set("a.test", {.v4 = {"10.0.0.1"}});
  server.set("silent.test", {.mode = Mode::silent});
  BoundedLoop loop;
  auto resolver = std::make_unique<Resolver>(loop, options());
  bool called = false;
  auto silent = resolver->resolve("silent.test", [&](const Outcome&) { called = true; });
  auto ready = resolver->resolve("10.0.0.1", [&](const Outcome&) {
    resolver.reset();
    loop.stop();
  });
  auto behind = resolver->resolve("10.0.0.2", [&](const Outcome&) { called = true; });
  loop.run_bounded();
  EXPECT_EQ(resolver, nullptr);
  EXPECT_FALSE(silent.active());  // outlives its resolver
  EXPECT_FALSE(behind.active());
  EXPECT_FALSE(called);
}

TEST_F(ResolverTest, ACallbackMayAskAgain) {
  server.set("a.test", {.v4 = {"10.0.0.1"}});
  BoundedLoop loop;
  Resolver resolver(loop, options());
  int rounds = 0;
  Resolver::Query query;
  std::function<void(Outcome)> next = [&](const Outcome& outcome) {
    EXPECT_THAT(texts(outcome), ElementsAre("10.0.0.1"));
    if (++rounds == 5) return loop.stop();
    query = resolver.resolve("a.test", next);
  };
  query = resolver.resolve("a.test", next);
  loop.run_bounded();
  EXPECT_EQ(server.queries("a.test"), 5U);
}

TEST_F(ResolverTest, TheSearchListAppliesAndAChangeOfItIsRead) {
  server.set("a.one.test", {.v4 = {"10.0.0.1"}});
  server.set("a.two.test", {.v4 = {"10.0.0.2"}});
  auto with = options();
  with.resolv_conf = testing::TempDir() + "resolver_test_" + std::to_string(getpid()) + ".conf";
  const auto write_conf = [&](const std::string& text) {
    std::ofstream(with.resolv_conf + ".new") << text;
    ASSERT_EQ(std::rename((with.resolv_conf + ".new").c_str(), with.resolv_conf.c_str()), 0);
  };
  write_conf("search none.test one.test\n");
  BoundedLoop loop;
  Resolver resolver(loop, with);
  std::vector<std::string> seen;
  Resolver::Query query;
  std::function<void(Outcome)> next = [&](const Outcome& outcome) {
    seen.push_back(texts(outcome).front());
    if (seen.size() == 2) return loop.stop();
    write_conf("search two.test\n");
    query = resolver.resolve("a", next);
  };
  query = resolver.resolve("a", next);
  loop.run_bounded();
  std::remove(with.resolv_conf.c_str());
  EXPECT_THAT(seen, ElementsAre("10.0.0.1", "10.0.0.2"));
}

// Some name is silent at any time.
TEST_F(ResolverTest, AChangeIsReadWhileQuestionsAreUnderWay) {
  server.set("a.one.test", {.v4 = {"10.0.0.1"}});
  server.set("a.two.test", {.v4 = {"10.0.0.2"}});
  server.set("silent.one.test", {.mode = Mode::silent});
  server.set("silent.two.test", {.v4 = {"10.0.0.4"}});
  auto with = options();
  with.timeout = milliseconds(500);
  with.resolv_conf = testing::TempDir() + "resolver_test_" + std::to_string(getpid()) + ".conf";
  const auto write_conf = [&](const std::string& text) {
    std::ofstream(with.resolv_conf + ".new") << text;
    ASSERT_EQ(std::rename((with.resolv_conf + ".new").c_str(), with.resolv_conf.c_str()), 0);
  };
  write_conf("search one.test\n");
  BoundedLoop loop;
  Resolver resolver(loop, with);
  std::vector<std::string> seen;
  Resolver::Query query;
  const auto silent = resolver.resolve("silent", [&](const Outcome& outcome) {
    seen.push_back("silent " + texts(outcome).front());
    loop.stop();
  });
  const auto dropped = std::make_unique<Resolver::Query>(
      resolver.resolve("silent", [&](const Outcome&) { seen.emplace_back("dropped"); }));
  std::function<void(Outcome)> next = [&](const Outcome& outcome) {
    seen.push_back(texts(outcome).front());
    if (seen.size() % 2 == 1) {
      write_conf("search two.test\n");
    } else if (seen.size() == 2) {
      write_conf("search one.test\n");
    } else {
      dropped->cancel();
      return server.set("silent.one.test", {.v4 = {"10.0.0.3"}});  // to the next try
    }
    query = resolver.resolve("a", next);
  };
  query = resolver.resolve("a", next);
  loop.run_bounded();
  std::remove(with.resolv_conf.c_str());
  EXPECT_THAT(seen, ElementsAre("10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2", "silent 10.0.0.3"));
}

}  // namespace
}  // namespace edgemux::core
