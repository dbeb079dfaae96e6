// Tenants on a real disk: whose files and hosts are whose, certificates, paths, and what a broken file costs.
#include <sys/stat.h>

#include "tests/config/tenants_fixture.h"

namespace edgemux::config {
namespace {

using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(TenantsTest, FilesServeTheHostsThatTheirTenantClaims) {
  write("tenants.d/a/x.yaml", "routes: [{ hosts: [a.example, \"*.a.example\"], passthrough: \"10.1.0.1:443\" }]\n");
  write("tenants.d/b/x.yaml", "tenant: b\nroutes: [{ host: b.example, tenant: b, passthrough: \"10.2.0.1:443\" }]\n");
  write("platform.d/x.yaml", "routes: [{ host: \"*.example\", passthrough: \"127.0.0.1:443\" }]\n");
  const auto c = compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  EXPECT_THAT(text(c), IsEmpty());
  EXPECT_EQ(owner(c, "a.example"), "a: a.example");
  EXPECT_EQ(owner(c, "www.a.example"), "a: a.example");
  EXPECT_EQ(owner(c, "b.example"), "b: b.example");
  // Claimed by b, which has no route for it: neither a's wildcard nor the platform's gets it.
  EXPECT_EQ(owner(c, "www.b.a.example"), "");
  EXPECT_EQ(owner(c, "b.a.example"), "a: a.example");
  EXPECT_EQ(owner(c, "c.example"), ": *.example");
  EXPECT_EQ(c.snapshot->tenants.size(), 2U);
  EXPECT_EQ(c.snapshot->host_count, 4U);
}

TEST_F(TenantsTest, ATenantsOwnNarrowerClaimDoesNotShadowItsWildcardRoute) {
  write(
      "edgemux.yaml",
      "listeners: [{ name: http, bind: [\":80\"], protocol: http }, { name: https, bind: [\":443\"], protocol: tls }]\n"
      "tenants:\n"
      "  a: { hosts: [\"*.a.example\", x.b.a.example], networks: [10.0.0.0/8] }\n"
      "  b: { hosts: [\"*.b.a.example\"], networks: [10.0.0.0/8] }\n"
      "include: [{ files: \"tenants.d/{tenant}/*.yaml\" }]\n");
  write("tenants.d/a/x.yaml",
        "routes: [{ host: \"*.a.example\", listeners: [https], passthrough: \"10.1.0.1:443\" }]\n");
  const auto c = compile();
  EXPECT_EQ(owner(c, "x.b.a.example"), "a: *.a.example");
  EXPECT_EQ(owner(c, "y.b.a.example"), "");
  EXPECT_EQ(owner(c, "y.a.example"), "a: *.a.example");
  EXPECT_EQ(owner(c, "x.b.a.example", 0), "");
}

TEST_F(TenantsTest, AHostOutsideTheClaimIsRefusedAndNoOther) {
  write("tenants.d/a/x.yaml",
        "routes:\n"
        "  - { hosts: [good.a.example, b.example], passthrough: \"10.1.0.1:443\" }\n"
        "  - { host: example.org, passthrough: \"10.1.0.1:443\" }\n"
        "  - { host: \"*.example\", passthrough: \"10.1.0.1:443\" }\n"
        "  - { host: x.b.a.example, passthrough: \"10.1.0.1:443\" }\n");
  write("tenants.d/b/x.yaml", "routes: [{ host: b.example, passthrough: \"10.2.0.1:443\" }]\n");
  write("platform.d/x.yaml", "routes: [{ hosts: [p.example, www.a.example], passthrough: \"10.9.0.1:443\" }]\n");
  const auto c = compile();
  ASSERT_TRUE(c.main_ok);
  EXPECT_EQ(
      text(c),
      "platform.d/x.yaml:1:31: error: host 'www.a.example' belongs to tenant 'a', which claims '*.a.example' at "
      "edgemux.yaml:5:27; write the route into a file of that tenant\n"
      "tenants.d/a/x.yaml:2:31: error: host 'b.example' belongs to tenant 'b', which claims 'b.example' at "
      "edgemux.yaml:6:16\n"
      "tenants.d/a/x.yaml:3:13: error: host 'example.org' is outside what tenant 'a' claims at edgemux.yaml:5:3\n"
      "tenants.d/a/x.yaml:4:13: error: host '*.example' is outside what tenant 'a' claims at edgemux.yaml:5:3\n"
      "tenants.d/a/x.yaml:5:13: error: host 'x.b.a.example' belongs to tenant 'b', which claims '*.b.a.example' at "
      "edgemux.yaml:6:27\n");
  EXPECT_THAT(c.set_aside, IsEmpty());
  EXPECT_EQ(owner(c, "good.a.example"), "a: good.a.example");
  EXPECT_EQ(owner(c, "b.example"), "b: b.example");
  EXPECT_EQ(owner(c, "p.example"), ": p.example");
  EXPECT_EQ(owner(c, "www.a.example"), "");
  EXPECT_EQ(owner(c, "example.org"), "");
}

TEST_F(TenantsTest, RoutesOfTheMainFileSayWhoseTheyAre) {
  const std::string main = kMain;
  write("edgemux.yaml", main +
                            "upstreams: { u: { endpoints: [\"10.9.0.1:443\"] } }\n"
                            "routes:\n"
                            "  - { host: a.example, tenant: a, passthrough: \"10.1.0.1:443\" }\n"
                            "  - { host: www.a.example, tenant: a, passthrough: u }\n");
  auto c = compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  EXPECT_EQ(owner(c, "a.example"), "a: a.example");
  EXPECT_EQ(upstream(c, "a.example").tenant->name, "a");
  EXPECT_EQ(upstream(c, "www.a.example").tenant, nullptr) << "the platform's own upstream";
  write("edgemux.yaml", main +
                            "routes:\n"
                            "  - { host: a.example, passthrough: \"10.1.0.1:443\" }\n"
                            "  - { host: b.example, tenant: a, passthrough: \"10.1.0.1:443\" }\n"
                            "  - { host: c.example, tenant: ab, passthrough: \"10.1.0.1:443\" }\n");
  c = compile();
  EXPECT_FALSE(c.main_ok);
  EXPECT_THAT(
      text(c),
      HasSubstr("edgemux.yaml:11:13: error: host 'a.example' belongs to tenant 'a', which claims 'a.example' at "
                "edgemux.yaml:5:16; write 'tenant: a' on the route, or claim less\n"));
  EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:12:13: error: host 'b.example' belongs to tenant 'b'"));
  EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:13:32: error: unknown tenant 'ab'"));
  // A tenant's alone is left out, and nothing else.
  write("edgemux.yaml", main +
                            "routes:\n"
                            "  - { hosts: [a.example, b.example], tenant: a, passthrough: \"10.1.0.1:443\" }\n"
                            "  - { host: p.example, passthrough: \"10.9.0.1:443\" }\n");
  c = compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  EXPECT_EQ(text(c),
            "edgemux.yaml:11:26: error: host 'b.example' belongs to tenant 'b', which claims 'b.example' at "
            "edgemux.yaml:6:16\n");
  EXPECT_EQ(owner(c, "b.example"), "");
  EXPECT_EQ(owner(c, "a.example"), "a: a.example");
  EXPECT_EQ(owner(c, "p.example"), ": p.example");
}

TEST_F(TenantsTest, ATenantLineMayOnlyAgree) {
  write("tenants.d/a/x.yaml", "tenant: b\nroutes: [{ host: a.example, passthrough: \"10.1.0.1:443\" }]\n");
  write("tenants.d/b/x.yaml", "routes: [{ host: b.example, tenant: a, passthrough: \"10.2.0.1:443\" }]\n");
  write("platform.d/x.yaml", "tenant: a\nroutes: [{ host: c.example, passthrough: \"10.9.0.1:443\" }]\n");
  folder("tenants.d/nobody");
  write("tenants.d/nobody/x.yaml", "routes: [{ host: n.example, passthrough: \"10.2.0.1:443\" }]\n");
  const auto c = compile();
  ASSERT_TRUE(c.main_ok);
  EXPECT_THAT(text(c), HasSubstr("tenants.d/a/x.yaml:1:9: error: this file belongs to tenant 'a', not to 'b'"));
  EXPECT_THAT(text(c), HasSubstr("tenants.d/b/x.yaml:1:37: error: this file belongs to tenant 'b', not to 'a'"));
  EXPECT_THAT(text(c), HasSubstr("platform.d/x.yaml:1:9: error: this file belongs to the platform, not to tenant 'a'"));
  EXPECT_THAT(text(c),
              HasSubstr("tenants.d/nobody/x.yaml: error: there is no tenant 'nobody', whose folder this is; name it"));
  EXPECT_EQ(c.set_aside.size(), 4U);
  for (const char* host : {"a.example", "b.example", "c.example", "n.example"}) EXPECT_EQ(owner(c, host), "") << host;
}

TEST_F(TenantsTest, AFileOfTwoOwnersIsNobodys) {
  write(
      "edgemux.yaml",
      "listeners: [{ name: http, bind: [\":80\"], protocol: http }, { name: https, bind: [\":443\"], protocol: tls }]\n"
      "tenants: { a: { hosts: [a.example], networks: [10.0.0.0/8] }, b: { hosts: [b.example], networks: [10.0.0.0/8] "
      "} }\n"
      "include:\n"
      "  - { files: \"tenants.d/a/*.yaml\", tenant: a }\n"
      "  - { files: \"tenants.d/*/x.yaml\", tenant: b }\n");
  write("tenants.d/a/x.yaml", "routes: [{ host: a.example, passthrough: \"10.1.0.1:443\" }]\n");
  write("tenants.d/a/y.yaml", "routes: []\n");
  const auto c = compile();
  EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:5:14: error: tenants.d/a/x.yaml is included for tenant 'a' already"));
  EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/x.yaml")));
  EXPECT_EQ(c.snapshot->host_count, 0U);
}

TEST_F(TenantsTest, AMistypedTenantLosesNothingToANewcomer) {
  write("tenants.d/a/b.yaml", "routes: [{ hosts: [x.a.example, k.a.example], passthrough: \"10.1.0.1:443\" }]\n");
  CompilerOptions options;
  options.state_dir = path("state");
  const auto made = [&] { return std::make_unique<Compiler>(path("edgemux.yaml"), options); };
  auto it = made();
  it->compile();
  write("tenants.d/a/a.yaml", "routes: [{ hosts: [x.a.example, z.a.example], passthrough: \"10.1.0.2:443\" }]\n");
  for (const bool restarted : {false, true}) {
    std::string typo = kMain;
    write("edgemux.yaml", typo.replace(typo.find("  a: {"), 4, "  ab: "));
    it->compile();
    if (restarted) {
      it = made();
      it->compile();
    }
    write("edgemux.yaml", kMain);
    const auto c = it->compile();
    EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/a.yaml"))) << restarted;
    EXPECT_EQ(upstream(c, "x.a.example").name, "10.1.0.1:443");
  }
}

TEST_F(TenantsTest, EqualClaimsAreAnErrorAndTheFirstHolds) {
  write(
      "edgemux.yaml",
      "listeners: [{ name: http, bind: [\":80\"], protocol: http }, { name: https, bind: [\":443\"], protocol: tls }]\n"
      "tenants:\n"
      "  a: { hosts: [x.example], networks: [10.0.0.0/8] }\n"
      "  b: { hosts: [\"*.b.example\", X.example.], networks: [10.0.0.0/8] }\n"
      "include: [{ files: \"tenants.d/{tenant}/*.yaml\" }]\n");
  write("tenants.d/a/x.yaml", "routes: [{ host: x.example, passthrough: \"10.1.0.1:443\" }]\n");
  write("tenants.d/b/x.yaml", "routes: [{ hosts: [x.example, y.b.example], passthrough: \"10.2.0.1:443\" }]\n");
  const auto c = compile();
  ASSERT_TRUE(c.main_ok);
  EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:4:31: error: tenant 'b' claims 'x.example', as tenant 'a' does at "
                                 "edgemux.yaml:3:16; the first claim holds"));
  EXPECT_EQ(owner(c, "x.example"), "a: x.example");
  EXPECT_EQ(owner(c, "y.b.example"), "b: x.example");
}

