#include <fcntl.h>
#include <unistd.h>

#include "config/reloader.h"
#include "core/base/log.h"
#include "tests/config/disk_fixture.h"

namespace edgemux::config {
namespace {

class LogReloadTest : public DiskTest {
 protected:
  LogReloadTest() : fd_(::open(path("log").c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600)) {
    core::set_log_target({fd_, true});
  }
  ~LogReloadTest() override {
    core::set_log_target(core::log_target_of_stderr());
    ::close(fd_);
  }
  std::string logged(const Reload& reload) {
    EXPECT_EQ(::truncate(path("log").c_str(), 0), 0);
    log_reload(reload);
    std::ifstream file(path("log"));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static Diagnostic problem(Severity severity) {
    Diagnostic made;
    made.severity = severity;
    made.origin = {std::make_shared<const std::string>("routes.d/a.yaml"), 12, 3};
    made.message = "unknown key 'pasthrough'";
    return made;
  }

  int fd_;
};

TEST_F(LogReloadTest, TellsProblemsWithTheirPlaceAndTheGeneration) {
  Reload reload;
  reload.outcome = Reload::Outcome::published;
  auto snapshot = std::make_shared<routing::Snapshot>();
  snapshot->generation = 7;
  snapshot->host_count = 1000;
  reload.snapshot = snapshot;
  reload.news.fresh = {problem(Severity::error), problem(Severity::warning)};
  reload.news.solved = {"b.yaml:1:1: error: gone"};
  EXPECT_EQ(logged(reload),
            "<3>routes.d/a.yaml:12:3: error: unknown key 'pasthrough'\n"
            "<4>routes.d/a.yaml:12:3: warning: unknown key 'pasthrough'\n"
            "<6>solved: b.yaml:1:1: error: gone\n"
            "<6>generation 7: 1000 hosts, loaded in 0 ms\n");
}

TEST_F(LogReloadTest, IsSilentWhereNothingIsNew) {
  Reload reload;
  reload.diagnostics = {problem(Severity::error)};
  EXPECT_EQ(logged(reload), "");
  reload.outcome = Reload::Outcome::unchanged;
  EXPECT_EQ(logged(reload), "");
}

TEST_F(LogReloadTest, SaysThatWhatIsInForceStays) {
  Reload reload;
  reload.reason = Reload::Reason::asked;
  EXPECT_EQ(logged(reload), "<3>the configuration was not loaded; what is in force stays\n");
}

}  // namespace
}  // namespace edgemux::config
