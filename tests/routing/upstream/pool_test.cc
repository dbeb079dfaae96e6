// UpstreamPool and UpstreamConnection against origins on loopback that do what the test says, on the same thread.
#include "routing/upstream/pool.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/io/listening_socket.h"
#include "tests/support/loop_driver.h"

namespace edgemux::routing {
namespace {

using namespace std::chrono_literals;

// Accepts on the loop; `on_bytes` gets what came on a connection and answers by itself.
class Origin final {
 public:
  explicit Origin(core::EventLoop& loop)
      : loop_(loop), acceptor_(loop, listener.fd(), [this](int fd, const core::SocketAddress&) { accept(fd); }) {
    fcntl(listener.fd(), F_SETFL, O_NONBLOCK);
  }

  struct Connection final : core::StreamObserver {
    void on_ready(core::Stream& ready) override {
      std::string buffer(64 * 1024, 0);
      while (reading && ready.readable()) {
        const auto result = ready.read(buffer);
        if (result.status == core::IoStatus::eof || result.status == core::IoStatus::error) {
          ended = true;
          return;
        }
        if (result.status != core::IoStatus::ok) return;
        got.append(buffer.data(), result.bytes);
        if (origin->on_bytes) origin->on_bytes(*this);
      }
    }
    void send(std::string_view bytes) {
      const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
      EXPECT_EQ(stream->write({&piece, 1}).bytes, bytes.size());
    }
    Origin* origin = nullptr;
    std::unique_ptr<core::TcpStream> stream;
    std::string got;
    bool ended = false;
    bool reading = true;
  };

  edgemux::testing::LoopbackListener listener;
  std::vector<std::unique_ptr<Connection>> connections;
  std::function<void(Connection&)> on_bytes;
  bool read_at_all = true;

 private:
  void accept(int fd) {
    auto connection = std::make_unique<Connection>();
    connection->origin = this;
    connection->reading = read_at_all;
    connection->stream = std::move(*core::TcpStream::adopt(loop_, fd));
    connection->stream->set_observer(connection.get());
    connections.push_back(std::move(connection));
  }
  core::EventLoop& loop_;
  core::Acceptor acceptor_;
};

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// One request, as an exchange would make it.
struct Borrower final : UpstreamStream::Observer {
  explicit Borrower(UpstreamPool& from) : pool(from) {}
  // False: the upstream has no place left.
  bool get(bool fresh = false, core::Framing framing = core::Framing::none, std::uint64_t length = 0) {
    request.kind = core::Method::get;
    request.method = "GET";
    request.path = "/";
    request.authority = "h";
    request.framing = framing;
    request.content_length = length;
    const auto acquired = pool.acquire(stream, {nullptr, fresh});
    if (acquired == UpstreamPool::Acquired::ready) on_upstream_ready();
    return acquired != UpstreamPool::Acquired::limit;
  }
  void on_upstream_ready() override {
    reused = stream.reused();
    const bool whole = request.framing == core::Framing::none;
    stream.send_request(request, whole);
    if (whole) stream.expect_answer();
    if (!early.empty()) stream.send_body(early);
    stream.flush();
  }
  void on_upstream_response(core::ResponseHead& head, bool last) override {
    status = head.status;
    end = end || last;
  }
  void on_upstream_body(std::span<const char> data, bool last) override {
    body.append(data.data(), data.size());
    end = end || last;
  }
  void on_upstream_trailers(core::FieldList&) override { end = true; }
  void on_upstream_event_end() override {
    if (on_event) on_event();
    if (end && !stream.idle()) {
      done = true;
      stream.release();
    }
  }
  void on_upstream_writable() override { ++writable; }
  void on_upstream_failed(const UpstreamFailure& why) override {
    failure = why;
    failed = true;
    EXPECT_TRUE(stream.idle());
  }
  UpstreamPool& pool;
  UpstreamStream stream{*this};
  core::OutgoingRequest request;
  std::function<void()> on_event;
  UpstreamFailure failure;
  std::string early;  // body that goes with the head
  std::string body;
  int status = 0;
  int writable = 0;
  bool reused = false;
  bool end = false;
  bool done = false;
  bool failed = false;
};

struct Fixture : ::testing::Test {
  core::EventLoop loop;
  core::BlockPool blocks;
  core::HttpScratch http;
  core::WorkerMetrics metrics;
  std::string buffer = std::string(64 * 1024, 0);
  UpstreamContext context{loop, blocks, http, metrics, buffer, 0};
  Origin origin{loop};
  Upstream spec;

