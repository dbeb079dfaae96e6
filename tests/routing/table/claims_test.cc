// Whose a name is, as a table.
#include "routing/table/claims.h"

#include <gtest/gtest.h>

namespace edgemux::routing {
namespace {

TenantPtr tenant(const std::string& name) {
  auto made = std::make_shared<Tenant>();
  made->name = name;
  return made;
}

TEST(ClaimTable, TheMostSpecificClaimOwnsAName) {
  const auto a = tenant("a");
  const auto b = tenant("b");
  const auto c = tenant("c");
  const ClaimTable table({{"*.example.com", a, {}},
                          {"*.b.example.com", b, {}},
                          {"c.example.com", c, {}},
                          {"x.b.example.com", c, {}},
                          {"*.deep.x.b.example.com", a, {}},
                          {"apex.example", b, {}}});
  const std::pair<const char*, const char*> cases[] = {
      {"example.com", ""},  // a wildcard never covers its apex
      {"www.example.com", "a"},
      {"www.www.example.com", "a"},  // one or more labels
      {"b.example.com", "a"},        // *.b... does not cover b...
      {"y.b.example.com", "b"},
      {"x.b.example.com", "c"},    // exact beats wildcard
      {"z.x.b.example.com", "b"},  // an exact claim is one name
      {"deep.x.b.example.com", "b"},
      {"y.deep.x.b.example.com", "a"},  // the longer wildcard
      {"c.example.com", "c"},
      {"cc.example.com", "a"},
      {"xexample.com", ""},
      {"com", ""},
      {"apex.example", "b"},
      {"www.apex.example", ""},
      // A wildcard belongs to whoever covers all of it.
      {"*.example.com", "a"},
      {"*.com", ""},
      {"*.www.example.com", "a"},
      {"*.c.example.com", "a"},  // c's claim is for c.example.com alone
      {"*.b.example.com", "b"},
      {"*.y.b.example.com", "b"},
      {"*.x.b.example.com", "b"},
      {"*.apex.example", ""},
  };
  for (const auto& [host, owner] : cases) {
    const Tenant* found = table.owner(host);
    EXPECT_EQ(found == nullptr ? "" : found->name, owner) << host;
  }
}

TEST(ClaimTable, OfEqualClaimsTheFirstHolds) {
  std::vector<std::pair<std::size_t, std::size_t>> again;
  const ClaimTable table({{"x.example", tenant("a"), {}},
                          {"*.x.example", tenant("a"), {}},
                          {"x.example", tenant("b"), {}},
                          {"*.x.example", tenant("c"), {}}},
                         &again);
  EXPECT_EQ(table.owner("x.example")->name, "a");
  EXPECT_EQ(table.owner("y.x.example")->name, "a");
  ASSERT_EQ(again.size(), 2U);
  EXPECT_EQ(again[0], (std::pair<std::size_t, std::size_t>(2, 0)));
  EXPECT_EQ(again[1], (std::pair<std::size_t, std::size_t>(3, 1)));
}

TEST(ClaimTable, IsEmptyWithoutTenantsAndCanBeMoved) {
  EXPECT_EQ(ClaimTable().owner("a.example"), nullptr);
  ClaimTable one({{"a.example", tenant("a"), {}}});
  const ClaimTable other = std::move(one);
  EXPECT_EQ(other.owner("a.example")->name, "a");
}

TEST(TenantState, FiguresOfThoseWithoutALabelStayWhenTheyGo) {
  const auto others = std::make_shared<OtherTenants>();
  const auto requests = [](const TenantState::Figures& f) { return f.requests[1].load(); };
  TenantState labelled(0, others);
  labelled.figures(0).requests[1] = 100;
  EXPECT_FALSE(others->any());
  auto first = std::make_unique<TenantState>(TenantState::kLabelled, others);
  TenantState second(TenantState::kLabelled + 1, others);
  first->figures(3).requests[1] = 5;
  second.figures(0).requests[1] = 2;
  EXPECT_EQ(others->sum(requests), 7U);
  first.reset();
  EXPECT_TRUE(others->any());
  EXPECT_EQ(others->sum(requests), 7U);
}

TEST(TenantState, ConnectionsAndRatesAreCountedOverAllWorkers) {
  TenantState state(0);
  state.configure({.connections = 2, .new_connections_per_second = 3, .requests_per_second = 1, .bandwidth = 1000});
  EXPECT_TRUE(state.enter(5000));
  EXPECT_TRUE(state.enter(5000));
  EXPECT_FALSE(state.enter(5000)) << "two are open";
  EXPECT_EQ(state.connections(), 2U);
  state.leave();
  EXPECT_TRUE(state.enter(5000));
  state.leave();
  EXPECT_FALSE(state.enter(5000)) << "three in this second";
  EXPECT_TRUE(state.enter(5000, false)) << "that one came back";
  state.leave();
  EXPECT_EQ(state.connections(), 1U) << "a refused one does not count";
  EXPECT_TRUE(state.enter(6001));
  EXPECT_TRUE(state.take_request(5000));
  EXPECT_FALSE(state.take_request(5500));
  EXPECT_EQ(state.bandwidth_wait(5000), 0U);
  state.charge_bandwidth(1000, 5000);
  EXPECT_GE(state.bandwidth_wait(5000), 900U);
  EXPECT_EQ(state.bandwidth_wait(6000), 0U);
  state.configure({});
  EXPECT_TRUE(state.take_request(5500));
  EXPECT_FALSE(state.bandwidth_limited());
}

}  // namespace
}  // namespace edgemux::routing
