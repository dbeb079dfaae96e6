// The compiler on a real disk: what of a configuration is kept where its files break, and where that is kept.
#include <unistd.h>

#include "tests/config/compiler_fixture.h"

namespace edgemux::config {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A file that passes these hosts on.
std::string passed(const std::string& hosts, const std::string& address = "10.0.0.1") {
  return "routes: [{ hosts: [" + hosts + "], passthrough: \"" + address + ":443\" }]\n";
}

TEST_F(CompilerTest, ABrokenIncludeKeepsItsLastGoodBytesOverRestarts) {
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  write("routes.d/a.yaml", "routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  write("routes.d/b.yaml", "routes: [{ host: b.example.com, passthrough: \"10.0.0.2:443\" }]\n");
  {
    const auto it = compiler();
    ASSERT_TRUE(it->compile().set_aside.empty());
    write("routes.d/a.yaml", "routes: [{ host: a.example.com, pass");
    const auto broken = it->compile();
    EXPECT_THAT(broken.set_aside, ElementsAre(path("routes.d/a.yaml")));
    EXPECT_EQ(route_of(broken, 1, "a.example.com"), "a.example.com");
    EXPECT_EQ(broken.errors(), 1U);
    EXPECT_THAT(text(broken), HasSubstr("routes.d/a.yaml:1:"));
  }
  // A new process finds the broken file, and the good bytes in the state directory.
  {
    const auto it = compiler();
    const auto c = it->compile();
    ASSERT_TRUE(c.main_ok);
    EXPECT_THAT(c.set_aside, ElementsAre(path("routes.d/a.yaml")));
    EXPECT_EQ(route_of(c, 1, "a.example.com"), "a.example.com");
    EXPECT_EQ(route_of(c, 1, "b.example.com"), "b.example.com");
    write("routes.d/a.yaml", "routes: [{ host: a2.example.com, passthrough: \"10.0.0.1:443\" }]\n");
    const auto repaired = it->compile();
    EXPECT_THAT(repaired.diagnostics, IsEmpty());
    EXPECT_EQ(route_of(repaired, 1, "a2.example.com"), "a2.example.com");
    EXPECT_EQ(route_of(repaired, 1, "a.example.com"), "");
  }
  // Deleted is removed, and forgotten: it does not rise again when the name comes back broken.
  {
    const auto it = compiler();
    fs::remove(path("routes.d/a.yaml"));
    const auto c = it->compile();
    EXPECT_EQ(route_of(c, 1, "a2.example.com"), "");
    write("routes.d/a.yaml", "routes: 7\n");
    const auto again = it->compile();
    EXPECT_EQ(route_of(again, 1, "a2.example.com"), "");
    EXPECT_THAT(again.set_aside, ElementsAre(path("routes.d/a.yaml")));
  }
  EXPECT_EQ(route_of(compiler()->compile(), 1, "a2.example.com"), "");
}

TEST_F(CompilerTest, LastGoodBytesFollowTheStateDirectory) {
  const auto to = [&](const char* state_dir) {
    main_file(std::string("include: [a.yaml, b.yaml]\nstate_dir: ") + state_dir + "\n");
  };
  const auto made = [&] { return std::make_unique<Compiler>(path("edgemux.yaml"), CompilerOptions{}); };
  write("a.yaml", "routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  write("b.yaml", "routes: [{ host: b.example.com, passthrough: \"10.0.0.2:443\" }]\n");
  write("blocked", "no directory");
  to("blocked/state");
  const auto it = made();
  EXPECT_THAT(text(it->compile()), HasSubstr("cannot make the directory"));
  write("a.yaml", "routes: 7\n");
  EXPECT_EQ(route_of(it->compile(), 1, "a.example.com"), "a.example.com") << "in memory";
  // The directory is mended while the file is broken.
  fs::remove(path("blocked"));
  EXPECT_EQ(route_of(it->compile(), 1, "a.example.com"), "a.example.com");
  EXPECT_EQ(route_of(made()->compile(), 1, "a.example.com"), "a.example.com");
  // And another one is named.
  to("other");
  EXPECT_EQ(route_of(it->compile(), 1, "a.example.com"), "a.example.com");
  EXPECT_EQ(route_of(made()->compile(), 1, "a.example.com"), "a.example.com");
  EXPECT_EQ(route_of(made()->compile(), 1, "b.example.com"), "b.example.com");
}

TEST_F(CompilerTest, AnUnreadableIncludeKeepsItsLastGoodBytes) {
  main_file("include: [a.yaml]\n");
  write("a.yaml", "routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  const auto it = compiler();
  ASSERT_TRUE(it->compile().set_aside.empty());
  fs::remove(path("a.yaml"));
  fs::create_directory(path("a.yaml"));
  const auto c = it->compile();
  EXPECT_THAT(text(c), HasSubstr("cannot read " + path("a.yaml") + ": it is a directory"));
  EXPECT_EQ(route_of(c, 1, "a.example.com"), "a.example.com");
  fs::remove(path("a.yaml"));
  const auto missing = it->compile();
  EXPECT_THAT(text(missing), HasSubstr("edgemux.yaml:5:11: error: included file 'a.yaml' does not exist"));
  EXPECT_EQ(route_of(missing, 1, "a.example.com"), "a.example.com");
}

TEST_F(CompilerTest, TheLaterFileOfAConflictFallsBackToItsLastGoodVersion) {
  main_file("include: [a.yaml, b.yaml]\n");
  write("a.yaml", "routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  write(
      "b.yaml",
      "upstreams: { of-b: { endpoints: [\"10.0.0.2:443\"] } }\nroutes: [{ host: b.example.com, passthrough: of-b }]\n");
  const auto it = compiler();
  ASSERT_TRUE(it->compile().set_aside.empty());
  write("b.yaml",
        "routes:\n  - { host: b2.example.com, passthrough: \"10.0.0.2:443\" }\n  - { host: a.example.com, passthrough: "
        "\"10.0.0.2:443\" }\n");
  const auto c = it->compile();
  EXPECT_THAT(text(c), HasSubstr("b.yaml:3:13: error: host 'a.example.com' stands on listener 'http' already, at " +
                                 path("a.yaml") + ":1:18"));
  EXPECT_EQ(route_of(c, 1, "b.example.com"), "b.example.com");
  EXPECT_EQ(route_of(c, 1, "b2.example.com"), "");
  // Now an earlier file wants what b's last good version has, and does not get it.
  write("a.yaml", "routes: [{ hosts: [a.example.com, b.example.com], passthrough: \"10.0.0.1:443\" }]\n");
  const auto both = it->compile();
  EXPECT_THAT(both.set_aside, ElementsAre(path("a.yaml"), path("b.yaml")));
  EXPECT_EQ(route_of(both, 1, "a.example.com"), "a.example.com");
  EXPECT_EQ(route_of(both, 1, "b.example.com"), "b.example.com");
  // The main file does: b is left out, and says so.
  main_file("include: [a.yaml, b.yaml]\nroutes: [{ host: b.example.com, rules: [{ upstream: \"10.0.0.1:80\" }] }]\n");
  const auto out = it->compile();
  EXPECT_THAT(text(out), HasSubstr("warning: its last good version cannot be used either: host 'b.example.com'"));
  EXPECT_THAT(out.set_aside, ElementsAre(path("a.yaml"), path("b.yaml")));
  EXPECT_EQ(route_of(out, 0, "b.example.com"), "b.example.com");
}

TEST_F(CompilerTest, ANewFileTakesNoHostThatAnotherServes) {
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  write("routes.d/b.yaml",
        "routes: [{ host: x.example.com, passthrough: \"10.0.0.2:443\" },\n"
        "         { host: y.example.com, passthrough: \"10.0.0.2:443\" }]\n");
  const auto serves = [](const Compiled& c, const std::string& host) {
    const auto route = *c.snapshot->listeners[1]->hosts.find(host);
    return std::get<routing::Passthrough>(route->action).upstream->name;
  };
  auto it = compiler();
  it->compile();
  write("routes.d/a.yaml", "routes: [{ hosts: [n.example.com, x.example.com], passthrough: \"10.0.0.1:443\" }]\n");
  for (const bool restarted : {false, true}) {
    if (restarted) it = compiler();
    const auto c = it->compile();
    EXPECT_THAT(c.set_aside, ElementsAre(path("routes.d/a.yaml")));
    EXPECT_EQ(serves(c, "x.example.com"), "10.0.0.2:443");
    EXPECT_EQ(c.errors(), 1U);
    EXPECT_THAT(text(c),
                HasSubstr("routes.d/a.yaml:1:35: error: host 'x.example.com' stands on listener 'http' already, at " +
                          path("routes.d/b.yaml") + ":1:18\n"));
  }
  // The file that serves it goes on changing, and stays in force.
  write("routes.d/b.yaml", "routes: [{ hosts: [x.example.com, z.example.com], passthrough: \"10.0.0.3:443\" }]\n");
  EXPECT_EQ(serves(it->compile(), "x.example.com"), "10.0.0.3:443");
  // Its broken version holds what its last good one has.
  write("routes.d/b.yaml", "routes: 7\n");
  const auto broken = it->compile();
  EXPECT_THAT(broken.set_aside, ElementsAre(path("routes.d/a.yaml"), path("routes.d/b.yaml")));
  EXPECT_EQ(serves(broken, "x.example.com"), "10.0.0.3:443");
  // Once it is given up there, it is free.
  write("routes.d/b.yaml", "routes: [{ host: z.example.com, passthrough: \"10.0.0.3:443\" }]\n");
  const auto moved = it->compile();
  EXPECT_THAT(moved.diagnostics, IsEmpty());
  EXPECT_EQ(serves(moved, "x.example.com"), "10.0.0.1:443");
  EXPECT_EQ(serves(moved, "z.example.com"), "10.0.0.3:443");
  // The main file has whatever it wants.
  main_file("include: [\"routes.d/*.yaml\"]\nroutes: [{ host: z.example.com, passthrough: \"10.0.0.9:443\" }]\n");
  const auto taken = it->compile();
  EXPECT_EQ(serves(taken, "z.example.com"), "10.0.0.9:443");
  EXPECT_THAT(taken.set_aside, ElementsAre(path("routes.d/b.yaml")));
}

TEST_F(CompilerTest, WhatServesNoMoreHoldsNothingAfterARestartEither) {
  folder("routes.d");
  const std::string all = "include: [\"routes.d/*.yaml\"]\n";
  main_file(all);
  write("routes.d/a.yaml", passed("x.example.com, y.example.com", "10.0.0.1"));
  auto it = compiler();
  it->compile();
  // The main file takes one of its hosts, so that all of it is out, and another file comes to the rest.
  main_file(all + "routes: [{ host: y.example.com, passthrough: \"10.0.0.9:443\" }]\n");
  it->compile();
  write("routes.d/b.yaml", passed("x.example.com, b.example.com", "10.0.0.2"));
  EXPECT_THAT(it->compile().set_aside, ElementsAre(path("routes.d/a.yaml")));
  main_file(all);
  for (const bool restarted : {false, true}) {
    if (restarted) it = compiler();
    const auto c = it->compile();
    EXPECT_THAT(c.set_aside, ElementsAre(path("routes.d/a.yaml"))) << restarted;
    EXPECT_EQ(route_of(c, 1, "b.example.com"), "x.example.com") << "the first host of its route";
  }
}

TEST_F(CompilerTest, AMistakeOfTheMainFileGivesNobodyElseWhatWasServed) {
  folder("routes.d");
  const std::string all = "include: [\"routes.d/*.yaml\"]\n";
  main_file(all);
  write("routes.d/b.yaml", "routes: [{ hosts: [p.example.com, k.example.com], passthrough: \"10.0.0.2:443\" }]\n");
  auto it = compiler();
  it->compile();
  write("routes.d/a.yaml", "routes: [{ hosts: [p.example.com, z.example.com], passthrough: \"10.0.0.1:443\" }]\n");
  for (const bool restarted : {false, true}) {
    main_file(all + "routes: [{ host: p.example.com, passthrough: \"10.0.0.9:443\" }]\n");
    EXPECT_THAT(it->compile().set_aside, ElementsAre(path("routes.d/a.yaml"), path("routes.d/b.yaml")));
    if (restarted) {
      it = compiler();
      it->compile();
    }
    main_file(all);
    const auto c = it->compile();
    EXPECT_THAT(c.set_aside, ElementsAre(path("routes.d/a.yaml"))) << restarted;
    EXPECT_EQ(route_of(c, 1, "k.example.com"), "p.example.com");
  }
}

TEST_F(CompilerTest, AFileThatIsIncludedAgainHoldsNothing) {
  folder("a.d");
  folder("routes.d");
  const std::string both = "include: [\"a.d/*.yaml\", \"routes.d/*.yaml\"]\n";
  main_file(both);
  write("a.d/a.yaml", "routes: [{ hosts: [x.example.com, y.example.com], passthrough: \"10.0.0.1:443\" }]\n");
  const auto it = compiler();
  it->compile();
  main_file("include: [\"routes.d/*.yaml\"]\n");
  it->compile();
  write("routes.d/b.yaml", "routes: [{ hosts: [x.example.com, b.example.com], passthrough: \"10.0.0.2:443\" }]\n");
  it->compile();
  main_file(both);
  EXPECT_THAT(it->compile().set_aside, ElementsAre(path("a.d/a.yaml")));
}

TEST_F(CompilerTest, NobodyIsSetAsideForWhatHasComeToNothing) {
  folder("routes.d");
  const std::string all = "include: [\"routes.d/*.yaml\"]\n";
  const auto with_upstream = [](const char* hosts) {
    return std::string("upstreams: { u: { endpoints: [\"10.0.0.1:443\"] } }\nroutes: [{ hosts: [") + hosts +
           "], passthrough: u }]\n";
  };
  main_file(all);
  write("routes.d/b.yaml", with_upstream("x.example.com, w.example.com"));
  const auto it = compiler();
  it->compile();
  // b has the upstream's name; but it falls for a host that the main file takes.
  main_file(all + "routes: [{ host: w.example.com, passthrough: \"10.0.0.9:443\" }]\n");
  write("routes.d/a.yaml", with_upstream("q.example.com"));
  const auto c = it->compile();
  EXPECT_THAT(c.set_aside, ElementsAre(path("routes.d/b.yaml")));
  EXPECT_EQ(route_of(c, 1, "q.example.com"), "q.example.com");
}

TEST_F(CompilerTest, NobodyIsSetAsideForWhoHasGivenWay) {
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  write("routes.d/a.yaml", passed("x.example.com"));
  write("routes.d/c.yaml", passed("y.example.com"));
  const auto it = compiler();
  it->compile();
  write("routes.d/a.yaml", passed("x.example.com, y.example.com, q.example.com"));
  write("routes.d/b.yaml", passed("q.example.com"));
  const auto c = it->compile();
  EXPECT_THAT(c.set_aside, ElementsAre(path("routes.d/a.yaml")));
  EXPECT_EQ(route_of(c, 1, "q.example.com"), "q.example.com");
  EXPECT_EQ(route_of(c, 1, "x.example.com"), "x.example.com");
}

TEST_F(CompilerTest, ARenamedListenerTakesNoHostFromWhoServesIt) {
  folder("routes.d");
  const auto listeners = [this](const std::string& name) {
    write("edgemux.yaml", "listeners: [{ name: " + name + ", bind: [\":443\"], protocol: tls }]\n" +
                              "include: [\"routes.d/*.yaml\"]\n");
  };
  const auto write_hosts = [this](const std::string& file, const std::string& hosts, const std::string& listener) {
    write("routes.d/" + file,
          "routes: [{ hosts: [" + hosts + "], listeners: [" + listener + "], passthrough: \"10.0.0.1:443\" }]\n");
  };
  listeners("l1");
  write_hosts("b.yaml", "x.example.com, b.example.com", "l1");
  const auto it = compiler();
  it->compile();
  listeners("l2");
  write_hosts("b.yaml", "x.example.com, b.example.com", "l2");
  write_hosts("a.yaml", "x.example.com", "l2");
  EXPECT_THAT(it->compile().set_aside, ElementsAre(path("routes.d/a.yaml")));
}

TEST_F(CompilerTest, WhatCouldNotBePutInForceHoldsNothing) {
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  for (const bool deleted : {false, true}) {
    for (const bool restarted : {false, true}) {
      SCOPED_TRACE(std::string(deleted ? "deleted " : "") + (restarted ? "restarted" : ""));
      fs::remove_all(path("state"));
      fs::remove(path("routes.d/a.yaml"));
      write("routes.d/b.yaml", passed("x.example.com, b.example.com"));
      const auto confirmed = [this] {
        CompilerOptions options;
        options.state_dir = path("state");
        options.confirmed = true;
        return std::make_unique<Compiler>(path("edgemux.yaml"), std::move(options));
      };
      auto it = confirmed();
      it->compile();
      it->published();
      if (deleted) {
        fs::remove(path("routes.d/b.yaml"));
      } else {
        write("routes.d/b.yaml", passed("b.example.com"));
      }
      write("routes.d/a.yaml", passed("x.example.com, a.example.com"));
      EXPECT_THAT(it->compile().set_aside, IsEmpty());
      EXPECT_THAT(it->compile().set_aside, IsEmpty()) << "as a file's stamp was young";
      it->unpublished();
      write("routes.d/b.yaml", passed("x.example.com, b.example.com"));
      if (restarted && !deleted) it = confirmed();
      EXPECT_THAT(it->compile().set_aside, ElementsAre(path("routes.d/a.yaml")));
    }
  }
}

TEST_F(CompilerTest, ManyThatAreWrongThemselvesSetNobodyAside) {
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  const auto file = [this](const std::string& name, const std::string& upstream) {
    write("routes.d/" + name + ".yaml", "upstreams: { u: { endpoints: [\"10.0.0.1:80\"] } }\nroutes: [{ host: " + name +
                                            ".example.com, rules: [{ upstream: " + upstream + " }] }]\n");
  };
  for (int i = 10; i < 60; ++i) file("a" + std::to_string(i), "nowhere");
  file("z", "u");
  const auto c = compiler()->compile();
  EXPECT_EQ(c.set_aside.size(), 50U);
  EXPECT_EQ(route_of(c, 1, "z.example.com"), "z.example.com");
}

TEST_F(CompilerTest, NobodyFallsForAnUpstreamThatIsThereAfterAll) {
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  const auto upstream = [](const char* name, const std::string& routes) {
    return std::string("upstreams: { ") + name + ": { endpoints: [\"10.0.0.1:80\"] } }\nroutes:\n" +
           "  - { host: y.example.com, rules: [{ upstream: " + name + " }] }\n" + routes;
  };
  const std::string good = "routes: [{ host: k.example.com, rules: [{ upstream: u }] }]\n";
  for (const char* b : {"", ", frob: 1"}) {
    SCOPED_TRACE(b);
    write("routes.d/b.yaml", good);
    write("routes.d/y.yaml", upstream("u", ""));
    auto it = compiler();
    it->compile();
    // The upstream is renamed in a version that is refused itself; b is as it was, or broken.
    if (*b != '\0')
      write("routes.d/b.yaml", "routes: [{ host: k.example.com, rules: [{ upstream: u }]" + std::string(b) + " }]\n");
    write("routes.d/y.yaml", upstream("u2", "  - { host: z.example.com, rules: [{ upstream: u3 }] }\n"));
    for (const bool restarted : {false, true}) {
      if (restarted) it = compiler();
      const auto c = it->compile();
      EXPECT_EQ(c.set_aside.size(), *b == '\0' ? 1U : 2U) << text(c);
      EXPECT_EQ(route_of(c, 1, "k.example.com"), "k.example.com") << restarted;
      EXPECT_EQ(route_of(c, 1, "y.example.com"), "y.example.com") << restarted;
    }
  }
}

TEST_F(CompilerTest, AnEndlessChainLeavesWhatIsInForceAsItIs) {
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  constexpr int kFiles = 200;
  const auto hosts = [](int n) { return "h" + std::to_string(n) + ".example.com"; };
  const auto file = [&](int n, int host, const char* address) {
    write("routes.d/" + std::to_string(1000 + n) + ".yaml",
          "routes: [{ host: " + hosts(host) + ", passthrough: \"" + address + ":443\" }]\n");
  };
  for (int n = 0; n < kFiles; ++n) file(n, n, "10.0.0.1");
  const auto it = compiler();
  it->compile();
  for (int n = 0; n + 1 < kFiles; ++n) file(n, n + 1, "10.0.0.2");
  write("routes.d/" + std::to_string(1000 + kFiles - 1) + ".yaml", "routes: 7\n");
  const auto c = it->compile();
  for (int n = 0; n < kFiles; ++n) {
    const auto route = *c.snapshot->listeners[1]->hosts.find(hosts(n));
    EXPECT_EQ(std::get<routing::Passthrough>(route->action).upstream->name, "10.0.0.1:443") << n;
  }
  EXPECT_EQ(c.set_aside.size(), static_cast<std::size_t>(kFiles));
}

TEST_F(CompilerTest, ANewFileTakesNoHostOnTheListenerWhereAnotherServesIt) {
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  const auto route = [](const char* listener, const char* address) {
    return std::string("  - { host: x.example.com, listeners: [") + listener + "], rules: [{ upstream: \"" + address +
           ":80\" }] }\n";
  };
  write("routes.d/b.yaml", "routes:\n" + route("https", "10.0.0.2"));
  const auto it = compiler();
  it->compile();
  write("routes.d/a.yaml", "routes:\n" + route("http", "10.0.0.1"));
  EXPECT_THAT(it->compile().set_aside, IsEmpty());
  // Each has it on one; whoever takes the other's is the newcomer there.
  write("routes.d/a.yaml", "routes:\n" + route("http, https", "10.0.0.1"));
  const auto c = it->compile();
  EXPECT_THAT(c.set_aside, ElementsAre(path("routes.d/a.yaml")));
  EXPECT_EQ(route_of(c, 0, "x.example.com"), "x.example.com") << "its last good version serves that";
  EXPECT_EQ(c.errors(), 1U);
}

TEST_F(CompilerTest, ANewFileTakesNoUpstreamsNameThatAnotherHas) {
  folder("routes.d");
  main_file("include: [\"routes.d/*.yaml\"]\n");
  const auto file = [](const char* host, const char* address) {
    return std::string("upstreams: { app: { endpoints: [\"") + address + ":80\"] } }\nroutes: [{ host: " + host +
           ".example.com, rules: [{ upstream: app }] }]\n";
  };
  write("routes.d/b.yaml", file("b", "10.0.0.2"));
  auto it = compiler();
  it->compile();
  write("routes.d/a.yaml", file("a", "10.0.0.1"));
  for (const bool restarted : {false, true}) {
    if (restarted) it = compiler();
    const auto c = it->compile();
    EXPECT_THAT(c.set_aside, ElementsAre(path("routes.d/a.yaml")));
    EXPECT_EQ(route_of(c, 1, "b.example.com"), "b.example.com");
    EXPECT_THAT(text(c), HasSubstr("a.yaml:1:14: error: a second upstream 'app'; the first stands at " +
                                   path("routes.d/b.yaml") + ":1:14\n"));
  }
}

TEST_F(CompilerTest, ABrokenMainFileForgetsNoPair) {
  const auto with = [&](const char* key) {
    main_file(std::string(key) + ": [{ cert: " + path("s.pem") + ", key: " + path("s.key") + " }]\n");
  };
  pair("s.pem", "s.key", {"s.example"});
  with("certificates");
  const auto it = compiler();
  ASSERT_EQ(it->compile().snapshot->certificates->pairs().size(), 1U);
  with("certifcates");
  ASSERT_FALSE(it->compile().main_ok);
  write("s.pem", "half renewed");
  with("certificates");
  const auto c = it->compile();
  EXPECT_EQ(c.snapshot->certificates->pairs().size(), 1U);
  EXPECT_THAT(text(c), HasSubstr("the pair that was loaded before stays in use"));
}

TEST_F(CompilerTest, ABrokenMainFileGivesNoSnapshotAndIsRepaired) {
  main_file("routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  const auto it = compiler();
  ASSERT_TRUE(it->compile().main_ok);
  main_file("routes: [{ host: a.example.com, passthrough: nowhere }]\n");
  const auto broken = it->compile();
  EXPECT_FALSE(broken.main_ok);
  EXPECT_EQ(broken.snapshot, nullptr);
  EXPECT_THAT(broken.files, Contains(path("edgemux.yaml")));
  main_file("routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  EXPECT_TRUE(it->compile().main_ok);
  fs::remove(path("edgemux.yaml"));
  EXPECT_FALSE(it->compile().main_ok);
}

TEST_F(CompilerTest, AStateDirectoryThatCannotBeWrittenIsAWarning) {
  write("state", "a file in its place");
  main_file("include: [a.yaml]\n");
  write("a.yaml", "routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  const auto c = compiler()->compile();
  EXPECT_TRUE(c.main_ok);
  EXPECT_EQ(c.errors(), 0U);
  EXPECT_EQ(c.warnings(), 1U);
  EXPECT_THAT(text(c), HasSubstr("after a restart a broken include has no last good version"));
}

}  // namespace
}  // namespace edgemux::config