TEST_F(TenantsTest, UpstreamNamesAreScoped) {
  const std::string main = kMain;
  write("edgemux.yaml", main + "upstreams: { p: { endpoints: [\"10.9.0.1:443\"] } }\n");
  write("tenants.d/a/1.yaml", "upstreams: { u: { endpoints: [\"10.1.0.1:443\"] } }\n");
  write("tenants.d/a/2.yaml", "routes: [{ host: a.example, passthrough: u }]\n");
  write("tenants.d/b/1.yaml",
        "upstreams: { u: { endpoints: [\"10.2.0.1:443\"] } }\nroutes: [{ host: b.example, passthrough: u }]\n");
  auto c = compile();
  EXPECT_EQ(text(c), "edgemux.yaml:10:14: warning: no route uses the upstream 'p'\n");
  EXPECT_EQ(upstream(c, "a.example").endpoints.front().host, "10.1.0.1");
  EXPECT_EQ(upstream(c, "b.example").endpoints.front().host, "10.2.0.1");
  write("tenants.d/b/1.yaml", "routes: [{ host: b.example, passthrough: u }]\n");
  write("tenants.d/a/2.yaml", "routes: [{ host: a.example, passthrough: p }]\n");
  c = compile();
  EXPECT_THAT(text(c), HasSubstr("tenants.d/b/1.yaml:1:42: error: unknown upstream 'u'; a tenant's files see"));
  EXPECT_THAT(text(c), HasSubstr("tenants.d/a/2.yaml:1:42: error: unknown upstream 'p'"));
  // A file of a that cannot be read excuses nothing in b's.
  write("tenants.d/a/1.yaml", "upstreams: {");
  c = compile();
  EXPECT_THAT(text(c), HasSubstr("tenants.d/b/1.yaml:1:42: error: unknown upstream 'u'"));
}

