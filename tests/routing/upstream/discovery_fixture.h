#pragma once
// Upstreams, and a name server, for the tests of discovery.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "routing/upstream/discovery.h"
#include "tests/support/dns_server.h"

namespace edgemux::routing {

using core::SocketAddress;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using tests::DnsServer;
using Mode = DnsServer::Mode;

inline SocketAddress ip(std::string_view text, std::uint16_t port = 0) { return *SocketAddress::parse_ip(text, port); }

// "10.0.0.1:80" or "name:80".
inline UpstreamPtr upstream(const std::vector<std::string>& endpoints, std::shared_ptr<UpstreamState> state = nullptr) {
  auto out = std::make_shared<Upstream>();
  for (const auto& text : endpoints) {
    if (text.substr(0, 4) == "srv:") {
      out->endpoints.push_back({text, text.substr(4), 0, std::nullopt, 1, true});
      out->identity += text + " ";
      continue;
    }
    const auto parts = core::parse_host_port(text);
    EXPECT_TRUE(parts.has_value()) << text;
    out->endpoints.push_back({text, parts->host, parts->port, SocketAddress::parse_ip(parts->host, parts->port)});
    out->identity += text + " ";
  }
  out->name = out->identity;
  out->state = state != nullptr ? std::move(state) : std::make_shared<UpstreamState>();
  return out;
}

inline UpstreamPtr of_tenant(const std::string& name, const UpstreamPtr& upstream, DnsPolicy dns = {}) {
  auto tenant = std::make_shared<Tenant>();
  tenant->name = name;
  auto out = std::make_shared<Upstream>(*upstream);
  out->tenant = std::move(tenant);
  out->dns = dns;
  return out;
}

inline std::vector<SocketAddress> many(std::size_t count, unsigned net) {
  std::vector<SocketAddress> out;
  for (std::size_t i = 0; i < count; ++i) {
    out.push_back(ip("10." + std::to_string(net) + "." + std::to_string(i / 250) + "." + std::to_string(i % 250)));
  }
  return out;
}

inline std::vector<std::string> addresses(const EndpointSet& set) {
  std::vector<std::string> out;
  for (const auto& endpoint : set.endpoints) out.push_back(endpoint.address.to_string());
  return out;
}
inline std::vector<std::string> addresses(const UpstreamPtr& upstream) {
  return addresses(*upstream->state->published());
}
inline std::string problem(const UpstreamPtr& upstream) { return upstream->state->published()->problem; }

// The thread asks for a name again only after it has published what the last answer changed, so "two more questions
// have come" means: everything that was in the zone before is published.
class DiscoveryTest : public testing::Test {
 protected:
  Discovery::Options options() {
    return {.resolver = {.servers = server.address(),
                         .timeout = milliseconds(10'000),
                         .tries = 1,
                         .resolv_conf = "/dev/null",
                         .hosts_file = false},
            .min_ttl = milliseconds(16),
            .max_ttl = milliseconds(300'000),
            .retry_min = milliseconds(16),
            .retry_max = milliseconds(64)};
  }
  void settle(const std::string& name) { ASSERT_TRUE(server.wait_for_queries(name, 2)) << name; }
  // Looks again with every question for the name, two hundred times.
  template <class Condition>
  bool holds_soon(const std::string& name, Condition condition, std::uint16_t type = DnsServer::kA) {
    for (int i = 0; i < 200 && !condition(); ++i) EXPECT_TRUE(server.wait_for_queries(name, 1, type)) << name;
    return condition();
  }

  DnsServer server;
};

}  // namespace edgemux::routing
