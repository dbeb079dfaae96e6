// HealthChecks over real sockets: who is asked when, and what becomes of it when the table changes.
#include "routing/upstream/health_checks.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "core/base/log.h"
#include "tests/support/loop_driver.h"
#include "tests/support/no_descriptors.h"

namespace edgemux::routing {
namespace {

using namespace std::chrono_literals;

UpstreamPtr checked(const core::SocketAddress& address, HealthCheck check) {
  auto upstream = std::make_shared<Upstream>();
  upstream->name = address.to_string();
  upstream->health_check = std::make_shared<const HealthCheck>(std::move(check));
  upstream->state = std::make_shared<UpstreamState>();
  auto set = std::make_shared<EndpointSet>();
  set->endpoints.push_back({address, address.to_string()});
  set->endpoints.back().host = address.ip();
  upstream->state->publish(std::move(set));
  return upstream;
}

Health health(const UpstreamPtr& upstream) { return upstream->state->endpoints()->endpoints[0].state->health.load(); }

// Connects, soon and again.
HealthCheck fast() {
  HealthCheck check;
  check.interval = 10ms;
  return check;
}

// Waits for an answer as long as the test takes.
HealthCheck slow() {
  HealthCheck check = fast();
  check.kind = HealthCheck::Kind::http;
  check.path = "/";
  check.timeout = 60s;
  return check;
}

// The places of checks that are under way go to those that wait when the table drops them.
TEST(HealthChecks, WhoWaitsIsAskedWhenThoseUnderWayAreGone) {
  core::EventLoop loop;
  HealthChecks checks(loop, 1);
  edgemux::test::LoopbackListener silent;
  edgemux::test::LoopbackListener good;
  const UpstreamPtr first = checked(silent.address(), slow());
  const UpstreamPtr second = checked(good.address(), fast());
  checks.track({first});
  const std::uint64_t began = loop.now();
  int step = 0;
  edgemux::test::LoopDriver(loop).run_until([&] {
    if (step == 0 && loop.now() > began + 50) {
      step = 1;
      checks.track({first, second});
    } else if (step == 1 && loop.now() > began + 100) {
      step = 2;
      EXPECT_EQ(health(second), Health::unknown) << "the only place is taken";
      checks.track({second});
    }
    return step == 2 && health(second) == Health::healthy;
  });
}

// The endpoint was not asked.
TEST(HealthChecks, WantOfDescriptorsSaysNothingOfAnEndpoint) {
  core::EventLoop loop;
  HealthChecks checks(loop);
  edgemux::test::LoopbackListener good;
  HealthCheck check = fast();
  check.unhealthy_after = 1;
  const UpstreamPtr upstream = checked(good.address(), check);
  checks.track({upstream});
  std::optional<edgemux::test::NoDescriptors> none;
  std::uint64_t ends = 0;
  edgemux::test::LoopDriver(loop).run_until([&] {
    if (!none && health(upstream) == Health::healthy) {
      none.emplace();
      ends = loop.now() + 100;
    }
    return none && loop.now() > ends;
  });
  none.reset();
  EXPECT_EQ(health(upstream), Health::healthy);
}

TenantPtr tenant(std::string name) {
  auto out = std::make_shared<Tenant>();
  out->name = std::move(name);
  return out;
}

UpstreamPtr of_tenant(const TenantPtr& tenant, const UpstreamPtr& upstream) {
  auto out = std::make_shared<Upstream>(*upstream);
  out->tenant = tenant;
  return out;
}

// Whoever has the most endpoints, and the slowest.
TEST(HealthChecks, AnotherTenantsChecksDoNotWaitForThoseThatNeverEnd) {
  core::EventLoop loop;
  HealthChecks checks(loop, 8);
  edgemux::test::LoopbackListener silent;
  edgemux::test::LoopbackListener good;
  std::vector<UpstreamPtr> upstreams;
  const auto greedy = tenant("greedy");
  for (int i = 0; i < 40; ++i) upstreams.push_back(of_tenant(greedy, checked(silent.address(), slow())));
  checks.track(upstreams);
  const std::uint64_t began = loop.now();
  bool told = false;
  const UpstreamPtr of_other = of_tenant(tenant("other"), checked(good.address(), fast()));
  const UpstreamPtr of_platform = checked(good.address(), fast());
  edgemux::test::LoopDriver(loop).run_until([&] {
    if (!told && loop.now() > began + 100) {  // places are held, and others of the tenant wait for more
      told = true;
      upstreams.push_back(of_other);
      upstreams.push_back(of_platform);
      checks.track(upstreams);
    }
    return told && health(of_other) == Health::healthy && health(of_platform) == Health::healthy;
  });
}

// The process log, as long as it exists.
class ProcessLog {
 public:
  ProcessLog() {
    EXPECT_EQ(0, ::pipe2(ends_.data(), O_CLOEXEC | O_NONBLOCK));
    core::set_log_target({ends_[1], true});
  }
  ~ProcessLog() {
    core::set_log_target({});
    for (const int end : ends_) ::close(end);
  }
  ProcessLog(const ProcessLog&) = delete;
  ProcessLog& operator=(const ProcessLog&) = delete;
  const std::string& text() {
    std::array<char, 4096> buffer;
    for (ssize_t got = 0; (got = ::read(ends_[0], buffer.data(), buffer.size())) > 0;) {
      text_.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return text_;
  }

 private:
  std::array<int, 2> ends_{-1, -1};
  std::string text_;
};

// Nobody else's lines may be lost in them.
TEST(HealthChecks, ATenantsManyChangesAreOneLine) {
  constexpr int kEndpoints = 50;
  ProcessLog log;
  core::EventLoop loop;
  HealthChecks checks(loop);
  edgemux::test::LoopbackListener gone;
  gone.close_now();
  HealthCheck check = fast();
  check.unhealthy_after = 1;
  const UpstreamPtr upstream = of_tenant(tenant("shop"), checked(gone.address(), check));
  auto set = std::make_shared<EndpointSet>();
  for (int i = 0; i < kEndpoints; ++i) {
    set->endpoints.push_back({gone.address(), gone.address().to_string() + " " + std::to_string(i)});
    set->endpoints.back().state = std::make_shared<EndpointState>();
  }
  upstream->state->publish(std::move(set));
  checks.track({upstream});
  std::uint64_t ends = 0;
  edgemux::test::LoopDriver(loop).run_until([&] {
    const auto now = upstream->state->endpoints();
    const auto bad = std::count_if(now->endpoints.begin(), now->endpoints.end(), [](const Endpoint& endpoint) {
      return endpoint.state->health == Health::unhealthy;
    });
    if (ends == 0 && bad == kEndpoints) ends = loop.now() + 300;
    return ends != 0 && loop.now() > ends;
  });
  const std::string& text = log.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  EXPECT_THAT(text, testing::StartsWith("<4>tenant shop: upstream " + upstream->name + ": " + upstream->name));
  EXPECT_THAT(text, testing::HasSubstr(" is unhealthy: Connection refused"));
}

TEST(HealthChecks, ChangedParametersAreGoneByAtOnceAndNotAfterTheIntervalBefore) {
  core::EventLoop loop;
  HealthChecks checks(loop);
  edgemux::test::LoopbackListener listener;
  HealthCheck seldom;
  seldom.interval = 60s;
  const UpstreamPtr before = checked(listener.address(), seldom);
  checks.track({before});
  HealthCheck often = seldom;
  often.interval = 20ms;
  often.unhealthy_after = 2;
  auto changed = std::make_shared<Upstream>(*before);
  changed->health_check = std::make_shared<const HealthCheck>(often);
  bool told = false;
  edgemux::test::LoopDriver(loop).run_until([&] {
    if (!told && health(before) == Health::healthy) {
      told = true;
      listener.close_now();
      checks.track({changed});
    }
    return told && health(before) == Health::unhealthy;
  });
}

// A handshake that is under way when the checks end uses what ends with them: seen by the sanitizers.
TEST(HealthChecks, EndInTheMiddleOfAHandshake) {
  core::EventLoop loop;
  edgemux::test::LoopbackListener silent;
  fcntl(silent.fd(), F_SETFL, O_NONBLOCK);
  HealthChecks checks(loop);
  HealthCheck never_over = fast();
  never_over.kind = HealthCheck::Kind::tls;
  never_over.timeout = 60s;
  checks.track({checked(silent.address(), never_over)});
  int peer = -1;
  edgemux::test::LoopDriver(loop).run_until([&] {
    if (peer < 0) peer = accept4(silent.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    char first = 0;
    return peer >= 0 && recv(peer, &first, 1, 0) == 1;
  });
  close(peer);
}

}  // namespace
}  // namespace edgemux::routing
