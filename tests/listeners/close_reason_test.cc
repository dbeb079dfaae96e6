#include "listeners/close_reason.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace edgemux::listeners {
namespace {

TEST(CloseReason, HasANameOfItsOwnInSnakeCase) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kCloseReasons; ++i) {
    const auto name = close_reason_name(static_cast<CloseReason>(i));
    EXPECT_THAT(std::string(name), testing::MatchesRegex("[a-z0-9]+(_[a-z0-9]+)*"));
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

// The order of the names follows the order of the enum: one from each group tells a shift.
TEST(CloseReason, IsNamedAsItIsCalled) {
  EXPECT_EQ("done", close_reason_name(CloseReason::done));
  EXPECT_EQ("draining", close_reason_name(CloseReason::draining));
  EXPECT_EQ("hello_timeout", close_reason_name(CloseReason::hello_timeout));
  EXPECT_EQ("too_many_connections", close_reason_name(CloseReason::too_many_connections));
  EXPECT_EQ("no_rule", close_reason_name(CloseReason::no_rule));
  EXPECT_EQ("no_upstream", close_reason_name(CloseReason::no_upstream));
  EXPECT_EQ("response_timeout", close_reason_name(CloseReason::response_timeout));
  EXPECT_EQ("request_timeout", close_reason_name(CloseReason::request_timeout));
  EXPECT_EQ("half_closed_timeout", close_reason_name(CloseReason::half_closed_timeout));
  EXPECT_EQ("drain_timeout", close_reason_name(CloseReason::drain_timeout));
  EXPECT_EQ("internal", close_reason_name(CloseReason::internal));
}

TEST(CloseReason, KnowsWhatIsNoFailure) {
  std::set<std::string_view> fine;
  for (std::size_t i = 0; i < kCloseReasons; ++i) {
    const auto reason = static_cast<CloseReason>(i);
    if (!is_failure(reason)) fine.insert(close_reason_name(reason));
  }
  EXPECT_EQ((std::set<std::string_view>{"done", "client_closed", "idle_timeout", "draining", "tunnel_idle"}), fine);
}

}  // namespace
}  // namespace edgemux::listeners
