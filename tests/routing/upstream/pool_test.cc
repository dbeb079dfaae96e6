// UpstreamPool and UpstreamConnection: what is kept, what is lent again, and how connections end.
#include "tests/routing/upstream/pool_fixture.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

namespace edgemux::routing {
namespace {

using UpstreamPoolTest = PoolFixture;

TEST_F(UpstreamPoolTest, LendsTheConnectionAgain) {
  Borrower first(pool());
  Borrower second(pool());
  ask(
      first,
      [&] {
        EXPECT_EQ(metrics.upstream_idle.read(), 1U);
        EXPECT_TRUE(second.get());
        EXPECT_EQ(metrics.upstream_idle.read(), 0U);
      },
      [&] { return second.done; });
  EXPECT_EQ(first.body, "ok");
  EXPECT_FALSE(first.reused);
  EXPECT_TRUE(second.reused);
  EXPECT_EQ(origin.connections.size(), 1U);
  EXPECT_EQ(metrics.upstream_reuses.read(), 1U);
  pool().close_idle();
  EXPECT_EQ(metrics.upstream_idle.read(), 0U);
  EXPECT_EQ(pool().connections(), 0U);
}

TEST_F(UpstreamPoolTest, DoesNotKeepAConnectionWithBytesLeftOver) {
  origin.on_bytes = [](LoopOrigin::Connection& c) { c.send(std::string(kOk) + "HTTP/1.1 200 OK\r\n"); };
  Borrower first(pool());
  ask(first);
  EXPECT_EQ(first.body, "ok");
  EXPECT_EQ(pool().connections(), 0U);
  EXPECT_EQ(metrics.upstream_idle.read(), 0U);
}

// Those that are still in the kernel, since the read before ended with the answer.
TEST_F(UpstreamPoolTest, DoesNotKeepAConnectionWithBytesLeftUnread) {
  origin.on_bytes = [](LoopOrigin::Connection& c) { c.send(std::string(kOk) + "HTTP/1.1 200 OK\r\n"); };
  Borrower first(pool());
  first.read_limit = kOk.size();
  ask(first);
  EXPECT_EQ(first.body, "ok");
  EXPECT_EQ(pool().connections(), 0U);
  EXPECT_EQ(metrics.upstream_idle.read(), 0U);
}

// The end came in the same moment, and is not told again.
TEST_F(UpstreamPoolTest, DoesNotKeepAConnectionThatEndsWithItsAnswer) {
  origin.on_bytes = [](LoopOrigin::Connection& c) {
    c.send(kOk);
    c.stream->shutdown_write();
  };
  Borrower first(pool());
  first.read_limit = kOk.size();
  std::size_t kept = 1;
  first.on_event = [&] {
    first.stream.release();
    first.done = true;
    kept = pool().connections();
  };
  ask(first);
  EXPECT_EQ(first.body, "ok");
  EXPECT_EQ(kept, 0U);
}

TEST_F(UpstreamPoolTest, KeepsAConnectionWhoseAnswerFilledTheRead) {
  Borrower first(pool());
  first.read_limit = kOk.size();
  ask(first);
  EXPECT_EQ(first.body, "ok");
  EXPECT_EQ(pool().connections(), 1U);
}

// Connections to other endpoints than the one whose turn it is are passed over, the newest of its own comes first.
TEST_F(UpstreamPoolTest, LendsTheNewestConnectionOfTheEndpointWhoseTurnItIs) {
  LoopOrigin other(loop);
  other.on_bytes = origin.on_bytes;
  publish({origin.listener.address(), other.listener.address()});
  std::vector<std::unique_ptr<Borrower>> all;
  int rounds = 0;
  run_until([&] {
    if (!std::all_of(all.begin(), all.end(), [](const auto& one) { return one->done; })) return false;
    all.clear();
    if (rounds == 40) return true;
    // Four at once need four connections, two per endpoint; after that each finds one.
    for (int i = 0; i < 4; ++i) {
      all.push_back(std::make_unique<Borrower>(pool()));
      EXPECT_TRUE(all.back()->get());
      EXPECT_EQ(all.back()->reused, rounds > 0);
    }
    ++rounds;
    return false;
  });
  EXPECT_EQ(origin.connections.size(), 2U);
  EXPECT_EQ(other.connections.size(), 2U);
  EXPECT_EQ(metrics.upstream_idle.read(), 4U);
  EXPECT_EQ(metrics.upstream_reuses.read(), 39U * 4U);
}

// HTTP/2: how many requests it takes it never says.
TEST_F(UpstreamPoolTest, WhoWaitsForTheSettingsOfAMuteUpstreamGetsAConnectionOfItsOwn) {
  spec.transport.version = HttpVersion::http2;
  spec.connect_timeout = 50ms;
  origin.on_bytes = nullptr;
  Borrower first(pool());
  Borrower second(pool());
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(second.get());
  run_until([&] { return second.stream.ready() || second.failed; });
  EXPECT_TRUE(second.stream.ready());
  EXPECT_TRUE(first.stream.ready()) << "it has its answer to wait for";
  EXPECT_EQ(origin.connections.size(), 2U);
  first.stream.release();
  EXPECT_EQ(pool().connections(), 1U) << "nobody else is sent there";
}

TEST_F(UpstreamPoolTest, DropsAnIdleConnectionThatSpeaksOrCloses) {
  Borrower first(pool());
  ask(
      first,
      [&] {
        EXPECT_EQ(pool().connections(), 1U);
        origin.connections[0]->send("HTTP/1.1 408 Request Timeout\r\n\r\n");
      },
      [&] { return pool().connections() == 0; });
  EXPECT_EQ(metrics.upstream_idle.read(), 0U);
}

TEST_F(UpstreamPoolTest, LeavesEndpointsThatAreGone) {
  LoopOrigin other(loop);
  other.on_bytes = origin.on_bytes;
  Borrower idle(pool());
  Borrower busy(pool());
  Borrower next(pool());
  ASSERT_TRUE(idle.get());
  int step = 0;
  run_until([&] {
    if (step == 0 && idle.done) {
      step = 1;
      origin.on_bytes = nullptr;  // the next answer waits
      EXPECT_TRUE(busy.get());
      EXPECT_TRUE(busy.reused);
    } else if (step == 1 && !origin.connections[0]->got.empty()) {
      step = 2;
      publish({other.listener.address()});
      EXPECT_TRUE(next.get());
      EXPECT_FALSE(next.reused);
      origin.connections[0]->send(kOk);
    }
    return busy.done && next.done;
  });
  EXPECT_EQ(other.connections.size(), 1U);
  EXPECT_EQ(pool().connections(), 1U) << "the one to the endpoint that is gone was not kept";
  EXPECT_EQ(metrics.upstream_idle.read(), 1U);
}

TEST_F(UpstreamPoolTest, WornConnectionsAreNotKept) {
  spec.keepalive.max_requests = 1;
  Borrower first(pool());
  ask(first);
  EXPECT_EQ(pool().connections(), 0U);
}

TEST_F(UpstreamPoolTest, IdleConnectionsEndInTime) {
  spec.keepalive.idle = 20ms;
  Borrower first(pool());
  ASSERT_TRUE(first.get());
  run_until([&] { return first.done && pool().connections() == 0; });
  EXPECT_EQ(metrics.upstream_idle.read(), 0U);
}

TEST_F(UpstreamPoolTest, TellsAReusedConnectionThatWasTooOld) {
  Borrower first(pool());
  Borrower second(pool());
  ask(
      first,
      [&] {
        // The origin goes away in the moment when the next request is sent.
        origin.on_bytes = nullptr;
        EXPECT_TRUE(second.get());
        origin.connections[0]->stream.reset();
      },
      [&] { return second.failed; });
  EXPECT_TRUE(second.failure.reused);
  EXPECT_FALSE(second.failure.answered);
}

TEST_F(UpstreamPoolTest, SilenceAfterTheRequestIsATimeout) {
  context.response_timeout = 30ms;
  origin.on_bytes = nullptr;
  Borrower borrower(pool());
  ask(borrower);
  EXPECT_EQ(borrower.failure.kind, UpstreamFailure::Kind::timeout);
}

// An upstream that reads nothing of a large request must not hold it for ever.
TEST_F(UpstreamPoolTest, AnUpstreamThatTakesNothingOfTheRequestIsATimeout) {
  context.response_timeout = 30ms;
  origin.read_at_all = false;
  Borrower borrower(pool());
  constexpr std::size_t kSize = 32 * 1024 * 1024;
  borrower.early.assign(kSize, 'b');
  ask(borrower, core::Framing::length, kSize + 1);
  EXPECT_EQ(borrower.failure.kind, UpstreamFailure::Kind::timeout);
  EXPECT_EQ(borrower.writable, 0);
}

// The client is slow with its body: that is no fault of the upstream.
TEST_F(UpstreamPoolTest, AWaitingUpstreamIsNotTimedOut) {
  context.response_timeout = 10ms;
  origin.on_bytes = nullptr;
  Borrower borrower(pool());
  ASSERT_TRUE(borrower.get(false, core::Framing::length, 10));
  const std::uint64_t until = loop.now() + 100;
  run_until([&] { return loop.now() > until; });
  EXPECT_FALSE(borrower.failed);
  borrower.stream.release();
}

TEST_F(UpstreamPoolTest, AnAnswerIsReadAfterTheUpstreamStoppedReading) {
  origin.on_bytes = [](LoopOrigin::Connection& c) {
    c.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    c.stream->shutdown_write();
    c.reading = false;
  };
  Borrower borrower(pool());
  borrower.early = "start";
  ask(borrower, core::Framing::length, 1000);
  EXPECT_EQ(borrower.status, 413);
  EXPECT_EQ(pool().connections(), 0U);
}

TEST_F(UpstreamPoolTest, APausedAnswerWaitsInTheKernel) {
  const std::string big(8 * 1024 * 1024, 'x');
  std::size_t offset = 0;
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(big.size()) + "\r\n\r\n";
  Borrower borrower(pool());
  LoopOrigin::Connection* at = nullptr;
  origin.on_bytes = [&](LoopOrigin::Connection& c) {
    at = &c;
    c.send(head);
  };
  borrower.on_event = [&] {
    if (borrower.stream.ready() && !borrower.end) borrower.stream.pause();
  };
  ASSERT_TRUE(borrower.get());
  std::size_t seen = 0;
  int resumes = 0;
  run_until([&] {
    if (at != nullptr && offset < big.size()) {
      const iovec piece{const_cast<char*>(big.data()) + offset, big.size() - offset};
      const auto result = at->stream->write({&piece, 1});
      offset += result.bytes;
    }
    if (borrower.stream.ready()) {
      EXPECT_LE(borrower.body.size(), seen + buffer.size()) << "more than one read while paused";
      seen = borrower.body.size();
      ++resumes;
      borrower.stream.resume();
    }
    return borrower.done;
  });
  EXPECT_TRUE(borrower.body == big);
  EXPECT_GT(resumes, 64);
}

TEST_F(UpstreamPoolTest, AnAnswerUntilCloseIsWhole) {
  origin.on_bytes = [](LoopOrigin::Connection& c) {
    c.send("HTTP/1.1 200 OK\r\n\r\nall of it");
    c.stream->shutdown_write();
  };
  Borrower borrower(pool());
  ask(borrower);
  EXPECT_EQ(borrower.body, "all of it");
  EXPECT_EQ(pool().connections(), 0U);
}

TEST_F(UpstreamPoolTest, ACutAnswerFails) {
  origin.on_bytes = [](LoopOrigin::Connection& c) {
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    c.stream->shutdown_write();
  };
  Borrower borrower(pool());
  ask(borrower);
  EXPECT_EQ(borrower.failure.kind, UpstreamFailure::Kind::closed);
  EXPECT_TRUE(borrower.failure.answered);
}

TEST_F(UpstreamPoolTest, AnUpgradeHandsTheStreamOverAndKeepsThePlace) {
  spec.max_connections = 1;
  origin.on_bytes = [](LoopOrigin::Connection& c) {
    c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nfirst");
  };
  Borrower borrower(pool());
  std::optional<UpstreamStream::Upgraded> taken;
  borrower.on_event = [&] { taken.emplace(borrower.stream.take_stream()); };
  ASSERT_TRUE(borrower.get());
  run_until([&] { return taken.has_value(); });
  EXPECT_EQ(borrower.status, 101);
  EXPECT_EQ(taken->received, "first");
  ASSERT_NE(taken->stream, nullptr);
  EXPECT_EQ(places(), 1U);
  EXPECT_FALSE(pool().unused());
  taken.reset();
  EXPECT_EQ(places(), 0U);
  EXPECT_EQ(pool().connections(), 0U);
}

}  // namespace
}  // namespace edgemux::routing
