// What fails and passes again, of which the files themselves tell nothing: reads without a descriptor, a state
// directory that comes and goes, a table that is refused.
#include "tests/config/compiler_fixture.h"
#include "tests/config/recompile_fixture.h"

namespace edgemux::config {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class PassingFailureTest : public RecompileTest {
 protected:
  // One that goes on from what it knows, in this state directory.
  [[nodiscard]] std::unique_ptr<Compiler> compiler_in(const std::string& state) const {
    return std::make_unique<Compiler>(path("edgemux.yaml"), options(state));
  }
  void serve(int tenant, const std::string& name, const std::string& more = "") const {
    replace(file_of(tenant, 0), "routes: [ { host: " + name + ".t" + std::to_string(tenant) +
                                    ".example.com, passthrough: \"10.1.0.1:443\" } ]\n" + more);
  }
  static bool serves(const Compiled& c, int tenant, const std::string& name) {
    const auto host = name + ".t" + std::to_string(tenant) + ".example.com";
    return c.snapshot->listeners[1]->hosts.find(host) != nullptr;
  }
  [[nodiscard]] std::ptrdiff_t kept(const std::string& state) const {
    std::error_code error;
    return std::distance(fs::directory_iterator(path(state + "/last-good"), error), fs::directory_iterator());
  }
};

TEST_F(PassingFailureTest, AFileIsReadAgainAlthoughNothingWasTouched) {
  serve(0, "old");
  const auto it = compiler_in("state");
  EXPECT_FALSE(it->compile().unfinished);
  serve(0, "new");
  files_->let_fail(path(file_of(0, 0)));
  const auto failed = it->compile();
  EXPECT_THAT(describe(failed), HasSubstr("cannot read " + path(file_of(0, 0)) + ": Too many open files"));
  EXPECT_TRUE(failed.unfinished);
  EXPECT_TRUE(serves(failed, 0, "old"));
  EXPECT_TRUE(it->compile({}).unfinished) << "it fails still";
  files_->let_fail("");
  const auto c = it->compile({});
  EXPECT_TRUE(serves(c, 0, "new"));
  EXPECT_THAT(c.set_aside, IsEmpty());
  EXPECT_FALSE(c.unfinished);
  (void)files_->take_read();
  EXPECT_FALSE(it->compile({}).unfinished);
  EXPECT_THAT(files_->take_read(), IsEmpty());
}

TEST_F(PassingFailureTest, TheCaOfATenantIsReadAgain) {
  const auto ca = edgemux::test::make_certificate({.names = {"ca.example.com"}});
  write(folder_of(0) + "/ca.pem", ca.cert_pem());
  replace(file_of(0, 0),
          "upstreams: { own: { endpoints: [\"10.1.0.1:443\"], tls: { ca: ca.pem, server_name: x.example.com } } }\n"
          "routes: [ { host: a.t0.example.com, on_http: serve, rules: [ { path: /, upstream: own } ] } ]\n");
  const auto refused = [](const Compiled& c) {
    for (const auto& upstream : c.snapshot->upstreams) {
      if (upstream->name == "own") return upstream->transport.refused;
    }
    return std::string("no such upstream");
  };
  files_->let_fail(path(folder_of(0) + "/ca.pem"));
  for (const bool asked : {false, true}) {
    const auto it = compiler_in("");
    const auto failed = it->compile();
    EXPECT_THAT(refused(failed), HasSubstr("Too many open files"));
    EXPECT_TRUE(failed.unfinished);
    files_->let_fail("");
    if (asked) it->reread();
    EXPECT_EQ(refused(asked ? it->compile() : it->compile({})), "");
    files_->let_fail(path(folder_of(0) + "/ca.pem"));
  }
}

// SIGHUP takes no stamp for what a file says: here one that is put back with its old times.
TEST_F(PassingFailureTest, WhatIsReadAnewIncludesWhatFilesName) {
  write(folder_of(0) + "/ca.pem", "none");
  serve(0, "a", "upstreams: { own: { endpoints: [\"10.1.0.1:443\"], tls: { ca: ca.pem } } }\n");
  const auto it = compiler_in("");
  it->compile();
  (void)files_->take_read();
  it->compile();
  EXPECT_THAT(files_->take_read(), IsEmpty());
  it->reread();
  it->compile();
  EXPECT_THAT(files_->take_read(), ::testing::Contains(path(folder_of(0) + "/ca.pem")));
}

TEST_F(PassingFailureTest, LastGoodBytesThatVanishAreWrittenAgain) {
  for (int t = 0; t < kTenants; ++t) serve(t, "a");
  for (const bool later : {false, true}) {
    auto how = options("state");
    how.keep_later = later;
    Compiler it(path("edgemux.yaml"), how);
    const auto keep = [&] {
      while (it.keep() == Kept::some) {
      }
    };
    it.compile();
    keep();
    EXPECT_EQ(kept("state"), kTenants);
    // The folder as a whole, which any load notices.
    fs::remove_all(path("state"));
    it.compile({});
    keep();
    EXPECT_EQ(kept("state"), kTenants) << later;
    // What is in it, which is looked at when somebody asks.
    for (const auto& entry : fs::directory_iterator(path("state/last-good"))) fs::remove(entry.path());
    it.reread();
    it.compile();
    keep();
    EXPECT_EQ(kept("state"), kTenants) << later;
  }
}

TEST_F(PassingFailureTest, AStateDirectoryThatComesLateIsAskedThen) {
  serve(0, "a");
  serve(1, "a");
  compiler_in("state")->compile();
  write(file_of(0, 0), "routes: [\n");
  for (const bool asked : {false, true}) {
    fs::rename(path("state"), path("away"));
    const auto it = compiler_in("state");
    EXPECT_FALSE(serves(it->compile(), 0, "a")) << "not mounted yet";
    fs::remove_all(path("state"));  // which has been made in its place
    fs::rename(path("away"), path("state"));
    if (asked) it->reread();
    const auto c = it->compile(asked ? Touched::everything() : Touched());
    EXPECT_TRUE(serves(c, 0, "a"));
    EXPECT_THAT(c.set_aside, ::testing::ElementsAre(path(file_of(0, 0))));
    EXPECT_TRUE(serves(c, 1, "a"));
  }
}

TEST_F(PassingFailureTest, WhatCouldNotBeKeptIsKeptWhenThereIsRoom) {
  serve(0, "a");
  write("state", "no folder");
  const auto it = compiler_in("state");
  const auto full = it->compile();
  EXPECT_TRUE(full.unfinished);
  EXPECT_THAT(describe(full), HasSubstr("state/last-good"));
  fs::remove(path("state"));
  const auto c = it->compile({});
  EXPECT_FALSE(c.unfinished);
  EXPECT_THAT(describe(c), Not(HasSubstr("state/last-good")));
  EXPECT_EQ(kept("state"), 1);
}

TEST_F(PassingFailureTest, ARefusedTableCountsNothing) {
  serve(0, "a");
  const auto it = compiler_in("state");
  const auto state = it->compile().snapshot->tenants[0]->state;
  write(file_of(0, 0), "routes: [\n");
  EXPECT_EQ(it->compile(Touched::everything(), [](const auto&) { return "no"; }).refused, "no");
  EXPECT_EQ(state->files_set_aside, 0U);
  EXPECT_EQ(it->compile().refused, "");
  EXPECT_EQ(state->files_set_aside, 1U);
}

TEST_F(PassingFailureTest, ATenantsManyClosedFoldersHideNothingOfOthers) {
  main_.replace(main_.find("{tenant}/*.yaml"), 15, "{tenant}/*/*.yaml");
  const auto one = main_.find("[t1.example.com");  // two claim it
  main_.insert(one + 1, "t2.example.com, ");
  write("edgemux.yaml", main_);
  for (int n = 0; n < 250; ++n) {
    fs::create_symlink("nowhere", path(folder_of(0) + "/x" + std::to_string(n)));
  }
  fs::create_symlink("nowhere", path(folder_of(3) + "/x"));
  const auto told = describe(compiler_in("state")->compile());
  EXPECT_THAT(told, HasSubstr("cannot list 247 more folders of tenant 't0'"));
  EXPECT_THAT(told, HasSubstr("cannot list " + path(folder_of(3) + "/x")));
  EXPECT_THAT(told, HasSubstr("t2.example.com"));
  EXPECT_THAT(told, Not(HasSubstr("more errors in this file")));
}

class HeldPairTest : public CompilerTest {};

// Between its certificate and its key, say. The certificate pairs of hosts have the same.
TEST_F(HeldPairTest, TheCertificateForAnUpstreamStaysInUseWhileItsFilesChange) {
  pair("client.pem", "client.key", {"client.example.com"});
  main_file(
      "upstreams: { own: { endpoints: [\"10.0.0.1:443\"], tls: { insecure_skip_verify: true, cert: client.pem, key: "
      "client.key } } }\n"
      "routes: [ { host: a.example.com, rules: [ { path: /, upstream: own } ] } ]\n");
  const auto it = compiler();
  const auto upstream = [](const Compiled& c) { return c.snapshot->upstreams.at(0); };
  const auto good = upstream(it->compile());
  ASSERT_EQ(good->transport.refused, "");
  for (int n = 0; n < 3; ++n) {
    it->hold({path("client.pem")});
    const auto c = it->compile();
    EXPECT_EQ(upstream(c)->transport.refused, "");
    EXPECT_EQ(upstream(c)->identity, good->identity);
    EXPECT_THAT(text(c), HasSubstr("it keeps changing while it is read; it is read again when it has settled; the pair "
                                   "that was loaded before stays in use"));
  }
  pair("client.pem", "client.key", {"renewed.example.com"});
  const auto renewed = it->compile();
  EXPECT_THAT(text(renewed), Not(HasSubstr("keeps changing")));
  EXPECT_NE(upstream(renewed)->identity, good->identity);
}

}  // namespace
}  // namespace edgemux::config
