// The compiler on a real disk: what it makes of a configuration, what it keeps, what it sets aside.
#include <unistd.h>

#include <ctime>

#include "config/source_file.h"
#include "routing/table/cors.h"
#include "tests/config/compiler_fixture.h"

namespace edgemux::config {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(CompilerTest, HostsStandOnTheListenersOfTheirRoute) {
  main_file(
      "routes:\n"
      "  - { host: a.example.com, passthrough: \"10.0.0.1:443\" }\n"
      "  - { host: \"*.k.example.com\", listeners: [kube], passthrough: \"10.0.0.2:6443\", on_http: off }\n"
      "  - { host: own.k.example.com, listeners: [https], passthrough: \"10.0.0.5:443\" }\n"
      "  - { host: b.example.com, listeners: [https], passthrough: \"10.0.0.3:443\" }\n"
      "  - { host: b.example.com, listeners: [kube, http], passthrough: \"10.0.0.4:443\" }\n");
  const auto c = compiler()->compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  EXPECT_THAT(c.diagnostics, IsEmpty());
  EXPECT_EQ(c.snapshot->host_count, 4U);
  EXPECT_EQ(c.snapshot->workers, 3U);
  EXPECT_EQ(c.snapshot->admin.bind, "unix:/run/edgemux/admin.sock");
  EXPECT_EQ(c.snapshot->admin.probes, "127.0.0.1:9902");
  EXPECT_EQ(route_of(c, 0, "a.example.com"), "a.example.com");
  EXPECT_EQ(route_of(c, 1, "a.example.com"), "a.example.com");
  EXPECT_EQ(route_of(c, 1, "x.k.example.com"), "");
  EXPECT_EQ(route_of(c, 2, "x.k.example.com"), "*.k.example.com");
  EXPECT_EQ(route_of(c, 2, "k.example.com"), "");
  // Owned elsewhere: it does not fall to the wildcard of this listener.
  EXPECT_EQ(route_of(c, 2, "own.k.example.com"), "");
  const auto backend = [&](std::size_t listener) {
    const auto& route = *c.snapshot->listeners[listener]->hosts.find("b.example.com");
    return std::get<routing::Passthrough>(route->action).upstream->name;
  };
  EXPECT_EQ(backend(0), "10.0.0.4:443");
  EXPECT_EQ(backend(1), "10.0.0.3:443");
  EXPECT_EQ(backend(2), "10.0.0.4:443");
}

TEST_F(CompilerTest, BindsAreRead) {
  main_file("routes: []\n");
  const auto c = compiler()->compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  const auto& any = c.snapshot->listeners[0]->spec.binds.at(0);
  EXPECT_TRUE(any.dual_stack);
  EXPECT_EQ(any.address.to_string(), "[::]:80");
  const auto& one = c.snapshot->listeners[2]->spec.binds.at(0);
  EXPECT_FALSE(one.dual_stack);
  EXPECT_EQ(one.address.to_string(), "127.0.0.1:6443");
}

TEST_F(CompilerTest, RulesAreOrderedBySpecificity) {
  main_file(
      "upstreams: { u: { endpoints: [\"10.0.0.1:80\"] } }\n"
      "routes:\n"
      "  - host: a.example.com\n"
      "    max_request_body: 1MiB\n"
      "    rules:\n"
      "      - { path: /, upstream: u }\n"
      "      - { path: /api/v1/, redirect: { host: x, status: 308 } }\n"
      "      - { path: //api, upstream: u }\n"
      "      - { exact_path: /%61pi/, respond: { body: hi, headers: { X-A: b } } }\n");
  const auto c = compiler()->compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  const auto& host = std::get<routing::VirtualHost>((*c.snapshot->listeners[1]->hosts.find("a.example.com"))->action);
  std::vector<std::string> paths;
  for (const auto& rule : host.rules) paths.push_back(rule.path);
  EXPECT_THAT(paths, ElementsAre("/api/", "/api/v1", "/api", "/"));
  EXPECT_EQ(host.rules[0].kind, routing::Rule::Kind::exact);
  EXPECT_EQ(host.max_request_body, 1048576U);
  const auto& respond = std::get<routing::Respond>(host.rules[0].action);
  EXPECT_EQ(respond.body, "hi");
  EXPECT_THAT(respond.headers, ElementsAre(std::pair<std::string, std::string>("x-a", "b")));
  EXPECT_EQ(std::get<routing::Redirect>(host.rules[1].action).status, 308);
  EXPECT_EQ(host.rules[0].origin.line, 13U);
  EXPECT_EQ(host.tls->min_version, core::TlsVersion::tls1_2);
  EXPECT_FALSE(host.tls->identity.empty());
}

TEST_F(CompilerTest, UpstreamsTakeDefaultsAndSolversTakePort80) {
  main_file(
      "timeouts: { connect: 700ms }\n"
      "upstreams:\n"
      "  u: { endpoints: [\"10.0.0.1:443\", \"Backend.example.com:443\", \"[::1]:1443\"], limits: { connections: 5 } "
      "}\n"
      "  v: { endpoints: [\"10.0.0.1:443\"], timeouts: { connect: 2s }, keepalive: { idle: 1s, connections: 0 } }\n"
      "routes:\n"
      "  - { host: a.example.com, passthrough: u, acme_solver: backend }\n"
      "  - { host: b.example.com, passthrough: v, acme_solver: \"solver:8089\" }\n");
  const auto c = compiler()->compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  const auto& a = **c.snapshot->listeners[1]->hosts.find("a.example.com");
  const auto& u = *std::get<routing::Passthrough>(a.action).upstream;
  EXPECT_FALSE(u.connect_timeout);
  EXPECT_EQ(c.snapshot->timeouts.connect.count(), 700);
  EXPECT_EQ(u.max_connections, 5U);
  EXPECT_EQ(u.endpoints.at(1).host, "backend.example.com");
  EXPECT_FALSE(u.endpoints.at(1).address);
  const auto set = u.state->published();
  ASSERT_EQ(set->endpoints.size(), 2U);  // the addresses; the name is discovery's
  EXPECT_EQ(set->endpoints[1].text, "[::1]:1443");
  std::vector<std::string> solver;
  for (const auto& endpoint : a.acme_solver->endpoints) solver.push_back(endpoint.text);
  EXPECT_THAT(solver, ElementsAre("10.0.0.1:80", "backend.example.com:80", "[::1]:80"));
  const auto& b = **c.snapshot->listeners[1]->hosts.find("b.example.com");
  const auto& v = *std::get<routing::Passthrough>(b.action).upstream;
  EXPECT_EQ(v.connect_timeout, routing::milliseconds(2000));
  EXPECT_EQ(v.keepalive.idle.count(), 1000);
  EXPECT_EQ(v.keepalive.connections, 0U);
  EXPECT_THAT(b.acme_solver->state->published()->problem, HasSubstr("solver is not resolved yet"));
}

TEST_F(CompilerTest, ASolverIsReachedAsItsBackendIs) {
  main_file(
      "upstreams:\n"
      "  u: { endpoints: [{ address: \"10.0.0.1:443\", weight: 0 }, { address: \"10.0.0.2:443\", weight: 3 },\n"
      "                   { address: \"10.0.0.1:444\", weight: 0 }, { address: \"10.0.0.2:444\", weight: 0 }],\n"
      "       source_address: 127.0.0.9, dns: { min_ttl: 7s, max_ttl: 8s } }\n"
      "  v: { endpoints: [\"10.0.0.1:443\", \"10.0.0.2:443\"] }\n"
      "  w: { endpoints: [\"10.0.0.1:443\", \"10.0.0.2:443\"], source_address: 127.0.0.9 }\n"
      "  x: { endpoints: [\"10.0.0.1:443\", \"10.0.0.2:443\"], dns: { min_ttl: 7s } }\n"
      "  y: { endpoints: [\"10.0.0.1:6443\", \"10.0.0.2:6443\"] }\n"
      "routes:\n"
      "  - { host: u.example.com, passthrough: u, acme_solver: backend }\n"
      "  - { host: v.example.com, passthrough: v, acme_solver: backend }\n"
      "  - { host: w.example.com, passthrough: w, acme_solver: backend }\n"
      "  - { host: x.example.com, passthrough: x, acme_solver: backend }\n"
      "  - { host: y.example.com, passthrough: y, acme_solver: backend }\n");
  const auto c = compiler()->compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  const auto solver = [&](const std::string& host) {
    return (*c.snapshot->listeners[1]->hosts.find(host + ".example.com"))->acme_solver;
  };
  const auto& u = *solver("u");
  ASSERT_EQ(u.endpoints.size(), 2U);
  EXPECT_EQ(u.endpoints[0].weight, 0U) << "all of its ports are drained";
  EXPECT_EQ(u.endpoints[1].weight, 3U);
  const auto set = u.state->published();
  ASSERT_EQ(set->endpoints.size(), 2U);
  EXPECT_EQ(set->endpoints[0].weight, 0U);
  EXPECT_EQ(set->endpoints[1].weight, 3U);
  EXPECT_EQ(u.transport.source_address->ip(), "127.0.0.9");
  EXPECT_EQ(u.dns.min_ttl.count(), 7000);
  EXPECT_EQ(u.dns.max_ttl.count(), 8000);
  for (const char* other : {"u", "w", "x"}) {
    EXPECT_NE(solver(other), solver("v")) << other;
    EXPECT_NE(solver(other)->state, solver("v")->state) << other;
  }
  EXPECT_EQ(solver("y"), solver("v")) << "ports do not matter";
}

TEST_F(CompilerTest, ANamedUpstreamKeepsItsRuntimeWhenItsParametersChange) {
  const auto with = [this](const std::string& more) {
    main_file("upstreams: { u: { endpoints: [\"10.0.0.1:80\"]" + more +
              " } }\nroutes: [{ host: a.example.com, passthrough: u }]\n");
  };
  const auto compiler = this->compiler();
  const auto upstream_of = [](const Compiled& c) { return c.snapshot->upstreams.at(0); };
  with("");
  const auto first = upstream_of(compiler->compile());
  const auto endpoint = first->state->endpoints()->endpoints.at(0).state;
  with(", balance: random_two");
  compiler->compile();  // never put in force
  with(", balance: source_hash, limits: { requests: 7 }");
  const auto second = upstream_of(compiler->compile());
  EXPECT_NE(first->identity, second->identity);
  EXPECT_NE(first->id, second->id);
  EXPECT_EQ(second->balance.kind, routing::Balance::source_hash);
  EXPECT_EQ(second->max_requests, 7U);
  EXPECT_EQ(second->state->endpoints()->endpoints.at(0).state, endpoint);
  EXPECT_EQ(second->state->shared_runtime(), first->state->shared_runtime());
}

TEST_F(CompilerTest, EqualUpstreamsOfTwoNamesShareNothingBeforeOrAfterOneOfThemChanges) {
  const auto with = [this](const std::string& more) {
    main_file("upstreams: { u: { endpoints: [\"10.0.0.1:80\"]" + more +
              " }, v: { endpoints: [\"10.0.0.1:80\"], limits: { requests: 3 } } }\n"
              "routes: [{ host: a.example.com, passthrough: u }, { host: b.example.com, passthrough: v }]\n");
  };
  const auto compiler = this->compiler();
  const auto upstream = [](const Compiled& c, const char* host) {
    return std::get<routing::Passthrough>((*c.snapshot->listeners[1]->hosts.find(host))->action).upstream;
  };
  with(", limits: { requests: 3 }");
  const auto equal = compiler->compile();
  const auto u = upstream(equal, "a.example.com");
  const auto v = upstream(equal, "b.example.com");
  EXPECT_NE(u->id, v->id);
  EXPECT_NE(u->state->shared_runtime(), v->state->shared_runtime());
  with(", limits: { requests: 4 }");
  const auto changed = compiler->compile();
  EXPECT_EQ(upstream(changed, "a.example.com")->state->shared_runtime(), u->state->shared_runtime());
  EXPECT_EQ(upstream(changed, "b.example.com")->state, v->state);
}

TEST_F(CompilerTest, StateAndIdsSurviveReloadsByIdentity) {
  main_file(
      "routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }, { host: b.example.com, passthrough: "
      "\"10.0.0.2:443\" }]\n");
  const auto it = compiler();
  auto first = it->compile();
  const auto upstream = [](const Compiled& c, const char* host) {
    return std::get<routing::Passthrough>((*c.snapshot->listeners[1]->hosts.find(host))->action).upstream;
  };
  const auto a = upstream(first, "a.example.com");
  main_file(
      "routes: [{ host: c.example.com, passthrough: \"10.0.0.3:443\" }, { host: a.example.com, passthrough: { "
      "endpoints: [\"10.0.0.1:443\"] } }]\n");
  auto second = it->compile();
  EXPECT_EQ(upstream(second, "a.example.com")->state, a->state);
  EXPECT_EQ(upstream(second, "a.example.com")->id, a->id);
  EXPECT_NE(upstream(second, "c.example.com")->id, a->id);
  EXPECT_NE(upstream(second, "c.example.com")->id, upstream(first, "b.example.com")->id);
  EXPECT_NE(first.fingerprint, second.fingerprint);
  EXPECT_EQ(it->compile().fingerprint, second.fingerprint);
  EXPECT_TRUE(second.moved.empty());
}

TEST_F(CompilerTest, WorldWritableFilesAreRefused) {
  main_file("include: [a.yaml]\n");
  write("a.yaml", "routes: []\n");
  ::chmod(path("a.yaml").c_str(), 0666);
  const auto include = compiler()->compile();
  EXPECT_TRUE(include.main_ok);
  EXPECT_THAT(text(include), HasSubstr("everybody may write to it"));
  EXPECT_THAT(include.set_aside, ElementsAre(path("a.yaml")));
  ::chmod(path("edgemux.yaml").c_str(), 0646);
  const auto c = compiler()->compile();
  EXPECT_FALSE(c.main_ok);
  EXPECT_THAT(text(c), HasSubstr("everybody may write to it"));
}

TEST_F(CompilerTest, FilesThatAStartCouldNotMakeAreWarnedOf) {
  folder("there");
  const auto said = [&](const std::string& log, const std::string& socket) {
    main_file("log: { access: { path: " + log + " } }\nadmin: { bind: \"unix:" + socket +
              "\" }\nroutes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
    const auto c = compiler()->compile();
    EXPECT_TRUE(c.main_ok) << text(c);
    return text(c);
  };
  EXPECT_EQ(said("there/access.log", "there/admin.sock"), "");
  EXPECT_EQ(said("stdout", "/run/edgemux/admin.sock"), "");
  const std::string log = path("edgemux.yaml") + ":5:24: warning: the access log ";
  const std::string hint = "; a start would fail here; check as the service's user, and make the folder\n";
  EXPECT_EQ(said("none/access.log", "none/admin.sock"),
            log + path("none/access.log") + " cannot be written: there is no folder " + path("none") + hint +
                path("edgemux.yaml") + ":6:16: warning: the admin socket " + path("none/admin.sock") +
                " cannot be written: there is no folder " + path("none") + hint);
  EXPECT_EQ(said("there", "there/admin.sock"), log + path("there") + " cannot be written: it is a directory" + hint);
  EXPECT_THAT(said("edgemux.yaml/access.log", "there/admin.sock"), HasSubstr("Not a directory"));
}

TEST_F(CompilerTest, PlainHttpBesideClientCertificatesIsWarnedOf) {
  write("ca.pem", edgemux::test::make_certificate({.names = {"ca"}, .ca = true}).cert_pem());
  const std::string rest = ", on_http: serve, rules: [{ respond: {} }] }\n";
  main_file("routes:\n  - { host: a.example.com, listeners: [http, https], tls: { client_ca: ca.pem }" + rest +
            "  - { host: b.example.com, tls: { client_ca: ca.pem, client_auth: optional }" + rest);
  const auto said = text(compiler()->compile());
  EXPECT_THAT(said, HasSubstr(":6:91: warning: 'on_http: serve' serves who comes over plain HTTP, where no client "
                              "certificate is asked for; leave it out, or say with 'allow' who may come in\n"));
  EXPECT_EQ(said.find("plain HTTP"), said.rfind("plain HTTP")) << said;
}

TEST_F(CompilerTest, ABrokenClientCaRefusesItsHostAndNoOther) {
  const auto ca = edgemux::test::make_certificate({.names = {}, .ca = true});
  write("ca.pem", ca.cert_pem());
  main_file(
      "tls: { min_version: \"1.3\" }\n"
      "routes:\n"
      "  - { host: a.example.com, tls: { client_ca: ca.pem }, rules: [{ respond: {} }] }\n"
      "  - { host: b.example.com, tls: { client_ca: ca.pem, client_auth: optional, min_version: \"1.2\" }, rules: [{ "
      "respond: {} }] }\n"
      "  - { host: c.example.com, rules: [{ respond: {} }] }\n");
  const auto it = compiler();
  const auto c = it->compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  EXPECT_EQ(c.errors(), 0U) << text(c);
  const auto host = [](const Compiled& from, const char* name) {
    return *from.snapshot->listeners[1]->hosts.find(name);
  };
  const auto tls = [&](const Compiled& from, const char* name) {
    return std::get<routing::VirtualHost>(host(from, name)->action).tls;
  };
  EXPECT_EQ(tls(c, "a.example.com")->client_auth, core::ClientAuth::require);
  EXPECT_EQ(tls(c, "a.example.com")->client_ca->fingerprint(), core::CaBundle::fingerprint_of(ca.cert_pem()));
  EXPECT_EQ(tls(c, "a.example.com")->min_version, core::TlsVersion::tls1_3);
  EXPECT_EQ(tls(c, "b.example.com")->client_auth, core::ClientAuth::optional);
  EXPECT_EQ(tls(c, "b.example.com")->min_version, core::TlsVersion::tls1_2);
  EXPECT_EQ(tls(c, "c.example.com")->client_auth, core::ClientAuth::none);
  EXPECT_THAT(c.files, Contains(path("ca.pem")));

  write("ca.pem", "broken");
  const auto broken = it->compile();
  ASSERT_TRUE(broken.main_ok);
  EXPECT_EQ(broken.errors(), 2U);
  EXPECT_THAT(host(broken, "a.example.com")->refused, HasSubstr("ca.pem"));
  EXPECT_THAT(host(broken, "b.example.com")->refused, HasSubstr("ca.pem"));
  EXPECT_EQ(host(broken, "c.example.com")->refused, "");
  EXPECT_NE(broken.fingerprint, c.fingerprint);
}

TEST_F(CompilerTest, WhatIsToBeWatchedFollowsLinks) {
  // A ConfigMap as Kubernetes mounts it, beside a folder that does not exist yet.
  folder("volume/..1");
  write("volume/..1/edgemux.yaml", std::string(kListeners) + "include: [\"later/*.yaml\", \"volume-a.yaml\"]\n");
  write("volume/..1/volume-a.yaml", "routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  fs::create_symlink("..1", path("volume/..data"));
  for (const char* name : {"edgemux.yaml", "volume-a.yaml"})
    fs::create_symlink(std::string("..data/") + name, path(std::string("volume/") + name));
  Compiler it(path("volume/edgemux.yaml"), options());
  const auto c = it.compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  EXPECT_THAT(c.directories, Contains(path("volume")));
  EXPECT_THAT(c.directories, Contains(path("volume/..1")));
  EXPECT_EQ(route_of(c, 1, "a.example.com"), "a.example.com");

  folder("volume/..2");
  write("volume/..2/edgemux.yaml", std::string(kListeners) + "include: [volume-a.yaml]\n");
  write("volume/..2/volume-a.yaml", "routes: [{ host: b.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  swing("volume/..data", "..2");
  fs::remove_all(path("volume/..1"));
  const auto swapped = it.compile();
  EXPECT_EQ(route_of(swapped, 1, "b.example.com"), "b.example.com");
  EXPECT_THAT(swapped.directories, Contains(path("volume/..2")));
  EXPECT_THAT(swapped.diagnostics, IsEmpty()) << text(swapped);
}

TEST_F(CompilerTest, AFolderInThePlaceOfAnIncludedFileIsToldAndSubfoldersAreNot) {
  const auto it = compiler();
  folder("routes.d");
  folder("all.d/more");
  write("all.d/a", "routes: [{ host: b.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  write("routes.d/a.yaml", "routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  main_file("include: [\"routes.d/*.yaml\", \"all.d/*\"]\n");
  EXPECT_EQ(text(it->compile()), "");
  fs::remove(path("routes.d/a.yaml"));
  fs::create_directory(path("routes.d/a.yaml"));
  const auto c = it->compile();
  EXPECT_THAT(text(c),
              HasSubstr("routes.d/a.yaml: error: cannot read " + path("routes.d/a.yaml") + ": it is a directory"));
  EXPECT_EQ(route_of(c, 1, "a.example.com"), "a.example.com") << "its last good bytes stay";
  EXPECT_EQ(route_of(c, 1, "b.example.com"), "b.example.com");
}

TEST_F(CompilerTest, IncludesAreTakenByNameAndHiddenOnesPassedOver) {
  folder("x/one");
  folder("x/two");
  main_file("include: [\"x/*/*.yaml\"]\n");
  write("x/two/a.yaml", "routes: [{ host: a.example.com, passthrough: \"10.0.0.2:443\" }]\n");
  write("x/one/z.yaml", "routes: [{ host: a.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  write("x/one/.a.yaml.swp", "rubbish: [");
  write("x/one/.hidden.yaml", "rubbish: [");
  const auto c = compiler()->compile();
  EXPECT_THAT(c.set_aside, ElementsAre(path("x/two/a.yaml")));
  for (const char* name : {"x", "x/one", "x/two"}) EXPECT_THAT(c.directories, Contains(path(name)));
}

TEST_F(CompilerTest, APatternThatCannotNameAFileIsToldUntilItCan) {
  const auto it = compiler();
  folder("a.d");
  main_file("include: [\"routes.d/*.yaml\", \"a.d/[ab.yaml\", \"a.d/[]].yaml\", \"a.d/*.yaml\"]\nroutes: []\n");
  const auto none = text(it->compile());
  EXPECT_THAT(none, HasSubstr("warning: there is no folder " + path("routes.d") + " for 'routes.d/*.yaml'"));
  EXPECT_THAT(none, HasSubstr("warning: 'a.d/[ab.yaml' has a '[' without a ']' behind it"));
  EXPECT_THAT(none, Not(HasSubstr("for 'a.d")));
  EXPECT_THAT(none, Not(HasSubstr("'a.d/[]].yaml' has")));
  folder("routes.d");
  EXPECT_THAT(text(it->compile()), Not(HasSubstr("there is no folder")));
  fs::remove(path("routes.d"));
  EXPECT_THAT(text(it->compile()), HasSubstr("there is no folder"));
}

TEST_F(CompilerTest, ADefaultPortIsLeftOutOfAnOrigin) {
  main_file(R"(routes:
  - host: a.example.com
    rules:
      - path: /
        respond: {}
        cors: { origins: ["https://c.test:443", "http://c.test:80", "https://*.d.test:443", "https://e.test:80"] }
)");
  const auto c = compiler()->compile();
  ASSERT_NE(c.snapshot, nullptr) << text(c);
  const auto& route = **c.snapshot->listeners[1]->hosts.find("a.example.com");
  const auto& cors = *std::get<routing::VirtualHost>(route.action).rules[0].filters->cors;
  for (const char* origin : {"https://c.test", "http://c.test", "https://x.d.test", "https://e.test:80"}) {
    EXPECT_TRUE(routing::admits_origin(cors, origin)) << origin;
  }
  EXPECT_FALSE(routing::admits_origin(cors, "https://e.test"));
}

TEST_F(CompilerTest, TheExamplesOfTheRepositoryCompile) {
  std::size_t seen = 0;
  for (const char* top : {"deploy", "docs"}) {
    const auto folder_of = fs::path(EDGEMUX_SOURCE_DIR) / top;
    if (!fs::exists(folder_of)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(folder_of)) {
      if (entry.path().filename().string().find("edgemux") == std::string::npos || entry.path().extension() != ".yaml")
        continue;
      ++seen;
      CompilerOptions o = options();
      o.state_dir = "";
      const auto c = Compiler(entry.path(), o).compile();
      EXPECT_TRUE(c.main_ok) << text(c);
      for (const auto& one : c.diagnostics) {
        if (one.severity == Severity::error) continue;
        // What is not there before it is started.
        EXPECT_THAT(one.message, testing::AnyOf(HasSubstr("no certificate serves"), HasSubstr("does not exist"),
                                                HasSubstr("there is no folder")));
      }
    }
  }
  EXPECT_GE(seen, 1U);
}

}  // namespace
}  // namespace edgemux::config
