// The real compiler under the reloader: what an operator does to files, and which table comes out.

#include <future>

#include "config/compiler.h"
#include "config/reloader.h"
#include "tests/config/disk_fixture.h"

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
  Reloader reloader({[&] { return compiler.compile(); }, [](const std::function<void()>& work) { work(); },
                     [this](Reload reload) { on_done_(std::move(reload)); }});
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

}  // namespace
}  // namespace edgemux::config
