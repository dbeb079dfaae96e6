#include "admin/status.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace edgemux::admin {
namespace {

using nlohmann::json;

class StatusTest : public testing::Test {
 protected:
  StatusTest() {
    auto upstream = std::make_shared<routing::Upstream>();
    upstream->name = "app";
    upstream->origin = {std::make_shared<const std::string>("a.yaml"), 3, 5};
    upstream->state = std::make_shared<routing::UpstreamState>();
    auto set = std::make_shared<routing::EndpointSet>();
    set->endpoints.push_back({*core::SocketAddress::parse_ip("10.0.0.7", 80), "app.svc:80 (10.0.0.7)"});
    upstream->state->publish(set);
    upstream->state->runtime().connections = 3;
    upstream->state->endpoints()->endpoints[0].state->ejected = true;
    auto gone = std::make_shared<routing::Upstream>(*upstream);
    gone->name = "gone";
    gone->state = std::make_shared<routing::UpstreamState>();
    auto none = std::make_shared<routing::EndpointSet>();
    none->problem = "gone.svc does not resolve";
    gone->state->publish(none);
    snapshot_.upstreams = {upstream, gone};

    auto listener = std::make_shared<routing::Listener>();
    listener->spec.name = "https";
    listener->spec.binds.push_back({*core::SocketAddress::parse_ip("::", 443), true, ":443"});
    snapshot_.listeners = {listener};
    snapshot_.generation = 4;
    snapshot_.host_count = 9;
    const auto slot = metrics_.listener_slot("https");
    metrics_.worker(0).listeners[slot].accepted.add(5);
    metrics_.worker(1).listeners[slot].accepted.add(6);
    metrics_.worker(1).listeners[slot].active.add(2);
    metrics_.worker(0).listeners[slot].request(200, 10);
    metrics_.worker(0).listeners[slot].request(502, 10);
    metrics_.worker(1).listeners[slot].request(404, 10);
    metrics_.worker(0).listeners[slot].client_received.add(100);
    metrics_.worker(1).listeners[slot].client_sent.add(7);
    metrics_.reloads_failed = 1;
  }

