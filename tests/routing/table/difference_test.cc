#include "routing/table/difference.h"

#include <gtest/gtest.h>

namespace edgemux::routing {
namespace {

UpstreamPtr upstream(const std::string& name, std::vector<std::string> endpoints) {
  auto made = std::make_shared<Upstream>();
  made->name = name;
  for (auto& text : endpoints) {
    EndpointSpec endpoint;
    endpoint.text = std::move(text);
    made->endpoints.push_back(std::move(endpoint));
  }
  return made;
}

RoutePtr passthrough(const UpstreamPtr& to, std::string_view tenant = {}) {
  auto route = std::make_shared<Route>();
  route->tenant = tenant;
  route->action = Passthrough{to};
  return route;
}

RoutePtr terminate(const UpstreamPtr& to) {
  auto route = std::make_shared<Route>();
  route->action = Terminate{to, nullptr};
  return route;
}

RoutePtr rules(const std::vector<UpstreamPtr>& to) {
  std::vector<Rule> rules;
  for (const auto& one : to) {
    Rule rule;
    rule.path = "/" + one->name;
    rule.action = Forward{one};
    rules.push_back(std::move(rule));
  }
  VirtualHost host;
  host.rules = RuleTable(std::move(rules));
  auto route = std::make_shared<Route>();
  route->action = std::move(host);
  return route;
}

class DifferenceTest : public testing::Test {
 protected:
  static void add(Snapshot& to, const std::string& name, std::vector<HostTable::Entry> hosts) {
    auto listener = std::make_shared<Listener>();
    listener->spec.name = name;
    listener->hosts = HostTable(std::move(hosts));
    to.listeners.push_back(std::move(listener));
  }
  static std::string by(const Difference::Host& host) {
    return host.wildcard.empty() ? "" : " by " + host.wildcard + " on " + host.listeners;
  }
  std::string told() const {
    const auto d = compare(before_, after_);
    std::string out;
    for (const auto& host : d.appear) out += "+" + host.name + " " + host.kind + " " + host.upstream + by(host) + "\n";
    for (const auto& host : d.vanish) out += "-" + host.name + " " + host.kind + " " + host.upstream + by(host) + "\n";
    for (const auto& c : d.change)
      out += "~" + c.name + (c.listeners.empty() ? "" : " on " + c.listeners) + " " + c.what + " " + c.before + " -> " +
             c.after + "\n";
    for (const auto& c : d.listeners) out += "l " + c.name + " " + c.what + "\n";
    EXPECT_EQ(out.empty(), d.none());
    return out;
  }
  Snapshot before_;
  Snapshot after_;
};

TEST_F(DifferenceTest, EqualTablesDoNotDiffer) {
  // New routes and upstreams, the same in everything that counts.
  for (auto* snapshot : {&before_, &after_}) {
    add(*snapshot, "https", {{"a.example", passthrough(upstream("x", {"10.0.0.1:443"}))}, {"b.example", nullptr}});
  }
  EXPECT_EQ(told(), "");
}

TEST_F(DifferenceTest, HostsAppearVanishAndChangeHands) {
  const auto shop = upstream("shop", {"10.0.0.7:80", "10.0.0.8:80"});
  add(before_, "https",
      {{"gone.example", rules({shop})},
       {"kind.example", passthrough(shop)},
       {"owner.example", passthrough(shop, "a")},
       {"where.example", passthrough(upstream("10.0.0.1:443", {"10.0.0.1:443"}))}});
  add(after_, "https",
      {{"new.example", passthrough(shop)},
       {"kind.example", rules({shop, shop})},
       {"owner.example", passthrough(shop, "b")},
       {"where.example", passthrough(upstream("10.0.0.2:443", {"10.0.0.2:443"}))}});
  EXPECT_EQ(told(), R"(+new.example passthrough shop [10.0.0.7:80, 10.0.0.8:80]
-gone.example rules shop [10.0.0.7:80, 10.0.0.8:80]
~kind.example kind passthrough -> rules
~owner.example tenant a -> b
~where.example upstream 10.0.0.1:443 -> 10.0.0.2:443
)");
}

TEST_F(DifferenceTest, TheThreeKindsOfRouteAreToldApart) {
  const auto shop = upstream("shop", {"10.0.0.7:80"});
  add(before_, "https",
      {{"a.example", terminate(shop)},
       {"b.example", rules({shop})},
       {"c.example", passthrough(shop)},
       {"d.example", terminate(shop)},
       {"e.example", terminate(shop)}});
  add(after_, "https",
      {{"a.example", rules({shop})},
       {"b.example", terminate(shop)},
       {"c.example", terminate(shop)},
       {"d.example", terminate(upstream("shop", {"10.0.0.7:80"}))},
       {"e.example", terminate(upstream("shop", {"10.0.0.8:80"}))}});
  EXPECT_EQ(told(), R"(~a.example kind terminate -> rules
~b.example kind rules -> terminate
~c.example kind passthrough -> terminate
~e.example upstream shop [10.0.0.7:80] -> shop [10.0.0.8:80]
)");
}

TEST_F(DifferenceTest, LostIsWhatNoListenerServesAnyMore) {
  const auto x = passthrough(upstream("x", {"10.0.0.1:443"}));
  add(before_, "https",
      {{"stays.example", x},
       {"gone.example", x},
       {"*.gone.example", x},
       {"moves.example", x},
       {"detached.example", x},
       {"never.example", nullptr}});
  add(before_, "http", {{"gone.example", x}});
  add(before_, "closed", {{"alone.example", x}, {"stays.example", x}});
  // What covers a name does not serve it by that name.
  add(after_, "https", {{"stays.example", x}, {"*.example", x}, {"detached.example", nullptr}, {"new.example", x}});
  add(after_, "http", {{"moves.example", x}});
  EXPECT_EQ(lost_hosts(before_, after_),
            (std::vector<std::string>{"*.gone.example", "alone.example", "detached.example", "gone.example"}));
  EXPECT_EQ(lost_hosts(before_, before_), std::vector<std::string>());
  EXPECT_EQ(lost_hosts(after_, before_), (std::vector<std::string>{"*.example", "new.example"}));
  EXPECT_EQ(lost_hosts(Snapshot(), after_), std::vector<std::string>());
}

TEST_F(DifferenceTest, WhatAClaimTakesFromAWildcardIsLost) {
  const auto x = passthrough(upstream("x", {"10.0.0.1:443"}));
  const auto tenant = std::make_shared<const Tenant>();
  add(before_, "https", {{"*.example", x}});
  add(after_, "https",
      {{"*.example", x}, {"taken.example", nullptr}, {"*.sub.example", nullptr}, {"served.example", x}});
  const auto claim = [&](const char* host) { return Claim{host, tenant, {}}; };
  after_.claims = std::make_shared<const ClaimTable>(
      std::vector<Claim>{claim("taken.example"), claim("*.sub.example"), claim("served.example"), claim("never.test")});
  EXPECT_EQ(lost_hosts(before_, after_), (std::vector<std::string>{"*.sub.example", "taken.example"}));
  EXPECT_EQ(lost_hosts(after_, after_), std::vector<std::string>());
  EXPECT_EQ(lost_hosts(after_, before_), std::vector<std::string>{"served.example"});
}

TEST_F(DifferenceTest, ANamedUpstreamThatMovesIsAChange) {
  add(before_, "https", {{"a.example", rules({upstream("shop", {"10.0.0.7:80"})})}});
  add(after_, "https", {{"a.example", rules({upstream("shop", {"10.0.0.9:80"})})}});
  EXPECT_EQ(told(), "~a.example upstream shop [10.0.0.7:80] -> shop [10.0.0.9:80]\n");
}

TEST_F(DifferenceTest, HowAnUpstreamIsSpokenToIsAChange) {
  const auto with = [](auto change) {
    Upstream made = *upstream("shop", {"10.0.0.7:80"});
    change(made);
    return std::make_shared<const Upstream>(std::move(made));
  };
  const auto plain = with([](Upstream&) {});
  const auto h2 = with([](Upstream& u) { u.transport.version = HttpVersion::http2; });
  const auto proxied = with([](Upstream& u) { u.transport.proxy_protocol = core::ProxyVersion::v2; });
  const auto drained = with([](Upstream& u) { u.endpoints[0].weight = 0; });
  const auto slower = with([](Upstream& u) { u.identity = "another, by its timeouts"; });
  add(before_, "https",
      {{"a.example", rules({plain})},
       {"b.example", passthrough(plain)},
       {"c.example", passthrough(plain)},
       {"d.example", rules({plain, h2})}});
  add(after_, "https",
      {{"a.example", rules({h2})},
       {"b.example", passthrough(proxied)},
       {"c.example", passthrough(drained)},
       {"d.example", rules({slower, h2})}});
  EXPECT_EQ(told(), R"(~a.example upstream shop [10.0.0.7:80] -> shop [10.0.0.7:80] (h2)
~b.example upstream shop [10.0.0.7:80] -> shop [10.0.0.7:80] (PROXY v2)
~c.example upstream shop [10.0.0.7:80] -> shop [10.0.0.7:80 weight 0]
~d.example upstream shop [10.0.0.7:80], shop [10.0.0.7:80] (h2) -> shop [10.0.0.7:80], shop [10.0.0.7:80] (h2) with other settings
)");
}

TEST_F(DifferenceTest, TheSharesOfASplitAreAChange) {
  const auto shared = [](std::uint32_t a, std::uint32_t b) -> RoutePtr {
    Split split;
    split.parts.push_back({upstream("a", {"10.0.0.1:80"}), a, nullptr});
    split.parts.push_back({upstream("b", {"10.0.0.2:80"}), b, nullptr});
    Rule rule;
    rule.path = "/";
    rule.action = std::move(split);
    VirtualHost host;
    host.rules = RuleTable({rule});
    auto route = std::make_shared<Route>();
    route->action = std::move(host);
    return route;
  };
  add(before_, "http", {{"same.example", shared(1, 2)}, {"over.example", shared(100, 0)}});
  add(after_, "http", {{"same.example", shared(1, 2)}, {"over.example", shared(0, 100)}});
  EXPECT_EQ(told(),
            "~over.example upstream split 100 to a, 0 to b, a [10.0.0.1:80], b [10.0.0.2:80] -> "
            "split 0 to a, 100 to b, a [10.0.0.1:80], b [10.0.0.2:80]\n");
}

TEST_F(DifferenceTest, WhoSolvesChallengesIsAChange) {
  const auto solved = [](const UpstreamPtr& by) {
    auto route = std::make_shared<Route>(*passthrough(upstream("x", {"10.0.0.1:443"})));
    route->acme_solver = by;
    return RoutePtr(route);
  };
  add(before_, "https", {{"a.example", solved(nullptr)}, {"b.example", solved(upstream("s", {"10.0.0.2:80"}))}});
  add(after_, "https",
      {{"a.example", solved(upstream("s", {"10.0.0.2:80"}))}, {"b.example", solved(upstream("s", {"10.0.0.3:80"}))}});
  EXPECT_EQ(told(), R"(~a.example acme_solver  -> s [10.0.0.2:80]
~b.example acme_solver s [10.0.0.2:80] -> s [10.0.0.3:80]
)");
}

TEST_F(DifferenceTest, DetachingAHostFromAListenerIsAChange) {
  const auto route = passthrough(upstream("x", {"10.0.0.1:443"}));
  add(before_, "https", {{"a.example", route}});
  add(before_, "kube-api", {{"a.example", route}});
  add(after_, "https", {{"a.example", nullptr}});
  add(after_, "kube-api", {{"a.example", route}});
  EXPECT_EQ(told(), "~a.example listeners https, kube-api -> kube-api\n");
}

TEST_F(DifferenceTest, AListenerThatGetsAnotherOfAHostsRoutesIsAChange) {
  const auto one = [] { return passthrough(upstream("10.0.0.1:1", {"10.0.0.1:1"})); };
  const auto two = [] { return passthrough(upstream("10.0.0.1:2", {"10.0.0.1:2"})); };
  add(before_, "aa", {{"a.example", one()}});
  add(before_, "bb", {{"a.example", two()}});
  add(before_, "cc", {{"a.example", one()}});
  add(after_, "aa", {{"a.example", one()}});
  add(after_, "bb", {{"a.example", two()}});
  add(after_, "cc", {{"a.example", two()}});
  EXPECT_EQ(told(), "~a.example on cc upstream 10.0.0.1:1 -> 10.0.0.1:2\n");
}

TEST_F(DifferenceTest, OneRouteForEachListenerIsNoChangeWhereAllDoTheSame) {
  const auto app = upstream("app", {"10.0.0.7:80"});
  const auto both = rules({app});
  add(before_, "aa", {{"a.example", both}});
  add(before_, "bb", {{"a.example", both}});
  add(after_, "aa", {{"a.example", rules({app})}});
  add(after_, "bb", {{"a.example", rules({app})}});
  EXPECT_EQ(told(), "");
}

TEST_F(DifferenceTest, ARouteOnAnotherListenerIsComparedToo) {
  const auto one = passthrough(upstream("10.0.0.1:1", {"10.0.0.1:1"}));
  const auto two = passthrough(upstream("10.0.0.1:2", {"10.0.0.1:2"}));
  add(before_, "aa", {{"moves.example", one}, {"grows.example", one}, {"shrinks.example", one}});
  add(before_, "bb", {{"shrinks.example", two}});
  add(after_, "aa", {{"grows.example", one}, {"shrinks.example", one}});
  add(after_, "bb", {{"moves.example", two}, {"grows.example", two}});
  EXPECT_EQ(told(), R"(~grows.example on bb upstream 10.0.0.1:1 -> 10.0.0.1:2
~grows.example listeners aa -> aa, bb
~moves.example upstream 10.0.0.1:1 -> 10.0.0.1:2
~moves.example listeners aa -> bb
~shrinks.example listeners aa, bb -> aa
)");
}

TEST_F(DifferenceTest, ANameThatAClaimTakesFromAWildcardVanishes) {
  const auto wide = passthrough(upstream("x", {"10.0.0.1:443"}));
  const auto own = passthrough(upstream("y", {"10.0.0.2:443"}), "t");
  for (const char* listener : {"aa", "bb"}) {
    add(before_, listener, {{"*.example", wide}});
    add(after_, listener, {{"*.example", wide}, {"x.example", nullptr, true}, {"*.z.example", nullptr, true}});
  }
  // It has a route on one listener: on the other it is cut off from the wildcard.
  add(before_, "cc", {{"*.example", wide}});
  add(after_, "cc", {{"*.example", wide}, {"x.example", own}});
  EXPECT_EQ(told(), R"(+x.example passthrough y [10.0.0.2:443]
-*.z.example passthrough x [10.0.0.1:443] by *.example on aa, bb
-x.example passthrough x [10.0.0.1:443] by *.example on aa, bb
)");
  std::swap(before_, after_);
  EXPECT_EQ(told(), R"(+*.z.example passthrough x [10.0.0.1:443] by *.example on aa, bb
+x.example passthrough x [10.0.0.1:443] by *.example on aa, bb
-x.example passthrough y [10.0.0.2:443]
)");
}

TEST_F(DifferenceTest, WhatBecomesOfAWildcardIsToldOnce) {
  const auto wide = passthrough(upstream("x", {"10.0.0.1:443"}), "t");
  const auto other = passthrough(upstream("y", {"10.0.0.2:443"}), "t");
  add(before_, "aa", {{"*.t.example", wide}, {"a.t.example", wide, true}, {"*.u.example", wide}});
  add(after_, "aa", {{"*.t.example", other}, {"a.t.example", other, true}, {"a.u.example", nullptr, true}});
  EXPECT_EQ(told(), R"(-*.u.example passthrough x [10.0.0.1:443]
~*.t.example upstream x [10.0.0.1:443] -> y [10.0.0.2:443]
)");
}

TEST_F(DifferenceTest, AClaimMayMoveANameToAnotherWildcard) {
  const auto wide = passthrough(upstream("x", {"10.0.0.1:443"}), "t");
  const auto narrow = passthrough(upstream("y", {"10.0.0.2:443"}), "u");
  add(before_, "aa", {{"*.example", wide}, {"*.b.example", narrow}});
  add(after_, "aa", {{"*.example", wide}, {"*.b.example", narrow}, {"a.b.example", wide, true}});
  EXPECT_EQ(told(), R"(~a.b.example on aa tenant u -> t
~a.b.example on aa upstream y [10.0.0.2:443] -> x [10.0.0.1:443]
)");
}

TEST_F(DifferenceTest, TheSameUpstreamInAnotherRuleIsNoChange) {
  const auto app = upstream("app", {"10.0.0.7:80"});
  add(before_, "http", {{"a.example", rules({app})}});
  add(after_, "http", {{"a.example", rules({app, app})}});
  EXPECT_EQ(told(), "");
}

TEST_F(DifferenceTest, ANameThatIsOnlyClaimedIsNoHost) {
  const auto route = passthrough(upstream("x", {"10.0.0.1:443"}), "a");
  add(before_, "https", {{"*.a.example", route}, {"x.a.example", route, true}, {"y.a.example", route}});
  add(after_, "https", {{"*.a.example", route}});
  EXPECT_EQ(told(), "-y.a.example passthrough x [10.0.0.1:443]\n") << "y stands in the route itself";
  EXPECT_EQ(lost_hosts(before_, after_), std::vector<std::string>{"y.a.example"});
}

TEST_F(DifferenceTest, WhereATcpListenerLeadsIsAChange) {
  const auto leads = [](Snapshot& to, const char* endpoint) {
    auto listener = std::make_shared<Listener>();
    listener->spec.name = "db";
    listener->spec.protocol = Protocol::tcp;
    auto made = std::make_shared<Upstream>(*upstream(endpoint, {endpoint}));
    made->identity = endpoint;
    listener->upstream = made;
    to.listeners.push_back(listener);
  };
  leads(before_, "10.0.0.1:1");
  leads(after_, "10.9.9.9:1");
  EXPECT_EQ(told(), "l db upstream\n");
}

TEST_F(DifferenceTest, ListenersAreCompared) {
  add(before_, "a", {});
  add(before_, "b", {});
  add(after_, "b", {});
  add(after_, "c", {});
  auto changed = std::make_shared<Listener>();
  changed->spec = after_.listeners[0]->spec;
  changed->spec.protocol = Protocol::http;
  changed->spec.binds.push_back({*core::SocketAddress::parse_ip("::", 80), true, ":80"});
  after_.listeners[0] = changed;
  EXPECT_EQ(told(), "l b protocol\nl b bind\nl c appears\nl a vanishes\n");
}

}  // namespace
}  // namespace edgemux::routing