TEST_F(TenantsTest, EqualUpstreamsOfTwoTenantsShareNothing) {
  write(
      "edgemux.yaml",
      "listeners: [{ name: http, bind: [\":80\"], protocol: http }, { name: https, bind: [\":443\"], protocol: tls }]\n"
      "tenants: { a: { hosts: [a.example], networks: [10.0.0.0/8] }, b: { hosts: [b.example], networks: [10.0.0.0/8] "
      "} }\n"
      "include: [{ files: \"tenants.d/{tenant}/*.yaml\" }]\n"
      "routes: [{ host: c.example, passthrough: \"10.1.0.1:443\" }]\n");
  write("tenants.d/a/x.yaml", "routes: [{ host: a.example, passthrough: \"10.1.0.1:443\" }]\n");
  write("tenants.d/b/x.yaml", "routes: [{ host: b.example, passthrough: \"10.1.0.1:443\" }]\n");
  const auto c = compile();
  EXPECT_NE(upstream(c, "a.example").state, upstream(c, "b.example").state);
  EXPECT_NE(upstream(c, "a.example").state, upstream(c, "c.example").state);
}

TEST_F(TenantsTest, EndpointsOutsideTheNetworksAreLeftOut) {
  write("tenants.d/a/x.yaml",
        "upstreams:\n"
        "  u: { endpoints: [\"10.1.0.1:443\", \"127.0.0.1:443\", \"10.2.0.1:443\"] }\n"
        "routes:\n"
        "  - { host: a.example, passthrough: u, acme_solver: backend }\n"
        "  - { host: www.a.example, passthrough: \"169.254.169.254:80\" }\n");
  const auto c = compile();
  EXPECT_THAT(c.set_aside, IsEmpty());
  EXPECT_EQ(
      text(c),
      "tenants.d/a/x.yaml:2:3: error: endpoint '127.0.0.1:443' is a loopback address, so tenant 'a' may not use it; "
      "what it may use stands at edgemux.yaml:5:3\n"
      "tenants.d/a/x.yaml:2:3: error: endpoint '10.2.0.1:443' is outside its networks, so tenant 'a' may not use it; "
      "what it may use stands at edgemux.yaml:5:3\n"
      "tenants.d/a/x.yaml:5:41: error: endpoint '169.254.169.254:80' is the address of a metadata service, so tenant "
      "'a' may not use it; what it may use stands at edgemux.yaml:5:3\n");
  const auto set = upstream(c, "a.example").state->published();
  ASSERT_EQ(set->endpoints.size(), 1U);
  EXPECT_EQ(set->endpoints[0].text, "10.1.0.1:443");
  EXPECT_EQ(route(c, "a.example")->acme_solver->state->published()->endpoints.size(), 1U);
  const auto none = upstream(c, "www.a.example").state->published();
  EXPECT_THAT(none->endpoints, IsEmpty());
  EXPECT_THAT(none->problem,
              HasSubstr("tenant a may not use it: 169.254.169.254:80 is the address of a metadata service"));
}

