// The real compiler under the reloader: what an operator does to files, and which table comes out.

#include <gmock/gmock.h>

#include <atomic>
#include <future>

#include "config/compiler.h"
#include "config/reloader.h"
#include "tests/config/disk_fixture.h"
#include "tests/support/test_certificates.h"

namespace edgemux::config {
namespace {

using Outcome = Reload::Outcome;

class ReloadWithCompilerTest : public DiskTest {
 protected:
  ReloadWithCompilerTest() {
    folder("routes.d");
    write("main.yaml", main_file);
  }
  static std::string route(const std::string& host) {
    return "routes:\n  - { host: " + host + ", passthrough: \"10.0.0.1:443\" }\n";
  }
  // The answer to a SIGHUP.
  Reload ask(Reloader& reloader) {
    auto answer = std::make_shared<std::promise<Reload>>();
    auto future = answer->get_future();
    on_done_ = [answer](Reload reload) {
      if (reload.reason == Reload::Reason::asked) answer->set_value(std::move(reload));
    };
    reloader.request();
    if (future.wait_for(std::chrono::seconds(20)) == std::future_status::ready) return future.get();
    ADD_FAILURE() << "no answer";
    return {};
  }
  static bool knows(const Reload& reload, const std::string& host) {
    return reload.snapshot != nullptr && reload.snapshot->listeners.at(0)->hosts.find(host) != nullptr;
  }

  static constexpr const char* main_file =
      "version: 1\n"
      "reload: { settle: 1m }\n"  // so that SIGHUP alone decides when
      "listeners: [ { name: https, bind: [\"127.0.0.1:20443\"], protocol: tls } ]\n"
      "include: [ \"routes.d/*.yaml\" ]\n"
      "routes: [ { host: main.example.com, passthrough: \"10.0.0.1:443\" } ]\n";
  std::function<void(Reload)> on_done_ = [](const Reload&) {};
};

TEST_F(ReloadWithCompilerTest, ABadIncludeKeepsItsLastGoodBytes) {
  write("routes.d/a.yaml", route("a.example.com"));
  Compiler compiler(path("main.yaml"), {path("state"), nullptr, nullptr});
  // Posted work runs at once: one request is under way at a time.
  Reloader reloader(
      {[&](Touched touched, const Accept& accept) { return compiler.compile(std::move(touched), accept); },
       [](const std::function<void()>& work) { work(); }, [this](Reload reload) { on_done_(std::move(reload)); }});
  const Compiled first = reloader.load();
  ASSERT_NE(first.snapshot, nullptr) << (first.diagnostics.empty() ? "" : first.diagnostics[0].headline());
  reloader.start();

  write("routes.d/a.yaml", "routes:\n  - { host: a.example.com, pasthrough: x }\n");
  write("routes.d/b.yaml", route("b.example.com"));
  Reload answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::published);
  EXPECT_EQ(answer.set_aside, std::vector<std::string>{path("routes.d/a.yaml")});
  ASSERT_FALSE(answer.news.fresh.empty());
  EXPECT_NE(answer.news.fresh[0].headline().find("a.yaml:2:"), std::string::npos) << answer.news.fresh[0].headline();
  EXPECT_TRUE(knows(answer, "a.example.com"));
  EXPECT_TRUE(knows(answer, "b.example.com"));

  fs::remove(path("routes.d/a.yaml"));
  answer = ask(reloader);
  EXPECT_FALSE(answer.news.solved.empty());
  EXPECT_FALSE(knows(answer, "a.example.com"));
  EXPECT_TRUE(knows(answer, "main.example.com"));

  write("main.yaml", std::string(main_file).substr(0, 150));
  answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::failed);
  EXPECT_EQ(answer.snapshot, nullptr);

  write("main.yaml", main_file);
  answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::published);
  EXPECT_EQ(answer.snapshot->generation, 4U);
}

// What a tenant does all the time, and between which calls.
class RestlessTest : public ReloadWithCompilerTest {
 protected:
  RestlessTest() {
    for (const char* name : {"t/a", "t/b"}) folder(name);
    write("main.yaml", tenants("a"));
    write("t/a/r.yaml", route("one.a.example.com"));
    write("t/b/r.yaml", route("one.b.example.com"));
  }
  // `owner` claims what a serves.
  static std::string tenants(const std::string& owner) {
    std::string text = main_file;
    const std::string include = "\"routes.d/*.yaml\"";
    text.replace(text.find(include), include.size(), "{ files: \"t/{tenant}/*.yaml\" }");
    const std::string other = owner == "a" ? "b" : "a";
    return text + "tenants:\n  " + owner + ": { hosts: [\"*.a.example.com\"], networks: [10.0.0.0/8] }\n  " + other +
           ": { hosts: [\"*.b.example.com\"], networks: [10.0.0.0/8] }\n";
  }
  // `rewrite` runs while each compile reads, until `quiet_`.
  Reloader& begin(std::function<void()> rewrite) {
    rewrite_ = std::move(rewrite);
    reloader_ = std::make_unique<Reloader>(
        Reloader::Hooks{.compile =
                            [this](Touched touched, const Accept& accept) {
                              if (!quiet_) rewrite_();
                              ++compiles_;
                              return compiler_.compile(std::move(touched), accept);
                            },
                        .post = [](const std::function<void()>& work) { work(); },
                        .done = [this](Reload reload) { on_done_(std::move(reload)); },
                        .hold = [this](std::set<std::string> paths) { compiler_.hold(std::move(paths)); }});
    EXPECT_NE(reloader_->load().snapshot, nullptr);
    reloader_->start();
    return *reloader_;
  }

