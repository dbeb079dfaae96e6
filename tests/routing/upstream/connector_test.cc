#include "routing/upstream/connector.h"

#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/support/loop_driver.h"
#include "tests/support/no_descriptors.h"

namespace edgemux::routing {
namespace {

using namespace std::chrono_literals;

std::shared_ptr<EndpointSet> set_of(const std::vector<core::SocketAddress>& addresses) {
  auto set = std::make_shared<EndpointSet>();
  for (const auto& address : addresses) set->endpoints.push_back({address, address.to_string()});
  return set;
}

struct Outcome final : Connector::Observer {
  void on_connected(std::unique_ptr<core::TcpStream> to, const Endpoint& endpoint, unsigned count) override {
    EXPECT_FALSE(in_start);
    ++calls;
    stream = std::move(to);
    text = endpoint.text;
    attempts = count;
    if (unwanted.contains(endpoint.text)) {
      EXPECT_GE(connector->attempt_ends(), ends);
      ends = connector->attempt_ends();
      calls = 0;
      return connector->go_on(ConnectFailure::Kind::tls, "no thanks");
    }
    connector.reset();  // allowed: it is the last thing that the connector does
  }
  void on_connect_failed(const ConnectFailure& why) override {
    EXPECT_FALSE(in_start);
    ++calls;
    failure = why;
    failed = true;
    connector.reset();
  }
  void on_attempt_failed(const Endpoint& endpoint) override { bad.push_back(endpoint.text); }
  void on_shortage() override {
    ++shortages;
    if (ends_shortage) taken.reset();
  }
  void begin(core::EventLoop& loop, core::WorkerMetrics& metrics, std::shared_ptr<const EndpointSet> set,
             std::size_t first, std::chrono::milliseconds timeout = 5s) {
    connector = std::make_unique<Connector>(loop, metrics, *this, std::move(set), first, timeout);
    in_start = true;
    connector->start();
    in_start = false;
  }
  std::unique_ptr<Connector> connector;
  std::unique_ptr<core::TcpStream> stream;
  std::string text;
  std::set<std::string> unwanted;  // endpoints that are connected to and given up
  std::vector<std::string> bad;
  ConnectFailure failure;
  std::uint64_t ends = 0;
  unsigned attempts = 0;
  int calls = 0;
  bool failed = false;
  bool in_start = false;
  std::optional<edgemux::test::NoDescriptors> taken;
  bool ends_shortage = false;
  int shortages = 0;
};

struct Fixture : ::testing::Test {
  core::EventLoop loop;
  core::WorkerMetrics metrics;
  Outcome outcome;

