// Where a connection goes and comes from: both families of a name, Unix sockets, a source address.

#include <gtest/gtest.h>
#include <sys/un.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "routing/upstream/connector.h"
#include "tests/support/loop_driver.h"

namespace edgemux::routing {
namespace {

using namespace std::chrono_literals;

struct RaceOutcome final : Connector::Observer {
  void on_connected(std::unique_ptr<core::TcpStream> to, const Endpoint& endpoint, unsigned count) override {
    stream = std::move(to);
    text = endpoint.text;
    attempts = count;
    over = true;
  }
  void on_connect_failed(const ConnectFailure& failure) override {
    detail = failure.detail;
    attempts = failure.attempts;
    over = true;
  }
  std::unique_ptr<core::TcpStream> stream;
  std::string text;
  std::string detail;
  unsigned attempts = 0;
  bool over = false;
};

// A port that both families have: IPv4 with a queue that is full, so that nobody answers there, IPv6 as told.
class BothFamilies {
 public:
  explicit BothFamilies(bool six_listens) {
    six_ = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int only = 1;
    setsockopt(six_, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    address6_ = *core::SocketAddress::parse_ip("::1", four_.address().port());
    if (bind(six_, address6_.data(), address6_.size()) != 0) ADD_FAILURE() << "the port is taken on ::1";
    if (six_listens) listen(six_, 8);
    listen(four_.fd(), 0);
    for (int& fd : queued_) {
      fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      (void)connect(fd, four_.address().data(), four_.address().size());
    }
  }
  ~BothFamilies() {
    close(six_);
    for (const int fd : queued_) close(fd);
  }
  std::shared_ptr<EndpointSet> set(const std::string& host4, const std::string& host6) {
    auto made = std::make_shared<EndpointSet>();
    made->endpoints.push_back({four_.address(), "four", 1, std::make_shared<EndpointState>(), host4});
    made->endpoints.push_back({address6_, "six", 1, std::make_shared<EndpointState>(), host6});
    return made;
  }

 private:
  edgemux::test::LoopbackListener four_;
  core::SocketAddress address6_;
  int six_ = -1;
  std::array<int, 8> queued_{};
};

struct Families : ::testing::Test {
  void run(std::shared_ptr<EndpointSet> set, std::chrono::milliseconds timeout,
           std::optional<core::SocketAddress> source = std::nullopt) {
    Connector::Observer& observer = outcome;
    Connector connector(loop, metrics, observer, std::move(set), 0, timeout, source);
    const std::uint64_t began = loop.now();
    connector.start();
    edgemux::test::LoopDriver(loop).run_until([&] { return outcome.over; });
    took = loop.now() - began;
  }
  std::uint64_t count(core::ConnectResult result) {
    return metrics.upstream_connects[static_cast<std::size_t>(result)].read();
  }
  static std::shared_ptr<EndpointSet> one(const core::SocketAddress& address) {
    auto made = std::make_shared<EndpointSet>();
    made->endpoints.push_back({address, address.to_string()});
    return made;
  }
  core::EventLoop loop;
  core::WorkerMetrics metrics;
  RaceOutcome outcome;
  std::uint64_t took = 0;
};

TEST_F(Families, TheOtherOneIsTriedBesideOneThatDoesNotAnswer) {
  BothFamilies both(true);
  run(both.set("app.internal", "app.internal"), 60s);
  ASSERT_NE(outcome.stream, nullptr) << outcome.detail;
  EXPECT_EQ(outcome.text, "six");
  EXPECT_EQ(outcome.attempts, 2U);
  EXPECT_GE(took, Connector::kStagger);
  EXPECT_EQ(count(core::ConnectResult::timeout), 0U);
  EXPECT_EQ(count(core::ConnectResult::ok), 1U);
}

TEST_F(Families, TheFasterOneIsBegunWithForAWhile) {
  BothFamilies both(true);
  const auto set = both.set("app.internal", "app.internal");
  EXPECT_EQ(first_choice(*set, 0, loop.now()), 0U);
  run(set, 60s);
  EXPECT_EQ(outcome.text, "six");
  EXPECT_EQ(first_choice(*set, 0, loop.now()), 1U);
  EXPECT_EQ(first_choice(*set, 1, loop.now()), 1U);
  EXPECT_EQ(first_choice(*set, 2, loop.now()), 2U) << "there is none";
  EXPECT_EQ(first_choice(*set, 0, loop.now() + Connector::kRemembered + 1), 0U) << "it gets another chance";
  core::EventLoop again;
  RaceOutcome second;
  Connector::Observer& observer = second;
  Connector connector(again, metrics, observer, set, 0, 60s);
  connector.start();
  edgemux::test::LoopDriver(again).run_until([&] { return second.over; });
  EXPECT_EQ(second.text, "six");
  EXPECT_EQ(second.attempts, 1U);
}

TEST_F(Families, OnlyTheSameNameAndPortStandIn) {
  BothFamilies both(true);
  const auto other = both.set("a.internal", "b.internal");
  other->endpoints[0].state->outpaced_until = loop.now() + 1'000;
  EXPECT_EQ(first_choice(*other, 0, loop.now()), 0U);
  const auto slow = both.set("app.internal", "app.internal");
  for (const auto& endpoint : slow->endpoints) endpoint.state->outpaced_until = loop.now() + 1'000;
  EXPECT_EQ(first_choice(*slow, 0, loop.now()), 0U) << "neither is the faster one";
}

TEST_F(Families, OfAnotherNameTheyAreOtherEndpoints) {
  BothFamilies both(true);
  run(both.set("a.internal", "b.internal"), 500ms);
  EXPECT_EQ(outcome.text, "six");
  EXPECT_GE(took, 500U);
  EXPECT_EQ(count(core::ConnectResult::timeout), 1U);
}

TEST_F(Families, WhenTheOtherOneFailsTheFirstGoesOn) {
  BothFamilies both(false);
  run(both.set("app.internal", "app.internal"), 800ms);
  EXPECT_EQ(outcome.stream, nullptr);
  EXPECT_EQ(outcome.detail, "six: Connection refused; four: no answer within 800 ms");
  EXPECT_EQ(outcome.attempts, 2U);
  EXPECT_GE(took, 800U);
}

TEST_F(Families, ConnectionsComeFromTheSourceAddress) {
  edgemux::test::LoopbackListener there;
  run(one(there.address()), 5s, core::SocketAddress::parse_ip("127.0.0.9", 0));
  ASSERT_NE(outcome.stream, nullptr) << outcome.detail;
  EXPECT_EQ(outcome.stream->local_address().ip(), "127.0.0.9");
}

TEST_F(Families, ASourceThatCannotBeSaysSo) {
  edgemux::test::LoopbackListener there;
  run(one(there.address()), 5s, core::SocketAddress::parse_ip("192.0.2.1", 0));
  EXPECT_EQ(outcome.detail,
            there.address().to_string() + ": cannot come from 192.0.2.1: Cannot assign requested address");
}

TEST_F(Families, ASourceOfTheOtherFamilySaysSo) {
  edgemux::test::LoopbackListener there;
  run(one(there.address()), 5s, core::SocketAddress::parse_ip("::1", 0));
  EXPECT_EQ(outcome.detail, there.address().to_string() + ": the source address ::1 is of the other family");
}

TEST_F(Families, AUnixSocketThatIsNotThereSaysSo) {
  const std::string path = (std::filesystem::temp_directory_path() / "emx-nobody-made-this.sock").string();
  run(one(core::SocketAddress::unix_socket(path)), 5s);
  EXPECT_EQ(outcome.detail, "unix:" + path + ": No such file or directory");
}

TEST_F(Families, UnixSocketsAreEndpointsToo) {
  std::string folder = (std::filesystem::temp_directory_path() / "emxXXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/app.sock";
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(fd, 8), 0);
  run(one(core::SocketAddress::unix_socket(path)), 5s);
  EXPECT_NE(outcome.stream, nullptr) << outcome.detail;
  close(fd);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace edgemux::routing
