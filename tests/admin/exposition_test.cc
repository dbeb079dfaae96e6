#include "admin/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "config/compiler.h"
#include "listeners/close_reason.h"

namespace edgemux::admin {
namespace {

using testing::HasSubstr;
using testing::Not;

class ExpositionTest : public testing::Test {
 protected:
  [[nodiscard]] std::string text() const { return render_metrics(metrics_, log_); }
  core::Metrics metrics_{2};
  listeners::AccessLog log_{2};
};

TEST_F(ExpositionTest, SumsOverTheWorkers) {
  const auto slot = metrics_.listener_slot("https");
  for (unsigned w = 0; w < 2; ++w) {
    auto& l = metrics_.worker(w).listeners[slot];
    l.accepted.add(3);
    l.active.add(2);
    l.active.sub();
    l.request(200, 700);
    l.request(404, 2'000'000);
    l.request(0, 3'000'000);
    l.client_received.add(10);
    l.client_sent.add(20);
    l.upstream_sent.add(30);
    l.upstream_received.add(40);
    l.handshakes_full.add(4);
    l.handshakes_resumed.add(5);
    l.handshakes_failed.add(6);
    l.tunnels.add(7);
    metrics_.worker(w).closes[static_cast<std::size_t>(listeners::CloseReason::hello_timeout)].add(8);
    metrics_.worker(w).closes[static_cast<std::size_t>(listeners::CloseReason::done)].add(1000);
    metrics_.worker(w).upstream_connect(core::ConnectResult::timeout);
  }
  metrics_.generation = 12;
  metrics_.reloads_failed = 1;
  metrics_.certificates_expire = 1'800'000'000;
  const auto got = text();
  for (const auto* line : {
           "edgemux_connections_total{listener=\"https\"} 6\n",
           "edgemux_connections_active{listener=\"https\"} 2\n",
           "edgemux_requests_total{listener=\"https\",class=\"2xx\"} 2\n",
           "edgemux_requests_total{listener=\"https\",class=\"4xx\"} 2\n",
           "edgemux_requests_total{listener=\"https\",class=\"5xx\"} 0\n",
           "edgemux_requests_total{listener=\"https\",class=\"none\"} 2\n",
           "edgemux_request_duration_seconds_bucket{listener=\"https\",le=\"0.0005\"} 0\n",
           "edgemux_request_duration_seconds_bucket{listener=\"https\",le=\"0.001\"} 2\n",
           "edgemux_request_duration_seconds_bucket{listener=\"https\",le=\"1\"} 2\n",
           "edgemux_request_duration_seconds_bucket{listener=\"https\",le=\"2.5\"} 4\n",
           "edgemux_request_duration_seconds_bucket{listener=\"https\",le=\"+Inf\"} 6\n",
           "edgemux_request_duration_seconds_sum{listener=\"https\"} 10.001400\n",
           "edgemux_request_duration_seconds_count{listener=\"https\"} 6\n",
           "edgemux_bytes_total{listener=\"https\",direction=\"client_received\"} 20\n",
           "edgemux_bytes_total{listener=\"https\",direction=\"upstream_received\"} 80\n",
           "edgemux_tls_handshakes_total{listener=\"https\",result=\"full\"} 8\n",
           "edgemux_tls_handshakes_total{listener=\"https\",result=\"resumed\"} 10\n",
           "edgemux_tls_handshakes_total{listener=\"https\",result=\"failed\"} 12\n",
           "edgemux_tunnels_total{listener=\"https\"} 14\n",
           "edgemux_drops_total{reason=\"hello_timeout\"} 16\n",
           "edgemux_drops_total{reason=\"internal\"} 0\n",
           "edgemux_upstream_connects_total{result=\"timeout\"} 2\n",
           "edgemux_config_generation 12\n",
           "edgemux_reloads_total{result=\"failed\"} 1\n",
           "edgemux_certificates_expire_timestamp_seconds 1800000000\n",
           "edgemux_access_log_dropped_total 0\n",
           "edgemux_build_info{version=\"" EDGEMUX_VERSION "\"} 1\n",
       }) {
    EXPECT_THAT(got, HasSubstr(std::string("\n") + line));
  }
  EXPECT_THAT(got, Not(HasSubstr("reason=\"done\"")));
}

TEST_F(ExpositionTest, EscapesANameAndLeavesOtherOutUntilItIsNeeded) {
  metrics_.listener_slot("a\"b\\c\nd");
  EXPECT_THAT(text(), HasSubstr("edgemux_connections_total{listener=\"a\\\"b\\\\c\\nd\"} 0\n"));
  EXPECT_THAT(text(), Not(HasSubstr("listener=\"other\"")));
  metrics_.worker(1).listeners[0].accepted.add();
  EXPECT_THAT(text(), HasSubstr("edgemux_connections_total{listener=\"other\"} 1\n"));
}

TEST_F(ExpositionTest, LeavesTheExpiryOutWhereThereIsNoCertificate) {
  EXPECT_THAT(text(), Not(HasSubstr("certificates_expire")));
}

// The text format's own rules: every sample belongs to the family above it, no family and no series comes twice.
TEST_F(ExpositionTest, KeepsToTheFormat) {
  metrics_.listener_slot("http");
  metrics_.listener_slot("https");
  metrics_.certificates_expire = 1;
  const std::string label = "[a-z_]+=\"[^\"]*\"";
  const auto is_sample =
      testing::Matches(testing::MatchesRegex("[a-z_]+(\\{" + label + "(," + label + ")*\\})? -?[0-9]+([.][0-9]+)?"));
  std::set<std::string> families;
  std::set<std::string> series;
  std::map<std::string, std::string> types;
  std::string current;
  std::istringstream in(text());
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("# HELP ", 0) == 0) {
      current = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(current).second) << line;
    } else if (line.rfind("# TYPE ", 0) == 0) {
      EXPECT_EQ(current, line.substr(7, line.find(' ', 7) - 7));
      types[current] = line.substr(line.rfind(' ') + 1);
    } else if (is_sample(line)) {
      const std::string name = line.substr(0, line.find_first_of("{ "));
      const std::string suffix = name.substr(std::min(current.size(), name.size()));
      EXPECT_EQ(0U, name.rfind(current, 0)) << line;
      if (types[current] == "histogram") {
        EXPECT_TRUE(suffix == "_bucket" || suffix == "_sum" || suffix == "_count") << line;
      } else {
        EXPECT_EQ("", suffix) << line;
      }
      EXPECT_EQ(types[current] == "counter", name.size() > 6 && name.substr(name.size() - 6) == "_total") << line;
      EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line;
    } else {
      ADD_FAILURE() << "not in the format: " << line;
    }
  }
  EXPECT_GT(families.size(), 20U);
}

