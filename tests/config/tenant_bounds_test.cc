// What the files of a tenant may be and name, all together.
#include "config/last_good.h"
#include "tests/config/recompile_fixture.h"
#include "tests/config/tenants_fixture.h"

namespace edgemux::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(TenantsTest, ATenantHasSoManyFilesAndThoseThatWereGoodStay) {
  const auto routes = [](const std::string& host) {
    return "routes: [{ host: " + host + ", passthrough: \"10.1.0.1:443\" }]\n";
  };
  write("tenants.d/a/x.yaml", routes("a.example"));
  write("tenants.d/b/x.yaml", "routes: [{ host: b.example, passthrough: \"10.2.0.1:443\" }]\n");
  auto it = compiler();
  it->compile();
  for (int n = 0; n < 1030; ++n) write("tenants.d/a/n" + std::to_string(n) + ".yaml", "routes: []\n");
  for (const bool restarted : {false, true}) {
    if (restarted) it = compiler();
    const auto c = it->compile();
    EXPECT_EQ(c.errors(), 1U) << text(c);
    EXPECT_THAT(text(c),
                HasSubstr("tenants.d/a/n993.yaml: error: tenant 'a' has 1031 files, and 1024 at most are read: "
                          "this one is left out, with 6 others"));
    EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/n993.yaml")));
    EXPECT_EQ(owner(c, "a.example"), "a: a.example");
    EXPECT_EQ(owner(c, "b.example"), "b: b.example");
  }
  for (int n = 0; n < 7; ++n) fs::remove(path("tenants.d/a/n" + std::to_string(n) + ".yaml"));
  EXPECT_THAT(text(it->compile()), Not(HasSubstr("files")));
}

TEST_F(TenantsTest, TheRegularExpressionsOfATenantsFilesAreCountedTogether) {
  const auto file = [](const std::string& stem, int count) {
    std::string out = "routes:\n";
    for (int i = 0; i < count; ++i) {
      const std::string name = stem + std::to_string(i);
      out += "  - { host: " + name + ".a.example, rules: [{ regex_path: \"/[a-z]+/" + name + "\", respond: {} }] }\n";
    }
    return out;
  };
  write("tenants.d/b/x.yaml", "routes: [{ host: b.example, rules: [{ regex_path: \"/[a-z]+\", respond: {} }] }]\n");
  write("tenants.d/a/1.yaml", file("one", 600));
  write("tenants.d/a/2.yaml", file("two", 10));
  write("tenants.d/a/3.yaml", file("three", 100));
  EXPECT_EQ(compile().errors(), 0U);
  write("tenants.d/a/2.yaml", file("two", 600));
  const auto c = compile();
  ASSERT_TRUE(c.main_ok) << text(c);
  EXPECT_EQ(c.errors(), 1U);
  EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/2.yaml"))) << "the one that goes beyond, and no later one";
  EXPECT_THAT(text(c),
              HasSubstr("tenants.d/a/2.yaml:426:53: error: the files of a tenant may have at most 1024 different "
                        "regular expressions together; write 'path', 'exact_path' or whole values instead"));
  EXPECT_EQ(owner(c, "two9.a.example"), "a: two9.a.example") << "its last good bytes stay";
  EXPECT_EQ(owner(c, "two10.a.example"), "");
  EXPECT_EQ(owner(c, "three99.a.example"), "a: three99.a.example");
  EXPECT_EQ(owner(c, "b.example"), "b: b.example");
}