TEST_F(TenantsTest, AFolderThatCannotBeLookedIntoIsToldAndKeepsWhatWasGood) {
  for (const char* pattern : {"*.yaml", "x.yaml"}) {
    for (const char* target : {"a", "nowhere"}) {
      write("edgemux.yaml", std::string(kHttpAndHttps) + "tenants: { a: { hosts: [a.example] } }\n" +
                                "include: [{ files: \"tenants.d/{tenant}/" + pattern + "\" }]\n");
      fs::remove_all(path("tenants.d/a"));
      folder("tenants.d/a");
      write("tenants.d/a/x.yaml", "routes: [{ host: a.example, passthrough: \"10.1.0.1:443\" }]\n");
      auto it = compiler();
      it->compile();
      fs::remove_all(path("tenants.d/a"));
      fs::create_directory_symlink(target, path("tenants.d/a"));
      fs::remove(path("tenants.d/nobody"));
      fs::create_directory_symlink("nobody", path("tenants.d/nobody"));
      for (const bool restarted : {false, true}) {
        if (restarted) it = compiler();
        const auto c = it->compile();
        EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:5:20: error: cannot list tenants.d/a: ")) << pattern << target;
        EXPECT_THAT(text(c), Not(HasSubstr("nobody")));
        EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/x.yaml")));
        EXPECT_EQ(owner(c, "a.example"), "a: a.example") << pattern << target;
      }
      // Deleted is removed.
      fs::remove(path("tenants.d/a"));
      const auto c = it->compile();
      EXPECT_THAT(text(c), Not(HasSubstr("cannot list")));
      EXPECT_EQ(owner(c, "a.example"), "");
    }
  }
}

