// What a compiler that goes on from what it knows reads, links and leaves alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/config/recompile_fixture.h"

namespace edgemux::config {
namespace {

TEST_F(RecompileTest, ReadsTheChangedFileAloneAndSharesTheRest) {
  for (int t = 0; t < kTenants; ++t) {
    const auto host = ".t" + std::to_string(t) + ".example.com";
    write(file_of(t, 0), "routes: [ { host: a" + host + ", passthrough: \"10.1.0.1:443\" } ]\n");
  }
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  replace(file_of(2, 0), "routes: [ { host: a.t2.example.com, passthrough: \"10.1.0.2:443\" } ]\n");
  files_->take_read();
  const Compiled second = compiler.compile();
  EXPECT_THAT(files_->take_read(), ::testing::ElementsAre(path(file_of(2, 0))));
  const auto route = [](const Compiled& compiled, const std::string& host) {
    return compiled.snapshot->listeners[1]->hosts.find(host)->get();
  };
  EXPECT_NE(route(first, "a.t2.example.com"), route(second, "a.t2.example.com"));
  EXPECT_EQ(route(first, "a.t3.example.com"), route(second, "a.t3.example.com"));
  EXPECT_EQ(first.snapshot->upstreams.parts()[4], second.snapshot->upstreams.parts()[4]);

  compiler.forget();
  compiler.compile();
  EXPECT_EQ(files_->take_read().size(), 1U + kTenants);
}

TEST_F(RecompileTest, WhatIsRefusedIsPutInForceByTheNextOneAndNotReadAgain) {
  const auto says = [&](int tenant, const std::string& address) {
    const auto name = "a.t" + std::to_string(tenant) + ".example.com";
    replace(file_of(tenant, 0), "routes: [ { host: " + name + ", passthrough: \"" + address + ":443\" } ]\n");
  };
  for (int t = 0; t < kTenants; ++t) says(t, "10.1.0.1");
  write(file_of(4, 1), "routes: []\n");  // a tenant that goes is more than a file that goes
  Compiler compiler(path("edgemux.yaml"), options("state"));
  compiler.compile();
  says(2, "10.1.0.2");
  fs::remove(path(file_of(4, 0)));
  const auto refuse = [](const Compiled&) { return "no"; };
  EXPECT_EQ(compiler.compile(Touched::everything(), refuse).refused, "no");
  files_->take_read();
  says(3, "10.1.0.3");
  says(4, "10.1.0.4");
  const auto made = describe(compiler.compile());
  EXPECT_THAT(files_->take_read(), ::testing::ElementsAre(path(file_of(3, 0)), path(file_of(4, 0))));
  for (const char* address : {"10.1.0.2", "10.1.0.3", "10.1.0.4"}) {
    EXPECT_THAT(made, ::testing::HasSubstr(std::string(address) + ":443"));
  }
  // All of it is what serves in the place of broken files.
  for (int t = 2; t < kTenants; ++t) replace(file_of(t, 0), "routes: 7\n");
  EXPECT_THAT(describe(compiler.compile()), ::testing::HasSubstr("10.1.0.2:443"));
  EXPECT_THAT(describe(Compiler(path("edgemux.yaml"), options("state")).compile()),
              ::testing::HasSubstr("10.1.0.4:443"));
}

TEST_F(RecompileTest, ACompileThatFailedIsFollowedByOneOfEverything) {
  const auto route = [](const std::string& name) {
    return "routes: [ { host: " + name + ".t0.example.com, passthrough: \"10.1.0.1:443\" } ]\n";
  };
  write(file_of(0, 0), route("a1"));
  Compiler it(path("edgemux.yaml"), options("state"));
  it.compile();
  write(file_of(0, 0), route("a2-of-another-length"));
  files_->let_exhaust(path(file_of(0, 0)));
  EXPECT_THROW(it.compile(), std::bad_alloc);
  files_->let_exhaust("");
  EXPECT_THAT(describe(it.compile()), ::testing::HasSubstr("a2-of-another-length.t0.example.com at"));
}

TEST_F(RecompileTest, AFileThatGrowsBehindItsBoundIsNotRead) {
  write(file_of(0, 0), "routes: [ { host: a1.t0.example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  files_->let_grow(path(file_of(0, 0)));
  Compiler it(path("edgemux.yaml"), options("state"));
  const auto c = it.compile();
  EXPECT_THAT(describe(c), ::testing::HasSubstr("0.yaml: it is larger than its size was when it was looked at"));
  files_->let_grow("");
  EXPECT_THAT(describe(it.compile()), ::testing::Not(::testing::HasSubstr("larger than")));
}

TEST_F(RecompileTest, AFolderThatMayNotBeReadKeepsItsLastGoodFiles) {
  const auto says = [&](int tenant, const std::string& address) {
    replace(file_of(tenant, 0), "routes: [ { host: a.t" + std::to_string(tenant) + ".example.com, passthrough: \"" +
                                    address + ":443\" } ]\n");
  };
  const auto knows = [](const Compiled& compiled, int tenant) {
    return compiled.snapshot->listeners[1]->hosts.find("a.t" + std::to_string(tenant) + ".example.com") != nullptr;
  };
  const auto told = [](const Compiled& compiled) {
    std::string out;
    for (const auto& diagnostic : compiled.diagnostics) out += diagnostic.headline() + "\n";
    return out;
  };
  for (int t = 0; t < 3; ++t) says(t, "10.1.0.1");
  auto compiler = std::make_unique<Compiler>(path("edgemux.yaml"), options("state"));
  compiler->compile();
  files_->close_folder(path(folder_of(1)));
  fs::last_write_time(path(folder_of(1)), fs::file_time_type::clock::now());  // as chmod makes its stamp another
  for (const bool restarted : {false, true}) {
    if (restarted) compiler = std::make_unique<Compiler>(path("edgemux.yaml"), options("state"));
    says(2, restarted ? "10.1.0.3" : "10.1.0.2");
    const auto c = compiler->compile();
    EXPECT_THAT(told(c), ::testing::ContainsRegex("edgemux.yaml:[0-9]+:[0-9]+: error: cannot list .*" + folder_of(1) +
                                                  ": user nobody may not read it"));
    EXPECT_THAT(c.set_aside, ::testing::ElementsAre(path(file_of(1, 0))));
    for (int t = 0; t < 3; ++t) EXPECT_TRUE(knows(c, t)) << t;
  }
  files_->close_folder("");
  const auto c = compiler->compile();
  EXPECT_THAT(told(c), ::testing::Not(::testing::HasSubstr("cannot")));
  EXPECT_TRUE(knows(c, 1));
}

TEST_F(RecompileTest, TheFirstCompileLeavesTheKeepingForLater) {
  const auto host = [](const std::string& name) {
    return "routes: [ { host: " + name + ".t1.example.com, passthrough: \"10.1.0.1:443\" } ]\n";
  };
  for (int t = 0; t < kTenants; ++t) write(file_of(t, 0), "routes: []\n");
  write(file_of(1, 0), host("good"));
  auto later = options("state");
  later.keep_later = true;
  const auto kept = [&] {
    std::error_code error;
    return std::distance(fs::directory_iterator(path("state/last-good"), error), fs::directory_iterator());
  };
  Compiler compiler(path("edgemux.yaml"), later);
  compiler.compile();
  EXPECT_EQ(kept(), 0);
  // Broken before its turn came: what is kept is what was good.
  replace(file_of(1, 0), "routes: [\n");
  compiler.compile();
  while (compiler.keep() == Kept::some) {
  }
  EXPECT_EQ(kept(), kTenants);
  EXPECT_EQ(compiler.keep(), Kept::all);
  Compiler restarted(path("edgemux.yaml"), later);
  EXPECT_NE(restarted.compile().snapshot->listeners[1]->hosts.find("good.t1.example.com"), nullptr);
}

TEST_F(RecompileTest, WhatCannotBeKeptIsToldByTheNextCompile) {
  write(file_of(0, 0), "routes: []\n");
  write("state", "no folder");
  auto later = options("state");
  later.keep_later = true;
  Compiler compiler(path("edgemux.yaml"), later);
  const auto before = compiler.compile().warnings();
  EXPECT_EQ(compiler.keep(), Kept::failed);
  EXPECT_EQ(compiler.keep(), Kept::all) << "once is enough";
  const auto c = compiler.compile();
  EXPECT_EQ(c.warnings(), before + 1);
  EXPECT_THAT(c.diagnostics.back().message, ::testing::HasSubstr("state/last-good"));
}

TEST_F(RecompileTest, LooksOnlyAtWhatWasTouched) {
  for (int t = 0; t < 2; ++t) {
    write(file_of(t, 0),
          "routes: [ { host: a.t" + std::to_string(t) + ".example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  }
  Compiler compiler(path("edgemux.yaml"), options("state"));
  compiler.compile();
  for (int t = 0; t < 2; ++t) {
    replace(file_of(t, 0),
            "routes: [ { host: b.t" + std::to_string(t) + ".example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  }
  files_->take_read();
  Touched touched;
  touched.add(path(file_of(1, 0)));
  const auto hosts = [](const Compiled& compiled, const std::string& host) {
    return compiled.snapshot->listeners[1]->hosts.serves(host);
  };
  const Compiled second = compiler.compile(touched);
  EXPECT_THAT(files_->take_read(), ::testing::ElementsAre(path(file_of(1, 0))));
  EXPECT_TRUE(hosts(second, "b.t1.example.com") && hosts(second, "a.t0.example.com"));
  const Compiled third = compiler.compile();
  EXPECT_THAT(files_->take_read(), ::testing::ElementsAre(path(file_of(0, 0))));
  EXPECT_TRUE(hosts(third, "b.t1.example.com") && hosts(third, "b.t0.example.com"));
}

TEST_F(RecompileTest, MovedLinesOfTheMainFileLinkOnlyWhoHasAProblem) {
  keep_the_main_file_apart();
  for (int t = 0; t < kTenants; ++t) {
    write(file_of(t, 0),
          "routes: [ { host: a.t" + std::to_string(t) + ".example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  }
  write(file_of(3, 0), "routes: [ { host: a.t0.example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  write("edgemux.yaml", "# moved\n" + main_);
  const Compiled second = compiler.compile();
  const auto& before = first.snapshot->upstreams.parts();
  const auto& after = second.snapshot->upstreams.parts();
  ASSERT_EQ(before.size(), 5U) << "the platform's, and those of the tenants whose host is their own";
  for (std::size_t i = 1; i < before.size(); ++i) EXPECT_EQ(before[i], after[i]);
  const auto place = [](const Compiled& compiled) { return compiled.snapshot->tenant_places[2].line; };
  EXPECT_EQ(place(first) + 1, place(second));
  const auto told = [](const Compiled& compiled) {
    std::string all;
    for (const auto& diagnostic : compiled.diagnostics) all += diagnostic.headline() + "\n";
    return all;
  };
  const auto line = [&](const Compiled& compiled) {
    return "belongs to tenant 't0', which claims '*.t0.example.com' at " +
           compiled.snapshot->claims->find("a.t0.example.com")->origin.to_string();
  };
  EXPECT_NE(line(first), line(second));
  EXPECT_THAT(told(first), ::testing::HasSubstr(line(first)));
  EXPECT_THAT(told(second), ::testing::HasSubstr(line(second)));
}

TEST_F(RecompileTest, ADefaultOfTheMainFileConcernsWhoHasIt) {
  keep_the_main_file_apart();
  for (int t = 0; t < kTenants; ++t) {
    const std::string action =
        t == 1 ? "rules: [ { path: /, upstream: \"10.1.0.1:80\" } ]" : "passthrough: \"10.1.0.1:443\"";
    write(file_of(t, 0), "routes: [ { host: a.t" + std::to_string(t) + ".example.com, " + action + " } ]\n");
  }
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  const auto policy = [](const Compiled& compiled) {
    const auto* route = compiled.snapshot->listeners[1]->hosts.find("a.t1.example.com");
    return std::get<routing::VirtualHost>((*route)->action).tls;
  };
  write("edgemux.yaml", "tls: { min_version: \"1.3\" }\n\n" + main_);
  const Compiled second = compiler.compile();
  EXPECT_EQ(policy(first)->min_version, core::TlsVersion::tls1_2);
  EXPECT_EQ(policy(second)->min_version, core::TlsVersion::tls1_3);
  write("edgemux.yaml", "tls: { min_version: \"1.3\" }\ntimeouts: { connect: 7s }\n" + main_);
  const Compiled third = compiler.compile();
  EXPECT_EQ(third.snapshot->timeouts.connect, routing::milliseconds(7000));
  const auto& before = first.snapshot->upstreams.parts();
  const auto& between = second.snapshot->upstreams.parts();
  const auto& after = third.snapshot->upstreams.parts();
  ASSERT_EQ(before.size(), 6U);
  for (std::size_t t = 0; t < kTenants; ++t) {
    EXPECT_EQ(before[t + 1] == between[t + 1], t != 1) << t;
    EXPECT_EQ(between[t + 1], after[t + 1]) << t;
  }
}

TEST_F(RecompileTest, AnotherTenantOfTheMainFileConcernsWhoseNamesItClaims) {
  keep_the_main_file_apart();
  for (int t = 0; t < kTenants; ++t) {
    const auto host = ".t" + std::to_string(t) + ".example.com";
    write(file_of(t, 0), "routes: [ { hosts: [a" + host + ", b.a" + host + "], passthrough: \"10.1.0.1:443\" } ]\n");
  }
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  write("edgemux.yaml", main_ + "  t8: { hosts: [\"*.a.t2.example.com\"], networks: [10.1.0.0/16] }\n");
  const Compiled second = compiler.compile();
  const auto& before = first.snapshot->upstreams.parts();
  const auto& after = second.snapshot->upstreams.parts();
  ASSERT_EQ(before.size(), 6U);
  for (std::size_t t = 0; t < kTenants; ++t) EXPECT_EQ(before[t + 1] == after[t + 1], t != 2) << t;
  EXPECT_EQ(second.snapshot->listeners[1]->hosts.find("b.a.t2.example.com"), nullptr);
  EXPECT_NE(second.snapshot->listeners[1]->hosts.find("a.t2.example.com"), nullptr);
  // A tenant's limits are its own affair.
  write("edgemux.yaml",
        main_ + "  t8: { hosts: [\"*.a.t2.example.com\"], networks: [10.1.0.0/16], limits: { connections: 7 } }\n");
  EXPECT_EQ(compiler.compile().snapshot->upstreams.parts()[3], after[3]);
  write("edgemux.yaml", main_);
  EXPECT_NE(compiler.compile().snapshot->listeners[1]->hosts.find("b.a.t2.example.com"), nullptr);
}

TEST_F(RecompileTest, AnAddressOfTheMachineConcernsWhoHasItAlone) {
  for (int t = 0; t < kTenants; ++t) {
    write(file_of(t, 0), "routes: [ { host: a.t" + std::to_string(t) + ".example.com, passthrough: \"10.1.0." +
                             std::to_string(t + 1) + ":443\" } ]\n");
  }
  write(file_of(4, 0), "routes: [ { host: a.t4.example.com, passthrough: \"10.1.0.2:8443\" } ]\n");
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  const auto problems = first.diagnostics.size();
  files_->take_read();
  machine_ = {address("10.1.0.2"), address("192.0.2.7")};
  const Compiled second = compiler.compile();
  EXPECT_THAT(files_->take_read(), ::testing::IsEmpty());
  ASSERT_EQ(second.diagnostics.size(), problems + 1);
  EXPECT_THAT(second.diagnostics.back().headline(),
              ::testing::HasSubstr("endpoint '10.1.0.2:443' is a listener of edgemux itself, so tenant 't1' may not"));
  for (std::size_t t = 0; t < kTenants; ++t) {
    const auto& parts = second.snapshot->upstreams.parts();
    EXPECT_EQ(parts[t + 1] == first.snapshot->upstreams.parts()[t + 1], t != 1) << t;
  }
  EXPECT_NE(second.snapshot->tenants[0]->refuses(*core::SocketAddress::parse_ip("10.1.0.2", 443)), nullptr)
      << "names that resolve to it are refused by everybody";
  machine_.clear();
  EXPECT_EQ(compiler.compile().diagnostics.size(), problems);
}

TEST_F(RecompileTest, AMachineThatDoesNotTellItsAddressesAnyMoreKeepsThoseThatItTold) {
  write(file_of(1, 0), "routes: [ { host: a.t1.example.com, passthrough: \"10.1.0.2:443\" } ]\n");
  write(file_of(2, 0), "routes: [ { host: a.t2.example.com, passthrough: \"10.1.0.3:443\" } ]\n");
  machine_ = {address("10.1.0.2")};
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const auto problems = compiler.compile().diagnostics.size();
  machine_problem_ = "Too many open files";
  const Compiled second = compiler.compile();
  ASSERT_EQ(second.diagnostics.size(), problems + 1);
  EXPECT_NE(std::find_if(second.diagnostics.begin(), second.diagnostics.end(),
                         [](const Diagnostic& one) {
                           return one.severity == Severity::warning &&
                                  one.message == "the addresses of this machine cannot be told: Too many open files";
                         }),
            second.diagnostics.end());
  const auto& tenant = *second.snapshot->tenants[0];
  EXPECT_NE(tenant.refuses(*core::SocketAddress::parse_ip("10.1.0.2", 443)), nullptr);
  EXPECT_EQ(tenant.refuses(*core::SocketAddress::parse_ip("10.1.0.3", 443)), nullptr);
  machine_problem_.clear();
  EXPECT_EQ(compiler.compile().diagnostics.size(), problems);
}

TEST_F(RecompileTest, WhereTheMachineNeverToldItsAddressesAnyMayBeItsOwn) {
  write(file_of(1, 0), "routes: [ { host: a.t1.example.com, passthrough: \"10.1.0.2:443\" } ]\n");
  machine_problem_ = "Address family not supported by protocol";
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled compiled = compiler.compile();
  EXPECT_NE(compiled.snapshot->tenants[0]->refuses(*core::SocketAddress::parse_ip("10.1.0.2", 443)), nullptr);
  EXPECT_EQ(compiled.snapshot->tenants[0]->refuses(*core::SocketAddress::parse_ip("10.1.0.2", 8443)), nullptr);
  EXPECT_THAT(describe(compiled), ::testing::HasSubstr("AF_NETLINK"));
}

TEST_F(RecompileTest, ListenersThatMoveOrComeConcernWhoHasTheirAddressAlone) {
  keep_the_main_file_apart();
  const auto listen = [this](const std::string& more) {
    std::string main = main_;
    write("edgemux.yaml", main.insert(main.find("include:"), "  - { " + more + " }\n"));
  };
  for (int t = 0; t < kTenants; ++t) {
    write(file_of(t, 0), "routes: [ { host: a.t" + std::to_string(t) + ".example.com, passthrough: \"10.1.0." +
                             std::to_string(t + 1) + ":8443\" } ]\n");
  }
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  const auto problems = first.diagnostics.size();
  listen("name: more, bind: [\"10.1.0.2:8443\"], protocol: tls");
  const Compiled second = compiler.compile();
  ASSERT_EQ(second.diagnostics.size(), problems + 1);
  EXPECT_THAT(second.diagnostics.back().headline(),
              ::testing::HasSubstr("endpoint '10.1.0.2:8443' is a listener of edgemux itself, so tenant 't1' may not"));
  for (std::size_t t = 0; t < kTenants; ++t) {
    EXPECT_EQ(second.snapshot->upstreams.parts()[t + 1] == first.snapshot->upstreams.parts()[t + 1], t != 1) << t;
  }
  ASSERT_EQ(second.snapshot->listeners.size(), first.snapshot->listeners.size() + 1);
  EXPECT_NE(second.snapshot->listeners.back()->hosts.find("a.t3.example.com"), nullptr);
  // Refused: what is in force is judged as it was, and the next one by what it says itself.
  second.snapshot->judge_by_its_listeners();
  listen("name: more, bind: [\"10.1.0.3:8443\"], protocol: tls");
  const auto& refuses = *second.snapshot->tenants[0];
  const auto address = [](const char* ip) { return *core::SocketAddress::parse_ip(ip, 8443); };
  EXPECT_EQ(compiler.compile({}, [](const auto&) { return "no"; }).refused, "no");
  EXPECT_NE(refuses.refuses(address("10.1.0.2")), nullptr);
  EXPECT_EQ(refuses.refuses(address("10.1.0.3")), nullptr);
  const Compiled third = compiler.compile();
  ASSERT_EQ(third.diagnostics.size(), problems + 1);
  EXPECT_THAT(third.diagnostics.back().headline(), ::testing::HasSubstr("endpoint '10.1.0.3:8443' is a listener"));
  EXPECT_EQ(refuses.refuses(address("10.1.0.3")), nullptr) << "it is not in force yet";
  third.snapshot->judge_by_its_listeners();
  EXPECT_EQ(refuses.refuses(address("10.1.0.2")), nullptr);
  EXPECT_NE(refuses.refuses(address("10.1.0.3")), nullptr);
  // Who names one that was not there is told so until it comes.
  write(file_of(4, 0), "routes: [ { host: a.t4.example.com, listeners: [bytes2], rules: [ { respond: {} } ] } ]\n");
  EXPECT_THAT(compiler.compile().diagnostics.back().headline(), ::testing::HasSubstr("unknown listener 'bytes2'"));
  listen("name: bytes2, bind: [\"10.1.0.9:9443\"], protocol: http");
  const Compiled named = compiler.compile();
  EXPECT_THAT(named.diagnostics.back().headline(), ::testing::Not(::testing::HasSubstr("unknown listener")));
  EXPECT_NE(named.snapshot->listeners.back()->hosts.find("a.t4.example.com"), nullptr);
  write(file_of(4, 0), "routes: []\n");
  // One without hosts in its place.
  listen("name: bytes, bind: [\"10.1.0.3:9443\"], protocol: tcp, upstream: \"10.9.0.1:80\"");
  const Compiled fourth = compiler.compile();
  EXPECT_EQ(fourth.diagnostics.size(), problems);
  EXPECT_EQ(fourth.snapshot->listeners.back()->hosts.size(), 0U);
  EXPECT_EQ(fourth.snapshot->listeners[1]->hosts.size(), first.snapshot->listeners[1]->hosts.size() - 1);
}

// Whoever writes twice within one tick of the file system's clock, and to the same size, leaves the same stamp.
TEST_F(RecompileTest, WhatWasWrittenWithinTheClocksTickIsReadAgain) {
  files_->run_ahead(0);
  const auto say = [this](const std::string& last) {
    std::ofstream(path(file_of(0, 0))) << "routes: [ { host: a.t0.example.com, passthrough: \"10.1.0." + last +
                                              ":443\" } ]\n";
  };
  say("1");
  Compiler compiler(path("edgemux.yaml"), options("state"));
  compiler.compile();
  for (int n = 2; n < 10; ++n) {
    say(std::to_string(n));
    const Compiled compiled = compiler.compile();
    const auto& route = **compiled.snapshot->listeners[1]->hosts.find("a.t0.example.com");
    EXPECT_EQ(std::get<routing::Passthrough>(route.action).upstream->name, "10.1.0." + std::to_string(n) + ":443");
  }
}

TEST_F(RecompileTest, TheMainFilesOwnRoutesForATenantHold) {
  write(file_of(0, 0), "routes: [ { host: a0.t0.example.com, listeners: [https], passthrough: \"10.1.0.1:443\" } ]\n");
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  const auto hosts = first.snapshot->host_count;
  write(file_of(0, 0), "routes: [ { host: a0.t0.example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  const Compiled second = compiler.compile();
  EXPECT_THAT(second.set_aside, ::testing::ElementsAre(path(file_of(0, 0))));
  ASSERT_FALSE(second.diagnostics.empty());
  EXPECT_THAT(second.diagnostics.back().headline(), ::testing::HasSubstr("stands on listener 'kube' already, at"));
  EXPECT_EQ(second.snapshot->host_count, hosts);
  fs::remove(path(file_of(0, 0)));
  const Compiled third = compiler.compile();
  EXPECT_EQ(third.snapshot->listeners[1]->hosts.find("a0.t0.example.com"), nullptr);
  EXPECT_NE(third.snapshot->listeners[2]->hosts.find("a0.t0.example.com"), nullptr);
}

}  // namespace
}  // namespace edgemux::config
