#include "listeners/tries.h"

#include <gtest/gtest.h>

#include <string>

namespace edgemux::listeners {
namespace {

using routing::UpstreamFailure;
using std::chrono::milliseconds;

class TriesTest : public ::testing::Test, protected Tries::Observer {
 protected:
  TriesTest() : tries_(timers_, static_cast<Tries::Observer&>(*this)) {
    filters_.retry.emplace();
    filters_.retry->attempts = 2;
    filters_.retry->backoff = milliseconds(100);
  }
  void begin(core::Method method = core::Method::get) { tries_.begin(&filters_, method, 0); }
  void advance(std::uint64_t now) { timers_.advance(now + core::TimerWheel::kTick); }
  static UpstreamFailure failure(UpstreamFailure::Kind kind) { return {kind, {}, false, false, false}; }
  bool follows(UpstreamFailure::Kind kind) const { return tries_.follows(failure(kind)); }

  void on_request_timeout() override { said_ += "request "; }
  void on_try_timeout() override { said_ += "try "; }
  void on_next_try() override { said_ += "next "; }

  core::TimerWheel timers_;
  routing::Filters filters_;
  Tries tries_;
  std::string said_;
};

TEST_F(TriesTest, WithoutARuleNothingHappens) {
  tries_.begin(nullptr, core::Method::get, 0);
  tries_.try_begins(0);
  EXPECT_FALSE(tries_.may_follow());
  EXPECT_FALSE(follows(UpstreamFailure::Kind::refused));
  EXPECT_FALSE(tries_.follows(503));
  advance(1'000'000);
  EXPECT_EQ(said_, "");
}

TEST_F(TriesTest, EachKindOfFailureIsAskedFor) {
  using Kind = UpstreamFailure::Kind;
  begin();
  for (const Kind kind : {Kind::refused, Kind::connect_timeout, Kind::reset, Kind::closed, Kind::timeout}) {
    EXPECT_FALSE(follows(kind));
  }
  auto& policy = *filters_.retry;
  policy.on_connect = true;
  EXPECT_TRUE(follows(Kind::refused));
  EXPECT_TRUE(follows(Kind::connect_timeout));
  EXPECT_FALSE(follows(Kind::reset));
  policy.on_reset = true;
  EXPECT_TRUE(follows(Kind::reset));
  EXPECT_TRUE(follows(Kind::closed));
  EXPECT_FALSE(follows(Kind::timeout));
  policy.on_timeout = true;
  EXPECT_TRUE(follows(Kind::timeout));
  for (const Kind kind : {Kind::no_endpoint, Kind::limit, Kind::bad_response}) EXPECT_FALSE(follows(kind));
  policy.on_status = {502};
  EXPECT_TRUE(tries_.follows(502));
  EXPECT_FALSE(tries_.follows(503));
}

TEST_F(TriesTest, WhatMayHaveBeenDoneIsNotRepeated) {
  filters_.retry->on_connect = filters_.retry->on_reset = filters_.retry->on_timeout = true;
  filters_.retry->on_status = {503};
  begin(core::Method::post);
  EXPECT_FALSE(follows(UpstreamFailure::Kind::reset));
  EXPECT_FALSE(follows(UpstreamFailure::Kind::timeout));
  EXPECT_TRUE(follows(UpstreamFailure::Kind::refused));
  EXPECT_TRUE(tries_.follows(503));
  auto unprocessed = failure(UpstreamFailure::Kind::closed);
  unprocessed.unprocessed = true;
  EXPECT_TRUE(tries_.follows(unprocessed));
  begin(core::Method::get);
  auto answered = failure(UpstreamFailure::Kind::reset);
  answered.answered = true;
  EXPECT_FALSE(tries_.follows(answered));
}

TEST_F(TriesTest, AsManyAsAllowedEachAfterItsPause) {
  filters_.retry->on_status = {503};
  begin();
  ASSERT_TRUE(tries_.follows(503));
  tries_.pause(0, UINT64_MAX);
  advance(80);
  EXPECT_EQ(said_, "");
  advance(100);
  EXPECT_EQ(said_, "next ");
  ASSERT_TRUE(tries_.follows(503));
  tries_.pause(200, UINT64_MAX);
  advance(380);
  EXPECT_EQ(said_, "next ");
  advance(400);
  EXPECT_EQ(said_, "next next ");
  EXPECT_FALSE(tries_.follows(503));
  EXPECT_FALSE(tries_.may_follow());
}

TEST_F(TriesTest, TriesAndTheWholeRequestHaveTheirTime) {
  filters_.request_timeout = milliseconds(1000);
  filters_.try_timeout = milliseconds(300);
  begin();
  tries_.try_begins(0);
  advance(280);
  EXPECT_EQ(said_, "");
  advance(300);
  EXPECT_EQ(said_, "try ");
  tries_.pause(300, 0);
  advance(360);
  EXPECT_EQ(said_, "try next ");
  tries_.try_begins(360);
  tries_.answered();
  advance(980);
  EXPECT_EQ(said_, "try next ");
  advance(1000);
  EXPECT_EQ(said_, "try next request ");
}

TEST_F(TriesTest, TheEndStopsEverything) {
  filters_.request_timeout = filters_.try_timeout = milliseconds(100);
  begin();
  tries_.try_begins(0);
  tries_.end();
  advance(1000);
  EXPECT_EQ(said_, "");
}

}  // namespace
}  // namespace edgemux::listeners