TEST_F(TenantsTest, PathsStayInTheTenantsFolder) {
  const auto ca = edgemux::test::make_certificate({.names = {}, .ca = true});
  write("tenants.d/a/ca.pem", ca.cert_pem());
  write("ca.pem", ca.cert_pem());
  write("tenants.d/b/ca.pem", ca.cert_pem());
  const auto says = [&](const std::string& file) {
    write("tenants.d/a/x.yaml",
          "routes: [{ host: a.example, tls: { client_ca: " + file + " }, rules: [{ respond: {} }] }]\n");
    return compile();
  };
  const auto refused = [](const Compiled& c) { return route(c, "a.example")->refused; };
  auto c = says("ca.pem");
  EXPECT_EQ(refused(c), "") << text(c);
  EXPECT_THAT(c.set_aside, IsEmpty());
  fs::remove_all(path("state"));
  for (const char* out : {"../../ca.pem", "../b/ca.pem", "/etc/ssl/cert.pem", "../a-not/ca.pem"}) {
    c = says(out);
    EXPECT_THAT(text(c), HasSubstr("lies outside the tenant's folder tenants.d/a")) << out;
    EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/x.yaml"))) << out;
  }
  // Links: inside the folder as Kubernetes makes them, and out of it.
  folder("tenants.d/a/..v1");
  write("tenants.d/a/..v1/k.pem", ca.cert_pem());
  fs::create_symlink("..v1", path("tenants.d/a/..data"));
  fs::create_symlink("..data/k.pem", path("tenants.d/a/k.pem"));
  EXPECT_EQ(refused(says("k.pem")), "");
  for (const char* target : {"../../ca.pem", "../b/ca.pem"}) {
    fs::create_symlink(target, path("tenants.d/a/out.pem"));
    EXPECT_THAT(refused(says("out.pem")), HasSubstr("is a link that leads out of")) << target;
    fs::remove(path("tenants.d/a/out.pem"));
  }
  fs::create_directory_symlink("../b", path("tenants.d/a/sub"));
  EXPECT_THAT(refused(says("sub/ca.pem")), HasSubstr("is a link that leads out of"));
}

TEST_F(TenantsTest, TheGatewaysAddressesAreNotATenantsToChoose) {
  for (const char* routes :
       {"routes: [{ host: a.example, passthrough: { endpoints: [\"10.1.0.1:443\"], source_address: 10.9.9.9 } }]\n",
        "upstreams: { u: { endpoints: [\"10.1.0.1:443\"], source_address: 10.9.9.9 } }\n"}) {
    fs::remove_all(path("state"));
    write("tenants.d/a/x.yaml", routes);
    const auto c = compile();
    EXPECT_THAT(text(c), ContainsRegex("tenants.d/a/x.yaml:1:[0-9]+: .*a tenant's file may not choose source_address"));
    EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/x.yaml")));
  }
  // Where the operator writes it, for the tenant or for everybody, it holds.
  fs::remove(path("tenants.d/a/x.yaml"));
  write("edgemux.yaml", kMain +
                            "routes: [{ host: a.example, tenant: a, passthrough: { endpoints: [\"10.1.0.1:443\"], "
                            "source_address: 10.9.9.9 } }]\n");
  const auto c = compile();
  EXPECT_THAT(text(c), IsEmpty());
  ASSERT_TRUE(upstream(c, "a.example").transport.source_address);
}