  void wait() {
    int turns = 0;
    edgemux::test::LoopDriver(loop).run_until([&] { return outcome.calls > 0 && ++turns > 2; });
    EXPECT_EQ(outcome.calls, 1) << "exactly one call";
  }
  std::uint64_t count(core::ConnectResult result) {
    return metrics.upstream_connects[static_cast<std::size_t>(result)].read();
  }
};
using ConnectorTest = Fixture;

core::SocketAddress nobody() {
  edgemux::test::LoopbackListener listener;
  return listener.address();
}

// UBSan looks at an object through a pipe before the first call of its kind: that takes descriptors.
void connect_beforehand(const core::SocketAddress& address) {
  core::EventLoop loop;
  core::WorkerMetrics metrics;
  Outcome outcome;
  outcome.begin(loop, metrics, set_of({address}), 0);
  edgemux::test::LoopDriver(loop).run_until([&] { return outcome.calls > 0; });
}

TEST_F(ConnectorTest, WantOfDescriptorsIsNoFailureOfAnEndpoint) {
  edgemux::test::LoopbackListener a;
  edgemux::test::LoopbackListener b;
  connect_beforehand(a.address());
  outcome.taken.emplace();
  outcome.begin(loop, metrics, set_of({a.address(), b.address()}), 0);
  wait();
  outcome.taken.reset();
  EXPECT_TRUE(outcome.failed);
  EXPECT_EQ(outcome.failure.kind, ConnectFailure::Kind::shortage);
  EXPECT_EQ(outcome.failure.attempts, 1U) << "another endpoint could not be asked either";
  EXPECT_NE(outcome.failure.detail.find("Too many open files; raise LimitNOFILE"), std::string::npos);
  EXPECT_EQ(outcome.shortages, 1);
  EXPECT_TRUE(outcome.bad.empty());
  EXPECT_EQ(count(core::ConnectResult::failed), 0U);
}

TEST_F(ConnectorTest, TriesOnceMoreWhenDescriptorsWereGivenAway) {
  edgemux::test::LoopbackListener a;
  connect_beforehand(a.address());
  outcome.ends_shortage = true;
  outcome.taken.emplace();
  outcome.begin(loop, metrics, set_of({a.address()}), 0);
  wait();
  EXPECT_FALSE(outcome.failed);
  EXPECT_EQ(outcome.text, a.address().to_string());
  EXPECT_EQ(outcome.attempts, 1U);
  EXPECT_TRUE(outcome.bad.empty());
}

TEST_F(ConnectorTest, BeginsWithTheEndpointThatItIsTold) {
  edgemux::test::LoopbackListener a;
  edgemux::test::LoopbackListener b;
  outcome.begin(loop, metrics, set_of({a.address(), b.address()}), 3);
  wait();
  EXPECT_EQ(outcome.text, b.address().to_string());
  EXPECT_EQ(outcome.attempts, 1U);
  EXPECT_EQ(count(core::ConnectResult::ok), 1U);
}

TEST_F(ConnectorTest, GoesOnToTheNextEndpointAndAround) {
  edgemux::test::LoopbackListener good;
  outcome.begin(loop, metrics, set_of({good.address(), nobody(), nobody()}), 1);
  wait();
  ASSERT_NE(outcome.stream, nullptr);
  EXPECT_EQ(outcome.text, good.address().to_string());
  EXPECT_EQ(outcome.attempts, 3U);
  EXPECT_EQ(count(core::ConnectResult::refused), 2U);
  EXPECT_EQ(metrics.upstream_retries.read(), 2U);
}

TEST_F(ConnectorTest, TriesEveryEndpointOnceAndSaysWhatHappenedAtEach) {
  const auto set = set_of({nobody(), nobody()});
  outcome.begin(loop, metrics, set, 0);
  wait();
  ASSERT_TRUE(outcome.failed);
  EXPECT_EQ(outcome.failure.kind, ConnectFailure::Kind::refused);
  EXPECT_EQ(outcome.failure.attempts, 2U);
  EXPECT_EQ(outcome.failure.detail,
            set->endpoints[0].text + ": Connection refused; " + set->endpoints[1].text + ": Connection refused");
}

TEST_F(ConnectorTest, SaysThatThereIsNoEndpoint) {
  auto set = std::make_shared<EndpointSet>();
  set->problem = "argocd.svc does not resolve";
  outcome.begin(loop, metrics, set, 0);
  wait();
  ASSERT_TRUE(outcome.failed);
  EXPECT_EQ(outcome.failure.kind, ConnectFailure::Kind::no_endpoint);
  EXPECT_EQ(outcome.failure.detail, set->problem);
}

// A listening socket whose queue is full answers no SYN: the deadline decides.
TEST_F(ConnectorTest, GivesUpOnAnEndpointThatDoesNotAnswer) {
  edgemux::test::LoopbackListener full;
  listen(full.fd(), 0);
  std::vector<int> queued;
  for (int i = 0; i < 8; ++i) {
    queued.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    (void)connect(queued.back(), full.address().data(), full.address().size());
  }
  edgemux::test::LoopbackListener good;
  outcome.begin(loop, metrics, set_of({full.address(), good.address()}), 0, 50ms);
  wait();
  EXPECT_EQ(outcome.text, good.address().to_string());
  EXPECT_EQ(count(core::ConnectResult::timeout), 1U);
  for (const int fd : queued) close(fd);
}

TEST_F(ConnectorTest, GoesOnFromAnEndpointThatIsOfNoUse) {
  edgemux::test::LoopbackListener a;
  edgemux::test::LoopbackListener b;
  edgemux::test::LoopbackListener good;
  const auto set = set_of({a.address(), b.address(), good.address()});
  outcome.unwanted = {set->endpoints[0].text, set->endpoints[1].text};
  outcome.begin(loop, metrics, set, 0);
  wait();
  EXPECT_EQ(outcome.text, set->endpoints[2].text);
  EXPECT_EQ(outcome.attempts, 3U);
  EXPECT_EQ(outcome.bad, (std::vector{set->endpoints[0].text, set->endpoints[1].text}));
  EXPECT_EQ(metrics.upstream_retries.read(), 2U);
}

TEST_F(ConnectorTest, SaysSoWhenNoEndpointIsOfUse) {
  edgemux::test::LoopbackListener a;
  const auto set = set_of({a.address(), nobody()});
  outcome.unwanted = {set->endpoints[0].text};
  outcome.begin(loop, metrics, set, 1);
  wait();
  ASSERT_TRUE(outcome.failed);
  EXPECT_EQ(outcome.failure.kind, ConnectFailure::Kind::tls);
  EXPECT_EQ(outcome.failure.detail,
            set->endpoints[1].text + ": Connection refused; " + set->endpoints[0].text + ": no thanks");
}

TEST_F(ConnectorTest, DestroyingItCancels) {
  edgemux::test::LoopbackListener good;
  outcome.begin(loop, metrics, set_of({good.address()}), 0);
  outcome.connector.reset();
  Outcome empty;
  empty.begin(loop, metrics, std::make_shared<EndpointSet>(), 0);
  empty.connector.reset();
  int turns = 0;
  edgemux::test::LoopDriver(loop).run_until([&] { return ++turns > 10; });
  EXPECT_EQ(outcome.calls, 0);
  EXPECT_EQ(empty.calls, 0);
}

}  // namespace
}  // namespace edgemux::routing
