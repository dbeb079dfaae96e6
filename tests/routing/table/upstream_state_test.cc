#include "routing/table/upstream_state.h"

#include <gtest/gtest.h>

namespace edgemux::routing {
namespace {

std::shared_ptr<EndpointSet> set_of(std::initializer_list<const char*> ips) {
  auto set = std::make_shared<EndpointSet>();
  for (const char* ip : ips) set->endpoints.push_back({*core::SocketAddress::parse_ip(ip, 80), ip});
  return set;
}

TEST(UpstreamState, AnEndpointKeepsItsStateOverChangesOfTheSet) {
  UpstreamState state;
  state.publish(set_of({"10.0.0.1", "10.0.0.2"}));
  const auto first = state.endpoints()->endpoints[1].state;
  ASSERT_NE(first, nullptr);
  first->health = Health::unhealthy;
  state.publish(set_of({"10.0.0.3"}));
  EXPECT_NE(state.endpoints()->endpoints[0].state, first);
  state.publish(set_of({"10.0.0.2", "10.0.0.3"}));
  EXPECT_EQ(state.endpoints()->endpoints[0].state, first);
  EXPECT_EQ(state.endpoints(), state.endpoints());
}

TEST(UpstreamState, ASuccessorGoesOnWithTheSameRuntime) {
  UpstreamState before;
  before.publish(set_of({"10.0.0.1"}));
  before.endpoints()->endpoints[0].state->ejected = true;
  UpstreamState after(before.shared_runtime());
  after.publish(set_of({"10.0.0.1"}));
  EXPECT_FALSE(after.endpoints()->endpoints[0].state->usable());
  const auto version = after.version();
  before.runtime().health_changed();
  EXPECT_NE(after.version(), version);
}

TEST(UpstreamState, OnlyWhoComesLaterStartsSlowly) {
  UpstreamState state;
  state.publish(set_of({"10.0.0.1"}));
  state.publish(set_of({"10.0.0.1", "10.0.0.2"}));  // nobody has used it yet
  EXPECT_EQ(state.endpoints()->endpoints[1].state->ramp_begins, 0U);
  state.publish(set_of({"10.0.0.1", "10.0.0.2", "10.0.0.3"}));
  const auto set = state.endpoints();
  EXPECT_EQ(set->endpoints[0].state->ramp_begins, 0U);
  EXPECT_NE(set->endpoints[2].state->ramp_begins, 0U);
}

TEST(UpstreamState, WhoComesWithAChangedConfigurationStartsSlowlyToo) {
  UpstreamState before;
  before.publish(set_of({"10.0.0.1"}));
  UpstreamState unused(before.shared_runtime());
  unused.publish(set_of({"10.0.0.1", "10.0.0.9"}));
  EXPECT_EQ(unused.endpoints()->endpoints[1].state->ramp_begins, 0U);
  UpstreamState after(before.shared_runtime());
  after.publish(set_of({"10.0.0.1", "10.0.0.2"}));
  EXPECT_EQ(after.endpoints()->endpoints[0].state->ramp_begins, 0U);
  EXPECT_NE(after.endpoints()->endpoints[1].state->ramp_begins, 0U);
}

TEST(UpstreamState, WhatNobodyUsesHasNoStates) {
  UpstreamState state;
  state.publish(set_of({"10.0.0.1"}));
  EXPECT_EQ(state.published()->endpoints[0].state, nullptr);
  EXPECT_EQ(state.known_runtime(), nullptr);
}

TEST(UpstreamState, EndpointsThatAreLongGoneAreForgotten) {
  UpstreamState state;
  state.publish(set_of({"10.0.0.1"}));
  state.endpoints()->endpoints[0].state->failures = 7;
  for (int i = 0; i < 300; ++i) {
    const auto ip = "10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250);
    state.publish(set_of({ip.c_str()}));
    (void)state.endpoints();
  }
  state.publish(set_of({"10.0.0.1"}));
  EXPECT_EQ(state.endpoints()->endpoints[0].state->failures, 0U);
}

}  // namespace
}  // namespace edgemux::routing