TEST_F(TenantsTest, FilesOfAnUpstreamsTlsStayInTheTenantsFolder) {
  pair("platform", {"platform.example"});
  pair("tenants.d/a/own", {"own.example"});
  const auto says = [&](const std::string& cert, const std::string& key) {
    fs::remove_all(path("state"));
    write("tenants.d/a/x.yaml",
          "routes: [{ host: a.example, rules: [{ upstream: { endpoints: [\"10.1.0.1:443\"], tls: { cert: " + cert +
              ", key: " + key + " } } }] }]\n");
    return compile();
  };
  EXPECT_THAT(says("own.pem", "own.key").set_aside, IsEmpty());
  EXPECT_THAT(text(says("../../platform.pem", "../../platform.key")), HasSubstr("lies outside the tenant's folder"));
  fs::create_symlink("../../platform.pem", path("tenants.d/a/out.pem"));
  fs::create_symlink("../../platform.key", path("tenants.d/a/out.key"));
  const auto c = says("out.pem", "out.key");
  EXPECT_THAT(text(c), HasSubstr("out.pem is a link that leads out of the folder that it must lie in"));
  EXPECT_EQ(transport(c, "a.example").tls, nullptr) << "nothing is sent with it";
  // So it is however many links lie between, and however long the way is that they make.
  std::string way;
  for (const char* hop : {"hop1", "hop2"}) {
    std::string deep;
    for (int i = 0; i < 10; ++i) {
      deep += std::string(250, 'd') + "/";
      ASSERT_EQ(::mkdir(path("tenants.d/a/" + way + deep).c_str(), 0755), 0) << i;
    }
    fs::create_directory_symlink(deep, path("tenants.d/a/" + way + hop));
    way += std::string(hop) + "/";
  }
  for (const char* kind : {"pem", "key"}) {
    fs::create_symlink(path(std::string("platform.") + kind), path("tenants.d/a/" + way + "far." + kind));
  }
  EXPECT_THAT(text(says(way + "far.pem", way + "far.key")), HasSubstr("is a link that leads out of the folder"));
}

TEST_F(TenantsTest, ATenantsFileIsNoLinkToSomebodyElses) {
  write("secret", "-----BEGIN PRIVATE KEY-----\n");
  write("tenants.d/b/x.yaml", "routes: [{ host: b.example, passthrough: \"10.2.0.1:443\" }]\n");
  fs::create_symlink("../../secret", path("tenants.d/a/x.yaml"));
  auto c = compile();
  EXPECT_THAT(text(c), HasSubstr("x.yaml: it is a link that leads out of the folder that it must lie in"));
  EXPECT_THAT(text(c), Not(HasSubstr("PRIVATE")));
  EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/x.yaml")));
  EXPECT_EQ(owner(c, "b.example"), "b: b.example");
  // Inside its folder it may be one.
  fs::remove(path("tenants.d/a/x.yaml"));
  write("tenants.d/a/real", "routes: [{ host: a.example, passthrough: \"10.1.0.1:443\" }]\n");
  fs::create_symlink("real", path("tenants.d/a/x.yaml"));
  c = compile();
  EXPECT_EQ(text(c), "");
  EXPECT_EQ(owner(c, "a.example"), "a: a.example");
}

TEST_F(TenantsTest, ABrokenMainFileHidesNothingElse) {
  write("edgemux.yaml", std::string(kMain) + "bogus: 1\ncertificates: [{ directory: nowhere }]\n");
  write("tenants.d/a/x.yaml", "tenant: a\nroutes: [{ host: a.example, passthrough: nobody }]\n");
  const auto c = compile();
  EXPECT_FALSE(c.main_ok);
  EXPECT_EQ(c.errors(), 3U) << text(c);
  EXPECT_THAT(text(c), HasSubstr("unknown key 'bogus'"));
  EXPECT_THAT(text(c), HasSubstr("nowhere: No such file or directory"));
  EXPECT_THAT(text(c), HasSubstr("tenants.d/a/x.yaml:2:42: error: unknown upstream 'nobody'"));
}