  Compiler compiler_{path("main.yaml"), {path("state"), nullptr, nullptr}};
  std::function<void()> rewrite_;
  std::atomic<bool> quiet_{true};
  std::atomic<int> compiles_{0};
  std::unique_ptr<Reloader> reloader_;
};

TEST_F(RestlessTest, AFileThatKeepsChangingIsSetAsideAloneAndReadWhenItHasSettled) {
  int round = 0;
  Reloader& reloader = begin([&] { write("t/a/r.yaml", route("n" + std::to_string(++round) + ".a.example.com")); });
  quiet_ = false;
  write("t/b/r.yaml", route("two.b.example.com"));
  Reload answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::published);
  EXPECT_EQ(answer.set_aside, std::vector<std::string>{path("t/a/r.yaml")});
  ASSERT_EQ(answer.news.fresh.size(), 1U);
  EXPECT_EQ(answer.news.fresh[0].headline(),
            path("t/a/r.yaml") + ": error: cannot read " + path("t/a/r.yaml") +
                ": it keeps changing while it is read; it is read again when it has settled");
  EXPECT_TRUE(knows(answer, "two.b.example.com"));
  EXPECT_TRUE(knows(answer, "one.a.example.com")) << "its last good bytes, and none that were read meanwhile";

  // The operator takes the names away, whatever the tenant does.
  write("main.yaml", tenants("b"));
  answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::published);
  EXPECT_FALSE(knows(answer, "one.a.example.com"));

  write("main.yaml", tenants("a"));
  quiet_ = true;
  answer = ask(reloader);
  EXPECT_TRUE(answer.set_aside.empty());
  EXPECT_TRUE(knows(answer, "n" + std::to_string(round) + ".a.example.com"));
}

TEST_F(RestlessTest, AFileWithoutAPastIsLeftOutWhileItKeepsChanging) {
  Reloader& reloader = begin([&] { write("t/a/new.yaml", route("new.a.example.com")); });
  quiet_ = false;
  Reload answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::published);
  EXPECT_EQ(answer.set_aside, std::vector<std::string>{path("t/a/new.yaml")});
  EXPECT_FALSE(knows(answer, "new.a.example.com"));
  quiet_ = true;
  EXPECT_TRUE(knows(ask(reloader), "new.a.example.com"));
}

TEST_F(RestlessTest, AlwaysAnotherFileThatChangesStopsNobody) {
  int round = 0;
  Reloader& reloader = begin([&] { write("t/a/n" + std::to_string(++round) + ".yaml", "routes: []\n"); });
  quiet_ = false;
  write("t/b/r.yaml", route("two.b.example.com"));
  const int before = compiles_;
  const Reload answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::published);
  EXPECT_TRUE(knows(answer, "two.b.example.com"));
  EXPECT_LE(compiles_ - before, 6);
}

TEST_F(RestlessTest, TheMainFileStopsTheWholeLoad) {
  int round = 0;
  Reloader& reloader = begin([&] { write("main.yaml", tenants("a") + "# " + std::to_string(++round) + "\n"); });
  quiet_ = false;
  write("t/b/r.yaml", route("two.b.example.com"));
  Reload answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::failed);
  ASSERT_EQ(answer.news.fresh.size(), 1U);
  EXPECT_EQ(answer.news.fresh[0].headline(),
            "configuration: error: it keeps changing while it is read; it is read again when it has settled");
  quiet_ = true;
  answer = ask(reloader);
  EXPECT_TRUE(knows(answer, "two.b.example.com"));
  EXPECT_EQ(answer.news.solved.size(), 1U);
}