TEST_F(TenantsTest, TheFilesOfATenantAreBoundedTogether) {
  std::string main = kMain;
  main.replace(main.find("10.1.0.0/16]"), 12, "10.1.0.0/16], limits: { config_size: 4KiB }");
  write("edgemux.yaml", main);
  const auto file = [](const std::string& host, std::size_t size) {
    std::string out = "routes: [{ host: " + host + ", passthrough: \"10.1.0.1:443\" }]\n";
    return out + "#" + std::string(size - out.size() - 1, 'x');
  };
  write("tenants.d/b/x.yaml",
        "routes: [{ host: b.example, passthrough: \"10.2.0.1:443\" }]\n#" + std::string(9000, 'x'));
  write("tenants.d/a/1.yaml", file("one.a.example", 2000));
  write("tenants.d/a/2.yaml", file("two.a.example", 1500));
  write("tenants.d/a/3.yaml", file("three.a.example", 596));
  auto it = compiler();
  EXPECT_EQ(text(it->compile()), "") << "exactly so much";

  // One grows: what stands behind it and does not fit any more is left out, and what fits is not.
  write("tenants.d/a/1.yaml", file("one.a.example", 3000));
  for (const bool restarted : {false, true}) {
    if (restarted) it = compiler();
    const auto c = it->compile();
    EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/2.yaml")));
    EXPECT_THAT(text(c),
                HasSubstr("tenants.d/a/2.yaml: error: the files of tenant 'a' take more than 4KiB together with "
                          "this one; make them smaller, or set limits.config_size of the tenant in the main file"));
    EXPECT_EQ(owner(c, "one.a.example"), "a: one.a.example");
    EXPECT_EQ(owner(c, "two.a.example"), "") << "its last good bytes are as many";
    EXPECT_EQ(owner(c, "three.a.example"), "a: three.a.example");
    EXPECT_EQ(owner(c, "b.example"), "b: b.example");
  }
  write("tenants.d/a/1.yaml", file("one.a.example", 2000));
  const auto mended = it->compile();
  EXPECT_EQ(text(mended), "");
  EXPECT_EQ(owner(mended, "two.a.example"), "a: two.a.example");

  // Last good versions cannot be piled up: they count in the place of what is broken.
  write("tenants.d/a/1.yaml", "routes: [");
  write("tenants.d/a/2.yaml", file("two.a.example", 2500));
  const auto piled = it->compile();
  EXPECT_THAT(piled.set_aside, ElementsAre(path("tenants.d/a/1.yaml"), path("tenants.d/a/2.yaml")));
  EXPECT_THAT(text(piled),
              HasSubstr("tenants.d/a/2.yaml: error: the files of tenant 'a' take more than 4KiB together"));
  EXPECT_EQ(owner(piled, "one.a.example"), "a: one.a.example");
  EXPECT_EQ(owner(piled, "two.a.example"), "a: two.a.example") << "its last good version fits";
  // What does not fit any more is given up, on the disk too.
  write("tenants.d/a/2.yaml", "routes: [");
  write("tenants.d/a/0.yaml", file("zero.a.example", 1000));
  EXPECT_EQ(owner(it->compile(), "two.a.example"), "");
  fs::remove(path("tenants.d/a/0.yaml"));
  for (const bool restarted : {false, true}) {
    if (restarted) it = compiler();
    const auto c = it->compile();
    EXPECT_EQ(owner(c, "one.a.example"), "a: one.a.example") << text(c);
    EXPECT_EQ(owner(c, "two.a.example"), "");
    EXPECT_THAT(c.set_aside, ElementsAre(path("tenants.d/a/1.yaml"), path("tenants.d/a/2.yaml")));
  }
  fs::remove(path("tenants.d/a/2.yaml"));

  write("edgemux.yaml",
        std::string(kMain).replace(kMain.find("10.1.0.0/16]"), 12, "10.1.0.0/16], limits: { config_size: 0 }"));
  write("tenants.d/a/1.yaml", file("one.a.example", 90'000));
  EXPECT_EQ(text(it->compile()), "") << "0 is no limit";
}

TEST_F(TenantsTest, LastGoodBytesAreLoadedUpToABound) {
  const std::string name = path("tenants.d/a/x.yaml");
  LastGood kept;
  kept.set_directory(path("state"));
  ASSERT_TRUE(kept.save(name, std::string(50'000, 'x'), true));
  EXPECT_FALSE(kept.load(name, 49'999));
  EXPECT_FALSE(kept.load(name, 10));
  EXPECT_EQ(kept.load(name, 50'000)->bytes.size(), 50'000U);
  kept.give_up(name);
  EXPECT_FALSE(kept.load(name));
}

TEST_F(TenantsTest, WhatATenantsFilesNameIsBoundedTogether) {
  std::string main = kMain;
  main.replace(main.find("10.1.0.0/16]"), 12, "10.1.0.0/16], limits: { config_size: 4KiB }");
  write("edgemux.yaml", main);
  std::string routes = "routes:\n";
  for (const std::string name : {"one", "two", "three"}) {
    write("tenants.d/a/" + name + ".pem",
          edgemux::test::make_certificate({{name}}).cert_pem() + std::string(1000, '\n'));
    routes += "  - { host: " + name + ".a.example, tls: { client_ca: " + name + ".pem }, rules: [{ respond: {} }] }\n";
  }
  write("tenants.d/a/x.yaml", routes);
  const auto c = compile();
  EXPECT_THAT(text(c), Not(HasSubstr("one.pem")));
  EXPECT_THAT(text(c),
              HasSubstr("three.pem: what the tenant's files name is too large together; see limits.config_size"));
  EXPECT_EQ(route(c, "one.a.example")->refused, "");
  EXPECT_NE(route(c, "three.a.example")->refused, "") << "never open";
}

TEST_F(TenantsTest, WhoIsNoTenantIsBoundedAsWell) {
  folder("tenants.d/stranger");
  for (const char* name : {"1", "2"})
    write(std::string("tenants.d/stranger/") + name + ".yaml", std::string(9U << 20U, '#'));
  const auto c = compile();
  EXPECT_THAT(text(c),
              HasSubstr("tenants.d/stranger/2.yaml: error: the files of tenant 'stranger' take more than 16MiB"));
  EXPECT_THAT(text(c), Not(HasSubstr("tenants.d/stranger/1.yaml: error: the files")));
}

// With certificates in a folder of each tenant and of the platform, whose loads are counted.
class PairBoundsTest : public TenantsTest {
 protected:
  PairBoundsTest() {
    for (const char* name : {"tenants.d/a/certs", "tenants.d/b/certs", "certs"}) folder(name);
    limit_a("");
    write("tenants.d/b/x.yaml", "routes: [{ host: b.example, passthrough: \"10.2.0.1:443\" }]\n");
    pair("tenants.d/b/certs/b", {"b.example"});
    pair("certs/p", {"p.example"});
    pair("good", {"a.example"});
    pair("other", {"a.example"});
  }
  void limit_a(const std::string& limits, const std::string& more = "") const {
    std::string main = kMain;
    const auto insert = [&](const std::string& before, const std::string& text) {
      main.insert(main.find(before) + before.size(), text);
    };
    insert("10.1.0.0/16]", ", certificates: [{ directory: tenants.d/a/certs }" + more + "]" + limits);
    insert("10.2.0.0/16]", ", certificates: [{ directory: tenants.d/b/certs }]");
    write("edgemux.yaml", main + "certificates: [{ directory: certs }]\n");
  }
  // Links to one pair cost nothing.
  void link(const std::string& stem, const std::string& cert, const std::string& key) const {
    fs::create_hard_link(path(cert), path(stem + ".pem"));
    fs::create_hard_link(path(key), path(stem + ".key"));
  }
  Compiled compile() {
    CompilerOptions with = options();
    with.files = files_;
    if (compiler_ == nullptr) compiler_ = std::make_unique<Compiler>(path("edgemux.yaml"), with);
    return compiler_->compile();
  }
  static std::size_t pairs_of(const Compiled& c, const std::string& where) {
    const auto& pairs = c.snapshot->certificates->pairs();
    return static_cast<std::size_t>(std::count_if(pairs.begin(), pairs.end(), [&](const core::CertifiedKeyPtr& one) {
      return one->cert_file.find(where) != std::string::npos;
    }));
  }

  std::shared_ptr<CountingFiles> files_ = std::make_shared<CountingFiles>();
  std::unique_ptr<Compiler> compiler_;
};

TEST_F(PairBoundsTest, ATenantHasSoManyPairsAndThePlatformAsManyAsItLikes) {
  for (int n = 1000; n < 2030; ++n) {
    link("tenants.d/a/certs/" + std::to_string(n), "good.pem", "good.key");
    link("certs/" + std::to_string(n), "good.pem", "good.key");
  }
  const auto c = compile();
  EXPECT_EQ(pairs_of(c, "tenants.d/a/certs"), 1024U);
  EXPECT_EQ(pairs_of(c, "/certs/") - pairs_of(c, "tenants.d"), 1031U);
  EXPECT_EQ(pairs_of(c, "tenants.d/b/certs"), 1U);
  EXPECT_EQ(c.errors(), 1U);
  EXPECT_THAT(text(c), HasSubstr("edgemux.yaml:5:"));
  EXPECT_THAT(text(c), HasSubstr("error: tenant 'a' has more than 1024 certificate pairs with those in "
                                 "tenants.d/a/certs: tenants.d/a/certs/2024.pem is left out, with 5 others; remove "
                                 "pairs that no host needs, or put more names into a certificate"));
  for (int n = 2024; n < 2030; ++n) {
    for (const char* end : {".pem", ".key"}) fs::remove(path("tenants.d/a/certs/" + std::to_string(n) + end));
  }
  EXPECT_EQ(text(compile()), "");
}

TEST_F(PairBoundsTest, TheBytesOfATenantsPairsAreBounded) {
  limit_a(", limits: { config_size: 8KiB }");
  for (const char* name : {"1", "2", "4"}) link(std::string("tenants.d/a/certs/") + name, "good.pem", "good.key");
  write("tenants.d/a/certs/3.pem", std::string(8000, '\n'));
  write("tenants.d/a/certs/3.key", "");
  const auto c = compile();
  EXPECT_EQ(pairs_of(c, "tenants.d/a/certs"), 3U) << "what fits is loaded";
  EXPECT_EQ(c.errors(), 1U) << text(c);
  EXPECT_THAT(text(c), HasSubstr("the certificate pairs of tenant 'a' take more than 8KiB together with those in "
                                 "tenants.d/a/certs: tenants.d/a/certs/3.pem is left out; make them smaller, or set "
                                 "limits.config_size of the tenant in the main file"));
  const auto b = edgemux::test::make_certificate({.names = {"a.example"}});
  write("tenants.d/a/certs/3.pem", b.cert_pem());
  write("tenants.d/a/certs/3.key", b.key_pem());
  ::chmod(path("tenants.d/a/certs/3.key").c_str(), 0600);
  EXPECT_EQ(text(compile()), "");
}

// A chain or an authority's certificate, say.
TEST_F(PairBoundsTest, FilesThatMayBeNoPairComeAfterThoseThatAreOne) {
  folder("tenants.d/a/more");
  limit_a(", limits: { config_size: 8KiB }", ", { directory: tenants.d/a/more }");
  write("tenants.d/a/certs/chain.pem", std::string(8000, '\n'));
  link("tenants.d/a/more/a", "good.pem", "good.key");
  const auto c = compile();
  EXPECT_EQ(pairs_of(c, "tenants.d/a/more"), 1U);
  EXPECT_THAT(text(c), HasSubstr("tenants.d/a/certs/chain.pem is left out"));
}

TEST_F(PairBoundsTest, APairThatFailedIsLoadedAgainForAnotherStampOnly) {
  for (int n = 10; n < 40; ++n) {  // no links, which share their stamp
    fs::copy_file(path("good.pem"), path("tenants.d/a/certs/" + std::to_string(n) + ".pem"));
    fs::copy_file(path("other.key"), path("tenants.d/a/certs/" + std::to_string(n) + ".key"));
  }
  const auto first = compile();
  EXPECT_EQ(files_->take_loads(), 32);
  EXPECT_EQ(pairs_of(first, "tenants.d/b/certs"), 1U);
  EXPECT_THAT(text(first), HasSubstr("tenants.d/a/certs/29.pem"));
  EXPECT_THAT(text(first), Not(HasSubstr("tenants.d/a/certs/30.pem")));
  EXPECT_THAT(text(first), HasSubstr("there are problems with 10 more certificate pairs of tenant 'a'"));

  write("tenants.d/a/certs/x.key", "");  // any name: everything is compiled
  EXPECT_EQ(text(compile()).substr(0, 100), text(first).substr(0, 100));
  EXPECT_EQ(files_->take_loads(), 1) << "what cannot be read, as there is no certificate";

  fs::remove(path("tenants.d/a/certs/10.key"));
  fs::copy_file(path("good.key"), path("tenants.d/a/certs/10.key"));
  EXPECT_EQ(pairs_of(compile(), "tenants.d/a/certs"), 1U);
  EXPECT_EQ(files_->take_loads(), 2) << "that, and the mended one";
}

TEST_F(PairBoundsTest, EqualBytesAreParsedOnce) {
  link("tenants.d/a/certs/1", "good.pem", "good.key");
  fs::copy_file(path("good.pem"), path("tenants.d/a/certs/2.pem"));
  fs::copy_file(path("other.key"), path("tenants.d/a/certs/2.key"));
  const auto pair_of_a = [](const Compiled& c) { return c.snapshot->certificates->find("a.example", "a").ecdsa; };
  const auto first = compile();
  ASSERT_NE(pair_of_a(first), nullptr);
  EXPECT_EQ(first.errors(), 1U) << text(first);
  for (const char* name : {"1", "2"}) {
    const std::string cert = std::string("tenants.d/a/certs/") + name + ".pem";
    fs::remove(path(cert));
    fs::copy_file(path("good.pem"), path(cert));
  }
  files_->take_loads();
  const auto again = compile();
  EXPECT_EQ(files_->take_loads(), 2) << "they are read";
  EXPECT_EQ(*pair_of_a(again), *pair_of_a(first)) << "but stay what they are";
  EXPECT_EQ(text(again), text(first));
  // What is told of a pair is not in its bytes alone.
  ::chmod(path("tenants.d/a/certs/1.key").c_str(), 0604);
  EXPECT_THAT(text(compile()), HasSubstr("1.key: every user can read the key; chmod o-r it"));
}

TEST_F(TenantsTest, ACaIsParsedOnceForAllWhoNameIt) {
  const auto authority = edgemux::test::make_certificate({.names = {}, .common_name = "ca", .ca = true});
  write("tenants.d/a/ca.pem", authority.cert_pem());
  write("tenants.d/b/same.pem", authority.cert_pem());
  const auto routes = [](const std::string& host, const std::string& tls) {
    return "  - { host: " + host + ", rules: [{ upstream: { endpoints: [\"10." + (host[0] == 'a' ? "1" : "2") +
           ".0.1:443\"], tls: { " + tls + " } } }] }\n";
  };
  const auto of_a = [&](const char* version) {
    return "routes:\n" + routes("a.example", std::string("ca: ca.pem, server_name: one") + version) +
           routes("a.a.example", std::string("ca: ca.pem, server_name: two") + version);
  };
  write("tenants.d/a/x.yaml", of_a("a"));
  write("tenants.d/b/x.yaml", "routes:\n" + routes("b.example", "ca: same.pem"));
  auto it = compiler();
  const auto c = it->compile();
  const auto ca = [](const Compiled& from, const char* host) { return transport(from, host).tls->ca; };
  ASSERT_NE(ca(c, "a.example"), nullptr) << text(c);
  EXPECT_EQ(ca(c, "a.example"), ca(c, "a.a.example"));
  EXPECT_EQ(ca(c, "a.example"), ca(c, "b.example"));
  EXPECT_NE(transport(c, "a.example").tls->identity, transport(c, "a.a.example").tls->identity);
  write("tenants.d/a/x.yaml", of_a("b"));
  EXPECT_EQ(ca(it->compile(), "a.example"), ca(c, "a.example")) << "over compiles";

  write("tenants.d/a/ca.pem", authority.cert_pem() + "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
  EXPECT_THAT(text(it->compile()), HasSubstr("ca.pem is broken: certificate 2 does not parse: "));
}

TEST_F(PairBoundsTest, AFolderOfPairsWithVeryManyNamesIsNotReadThrough) {
  pair("tenants.d/a/certs/good", {"a.example"});
  EXPECT_EQ(pairs_of(compile(), "tenants.d/a/certs"), 1U);
  for (std::size_t n = 2; n < max_tenant_names; ++n) write("tenants.d/a/certs/" + std::to_string(n), "");
  EXPECT_EQ(pairs_of(compile(), "tenants.d/a/certs"), 1U);
  write("tenants.d/a/certs/more", "");
  const auto c = compile();
  EXPECT_EQ(c.errors(), 1U);
  EXPECT_THAT(text(c), HasSubstr("error: there are more than 4096 names in tenants.d/a/certs; the certificates that it "
                                 "had stay in use"));
  EXPECT_EQ(pairs_of(c, "tenants.d/a/certs"), 1U);
  EXPECT_EQ(pairs_of(c, "tenants.d/b/certs"), 1U);
  fs::remove(path("tenants.d/a/certs/more"));
  EXPECT_EQ(pairs_of(compile(), "tenants.d/a/certs"), 1U);
}

TEST_F(TenantsTest, AFolderWithVeryManyNamesIsNotReadThroughAndItsGoodFilesStay) {
  const auto routes = [](const std::string& host, int net) {
    return "routes: [{ host: " + host + ", passthrough: \"10." + std::to_string(net) + ".0.1:443\" }]\n";
  };
  write("tenants.d/a/x.yaml", routes("a.example", 1));
  write("tenants.d/b/x.yaml", routes("b.example", 2));
  auto it = compiler();
  EXPECT_EQ(text(it->compile()), "");
  for (std::size_t n = 0; n < max_tenant_names; ++n) write("tenants.d/a/" + std::to_string(n), "");
  write("tenants.d/a/y.yaml", routes("y.a.example", 1));
  for (const bool restarted : {false, true}) {
    if (restarted) it = compiler();
    const auto c = it->compile();
    EXPECT_EQ(text(c),
              "tenants.d/a: error: there are more than 4096 names in it; no new file in it is read, and the "
              "last good versions stay; remove what is no configuration\n");
    EXPECT_EQ(owner(c, "a.example"), "a: a.example");
    EXPECT_EQ(owner(c, "y.a.example"), "");
    EXPECT_EQ(owner(c, "b.example"), "b: b.example");
  }
  // Others' changes come, and its own, of files that are known.
  write("tenants.d/b/y.yaml", routes("y.b.a.example", 2));
  write("tenants.d/a/x.yaml", routes("x.a.example", 1));
  const auto changed = it->compile();
  EXPECT_EQ(owner(changed, "y.b.a.example"), "b: y.b.a.example");
  EXPECT_EQ(owner(changed, "x.a.example"), "a: x.a.example");
  for (int n = 0; n < 10; ++n) fs::remove(path("tenants.d/a/" + std::to_string(n)));
  const auto c = it->compile();
  EXPECT_EQ(text(c), "");
  EXPECT_EQ(owner(c, "y.a.example"), "a: y.a.example");
}

TEST_F(TenantsTest, FoldersInATenantsFolderCountTogether) {
  write("edgemux.yaml", kMain + "  - { files: \"tenants.d/{tenant}/*/*.yaml\" }\n");
  const auto app = [](std::size_t n) { return "tenants.d/a/" + std::to_string(n); };
  const auto fill = [&](std::size_t n) {
    folder(app(n));
    for (std::size_t name = 0; name < max_tenant_names / 4; ++name) write(app(n) + "/" + std::to_string(name), "");
  };
  const std::string rest = ", passthrough: \"10.1.0.1:443\" }]\n";
  for (std::size_t n = 0; n < 3; ++n) fill(n);
  write(app(0) + "/x.yaml", "routes: [{ host: a.example" + rest);
  folder("tenants.d/b/app");
  write("tenants.d/b/app/x.yaml", "routes: [{ host: b.example, passthrough: \"10.2.0.1:443\" }]\n");
  auto it = compiler();
  const auto first = it->compile();
  EXPECT_EQ(text(first), "");
  EXPECT_THAT(first.directories, testing::Contains(path(app(2))));
  fill(3);
  write("tenants.d/b/app/y.yaml", "routes: [{ host: y.b.a.example, passthrough: \"10.2.0.1:443\" }]\n");
  const auto c = it->compile();
  EXPECT_EQ(text(c),
            "tenants.d/a: error: there are more than 4096 names in it and its folders; no new file in it is read, and "
            "the last good versions stay; remove what is no configuration\n");
  EXPECT_EQ(owner(c, "a.example"), "a: a.example");
  EXPECT_EQ(owner(c, "y.b.a.example"), "b: y.b.a.example") << "others' changes come";
  EXPECT_THAT(c.directories, testing::Contains(path("tenants.d/a"))) << "to see when it is mended";
}

}  // namespace
}  // namespace edgemux::config