std::uint64_t value_of(const std::string& text, const std::string& name) {
  const auto at = text.find("\n" + name + " ");
  return at == std::string::npos ? 0 : std::stoull(text.substr(at + name.size() + 2));
}

TEST_F(ExpositionTest, TenantsBeyondTheThousandthStandTogether) {
  std::vector<routing::TenantPtr> tenants;
  const auto others = std::make_shared<routing::OtherTenants>();
  for (std::uint32_t i = 0; i < 1003; ++i) {
    auto tenant = std::make_shared<routing::Tenant>();
    tenant->name = "t" + std::to_string(i);
    tenant->state = std::make_shared<routing::TenantState>(i, others);
    tenant->state->figures(i).connections += 10;
    tenant->state->figures(i + 1).requests[core::status_class(404)] += 1;
    tenants.push_back(std::move(tenant));
  }
  tenants[2]->state->files_set_aside = 4;
  tenants[2]->state->certificates_expire = 1'800'000'000;
  tenants[1000]->state->certificates_expire = 1'700'000'000;
  tenants[1002]->state->certificates_expire = 1'600'000'000;
  const auto got = render_metrics(metrics_, log_, tenants);
  for (const auto* line : {
           "edgemux_tenant_connections_total{tenant=\"t0\"} 10\n",
           "edgemux_tenant_connections_total{tenant=\"t999\"} 10\n",
           "edgemux_tenant_connections_total{tenant=\"(other)\"} 30\n",
           "edgemux_tenant_requests_total{tenant=\"(other)\",class=\"4xx\"} 3\n",
           "edgemux_tenant_requests_total{tenant=\"t7\",class=\"2xx\"} 0\n",
           "edgemux_tenant_files_set_aside{tenant=\"t2\"} 4\n",
           "edgemux_tenant_certificates_expire_timestamp_seconds{tenant=\"t2\"} 1800000000\n",
           "edgemux_tenant_certificates_expire_timestamp_seconds{tenant=\"(other)\"} 1600000000\n",
       }) {
    EXPECT_THAT(got, HasSubstr(line));
  }
  EXPECT_THAT(got, Not(HasSubstr("t1000")));
  EXPECT_THAT(got, Not(HasSubstr("expire_timestamp_seconds{tenant=\"t0\"}")));
  tenants.pop_back();
  EXPECT_THAT(render_metrics(metrics_, log_, tenants),
              HasSubstr("edgemux_tenant_connections_total{tenant=\"(other)\"} 30\n"))
      << "counters never get smaller";
  EXPECT_THAT(text(), Not(HasSubstr("edgemux_tenant")));
}