  Fixture() {
    spec.name = "test";
    spec.state = std::make_shared<UpstreamState>();
    publish({origin.listener.address()});
    origin.on_bytes = [](Origin::Connection& c) {
      if (c.got.find("\r\n\r\n") == std::string::npos) return;
      c.got.clear();
      c.send(kOk);
    };
  }
  void publish(const std::vector<core::SocketAddress>& addresses) const {
    auto set = std::make_shared<EndpointSet>();
    for (const auto& address : addresses) set->endpoints.push_back({address, address.to_string()});
    spec.state->publish(std::move(set));
  }
  [[nodiscard]] UpstreamPtr upstream() const { return std::make_shared<const Upstream>(spec); }
  [[nodiscard]] std::uint32_t places() const { return spec.state->runtime().connections.load(); }
  void run_until(std::function<bool()> condition) {
    edgemux::testing::LoopDriver(loop).run_until(std::move(condition));
  }
};
using UpstreamPoolTest = Fixture;

TEST_F(UpstreamPoolTest, LendsTheConnectionAgain) {
  UpstreamPool pool(context, upstream());
  Borrower first(pool);
  Borrower second(pool);
  ASSERT_TRUE(first.get());
  bool asked = false;
  run_until([&] {
    if (first.done && !asked) {
      asked = true;
      EXPECT_EQ(metrics.upstream_idle.read(), 1U);
      EXPECT_TRUE(second.get());
      EXPECT_EQ(metrics.upstream_idle.read(), 0U);
    }
    return second.done;
  });
  EXPECT_EQ(first.body, "ok");
  EXPECT_FALSE(first.reused);
  EXPECT_TRUE(second.reused);
  EXPECT_EQ(origin.connections.size(), 1U);
  EXPECT_EQ(metrics.upstream_reuses.read(), 1U);
  pool.close_idle();
  EXPECT_EQ(metrics.upstream_idle.read(), 0U);
  EXPECT_EQ(pool.connections(), 0U);
}

TEST_F(UpstreamPoolTest, DoesNotKeepAConnectionWithBytesLeftOver) {
  origin.on_bytes = [](Origin::Connection& c) { c.send(std::string(kOk) + "HTTP/1.1 200 OK\r\n"); };
  UpstreamPool pool(context, upstream());
  Borrower first(pool);
  ASSERT_TRUE(first.get());
  run_until([&] { return first.done; });
  EXPECT_EQ(first.body, "ok");
  EXPECT_EQ(pool.connections(), 0U);
  EXPECT_EQ(metrics.upstream_idle.read(), 0U);
}

TEST_F(UpstreamPoolTest, DropsAnIdleConnectionThatSpeaksOrCloses) {
  UpstreamPool pool(context, upstream());
  Borrower first(pool);
  ASSERT_TRUE(first.get());
  bool spoken = false;
  run_until([&] {
    if (first.done && !spoken) {
      spoken = true;
      EXPECT_EQ(pool.connections(), 1U);
      origin.connections[0]->send("HTTP/1.1 408 Request Timeout\r\n\r\n");
    }
    return spoken && pool.connections() == 0;
  });
  EXPECT_EQ(metrics.upstream_idle.read(), 0U);
}

TEST_F(UpstreamPoolTest, HoldsItsLimitAndGivesEveryPlaceBack) {
  spec.max_connections = 2;
  origin.on_bytes = nullptr;  // no answers
  UpstreamPool pool(context, upstream());
  Borrower a(pool);
  Borrower b(pool);
  Borrower c(pool);
  EXPECT_TRUE(a.get());
  EXPECT_TRUE(b.get());
  EXPECT_FALSE(c.get());
  EXPECT_EQ(places(), 2U);
  EXPECT_FALSE(pool.take_place());
  a.stream.release();  // given up while it connects
  EXPECT_EQ(places(), 1U);
  EXPECT_TRUE(pool.take_place());
  EXPECT_FALSE(c.get());
  pool.give_place();
  b.stream.release();
  EXPECT_EQ(places(), 0U);
  int turns = 0;
  run_until([&] { return ++turns > 10; });
  EXPECT_FALSE(a.failed || b.failed || a.status != 0);
}

// Idle connections of this worker must not keep its own requests or tunnels out.
TEST_F(UpstreamPoolTest, AnIdleConnectionMakesRoom) {
  spec.max_connections = 2;
  UpstreamPool pool(context, upstream());
  Borrower first(pool);
  ASSERT_TRUE(first.get());
  bool tested = false;
  run_until([&] {
    if (!first.done) return false;
    if (!tested) {
      tested = true;
      EXPECT_EQ(places(), 1U);
      EXPECT_TRUE(pool.take_place());
      EXPECT_TRUE(pool.take_place()) << "in the place of the idle one";
      EXPECT_FALSE(pool.take_place());
      EXPECT_EQ(pool.connections(), 0U);
      pool.give_place();
      pool.give_place();
    }
    return true;
  });
  EXPECT_EQ(places(), 0U);
}

// Two workers share the limit: what one holds idle at the limit would keep the other out for as long as it idles.
TEST_F(UpstreamPoolTest, AtTheLimitWhatIdlesShutsNobodyOut) {
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
TEST_F(UpstreamPoolTest, IsInUseWhileATunnelHoldsAPlace) {
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

TEST_F(UpstreamPoolTest, LeavesEndpointsThatAreGone) {
  Origin other(loop);
  other.on_bytes = origin.on_bytes;
  UpstreamPool pool(context, upstream());
  Borrower idle(pool);
  Borrower busy(pool);
  Borrower next(pool);
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
  EXPECT_EQ(pool.connections(), 1U) << "the one to the endpoint that is gone was not kept";
  EXPECT_EQ(metrics.upstream_idle.read(), 1U);
}

TEST_F(UpstreamPoolTest, WornConnectionsAreNotKept) {
  spec.keepalive.max_requests = 1;
  UpstreamPool pool(context, upstream());
  Borrower first(pool);
  ASSERT_TRUE(first.get());
  run_until([&] { return first.done; });
  EXPECT_EQ(pool.connections(), 0U);
}

TEST_F(UpstreamPoolTest, IdleConnectionsEndInTime) {
  spec.keepalive.idle = 20ms;
  UpstreamPool pool(context, upstream());
  Borrower first(pool);
  ASSERT_TRUE(first.get());
  run_until([&] { return first.done && pool.connections() == 0; });
  EXPECT_EQ(metrics.upstream_idle.read(), 0U);
}

TEST_F(UpstreamPoolTest, TellsAReusedConnectionThatWasTooOld) {
  UpstreamPool pool(context, upstream());
  Borrower first(pool);
  Borrower second(pool);
  ASSERT_TRUE(first.get());
  bool asked = false;
  run_until([&] {
    if (first.done && !asked) {
      asked = true;
      // The origin goes away in the moment when the next request is sent.
      origin.on_bytes = nullptr;
      EXPECT_TRUE(second.get());
      origin.connections[0]->stream.reset();
    }
    return second.failed;
  });
  EXPECT_TRUE(second.failure.reused);
  EXPECT_FALSE(second.failure.answered);
}

TEST_F(UpstreamPoolTest, SilenceAfterTheRequestIsATimeout) {
  context.response_timeout = 30ms;
  origin.on_bytes = nullptr;
  UpstreamPool pool(context, upstream());
  Borrower borrower(pool);
  ASSERT_TRUE(borrower.get());
  run_until([&] { return borrower.failed; });
  EXPECT_EQ(borrower.failure.kind, UpstreamFailure::Kind::timeout);
}

// An upstream that reads nothing of a large request must not hold it for ever.
TEST_F(UpstreamPoolTest, AnUpstreamThatTakesNothingOfTheRequestIsATimeout) {
  context.response_timeout = 30ms;
  origin.read_at_all = false;
  UpstreamPool pool(context, upstream());
  Borrower borrower(pool);
  constexpr std::size_t kSize = 32 * 1024 * 1024;
  borrower.early.assign(kSize, 'b');
  ASSERT_TRUE(borrower.get(false, core::Framing::length, kSize + 1));
  run_until([&] { return borrower.failed; });
  EXPECT_EQ(borrower.failure.kind, UpstreamFailure::Kind::timeout);
  EXPECT_EQ(borrower.writable, 0);
}

// The client is slow with its body: that is no fault of the upstream.
TEST_F(UpstreamPoolTest, AWaitingUpstreamIsNotTimedOut) {
  context.response_timeout = 10ms;
  origin.on_bytes = nullptr;
  UpstreamPool pool(context, upstream());
  Borrower borrower(pool);
  ASSERT_TRUE(borrower.get(false, core::Framing::length, 10));
  const std::uint64_t until = loop.now() + 100;
  run_until([&] { return loop.now() > until; });
  EXPECT_FALSE(borrower.failed);
  borrower.stream.release();
}

TEST_F(UpstreamPoolTest, AnAnswerIsReadAfterTheUpstreamStoppedReading) {
  origin.on_bytes = [](Origin::Connection& c) {
    c.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    c.stream->shutdown_write();
    c.reading = false;
  };
  UpstreamPool pool(context, upstream());
  Borrower borrower(pool);
  borrower.early = "start";
  ASSERT_TRUE(borrower.get(false, core::Framing::length, 1000));
  run_until([&] { return borrower.done; });
  EXPECT_EQ(borrower.status, 413);
  EXPECT_EQ(pool.connections(), 0U);
}

TEST_F(UpstreamPoolTest, APausedAnswerWaitsInTheKernel) {
  const std::string big(8 * 1024 * 1024, 'x');
  std::size_t offset = 0;
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(big.size()) + "\r\n\r\n";
  UpstreamPool pool(context, upstream());
  Borrower borrower(pool);
  Origin::Connection* at = nullptr;
  origin.on_bytes = [&](Origin::Connection& c) {
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
  origin.on_bytes = [](Origin::Connection& c) {
    c.send("HTTP/1.1 200 OK\r\n\r\nall of it");
    c.stream->shutdown_write();
  };
  UpstreamPool pool(context, upstream());
  Borrower borrower(pool);
  ASSERT_TRUE(borrower.get());
  run_until([&] { return borrower.done; });
  EXPECT_EQ(borrower.body, "all of it");
  EXPECT_EQ(pool.connections(), 0U);
}

TEST_F(UpstreamPoolTest, ACutAnswerFails) {
  origin.on_bytes = [](Origin::Connection& c) {
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    c.stream->shutdown_write();
  };
  UpstreamPool pool(context, upstream());
  Borrower borrower(pool);
  ASSERT_TRUE(borrower.get());
  run_until([&] { return borrower.failed; });
  EXPECT_EQ(borrower.failure.kind, UpstreamFailure::Kind::closed);
  EXPECT_TRUE(borrower.failure.answered);
}

TEST_F(UpstreamPoolTest, AnUpgradeHandsTheStreamOverAndKeepsThePlace) {
  spec.max_connections = 1;
  origin.on_bytes = [](Origin::Connection& c) {
    c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nfirst");
  };
  UpstreamPool pool(context, upstream());
  Borrower borrower(pool);
  std::optional<UpstreamStream::Upgraded> taken;
  borrower.on_event = [&] { taken.emplace(borrower.stream.take_stream()); };
  ASSERT_TRUE(borrower.get());
  run_until([&] { return taken.has_value(); });
  EXPECT_EQ(borrower.status, 101);
  EXPECT_EQ(taken->received, "first");
  ASSERT_NE(taken->stream, nullptr);
  EXPECT_EQ(places(), 1U);
  EXPECT_FALSE(pool.unused());
  taken.reset();
  EXPECT_EQ(places(), 0U);
  EXPECT_EQ(pool.connections(), 0U);
}

// ---- waiting for a place ----

TEST_F(UpstreamPoolTest, WhoWaitsGetsTheConnectionInTurn) {
  spec.max_connections = 1;
  spec.max_pending = 2;
  UpstreamPool pool(context, upstream());
  Borrower a(pool);
  Borrower b(pool);
  Borrower c(pool);
  Borrower d(pool);
  EXPECT_TRUE(a.get());
  EXPECT_TRUE(b.get());
  EXPECT_TRUE(c.get());
  EXPECT_EQ(spec.state->runtime().pending, 2U);
  EXPECT_FALSE(d.get());
  EXPECT_STREQ(pool.limit_reason(), "limits.pending is reached");
  run_until([&] {
    EXPECT_FALSE(c.done && !b.done) << "in order";
    return a.done && b.done && c.done;
  });
  EXPECT_EQ(spec.state->runtime().pending, 0U);
  EXPECT_EQ(origin.connections.size(), 1U);
  EXPECT_EQ(places(), 1U);
}

TEST_F(UpstreamPoolTest, WhoWaitsTooLongFailsAndWhoGivesUpLeavesTheQueue) {
  spec.max_connections = 1;
  spec.max_pending = 5;
  spec.pending_timeout = 50ms;
  origin.on_bytes = nullptr;
  UpstreamPool pool(context, upstream());
  Borrower a(pool);
  Borrower b(pool);
  Borrower c(pool);
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
TEST_F(UpstreamPoolTest, AnotherPoolsIdleConnectionMakesRoom) {
  spec.max_connections = 1;
  UpstreamPool one(context, upstream());
  UpstreamPool two(context, upstream());
  Borrower a(one);
  Borrower b(two);
  ASSERT_TRUE(a.get());
  bool asked = false;
  run_until([&] {
    if (a.done && !asked) {
      asked = true;
      EXPECT_EQ(one.connections(), 1U);
      EXPECT_TRUE(b.get()) << "although nothing may wait";
    }
    return b.done;
  });
  EXPECT_EQ(one.connections(), 0U);
  EXPECT_EQ(two.connections(), 1U);
  EXPECT_EQ(places(), 1U);
}

TEST_F(UpstreamPoolTest, APlaceThatAnotherPoolGivesUpGoesToWhoWaits) {
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

TEST_F(UpstreamPoolTest, HoldsTheLimitOfRequests) {
  spec.max_requests = 1;
  UpstreamPool pool(context, upstream());
  Borrower a(pool);
  Borrower b(pool);
  EXPECT_TRUE(a.get());
  EXPECT_FALSE(b.get());
  EXPECT_STREQ(pool.limit_reason(), "limits.requests is reached");
  a.stream.release();
  EXPECT_EQ(spec.state->runtime().requests, 0U);
  EXPECT_TRUE(b.get());
  run_until([&] { return b.done; });
  EXPECT_EQ(spec.state->runtime().requests, 0U);
}

}  // namespace
}  // namespace edgemux::routing