TEST_F(TenantsTest, ARefusedTableGivesUpNoLastGoodVersion) {
  const auto with_limit = [&](const std::string& limit) {
    std::string main = kMain;
    const auto at = main.find("a: { ");
    write("edgemux.yaml", main.insert(at + 5, limit));
  };
  write("tenants.d/a/x.yaml", "routes: [{ host: a.example, passthrough: \"10.1.0.1:443\" }]\n");
  const auto it = compiler();
  ASSERT_EQ(owner(it->compile(), "a.example"), "a: a.example");
  write("tenants.d/a/x.yaml", "routes: 7\n");
  ASSERT_EQ(owner(it->compile(), "a.example"), "a: a.example");
  with_limit("limits: { config_size: 10B }, ");
  const auto refused = it->compile(Touched::everything(), [](const Compiled&) { return "no"; });
  EXPECT_EQ(refused.refused, "no");
  EXPECT_EQ(owner(refused, "a.example"), "") << "it is what would be in force";
  with_limit("");
  EXPECT_EQ(owner(it->compile(), "a.example"), "a: a.example");
  EXPECT_EQ(owner(compile(), "a.example"), "a: a.example") << "after a restart";
  // Where the table is accepted, it is given up.
  with_limit("limits: { config_size: 10B }, ");
  EXPECT_EQ(owner(it->compile(), "a.example"), "");
  with_limit("");
  EXPECT_EQ(owner(it->compile(), "a.example"), "");
}

// What is in force is what a fresh start would come to.
TEST_F(TenantsTest, ALinkThatIsRepairedIsSeen) {
  const auto ca = edgemux::test::make_certificate({.names = {}, .ca = true});
  write("ca.pem", ca.cert_pem());
  write("tenants.d/a/good.pem", ca.cert_pem());
  fs::create_symlink("../../ca.pem", path("tenants.d/a/ca.pem"));
  write("tenants.d/a/x.yaml",
        "routes: [{ host: a.example, rules: [{ upstream: { endpoints: [\"10.1.0.1:443\"], tls: { server_name: x, "
        "ca: ca.pem } } }] }]\n");
  const auto it = compiler();
  auto c = it->compile();
  EXPECT_THAT(text(c), HasSubstr("it is a link that leads out of the folder that it must lie in"));
  EXPECT_EQ(transport(c, "a.example").tls, nullptr);
  fs::remove(path("tenants.d/a/ca.pem"));
  fs::create_symlink("good.pem", path("tenants.d/a/ca.pem"));
  c = it->compile();
  EXPECT_THAT(text(c), Not(HasSubstr("link")));
  EXPECT_NE(transport(c, "a.example").tls, nullptr);
}

TEST_F(TenantsTest, AFolderThatOthersShareIsNobodysOwn) {
  const auto ca = edgemux::test::make_certificate({.names = {}, .ca = true});
  write("ca.pem", ca.cert_pem());
  write(
      "edgemux.yaml",
      "listeners: [{ name: http, bind: [\":80\"], protocol: http }, { name: https, bind: [\":443\"], protocol: tls }]\n"
      "tenants: { a: { hosts: [a.example], networks: [10.0.0.0/8] } }\n"
      "include: [{ files: a.yaml, tenant: a }]\n");
  write("a.yaml", "routes: [{ host: a.example, tls: { client_ca: ca.pem }, rules: [{ respond: {} }] }]\n");
  const auto c = compile();
  EXPECT_THAT(text(c), HasSubstr("a.yaml:1:47: error: tenant 'a' has no folder of its own"));
  EXPECT_EQ(route(c, "a.example"), nullptr);
}

