// UpstreamPool at its limits: places that several pools share, and the queue for them.
#include <algorithm>
#include <array>

#include "tests/routing/upstream/pool_fixture.h"

namespace edgemux::routing {
namespace {

using UpstreamPoolLimitsTest = PoolFixture;

TEST_F(UpstreamPoolLimitsTest, HoldsItsLimitAndGivesEveryPlaceBack) {
  spec.max_connections = 2;
  origin.on_bytes = nullptr;  // no answers
  Borrower a(pool());
  Borrower b(pool());
  Borrower c(pool());
  EXPECT_TRUE(a.get());
  EXPECT_TRUE(b.get());
  EXPECT_FALSE(c.get());
  EXPECT_EQ(places(), 2U);
  EXPECT_FALSE(pool().take_place());
  a.stream.release();  // given up while it connects
  EXPECT_EQ(places(), 1U);
  EXPECT_TRUE(pool().take_place());
  EXPECT_FALSE(c.get());
  pool().give_place();
  b.stream.release();
  EXPECT_EQ(places(), 0U);
  int turns = 0;
  run_until([&] { return ++turns > 10; });
  EXPECT_FALSE(a.failed || b.failed || a.status != 0);
}

// Idle connections of this worker must not keep its own requests or tunnels out.
TEST_F(UpstreamPoolLimitsTest, AnIdleConnectionMakesRoom) {
  spec.max_connections = 2;
  Borrower first(pool());
  const auto nothing_more = [] { return true; };
  const auto then = [&] {
    EXPECT_EQ(places(), 1U);
    EXPECT_TRUE(pool().take_place());
    EXPECT_TRUE(pool().take_place()) << "in the place of the idle one";
    EXPECT_FALSE(pool().take_place());
    EXPECT_EQ(pool().connections(), 0U);
    pool().give_place();
    pool().give_place();
  };
  ask(first, then, nothing_more);
  EXPECT_EQ(places(), 0U);
}

// Two workers share the limit: what one holds idle at the limit would keep the other out for as long as it idles.
TEST_F(UpstreamPoolLimitsTest, AtTheLimitWhatIdlesShutsNobodyOut) {
  spec.max_connections = 1;
  const auto shared = upstream();
  UpstreamPool here(context, shared);
  UpstreamPool there(context, shared);
  Borrower first(here);
  Borrower second(there);
  ASSERT_TRUE(first.get());
  EXPECT_FALSE(second.get());
  bool asked = false;
  run_until([&] {
    if (first.done && !asked) {
      asked = true;
      EXPECT_TRUE(second.get());
    }
    return second.done;
  });
  EXPECT_EQ(places(), 1U);
}

// A passthrough connection keeps its place for hours without asking for another.
TEST_F(UpstreamPoolLimitsTest, IsInUseWhileATunnelHoldsAPlace) {
  UpstreamPools pools(context);
  spec.id = 3;
  const auto shared = upstream();
  UpstreamPool& pool = pools.of(shared);
  ASSERT_TRUE(pool.take_place());
  for (int i = 0; i < 5; ++i) pools.sweep();
  EXPECT_EQ(&pools.of(shared), &pool);
  EXPECT_FALSE(pool.unused());
  pool.give_place();
  EXPECT_TRUE(pool.unused());
  std::weak_ptr<const Upstream> watched = shared;
  pools.sweep();
  EXPECT_EQ(shared.use_count(), 1) << "the pool is gone";
}

TEST_F(UpstreamPoolLimitsTest, WhoWaitsGetsTheConnectionInTurn) {
  spec.max_connections = 1;
  spec.max_pending = 2;
  Borrower a(pool());
  Borrower b(pool());
  Borrower c(pool());
  Borrower d(pool());
  EXPECT_TRUE(a.get());
  EXPECT_TRUE(b.get());
  EXPECT_TRUE(c.get());
  EXPECT_EQ(spec.state->runtime().pending, 2U);
  EXPECT_FALSE(d.get());
  EXPECT_STREQ(pool().limit_reason(), "limits.pending is reached");
  run_until([&] {
    EXPECT_FALSE(c.done && !b.done) << "in order";
    return a.done && b.done && c.done;
  });
  EXPECT_EQ(spec.state->runtime().pending, 0U);
  EXPECT_EQ(origin.connections.size(), 1U);
  EXPECT_EQ(places(), 1U);
}

TEST_F(UpstreamPoolLimitsTest, WhoWaitsTooLongFailsAndWhoGivesUpLeavesTheQueue) {
  spec.max_connections = 1;
  spec.max_pending = 5;
  spec.pending_timeout = 50ms;
  origin.on_bytes = nullptr;
  Borrower a(pool());
  Borrower b(pool());
  Borrower c(pool());
  EXPECT_TRUE(a.get());
  EXPECT_TRUE(b.get());
  EXPECT_TRUE(c.get());
  c.stream.release();
  EXPECT_EQ(spec.state->runtime().pending, 1U);
  run_until([&] { return b.failed; });
  EXPECT_EQ(b.failure.kind, UpstreamFailure::Kind::limit);
  EXPECT_EQ(b.failure.detail, "limits.connections is reached, and no connection became free within 50 ms");
  EXPECT_EQ(spec.state->runtime().pending, 0U);
  EXPECT_FALSE(c.failed);
  EXPECT_FALSE(a.failed);
}

// Another worker's pool: the same loop will do, since what goes between them is posted.
TEST_F(UpstreamPoolLimitsTest, AnotherPoolsIdleConnectionMakesRoom) {
  spec.max_connections = 1;
  UpstreamPool one(context, upstream());
  UpstreamPool two(context, upstream());
  Borrower a(one);
  Borrower b(two);
  ask(
      a,
      [&] {
        EXPECT_EQ(one.connections(), 1U);
        EXPECT_TRUE(b.get()) << "although nothing may wait";
      },
      [&] { return b.done; });
  EXPECT_EQ(one.connections(), 0U);
  EXPECT_EQ(two.connections(), 1U);
  EXPECT_EQ(places(), 1U);
}

TEST_F(UpstreamPoolLimitsTest, IdleConnectionsFromBeforeThereWasALimitMakeRoom) {
  UpstreamPool before(context, upstream());
  spec.max_connections = 1;
  UpstreamPool after(context, upstream());
  Borrower a(before);
  Borrower b(after);
  ask(
      a,
      [&] {
        EXPECT_EQ(places(), 1U) << "counted, though nothing limited it";
        EXPECT_TRUE(b.get());
      },
      [&] { return b.done; });
  EXPECT_EQ(before.connections(), 0U);
  EXPECT_EQ(places(), 1U);
}

TEST_F(UpstreamPoolLimitsTest, ConnectionsAndTunnelsAreCountedWithoutALimit) {
  Borrower a(pool());
  ask(
      a,
      [&] {
        EXPECT_EQ(places(), 1U);
        EXPECT_TRUE(pool().take_place());
        EXPECT_EQ(places(), 2U);
        pool().give_place();
        pool().close_idle();
      },
      [&] { return places() == 0; });
}

TEST_F(UpstreamPoolLimitsTest, APlaceThatAnotherPoolGivesUpGoesToWhoWaits) {
  spec.max_connections = 1;
  spec.max_pending = 1;
  UpstreamPool one(context, upstream());
  UpstreamPool two(context, upstream());
  Borrower a(one);
  Borrower b(two);
  ASSERT_TRUE(a.get());
  ASSERT_TRUE(b.get());  // waits while the other one is busy
  run_until([&] { return a.done && b.done; });
  EXPECT_EQ(one.connections(), 0U) << "it did not keep what somebody waited for";
  EXPECT_EQ(places(), 1U);
}

// A pool whose own queue never gets empty must not keep the place for itself.
TEST_F(UpstreamPoolLimitsTest, WhoHasWaitedLongerElsewhereGoesFirst) {
  spec.max_connections = 1;
  spec.max_pending = 50;
  spec.pending_timeout = 800ms;
  UpstreamPool one(context, upstream());
  UpstreamPool two(context, upstream());
  std::array<std::unique_ptr<Borrower>, 30> busy;
  int served = 0;
  const std::function<void()> keep_busy = [&] {
    for (auto& one_of : busy) {
      if (one_of != nullptr && !one_of->done) continue;
      served += one_of == nullptr ? 0 : 1;
      one_of = std::make_unique<Borrower>(one);
      one_of->on_event = [&] { loop.post(keep_busy); };
      ASSERT_TRUE(one_of->get());
    }
  };
  keep_busy();
  Borrower b(two);
  ASSERT_TRUE(b.get());
  int served_before = 0;
  b.on_event = [&] { served_before = served; };
  run_until([&] { return b.failed || (b.done && served > served_before + 10); });
  EXPECT_TRUE(b.done) << b.failure.detail;
  EXPECT_GT(served_before, 10) << "connections are not made anew for each of them";
}

TEST_F(UpstreamPoolLimitsTest, ALimitThatIsLoweredMakesRoomAtOnce) {
  UpstreamPool before(context, upstream());
  spec.max_connections = 2;
  spec.max_pending = 1;
  spec.pending_timeout = 60s;
  UpstreamPool after(context, upstream());
  std::vector<std::unique_ptr<Borrower>> many;
  for (int i = 0; i < 6; ++i) {
    many.push_back(std::make_unique<Borrower>(before));
    ASSERT_TRUE(many.back()->get());
  }
  Borrower b(after);
  bool asked = false;
  run_until([&] {
    const bool all = std::all_of(many.begin(), many.end(), [](const auto& one) { return one->done; });
    if (all && !std::exchange(asked, true)) {
      EXPECT_EQ(before.connections(), 6U);
      EXPECT_TRUE(b.get());
    }
    return b.done;
  });
  EXPECT_LE(places(), 2U);
}

TEST_F(UpstreamPoolLimitsTest, ConnectionsOfAnUpstreamThatNoTableHasAreNotKept) {
  UpstreamPools pools(context);
  spec.id = 1;
  spec.state->enter_table();
  spec.state->enter_table();
  Borrower a(pools.of(upstream()));
  Borrower b(pools.of(upstream()));
  ask(
      a,
      [&] {
        spec.state->leave_table();
        pools.close_gone();
        EXPECT_EQ(places(), 1U) << "another table has it";
        spec.state->leave_table();
        pools.close_gone();
        EXPECT_EQ(places(), 0U);
        EXPECT_TRUE(b.get());
      },
      [&] { return b.done && places() == 0; });
}

struct Tunnel final : PlaceTurn::Observer {
  void on_place() override { ++places; }
  void on_no_place(const std::string& reason) override { why = reason; }
  PlaceTurn turn{*this};
  int places = 0;
  std::string why;
};

TEST_F(UpstreamPoolLimitsTest, TunnelsAndRequestsWaitInOneQueue) {
  spec.max_connections = 1;
  spec.max_pending = 2;
  Tunnel first;
  Tunnel third;
  Borrower second(pool());
  ASSERT_TRUE(pool().take_place());
  EXPECT_FALSE(pool().take_place());
  ASSERT_TRUE(pool().wait_for_place(first.turn));
  ASSERT_TRUE(second.get());
  EXPECT_FALSE(pool().wait_for_place(third.turn));
  EXPECT_STREQ(pool().limit_reason(), "limits.pending is reached");
  EXPECT_EQ(first.places, 0);
  pool().give_place();
  bool had_it = false;
  run_until([&] {
    if (first.places == 1 && !had_it) {
      had_it = true;
      EXPECT_FALSE(second.done) << "in order";
      EXPECT_EQ(places(), 1U);
      pool().give_place();
    }
    return second.done;
  });
  EXPECT_EQ(first.places, 1);
  EXPECT_EQ(spec.state->runtime().pending, 0U);
  EXPECT_EQ(places(), 1U) << "the idle connection of the request";
  EXPECT_TRUE(pool().take_place()) << "in its place";
  pool().give_place();
}

// The place was free for one who waited in this pool, and who leaves in the same moment.
TEST_F(UpstreamPoolLimitsTest, APlaceThatNobodyHereTakesGoesToWhoWaitsElsewhere) {
  spec.max_connections = 1;
  spec.max_pending = 2;
  spec.pending_timeout = 60s;
  UpstreamPool one(context, upstream());
  UpstreamPool two(context, upstream());
  Tunnel leaves;
  Tunnel stays;
  ASSERT_TRUE(one.take_place());
  ASSERT_TRUE(one.wait_for_place(leaves.turn));
  ASSERT_TRUE(two.wait_for_place(stays.turn));
  int turns = 0;
  run_until([&] {
    if (++turns == 10) {
      EXPECT_EQ(stays.places, 0);
      one.give_place();
      leaves.turn.leave();
    }
    return stays.places == 1;
  });
  EXPECT_EQ(leaves.places, 0);
  EXPECT_EQ(places(), 1U);
  two.give_place();
}

TEST_F(UpstreamPoolLimitsTest, ATunnelThatWaitsTooLongIsToldAndOneThatGivesUpLeavesTheQueue) {
  spec.max_connections = 1;
  spec.max_pending = 5;
  spec.pending_timeout = 50ms;
  ASSERT_TRUE(pool().take_place());
  Tunnel late;
  {
    Tunnel gone;
    ASSERT_TRUE(pool().wait_for_place(late.turn));
    ASSERT_TRUE(pool().wait_for_place(gone.turn));
    EXPECT_EQ(spec.state->runtime().pending, 2U);
  }
  EXPECT_EQ(spec.state->runtime().pending, 1U);
  run_until([&] { return !late.why.empty(); });
  EXPECT_EQ(late.why, "limits.connections is reached, and no connection became free within 50 ms");
  EXPECT_EQ(spec.state->runtime().pending, 0U);
  pool().give_place();
  EXPECT_EQ(late.places, 0);
}

TEST_F(UpstreamPoolLimitsTest, HoldsTheLimitOfRequests) {
  spec.max_requests = 1;
  Borrower a(pool());
  Borrower b(pool());
  EXPECT_TRUE(a.get());
  EXPECT_FALSE(b.get());
  EXPECT_STREQ(pool().limit_reason(), "limits.requests is reached");
  a.stream.release();
  EXPECT_EQ(spec.state->runtime().requests, 0U);
  EXPECT_TRUE(b.get());
  run_until([&] { return b.done; });
  EXPECT_EQ(spec.state->runtime().requests, 0U);
}

}  // namespace
}  // namespace edgemux::routing