  json status(std::string not_ready = "") {
    return json::parse(render_status({snapshot_, metrics_, log_, diagnostics_, std::move(not_ready), 61'500, 7}));
  }

  routing::Snapshot snapshot_;
  core::Metrics metrics_{2};
  listeners::AccessLog log_{2};
  std::vector<config::Diagnostic> diagnostics_;
};

TEST_F(StatusTest, TellsOfTheProcessAndItsTable) {
  const auto got = status();
  EXPECT_EQ(EDGEMUX_VERSION, got["version"]);
  EXPECT_EQ(::getpid(), got["pid"]);
  EXPECT_EQ(61, got["uptime_seconds"]);
  EXPECT_EQ(true, got["ready"]);
  EXPECT_FALSE(got.contains("not_ready"));
  EXPECT_EQ(4, got["generation"]);
  EXPECT_EQ(9, got["hosts"]);
  EXPECT_EQ(7, got["connections"]);
  EXPECT_EQ(1, got["reloads"]["failed"]);
  EXPECT_EQ(2U, got["workers"].size());
}

TEST_F(StatusTest, SaysWhyItIsNotReady) {
  const auto got = status("draining");
  EXPECT_EQ(false, got["ready"]);
  EXPECT_EQ("draining", got["not_ready"]);
}

TEST_F(StatusTest, ListsListenersAndUpstreams) {
  const auto got = status();
  EXPECT_EQ(json({{"name", "https"},
                  {"protocol", "tls"},
                  {"bind", {":443"}},
                  {"hosts", 0},
                  {"connections_total", 11},
                  {"connections_active", 2},
                  {"requests_total", 3},
                  {"errors_total", 1},
                  {"bytes_in_total", 100},
                  {"bytes_out_total", 7}}),
            got["listeners"][0]);
  EXPECT_EQ(json({{"name", "app"},
                  {"origin", "a.yaml:3:5"},
                  {"endpoints", json::array({json{{"endpoint", "app.svc:80 (10.0.0.7)"}, {"state", "ejected"}}})},
                  {"connections", 3},
                  {"pending", 0},
                  {"overflows", 0}}),
            got["upstreams"][0]);
  EXPECT_EQ("gone.svc does not resolve", got["upstreams"][1]["problem"]);
  EXPECT_EQ(json::array(), got["upstreams"][1]["endpoints"]);
}

TEST_F(StatusTest, ListenersWithoutASlotShowThatTheyShareOne) {
  auto listener = std::make_shared<routing::Listener>();
  listener->spec.name = "late";
  snapshot_.listeners.push_back(listener);
  EXPECT_EQ(0, status()["listeners"][1]["requests_total"]) << "it has counted nothing yet";
  for (std::size_t i = 0; i < core::kListenerSlots; ++i) metrics_.listener_slot("gone" + std::to_string(i));
  metrics_.worker(0).listeners[metrics_.listener_slot("late")].request(200, 10);
  const auto got = status()["listeners"];
  ASSERT_EQ(3U, got.size());
  EXPECT_EQ(nullptr, got[1]["requests_total"]);
  EXPECT_EQ("other", got[2]["name"]);
  EXPECT_EQ(1, got[2]["requests_total"]);
}

TEST_F(StatusTest, EndpointsHaveAStateEach) {
  routing::Endpoint endpoint{*core::SocketAddress::parse_ip("10.0.0.7", 80), "a"};
  EXPECT_EQ("unchecked", routing::state_name(endpoint));
  endpoint.state = std::make_shared<routing::EndpointState>();
  endpoint.state->health = routing::Health::healthy;
  EXPECT_EQ("healthy", routing::state_name(endpoint));
  endpoint.state->ejected = true;
  EXPECT_EQ("ejected", routing::state_name(endpoint));
  endpoint.state->ejected = false;
  endpoint.state->health = routing::Health::unhealthy;
  EXPECT_EQ("unhealthy", routing::state_name(endpoint));
  endpoint.weight = 0;
  EXPECT_EQ("drained", routing::state_name(endpoint));
}

TEST_F(StatusTest, ListsWhatIsWrongWithTheConfiguration) {
  config::Diagnostic wrong;
  wrong.origin = {std::make_shared<const std::string>("routes.d/a\xff.yaml"), 12, 5};
  wrong.message = "unknown key";
  diagnostics_.push_back(wrong);
  const auto got = status();
  ASSERT_EQ(1U, got["diagnostics"].size());
  EXPECT_EQ("error", got["diagnostics"][0]["severity"]);
  EXPECT_EQ(12, got["diagnostics"][0]["line"]);
  EXPECT_EQ("routes.d/a\xef\xbf\xbd.yaml", got["diagnostics"][0]["file"]);
  EXPECT_NE(std::string::npos, got["diagnostics"][0]["text"].get<std::string>().find("error: unknown key"));
}

TEST_F(StatusTest, IsBoundedWhateverTheTable) {
  snapshot_.upstreams = std::vector(5'000, snapshot_.upstreams.at(0));
  diagnostics_.resize(500);
  const auto got = status();
  EXPECT_EQ(5'000, got["upstreams_total"]);
  EXPECT_EQ(1'000U, got["upstreams"].size());
  EXPECT_EQ(500, got["diagnostics_total"]);
  EXPECT_EQ(100U, got["diagnostics"].size());
}

TEST_F(StatusTest, NoTenantTakesThePlaceOfOthersUpstreams) {
  auto many = std::make_shared<routing::Upstream>(*snapshot_.upstreams.at(0));
  auto few = std::make_shared<routing::Upstream>(*many);
  for (auto* upstream : {many.get(), few.get()}) {
    auto tenant = std::make_shared<routing::Tenant>();
    tenant->name = upstream == many.get() ? "many" : "few";
    tenant->state = std::make_shared<routing::TenantState>(0);
    upstream->tenant = tenant;
  }
  std::vector<routing::UpstreamPtr> all(5'000, many);
  all.push_back(few);
  all.insert(all.end(), 2'000, *snapshot_.upstreams.begin());
  snapshot_.upstreams = std::move(all);
  const auto got = status()["upstreams"];
  ASSERT_EQ(1'000U + 100U + 1U, got.size());
  EXPECT_FALSE(got[0].contains("tenant"));
  EXPECT_FALSE(got[999].contains("tenant"));
  EXPECT_EQ("many", got[1'000]["tenant"]);
  EXPECT_EQ("few", got.back()["tenant"]);
}

}  // namespace
}  // namespace edgemux::admin