routing::UpstreamPtr limited(const std::string& name, const routing::TenantPtr& tenant, unsigned requests) {
  auto upstream = std::make_shared<routing::Upstream>();
  upstream->name = name;
  upstream->tenant = tenant;
  upstream->max_requests = 10;
  upstream->state = std::make_shared<routing::UpstreamState>();
  upstream->state->publish(std::make_shared<routing::EndpointSet>());
  upstream->state->runtime().requests = requests;
  return upstream;
}

TEST(UpstreamExposition, TellsTenantsApartAndGivesNobodyTheNamesOfOthers) {
  const auto tenant = [](std::string name) {
    auto made = std::make_shared<routing::Tenant>();
    made->name = std::move(name);
    made->state = std::make_shared<routing::TenantState>(0);
    return made;
  };
  const routing::TenantPtr greedy = tenant("greedy");
  const routing::TenantPtr modest = tenant("modest");
  std::vector<routing::UpstreamPtr> upstreams;
  for (unsigned i = 0; i < 1'500; ++i) upstreams.push_back(limited("u" + std::to_string(i), greedy, 1));
  upstreams.push_back(limited("u1", modest, 7));
  upstreams.push_back(limited("u1", modest, 2));
  upstreams.push_back(limited("u1", nullptr, 3));
  auto checked = std::make_shared<routing::Upstream>(*limited("checked", nullptr, 0));
  checked->max_requests = 0;
  checked->outlier.consecutive_failures = 5;
  checked->state->runtime().connections = 8;
  upstreams.push_back(checked);
  CounterTotals overflows;
  const auto got = render_upstreams(upstreams, overflows);
  EXPECT_THAT(got, HasSubstr("edgemux_upstream_requests{upstream=\"u1\"} 3\n"));
  EXPECT_THAT(got, HasSubstr("edgemux_upstream_connections{upstream=\"checked\"} 8\n"));
  EXPECT_THAT(got, Not(HasSubstr("edgemux_upstream_requests{upstream=\"checked\"}"))) << "nobody counts them";
  EXPECT_THAT(got, HasSubstr("edgemux_upstream_requests{tenant=\"modest\",upstream=\"u1\"} 9\n"));
  EXPECT_THAT(got, HasSubstr("edgemux_upstream_requests{tenant=\"greedy\",upstream=\"u99\"} 1\n"));
  EXPECT_THAT(got, HasSubstr("edgemux_upstream_requests{tenant=\"greedy\",upstream=\"(other)\"} 1400\n"));
  EXPECT_THAT(got, HasSubstr("edgemux_upstream_endpoints{tenant=\"modest\",upstream=\"u1\",state=\"healthy\"} 0\n"));
}

TEST(UpstreamExposition, CountsNeverGetSmallerWhenAnUpstreamGoes) {
  std::vector<routing::UpstreamPtr> upstreams{limited("u", nullptr, 0), limited("u", nullptr, 0)};
  upstreams[0]->state->runtime().overflows = 3;
  upstreams[1]->state->runtime().overflows = 4;
  CounterTotals overflows;
  EXPECT_THAT(render_upstreams(upstreams, overflows), HasSubstr("overflows_total{upstream=\"u\"} 7\n"));
  upstreams.pop_back();
  EXPECT_THAT(render_upstreams(upstreams, overflows), HasSubstr("overflows_total{upstream=\"u\"} 7\n"));
  upstreams[0]->state->runtime().overflows += 1;
  EXPECT_THAT(render_upstreams(upstreams, overflows), HasSubstr("overflows_total{upstream=\"u\"} 8\n"));
  EXPECT_THAT(render_upstreams({}, overflows), Not(HasSubstr("overflows_total{")));
  EXPECT_TRUE(overflows.empty());
}

core::CertifiedKeyPtr expiring(std::vector<std::string> names, std::int64_t not_after) {
  auto pair = std::make_shared<core::CertifiedKey>();
  pair->names = std::move(names);
  pair->not_after = not_after;
  return pair;
}

TEST_F(ExpositionTest, TellsWhenCertificatesExpireThatServeAHost) {
  config::CompilerOptions options;
  options.state_dir = "";
  options.files = config::memory_files({{"/e/edgemux.yaml", R"(
listeners:
  - { name: tls, bind: ["127.0.0.1:443"], protocol: tls }
  - { name: other, bind: ["127.0.0.1:444"], protocol: tls }
tenants:
  a: { hosts: ["*.a.example.com"], networks: [10.0.0.0/8] }
  b: { hosts: ["*.b.example.com"], networks: [10.0.0.0/8] }
routes:
  - { host: own.example.com, rules: [ { path: /, respond: { status: 200 } } ] }
  - { host: bytes.example.com, passthrough: "10.0.0.1:443" }
  - { host: "*.w.example.com", listeners: [tls], passthrough: "10.0.0.1:443" }
  - { host: detached.w.example.com, listeners: [other], passthrough: "10.0.0.1:443" }
  - { host: x.a.example.com, tenant: a, rules: [ { path: /, respond: { status: 200 } } ] }
  - { host: x.b.example.com, tenant: b, rules: [ { path: /, respond: { status: 200 } } ] }
)"}});
  auto compiled = config::Compiler("/e/edgemux.yaml", std::move(options)).compile();
  ASSERT_NE(compiled.snapshot, nullptr);
  constexpr std::int64_t kYear = 365 * 24 * 3600;
  const std::int64_t now = std::time(nullptr);
  compiled.snapshot->certificates = std::make_shared<const core::CertificateStore>(std::vector<core::ScopedPair>{
      {expiring({"own.example.com"}, now - kYear), ""},  // the one before
      {expiring({"own.example.com"}, now + 3 * kYear), ""},
      {expiring({"bytes.example.com"}, now - kYear), ""},
      {expiring({"nobody.example.com"}, now - kYear), ""},
      {expiring({"*.b.example.com"}, now + 2 * kYear), ""},
      {expiring({"*.a.example.com"}, now + kYear), "a"},
      {expiring({"nobody.a.example.com"}, now - kYear), "a"},
  });
  note_expiries(*compiled.snapshot, metrics_);
  EXPECT_EQ(metrics_.certificates_expire, now + 2 * kYear) << "b's host is shown the platform's";
  EXPECT_EQ(compiled.snapshot->tenants[0]->state->certificates_expire, now + kYear);
  EXPECT_EQ(compiled.snapshot->tenants[1]->state->certificates_expire, 0);
}

TEST(UpstreamExposition, HasABoundOverAllTenants) {
  std::vector<routing::UpstreamPtr> upstreams;
  for (unsigned i = 0; i < 50; ++i) {
    auto made = std::make_shared<routing::Tenant>();
    made->name = "t" + std::to_string(i);
    made->state = std::make_shared<routing::TenantState>(0);
    for (unsigned j = 0; j < 100; ++j) upstreams.push_back(limited("u" + std::to_string(j), made, 1));
  }
  upstreams.push_back(limited("platform", nullptr, 3));
  CounterTotals overflows;
  const auto got = render_upstreams(upstreams, overflows);
  std::istringstream lines(got);
  std::size_t requests = 0;
  for (std::string line; std::getline(lines, line);) requests += line.starts_with("edgemux_upstream_requests{") ? 1 : 0;
  EXPECT_EQ(requests, 1'000U + 1U + 1U);
  EXPECT_THAT(got, HasSubstr("edgemux_upstream_requests{tenant=\"(other)\",upstream=\"(other)\"} 4000\n"));
  EXPECT_THAT(got, HasSubstr("edgemux_upstream_requests{upstream=\"platform\"} 3\n"));
}

TEST_F(ExpositionTest, TellsOfTheProcessItself) {
  const auto got = text();
  EXPECT_GT(value_of(got, "process_resident_memory_bytes"), 1'000'000U);
  EXPECT_GE(value_of(got, "process_open_fds"), 3U);
  EXPECT_GT(value_of(got, "process_max_fds"), value_of(got, "process_open_fds"));
  EXPECT_NEAR(static_cast<double>(value_of(got, "process_start_time_seconds")), static_cast<double>(std::time(nullptr)),
              60.0);
}

TEST_F(ExpositionTest, TellsWhetherTheLatestReloadSucceeded) {
  const auto success = [this] { return value_of(text(), "edgemux_config_last_reload_successful"); };
  const auto at = [this] { return value_of(text(), "edgemux_config_last_reload_success_timestamp_seconds"); };
  EXPECT_EQ(success(), 1U);
  EXPECT_EQ(at(), value_of(text(), "process_start_time_seconds"));
  metrics_.reload_success_at = 7;
  metrics_.reload_ended(false);
  EXPECT_EQ(success(), 0U);
  EXPECT_EQ(at(), 7U);
  metrics_.reload_ended(true);
  EXPECT_EQ(success(), 1U);
  EXPECT_GT(at(), 7U);
}

TEST_F(ExpositionTest, FindsAWorkerThatHangs) {
  EXPECT_EQ("", stale_worker(metrics_, 100'000));  // none has begun
  metrics_.worker(0).heartbeat.set(99'000);
  metrics_.worker(1).heartbeat.set(90'001);
  EXPECT_EQ("", stale_worker(metrics_, 100'000));
  EXPECT_EQ("worker 1 gave no sign of life for 10 s", stale_worker(metrics_, 100'001));
  EXPECT_EQ("", stale_worker(metrics_, 80'000));  // the reader's clock may be a turn behind
}

}  // namespace
}  // namespace edgemux::admin
