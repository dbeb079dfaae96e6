#pragma once
// What tests of UpstreamPool share: an origin on loopback that does what the test says, on the same thread, somebody
// who asks for a connection as an exchange would, and a pool to ask.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/io/listening_socket.h"
#include "routing/upstream/pool.h"
#include "tests/support/loop_driver.h"

namespace edgemux::routing {

using namespace std::chrono_literals;

// Accepts on the loop; `on_bytes` gets what came on a connection and answers by itself.
class LoopOrigin final {
 public:
  explicit LoopOrigin(core::EventLoop& loop)
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
    LoopOrigin* origin = nullptr;
    std::unique_ptr<core::TcpStream> stream;
    std::string got;
    bool ended = false;
    bool reading = true;
  };

  edgemux::test::LoopbackListener listener;
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

inline constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

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
  [[nodiscard]] std::size_t upstream_read_limit() const override { return read_limit; }
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
  std::size_t read_limit = SIZE_MAX;
  int status = 0;
  int writable = 0;
  bool reused = false;
  bool end = false;
  bool done = false;
  bool failed = false;
};

struct PoolFixture : ::testing::Test {
  core::EventLoop loop;
  core::BlockPool blocks;
  core::HttpScratch http;
  core::WorkerMetrics metrics;
  std::string buffer = std::string(64 * 1024, 0);
  UpstreamContext context{loop, blocks, http, metrics, buffer, 0};
  LoopOrigin origin{loop};
  Upstream spec;

  PoolFixture() {
    spec.name = "test";
    spec.state = std::make_shared<UpstreamState>();
    publish({origin.listener.address()});
    origin.on_bytes = [](LoopOrigin::Connection& c) {
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
  // Made at its first use: a test says before what the upstream is like.
  UpstreamPool& pool() {
    if (pool_ == nullptr) pool_ = std::make_unique<UpstreamPool>(context, upstream());
    return *pool_;
  }
  void run_until(std::function<bool()> condition) { edgemux::test::LoopDriver(loop).run_until(std::move(condition)); }
  // A request from its beginning to its end. The loop runs once in a test.
  void ask(Borrower& borrower, core::Framing framing = core::Framing::none, std::uint64_t length = 0) {
    ASSERT_TRUE(borrower.get(false, framing, length));
    run_until([&] { return borrower.done || borrower.failed; });
  }
  // The same; once it is over, `then`, until `condition` holds.
  void ask(Borrower& borrower, const std::function<void()>& then, const std::function<bool()>& condition) {
    ASSERT_TRUE(borrower.get());
    bool over = false;
    run_until([&] {
      if (borrower.done && !std::exchange(over, true)) then();
      return over && condition();
    });
  }

 private:
  std::unique_ptr<UpstreamPool> pool_;
};

}  // namespace edgemux::routing