TEST_F(TenantsTest, CertificatesServeTheHostsOfTheirTenantOnly) {
  for (const char* name : {"platform.d", "certs", "tenants.d/a/certs", "tenants.d/b/certs"}) folder(name);
  pair("certs/platform", {"*.example", "www.a.example"});
  pair("tenants.d/a/certs/wide", {"*.example", "*.a.example", "b.example"});
  pair("tenants.d/b/certs/own", {"c.example"});
  write(
      "edgemux.yaml",
      "listeners: [{ name: http, bind: [\":80\"], protocol: http }, { name: https, bind: [\":443\"], protocol: tls }]\n"
      "certificates: [{ directory: certs }]\n"
      "tenants:\n"
      "  a: { hosts: [a.example, \"*.a.example\"], networks: [10.0.0.0/8], certificates: [{ directory: "
      "tenants.d/a/certs }] }\n"
      "  b: { hosts: [b.example, c.x.example], networks: [10.0.0.0/8], certificates: [{ directory: tenants.d/b/certs "
      "}] "
      "}\n"
      "include: [{ files: \"tenants.d/{tenant}/*.yaml\" }]\n");
  write("tenants.d/a/x.yaml", "routes: [{ hosts: [a.example, www.a.example], rules: [{ respond: {} }] }]\n");
  write("tenants.d/b/x.yaml", "routes: [{ hosts: [b.example, c.x.example], rules: [{ respond: {} }] }]\n");
  const auto it = compiler();
  const auto c = it->compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  const auto file = [&](const Compiled& from, const char* name, const char* tenant) {
    const auto choice = from.snapshot->certificates->find(name, tenant);
    return choice.ecdsa == nullptr ? "" : fs::path((*choice.ecdsa)->cert_file).filename().string();
  };
  EXPECT_EQ(file(c, "a.example", "a"), "wide.pem");
  EXPECT_EQ(file(c, "www.a.example", "a"), "wide.pem") << "its own, before the platform's";
  EXPECT_EQ(file(c, "b.example", "b"), "platform.pem") << "a's names it too, and must not serve it";
  EXPECT_EQ(file(c, "c.example", ""), "platform.pem");
  EXPECT_EQ(file(c, "www.a.example", ""), "platform.pem");
  EXPECT_EQ(file(c, "x.b.example", "b"), "");
  EXPECT_THAT(text(c), HasSubstr("no certificate serves 'c.x.example'"));
  EXPECT_THAT(text(c), Not(HasSubstr("no certificate serves 'b.example'")));

  // A link to somebody else's key is none of its own.
  fs::create_symlink("../../../certs/platform.pem", path("tenants.d/a/certs/stolen.pem"));
  fs::create_symlink("../../../certs/platform.key", path("tenants.d/a/certs/stolen.key"));
  const auto stolen = it->compile();
  EXPECT_THAT(text(stolen), HasSubstr("stolen.pem is a link that leads out of the folder that it must lie in"));
  EXPECT_EQ(stolen.snapshot->certificates->pairs().size(), 3U);

  // Nor of a tenant's that has no file of configuration any more.
  fs::remove(path("tenants.d/a/x.yaml"));
  for (const auto& bare : {it->compile(), compile()}) {
    EXPECT_THAT(text(bare), HasSubstr("stolen.pem is a link that leads out of the folder that it must lie in"));
    EXPECT_EQ(bare.snapshot->certificates->pairs().size(), 3U);
  }
}

TEST_F(TenantsTest, ABrokenFileKeepsItsLastGoodBytesUnderTodaysClaims) {
  write("tenants.d/a/x.yaml", "routes: [{ hosts: [a.example, www.a.example], passthrough: \"10.1.0.1:443\" }]\n");
  write("tenants.d/b/x.yaml", "routes: [{ host: b.example, passthrough: \"10.2.0.1:443\" }]\n");
  const auto before = compile();
  EXPECT_THAT(text(before), IsEmpty());
  write("tenants.d/a/x.yaml", "routes: [{ hosts: [");
  // Over a restart, and with a claim and a network taken away meanwhile.
  std::string main = kMain;
  const auto swap = [&main](const std::string& from, const std::string& to) {
    main.replace(main.find(from), from.size(), to);
  };
  swap("[a.example, \"*.a.example\"]", "[a.example]");
  swap("10.1.0.0/16", "10.7.0.0/16");
  write("edgemux.yaml", main);
  const auto c = compile();
  ASSERT_TRUE(c.main_ok);
  EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/x.yaml")));
  EXPECT_THAT(text(c), HasSubstr("in the last good version: host 'www.a.example' is outside what tenant 'a' claims"));
  EXPECT_THAT(text(c), HasSubstr("in the last good version: endpoint '10.1.0.1:443' is outside its networks"));
  EXPECT_EQ(owner(c, "a.example"), "a: a.example");
  EXPECT_EQ(owner(c, "www.a.example"), "");
  EXPECT_THAT(upstream(c, "a.example").state->published()->endpoints, IsEmpty());
  EXPECT_EQ(owner(c, "b.example"), "b: b.example");
  EXPECT_EQ(c.snapshot->tenants[0]->state->files_set_aside, 1U);
  EXPECT_EQ(c.snapshot->tenants[1]->state->files_set_aside, 0U);
}

TEST_F(TenantsTest, TenantsAndTheirStatesSurviveReloads) {
  const auto it = compiler();
  const auto first = it->compile();
  EXPECT_EQ(it->compile().snapshot->tenants[0], first.snapshot->tenants[0]);
  std::string main = kMain;
  main.replace(main.find("10.1.0.0/16"), 11, "10.3.0.0/16");
  write("edgemux.yaml", main);
  const auto second = it->compile();
  EXPECT_NE(second.snapshot->tenants[0], first.snapshot->tenants[0]);
  EXPECT_EQ(second.snapshot->tenants[0]->state, first.snapshot->tenants[0]->state);
  EXPECT_EQ(second.snapshot->tenants[1], first.snapshot->tenants[1]);
}

}  // namespace
}  // namespace edgemux::config
