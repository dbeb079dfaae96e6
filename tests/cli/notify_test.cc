#include "cli/notify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace edgemux::cli {
namespace {

using testing::MatchesRegex;

// The test is systemd: a datagram socket that NOTIFY_SOCKET names.
class NotifyTest : public testing::Test {
 protected:
  NotifyTest() {
    std::string name = std::filesystem::temp_directory_path() / "edgemux-notify-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    const std::string path = folder_ / "notify";
    fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(0, ::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address));
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~NotifyTest() override {
    for (const auto* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
    ::close(fd_);
    std::filesystem::remove_all(folder_);
  }

  std::string told() {
    std::array<char, 4096> buffer;
    const auto got = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    return got < 0 ? "(nothing)" : std::string(buffer.data(), static_cast<std::size_t>(got));
  }

  std::filesystem::path folder_;
  int fd_ = -1;
};

TEST_F(NotifyTest, TellsEveryStage) {
  Notify notify;
  notify.ready("generation 1, 12 hosts");
  EXPECT_EQ("READY=1\nSTATUS=generation 1, 12 hosts", told());
  notify.reloading();
  EXPECT_THAT(told(), MatchesRegex("RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*"));
  notify.status("a\nREADY=0");
  EXPECT_EQ("STATUS=a READY=0", told());
  notify.stopping();
  EXPECT_EQ("STOPPING=1\nSTATUS=draining", told());
}

TEST_F(NotifyTest, PingsTwiceInTheTimeOfTheWatchdog) {
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  Notify notify;
  EXPECT_EQ(15'000U, notify.watchdog_interval_ms());
  notify.ping();
  EXPECT_EQ("WATCHDOG=1", told());
}

TEST_F(NotifyTest, HasNoWatchdogThatIsNotItsOwn) {
  EXPECT_EQ(0U, Notify().watchdog_interval_ms());
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(0U, Notify().watchdog_interval_ms());
}

TEST_F(NotifyTest, SaysNothingWithoutSystemd) {
  ::unsetenv("NOTIFY_SOCKET");
  Notify().ready("x");
  EXPECT_EQ("(nothing)", told());
}

}  // namespace
}  // namespace edgemux::cli
