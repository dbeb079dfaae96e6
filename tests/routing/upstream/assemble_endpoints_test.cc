#include "tests/routing/upstream/discovery_fixture.h"

namespace edgemux::routing {
namespace {

TEST(AssembleEndpoints, WrittenOrderAllAddressesNothingTwice) {
  const auto up = upstream({"b:80", "10.0.0.9:81", "a:82", "10.0.0.1:80"});
  const NameState b{{ip("10.0.0.1"), ip("fd00::1")}, {}};
  const NameState a{{ip("10.0.0.1"), ip("10.0.0.2")}, {}};
  const NameState* const names[] = {&b, nullptr, &a, nullptr};
  const auto set = assemble_endpoints(*up, names);
  // 10.0.0.1:80 was written too, but is there already; 10.0.0.1:82 is another endpoint.
  EXPECT_THAT(addresses(set), ElementsAre("10.0.0.1:80", "[fd00::1]:80", "10.0.0.9:81", "10.0.0.1:82", "10.0.0.2:82"));
  EXPECT_EQ(set.endpoints[0].text, "b:80 (10.0.0.1)");
  EXPECT_EQ(set.endpoints[1].text, "b:80 (fd00::1)");
  EXPECT_EQ(set.endpoints[2].text, "10.0.0.9:81");
  EXPECT_EQ(set.problem, "");
}

TEST(AssembleEndpoints, TheProblemNamesEachNameOnce) {
  const auto up = upstream({"a:80", "b:80", "a:81"});
  const NameState a{{}, "it is gone"};
  const NameState b{};
  const NameState* const names[] = {&a, &b, &a};
  const auto set = assemble_endpoints(*up, names);
  EXPECT_THAT(set.endpoints, IsEmpty());
  EXPECT_EQ(set.problem, "a does not resolve: it is gone; b is not resolved yet");
}

TEST(AssembleEndpoints, OneGoodEndpointIsNoProblem) {
  const auto up = upstream({"a:80", "10.0.0.1:80"});
  const NameState a{{}, "it is gone"};
  const NameState* const names[] = {&a, nullptr};
  EXPECT_EQ(assemble_endpoints(*up, names).problem, "");
}

TEST(KeepOrder, StayingOnesKeepTheirPlaceNewOnesFollow) {
  const std::vector known{ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3")};
  EXPECT_EQ(keep_order(known, {ip("10.0.0.4"), ip("10.0.0.3"), ip("10.0.0.1")}),
            (std::vector{ip("10.0.0.1"), ip("10.0.0.3"), ip("10.0.0.4")}));
  EXPECT_EQ(keep_order({}, known), known);
  EXPECT_THAT(keep_order(known, {}), IsEmpty());
}

TEST(KeepOrder, NoMoreThanAnUpstreamUsesAndThoseThatWereThereFirst) {
  const auto all = many(3'900, 1);
  const std::vector known(all.end() - 200, all.end());
  const auto kept = keep_order(known, all);
  ASSERT_EQ(kept.size(), kMaxAddresses);
  EXPECT_TRUE(std::equal(known.begin(), known.end(), kept.begin()));
  EXPECT_EQ(kept[200], all[0]);
  EXPECT_EQ(keep_order(kept, {all.rbegin(), all.rend()}), kept);
}

TEST(AssembleEndpoints, NoMoreThanAnUpstreamMayHaveAndItSaysSo) {
  std::vector<std::string> written;
  std::vector<NameState> states;
  for (unsigned i = 0; i < 20; ++i) {
    written.push_back("n" + std::to_string(i) + ":80");
    states.push_back({many(kMaxAddresses, i), {}});
  }
  std::vector<const NameState*> names;
  for (const auto& state : states) names.push_back(&state);
  const auto up = upstream(written);
  auto set = assemble_endpoints(*up, names);
  EXPECT_EQ(set.endpoints.size(), kMaxEndpoints);
  EXPECT_EQ(set.problem, "it has more than 4096 endpoints; the rest is left out");
  const auto small = upstream({"n0:80", "n0:81"});
  const NameState more{many(kMaxAddresses, 0), {}, {}, true};
  const NameState* const twice[] = {&more, &more};
  set = assemble_endpoints(*small, twice);
  EXPECT_EQ(set.endpoints.size(), 2 * kMaxAddresses);
  EXPECT_EQ(set.problem, "n0 has more than 256 addresses; the rest is left out");
}

TEST(AssembleEndpoints, OfManyProblemsTheFirstAreTold) {
  std::vector<std::string> written;
  for (int i = 0; i < 100; ++i) written.push_back("n" + std::to_string(i) + ":80");
  const NameState none{};
  const std::vector<const NameState*> names(written.size(), &none);
  const auto problem = assemble_endpoints(*upstream(written), names).problem;
  EXPECT_THAT(problem, HasSubstr("n7 is not resolved yet; and others"));
  EXPECT_THAT(problem, testing::Not(HasSubstr("n8 ")));
  const NameState metadata{{many(10, 0)}, {}};
  auto refused = std::make_shared<Upstream>(*of_tenant("a", upstream({"n0:80"})));
  auto tenant = std::make_shared<Tenant>(*refused->tenant);
  tenant->networks.push_back(*core::Network::parse("192.0.2.0/24"));
  refused->tenant = tenant;
  const NameState* const one[] = {&metadata};
  const auto why = assemble_endpoints(*refused, one).problem;
  EXPECT_THAT(why, testing::StartsWith("tenant a may not use it: n0:80 (10.0.0.0) "));
  EXPECT_THAT(why, testing::EndsWith("; and others"));
}

TEST(Listing, OfManyTheFirst) {
  EXPECT_EQ(listing(many(2, 0)), "10.0.0.0, 10.0.0.1");
  EXPECT_THAT(listing(many(3'900, 0)), testing::EndsWith("10.0.0.7 and 3892 more"));
}

// ---- services ----

TEST(AssembleEndpoints, AServiceIsItsTargetsWithTheLowestPriorityThatHaveAnAddress) {
  const auto up = upstream({"srv:_http._tcp.app", "10.0.0.9:81"});
  const NameState none{{}, "it is gone"};
  const NameState a{{ip("10.0.0.1"), ip("fd00::1")}, {}};
  const NameState b{{ip("10.0.0.2")}, {}};
  const NameState c{{ip("10.0.0.3")}, {}};
  NameState service;
  service.targets = {
      {{"c", 83, 20, 5}, &c}, {{"gone", 80, 1, 1}, &none}, {{"a", 80, 10, 3}, &a}, {{"b", 82, 10, 0}, &b}};
  const NameState* const names[] = {&service, nullptr};
  const auto set = assemble_endpoints(*up, names);
  EXPECT_THAT(addresses(set), ElementsAre("10.0.0.1:80", "[fd00::1]:80", "10.0.0.2:82", "10.0.0.9:81"));
  EXPECT_EQ(set.endpoints[0].weight, 3U);
  EXPECT_EQ(set.endpoints[2].weight, 1U);  // a weight of 0 beside others is little, not nothing
  EXPECT_EQ(set.endpoints[0].text, "a:80 (10.0.0.1)");
  EXPECT_EQ(set.endpoints[2].host, "b");
}

TEST(AssembleEndpoints, AServiceWithoutAddressesSaysWhatDoesNotResolve) {
  const auto up = upstream({"srv:_http._tcp.app"});
  const NameState none{{}, "it is gone"};
  NameState service;
  const NameState* const names[] = {&service};
  EXPECT_EQ(assemble_endpoints(*up, names).problem, "_http._tcp.app is not resolved yet");
  service.problem = "the name has no SRV record";
  EXPECT_EQ(assemble_endpoints(*up, names).problem, "_http._tcp.app does not resolve: the name has no SRV record");
  service.targets = {{{"a", 80, 0, 0}, &none}};
  EXPECT_EQ(assemble_endpoints(*up, names).problem, "a does not resolve: it is gone");
}

}  // namespace
}  // namespace edgemux::routing
