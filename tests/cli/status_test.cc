#include "cli/status.h"

#include <gtest/gtest.h>

#include <string>

namespace edgemux::cli {
namespace {

std::string sample(int requests, int errors, int bytes) {
  return R"({"version": "1.2.3", "pid": 7, "uptime_seconds": 93784, "ready": true, "generation": 4, "hosts": 9,
    "connections": 12, "certificates_expire": "2026-12-01T00:00:00Z",
    "listeners": [{"name": "https", "protocol": "tls", "bind": [":443"], "hosts": 9, "connections_total": 5,
      "connections_active": 3, "requests_total": )" +
         std::to_string(requests) + R"(, "errors_total": )" + std::to_string(errors) + R"(, "bytes_in_total": 0,
      "bytes_out_total": )" +
         std::to_string(bytes) + R"(}],
    "upstreams_total": 2,
    "upstreams": [{"name": "idle", "origin": "a.yaml:1:1", "endpoints": [], "problem": "idle.svc does not resolve",
                   "connections": 0},
                  {"name": "app", "origin": "a.yaml:3:5", "connections": 2, "requests": 1,
                   "endpoints": [{"endpoint": "10.0.0.7:80", "state": "unchecked"},
                                 {"endpoint": "10.0.0.8:80", "state": "unhealthy"}]}],
    "set_aside": ["/etc/edgemux/routes.d/b.yaml"],
    "diagnostics_total": 1,
    "diagnostics": [{"severity": "error", "text": "routes.d/b.yaml:1:1: error: unknown key 'x'"}]})";
}

TEST(StatusPage, TellsWhatIsServedAndWhatIsWrong) {
  EXPECT_EQ(status_page(sample(10, 0, 0)), R"(edgemux 1.2.3, pid 7, up 1d 2h 3m 4s, ready
generation 4, 9 hosts, 12 connections
the first certificate expires 2026-12-01T00:00:00Z

LISTENER  PROTOCOL  BIND  HOSTS  CONNECTIONS  REQUESTS
https          tls  :443      9            3        10

UPSTREAMS (2)
  idle: idle.svc does not resolve  (a.yaml:1:1)
  app: 10.0.0.7:80, 10.0.0.8:80 (unhealthy)  (a.yaml:3:5)

SET ASIDE: their last good bytes serve, or nothing
  /etc/edgemux/routes.d/b.yaml

PROBLEMS (1)
routes.d/b.yaml:1:1: error: unknown key 'x'
)");
}

TEST(StatusPage, TellsOfLostAccessLines) {
  const std::string lost = R"({"version": "1", "access_log": {"lines": 5, "dropped": 39242}})";
  EXPECT_NE(status_page(lost).find("the access log has lost 39242 lines\n"), std::string::npos);
  EXPECT_EQ(status_page(R"({"version": "1", "access_log": {"dropped": 0}})").find("access log"), std::string::npos);
}

TEST(TopPage, ShowsRatesBetweenTwoSamples) {
  EXPECT_EQ(top_page(sample(10, 1, 0), sample(210, 4, 4096), 2.0), R"(edgemux 1.2.3, pid 7, up 1d 2h 3m 4s, ready
generation 4, 9 hosts, 12 connections

LISTENER  CONNECTIONS  NEW/S  REQUESTS/S  5XX/S  IN/S   OUT/S
https               3      0         100    1.5    0B  2.0KiB

UPSTREAM  CONNECTIONS  IN FLIGHT  USABLE
app                 2          1     1/2
idle                0          -     0/0
)");
}

std::string with_tenants(int bytes_of_last) {
  std::string tenants;
  for (int i = 100; i < 130; ++i) {
    tenants += (i == 100 ? "" : ",") + std::string(R"({"name": "t)") + std::to_string(i) +
               R"(", "connections_active": )" + (i == 128 ? "1" : "0") + R"(, "bytes_total": )" +
               std::to_string(i == 129 ? bytes_of_last : 7) + "}";
  }
  return R"({"listeners": [{"name": "shares", "connections_total": null, "connections_active": null},
                           {"name": "other", "connections_total": 4, "connections_active": 2}],
             "upstreams": [{"name": "app", "tenant": "ta", "connections": 1, "endpoints": []},
                           {"name": "app", "tenant": "tb", "connections": 2, "endpoints": []}],
             "tenants": [)" +
         tenants + "]}";
}

TEST(TopPage, ShowsTheBusiestTenantsFirstAndTwentyAtTheMost) {
  const auto page = top_page(with_tenants(0), with_tenants(100), 1.0);
  EXPECT_NE(page.find(R"(
TENANT  CONNECTIONS  NEW/S  REQUESTS/S  BYTES/S
t129              0      0           0     100B
t128              1      0           0       0B
t100              0      0           0       0B
)"),
            std::string::npos)
      << page;
  EXPECT_NE(page.find("\nt117 "), std::string::npos);
  EXPECT_EQ(page.find("\nt118 "), std::string::npos);
  EXPECT_TRUE(page.ends_with("\nand 10 more\n")) << page;
}

TEST(TopPage, TellsWhoseAnUpstreamIs) {
  EXPECT_NE(top_page(with_tenants(0), with_tenants(0), 1.0).find(R"(
UPSTREAM  CONNECTIONS  IN FLIGHT  USABLE
tb/app              2          -     0/0
ta/app              1          -     0/0
)"),
            std::string::npos);
}

// Listeners that share the figures of "other".
TEST(StatusPage, FiguresThatCannotBeToldAreNotNought) {
  EXPECT_NE(status_page(with_tenants(0)).find("\nshares                        -            -         -\n"),
            std::string::npos)
      << status_page(with_tenants(0));
  EXPECT_NE(top_page(with_tenants(0), with_tenants(0), 1.0)
                .find("\nshares              -      -           -      -     -      -\n"),
            std::string::npos)
      << top_page(with_tenants(0), with_tenants(0), 1.0);
}

// After a restart of the process the totals begin again.
TEST(TopPage, TotalsThatFellAreNoRate) {
  const auto page = top_page(sample(1000, 0, 0), sample(5, 0, 0), 1.0);
  EXPECT_NE(page.find("\nhttps               3      0           0      0    0B     0B\n"), std::string::npos) << page;
}

TEST(StatusPage, WhatIsNoStatusGivesNoPage) {
  EXPECT_EQ(status_page("[]"), "");
  EXPECT_EQ(status_page("<html>"), "");
  EXPECT_EQ(top_page("{}", "nothing", 1.0), "");
  EXPECT_NE(status_page("{}"), "");
}

}  // namespace
}  // namespace edgemux::cli