TEST_F(RestlessTest, ACertificateThatKeepsChangingKeepsItsLastGoodPair) {
  folder("t/a/certs");
  std::string main = tenants("a");
  main.insert(main.find(", networks"), ", certificates: [{ directory: t/a/certs }]");
  write("main.yaml", main);
  const auto certify = [&] {
    const auto made = edgemux::test::make_certificate({.names = {"one.a.example.com"}});
    write("t/a/certs/x.pem", made.cert_pem());
    write("t/a/certs/x.key", made.key_pem());
    fs::permissions(path("t/a/certs/x.key"), fs::perms::owner_read | fs::perms::owner_write);
    return made.cert_pem();
  };
  certify();
  Reloader& reloader = begin(certify);
  const auto shown = [](const Reload& reload) {
    const auto choice = reload.snapshot->certificates->find("one.a.example.com", "a");
    return choice ? (*choice.ecdsa)->fingerprint : "";
  };
  const std::string first = shown(ask(reloader));
  EXPECT_NE(first, "");
  quiet_ = false;
  write("t/b/r.yaml", route("two.b.example.com"));
  Reload answer = ask(reloader);
  ASSERT_EQ(answer.outcome, Outcome::published);
  EXPECT_TRUE(knows(answer, "two.b.example.com"));
  EXPECT_EQ(shown(answer), first);
  ASSERT_EQ(answer.news.fresh.size(), 1U);
  EXPECT_THAT(answer.news.fresh[0].headline(), ::testing::HasSubstr("x.pem: it keeps changing while it is read"));
  quiet_ = true;
  answer = ask(reloader);
  EXPECT_NE(shown(answer), first);
  EXPECT_EQ(answer.news.solved.size(), 1U);
}

TEST_F(ReloadWithCompilerTest, ATableThatLosesTooManyHostsIsRefused) {
  const auto main_with = [&](const std::string& reload) {
    std::string text = main_file;
    const auto at = text.find("settle: 1m");
    write("main.yaml", text.replace(at, 10, "settle: 1m" + reload));
  };
  const auto hosts = [&](int count) {
    std::string text = "routes:\n";
    for (int i = 0; i < count; ++i)
      text += "  - { host: h" + std::to_string(i) + ".example.com, passthrough: \"10.0.0.1:443\" }\n";
    write("routes.d/a.yaml", text);
  };
  main_with(", max_removed: 20%");
  hosts(9);
  Compiler compiler(path("main.yaml"), {path("state"), nullptr, nullptr});
  Reloader reloader(
      {[&](Touched touched, const Accept& accept) { return compiler.compile(std::move(touched), accept); },
       [](const std::function<void()>& work) { work(); }, [this](Reload reload) { on_done_(std::move(reload)); }});
  ASSERT_NE(reloader.load().snapshot, nullptr);
  reloader.start();

  hosts(7);  // two of ten hosts: the most that may go
  EXPECT_EQ(ask(reloader).outcome, Outcome::published);

  hosts(5);  // two of eight
  Reload answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::refused);
  EXPECT_EQ(answer.snapshot, nullptr);
  ASSERT_EQ(answer.news.fresh.size(), 1U);
  EXPECT_EQ(answer.news.fresh[0].headline(),
            "configuration: error: 2 of 8 hosts would be gone (h5.example.com, h6.example.com), and "
            "reload.max_removed is 20%; what is in force stays; if they are meant to go, set reload.max_removed to "
            "more, or to off, in the main file");
  write("routes.d/b.yaml", route("new.example.com"));  // more hosts make up for none that go
  EXPECT_EQ(ask(reloader).outcome, Outcome::refused);
  main_with("");  // the key was lost with them, perhaps
  EXPECT_EQ(ask(reloader).outcome, Outcome::refused);
  main_with(", max_removed: 25%");
  answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::published);
  EXPECT_EQ(answer.news.solved.size(), 1U);
  EXPECT_TRUE(knows(answer, "new.example.com") && !knows(answer, "h5.example.com"));

  fs::remove(path("routes.d/a.yaml"));
  EXPECT_EQ(ask(reloader).outcome, Outcome::refused);
  // What was in force is its last good version still, also over a restart.
  write("routes.d/a.yaml", "routes: 7\n");
  answer = ask(reloader);
  EXPECT_EQ(answer.outcome, Outcome::published);
  EXPECT_TRUE(knows(answer, "h0.example.com"));
  EXPECT_EQ(Compiler(path("main.yaml"), {path("state"), nullptr, nullptr}).compile().snapshot->host_count, 7U);
  write("routes.d/a.yaml", "routes: [{ host: h0.example.com, passthrough: \"10.0.0.1:443\" }]\n");
  EXPECT_EQ(ask(reloader).outcome, Outcome::refused) << "half of it";
  write("routes.d/a.yaml", "routes: 7\n");
  EXPECT_TRUE(knows(ask(reloader), "h4.example.com"));
  hosts(5);  // all is as it was
  EXPECT_EQ(ask(reloader).outcome, Outcome::published);
  fs::remove(path("routes.d/a.yaml"));
  main_with(", max_removed: off");
  EXPECT_EQ(ask(reloader).outcome, Outcome::published);
}

}  // namespace
}  // namespace edgemux::config
