#include "core/io/relay.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <array>
#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/loop_driver.h"
#include "tests/support/memory_stream.h"

namespace edgemux::core {
namespace {

struct Scratch {
  BlockPool blocks;
  PipePool pipes;
  std::string memory = std::string(64 * 1024, 0);
  RelayScratch scratch{blocks, pipes, memory};
};

std::string pattern(std::size_t size, unsigned seed) {
  std::string out(size, 0);
  std::mt19937 random(seed);
  for (auto& c : out) c = static_cast<char>(random());
  return out;
}

// FNV-1a: two long streams are compared without keeping them.
struct Hash {
  std::uint64_t value = 14695981039346656037U;
  std::uint64_t bytes = 0;
  void add(const char* data, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) value = (value ^ static_cast<unsigned char>(data[i])) * 1099511628211U;
    bytes += size;
  }
};

void put(Stream& stream, std::string_view bytes) {
  const iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  const IoResult result = stream.write({&piece, 1});
  ASSERT_EQ(result.bytes, bytes.size());
}

// ---- in memory: client <-> (client_link.b, upstream_link.a) <-> upstream

TEST(Relay, MovesBytesAndTheEnd) {
  Scratch s;
  test::MemoryLink from;
  test::MemoryLink to;
  Relay relay(s.scratch);
  bool again = false;
  relay.prepend("hello, ");
  put(*from.a, "world");
  EXPECT_EQ(relay.pump(*from.b, *to.a, again), Relay::State::open);
  EXPECT_EQ(to.b_end->arrived, "hello, world");
  EXPECT_FALSE(to.b_end->fin);
  from.a->shutdown_write();
  EXPECT_EQ(relay.pump(*from.b, *to.a, again), Relay::State::done);
  EXPECT_TRUE(to.b_end->fin);
  EXPECT_EQ(relay.bytes(), 12U);
  EXPECT_EQ(relay.pump(*from.b, *to.a, again), Relay::State::done) << "and stays so";
  EXPECT_FALSE(again);
}

TEST(Relay, FlushesEverythingBeforeItPassesTheEndOn) {
  Scratch s;
  test::MemoryLink from;
  test::MemoryLink to;
  to.b_end->capacity = 10;
  Relay relay(s.scratch);
  bool again = false;
  const std::string bytes = pattern(1000, 1);
  put(*from.a, bytes);
  from.a->shutdown_write();
  std::string got;
  for (int i = 0; i < 1000 && relay.state() == Relay::State::open; ++i) {
    relay.pump(*from.b, *to.a, again);
    EXPECT_TRUE(to.b_end->arrived.size() <= 10);
    EXPECT_TRUE(!to.b_end->fin || got.size() + to.b_end->arrived.size() == bytes.size()) << "FIN before the last byte";
    got += to.b_end->arrived;
    to.b_end->arrived.clear();
  }
  EXPECT_EQ(relay.state(), Relay::State::done);
  EXPECT_TRUE(got == bytes);
}

TEST(Relay, ReadsNothingWhileTheSinkIsFull) {
  Scratch s;
  test::MemoryLink from;
  test::MemoryLink to;
  to.b_end->capacity = 1;
  Relay relay(s.scratch);
  bool again = false;
  put(*from.a, pattern(200'000, 2));
  relay.pump(*from.b, *to.a, again);
  const std::size_t left = from.b_end->arrived.size();
  EXPECT_EQ(left, 200'000 - s.memory.size());
  for (int i = 0; i < 10; ++i) relay.pump(*from.b, *to.a, again);
  EXPECT_EQ(from.b_end->arrived.size(), left);
  EXPECT_FALSE(again) << "it waits for on_ready";
}

TEST(Relay, StopsAtItsBudgetAndSaysSo) {
  Scratch s;
  test::MemoryLink from;
  test::MemoryLink to;
  Relay relay(s.scratch);
  put(*from.a, pattern(500'000, 3));
  bool again = false;
  relay.pump(*from.b, *to.a, again, 100'000);
  EXPECT_TRUE(again);
  EXPECT_LT(relay.bytes(), 200'000U);
  for (int i = 0; i < 10 && again; ++i) {
    again = false;
    relay.pump(*from.b, *to.a, again, 100'000);
  }
  EXPECT_FALSE(again);
  EXPECT_EQ(relay.bytes(), 500'000U);
}

TEST(Relay, TellsWhichSideIsLost) {
  Scratch s;
  {
    test::MemoryLink from;
    test::MemoryLink to;
    Relay relay(s.scratch);
    bool again = false;
    from.a->abort();
    EXPECT_EQ(relay.pump(*from.b, *to.a, again), Relay::State::source_lost);
    EXPECT_EQ(relay.error(), ECONNRESET);
    EXPECT_FALSE(to.b_end->fin) << "what is broken off must not look whole";
    EXPECT_EQ(relay.pump(*from.b, *to.a, again), Relay::State::source_lost);
  }
  {
    test::MemoryLink from;
    test::MemoryLink to;
    Relay relay(s.scratch);
    bool again = false;
    put(*from.a, "bytes");
    to.b.reset();
    EXPECT_EQ(relay.pump(*from.b, *to.a, again), Relay::State::sink_lost);
  }
}

TEST(Relay, TakesOverWhatAnOutputHolds) {
  Scratch s;
  test::MemoryLink from;
  test::MemoryLink to;
  Output output(s.blocks);
  std::string borrowed = "borrowed";
  output.append("composed ");
  output.borrow(borrowed);
  Relay relay(s.scratch);
  relay.prepend(output);
  relay.prepend(" and more");
  borrowed.assign(8, '!');
  bool again = false;
  relay.pump(*from.b, *to.a, again);
  EXPECT_EQ(to.b_end->arrived, "composed borrowed and more");
  EXPECT_TRUE(output.empty());
}

// Both directions at once, streams that stutter and take odd amounts; nothing but on_ready drives it.
TEST(Relay, EveryByteArrivesOverStutteringStreams) {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    std::mt19937 random(seed);
    Scratch s;
    test::MemoryLink client;
    test::MemoryLink upstream;
    for (auto& end : {client.b_end, upstream.a_end}) {
      end->read_chunk = 1 + random() % 5000;
      end->write_chunk = 1 + random() % 5000;
      end->stutter = random() % 2 == 0;
    }
    client.a_end->capacity = 1 + random() % 10'000;
    upstream.b_end->capacity = 1 + random() % 10'000;
    struct Both final : StreamObserver {
      Both(Scratch& scratch, Stream& c, Stream& u)
          : client(c), upstream(u), up(scratch.scratch), down(scratch.scratch) {}
      void on_ready(Stream&) override {
        do {
          again = false;
          up.pump(client, upstream, again, 3000);
          down.pump(upstream, client, again, 3000);
        } while (again);
      }
      Stream& client;
      Stream& upstream;
      Relay up;
      Relay down;
      bool again = false;
    } both(s, *client.b, *upstream.a);
    client.b->set_observer(&both);
    upstream.a->set_observer(&both);
    const std::string request = pattern(50'000 + random() % 50'000, seed);
    const std::string answer = pattern(50'000 + random() % 50'000, seed + 1000);
    put(*client.a, request);
    client.a->shutdown_write();
    put(*upstream.b, answer);
    std::string at_upstream;
    std::string at_client;
    std::array<char, 4096> buffer;
    bool shut = false;
    for (int turn = 0; turn < 200'000 && both.down.state() == Relay::State::open; ++turn) {
      client.deliver();
      upstream.deliver();
      for (auto result = upstream.b->read(buffer); result.status == IoStatus::ok; result = upstream.b->read(buffer)) {
        at_upstream.append(buffer.data(), result.bytes);
      }
      for (auto result = client.a->read(buffer); result.status == IoStatus::ok; result = client.a->read(buffer)) {
        at_client.append(buffer.data(), result.bytes);
      }
      // The upstream ends only when it has seen the client's end: half-close travels.
      if (!shut && upstream.b_end->fin && upstream.b_end->arrived.empty()) {
        shut = true;
        upstream.b->shutdown_write();
      }
    }
    while (client.a_end->arrived.size() > 0) {
      const auto result = client.a->read(buffer);
      at_client.append(buffer.data(), result.bytes);
    }
    EXPECT_EQ(both.up.state(), Relay::State::done) << seed;
    EXPECT_EQ(both.down.state(), Relay::State::done) << seed;
    EXPECT_TRUE(at_upstream == request) << seed << ": " << at_upstream.size() << " of " << request.size();
    EXPECT_TRUE(at_client == answer) << seed << ": " << at_client.size() << " of " << answer.size();
  }
}

// ---- between TCP streams, with splice

struct TcpTunnel final : StreamObserver {
  TcpTunnel(EventLoop& l, Scratch& s, int client_fd, int upstream_fd)
      : loop(l),
        client(std::move(*TcpStream::adopt(loop, client_fd))),
        upstream(std::move(*TcpStream::adopt(loop, upstream_fd))),
        up(s.scratch),
        down(s.scratch),
        later(
            loop, [](void* self) { static_cast<TcpTunnel*>(self)->pump(); }, this) {
    client->set_observer(this);
    upstream->set_observer(this);
  }
  void on_ready(Stream&) override { pump(); }
  void pump() {
    bool again = false;
    up.pump(*client, *upstream, again, budget);
    down.pump(*upstream, *client, again, budget);
    if (again) later.request();
  }
  [[nodiscard]] bool done() const { return up.state() != Relay::State::open && down.state() != Relay::State::open; }

  EventLoop& loop;
  std::unique_ptr<TcpStream> client;
  std::unique_ptr<TcpStream> upstream;
  Relay up;
  Relay down;
  Deferred later;
  std::size_t budget = 512 * 1024;
};

Hash send_all(int fd, std::size_t total, unsigned seed) {
  Hash hash;
  const std::string block = pattern(256 * 1024 + 7, seed);
  for (std::size_t sent = 0; sent < total;) {
    const std::size_t n = std::min(block.size(), total - sent);
    for (std::size_t done = 0; done < n;) {
      const ssize_t now = send(fd, block.data() + done, n - done, MSG_NOSIGNAL);
      if (now <= 0) return hash;
      done += static_cast<std::size_t>(now);
    }
    hash.add(block.data(), n);
    sent += n;
  }
  shutdown(fd, SHUT_WR);
  return hash;
}

Hash receive_all(int fd, int& end) {
  Hash hash;
  std::string buffer(100'000, 0);
  ssize_t n = 0;
  while ((n = recv(fd, buffer.data(), buffer.size(), 0)) > 0) hash.add(buffer.data(), static_cast<std::size_t>(n));
  end = n == 0 ? 0 : errno;
  return hash;
}

void both_ways(std::size_t up_bytes, std::size_t down_bytes, int socket_buffer) {
  EventLoop loop;
  Scratch s;
  const auto client = test::tcp_pair(socket_buffer);
  const auto upstream = test::tcp_pair(socket_buffer);
  TcpTunnel tunnel(loop, s, client.far, upstream.far);
  Hash sent_up;
  Hash sent_down;
  Hash got_up;
  Hash got_down;
  int up_end = -1;
  int down_end = -1;
  std::thread a([&] { sent_up = send_all(client.near, up_bytes, 1); });
  std::thread b([&] { sent_down = send_all(upstream.near, down_bytes, 2); });
  std::thread c([&] { got_up = receive_all(upstream.near, up_end); });
  std::thread d([&] { got_down = receive_all(client.near, down_end); });
  test::LoopDriver(loop).run_until([&] { return tunnel.done(); });
  for (auto* thread : {&a, &b, &c, &d}) thread->join();
  EXPECT_EQ(tunnel.up.state(), Relay::State::done);
  EXPECT_EQ(tunnel.down.state(), Relay::State::done);
  EXPECT_EQ(got_up.bytes, up_bytes);
  EXPECT_EQ(got_down.bytes, down_bytes);
  EXPECT_EQ(got_up.value, sent_up.value);
  EXPECT_EQ(got_down.value, sent_down.value);
  EXPECT_EQ(up_end, 0);
  EXPECT_EQ(down_end, 0);
  EXPECT_EQ(tunnel.up.bytes(), up_bytes);
  EXPECT_EQ(tunnel.down.bytes(), down_bytes);
  close(client.near);
  close(upstream.near);
}

TEST(SpliceRelay, EqualHashesBothWays) { both_ways(24 * 1024 * 1024 + 3, 17 * 1024 * 1024 + 1, 0); }
TEST(SpliceRelay, EqualHashesOverSmallSocketBuffers) { both_ways(3 * 1024 * 1024 + 3, 2 * 1024 * 1024 + 1, 8 * 1024); }
TEST(SpliceRelay, AroundTheSizeOfOneRead) {
  for (const std::size_t size : {0U, 1U, 65535U, 65536U, 65537U, 5U * 65536U, 16U * 65536U}) both_ways(size, size, 0);
}

// Descriptors of the process, to see that no pipe is lost.
std::size_t open_descriptors() {
  std::size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) != -1 ? 1 : 0;
  return count;
}

// A sink that does not read fills socket and pipe; then it resets: the pipe with bytes in it is not used again.
// splice() gets no further than urgent data; its byte itself is nobody's.
TEST(SpliceRelay, GoesOnBehindUrgentData) {
  EventLoop loop;
  Scratch s;
  const auto client = test::tcp_pair();
  const auto upstream = test::tcp_pair();
  TcpTunnel tunnel(loop, s, client.far, upstream.far);
  constexpr std::size_t kPart = 4 * 1024 * 1024;
  std::atomic<std::size_t> got = 0;
  std::atomic<bool> over = false;
  std::thread sender([&] {
    const std::string part = pattern(kPart, 3);
    for (int i = 0; i < 3; ++i) {
      for (std::size_t done = 0; done < kPart;) {
        const ssize_t now = send(client.near, part.data() + done, kPart - done, MSG_NOSIGNAL);
        if (now <= 0) return;
        done += static_cast<std::size_t>(now);
      }
      // One that nobody has come to before the next is an ordinary byte then.
      while (i == 1 && got < 2 * kPart && !over) std::this_thread::yield();
      if (i < 2) send(client.near, "!", 1, MSG_OOB | MSG_NOSIGNAL);
    }
    shutdown(client.near, SHUT_WR);
  });
  ssize_t end = -1;
  std::thread receiver([&] {
    std::vector<char> buffer(64 * 1024);
    while ((end = read(upstream.near, buffer.data(), buffer.size())) > 0) got += static_cast<std::size_t>(end);
    over = true;
    shutdown(upstream.near, SHUT_WR);
  });
  test::LoopDriver(loop).run_until([&] { return tunnel.done(); });
  sender.join();
  receiver.join();
  EXPECT_EQ(got, 3 * kPart);
  EXPECT_EQ(end, 0);
  close(client.near);
  close(upstream.near);
}

TEST(SpliceRelay, PassesLastBytesAndTheEndOnTogether) {
  unsigned packets = 0;
  for (int attempt = 0; attempt < 5 && packets != 1; ++attempt) {
    Scratch s;
    EventLoop loop;
    const auto from = test::tcp_pair();
    const auto to = test::tcp_pair();
    auto source = std::move(*TcpStream::adopt(loop, from.far));
    auto sink = std::move(*TcpStream::adopt(loop, to.far));
    ASSERT_EQ(send(from.near, "answer", 6, 0), 6);
    shutdown(from.near, SHUT_WR);
    test::LoopDriver(loop).run_until([&] { return source->peer_closed(); });
    const unsigned before = test::packets_in(to.near);
    Relay relay(s.scratch);
    bool again = false;
    EXPECT_EQ(relay.pump(*source, *sink, again), Relay::State::done);
    std::array<char, 64> buffer;
    EXPECT_EQ(recv(to.near, buffer.data(), buffer.size(), 0), 6);
    EXPECT_EQ(recv(to.near, buffer.data(), buffer.size(), 0), 0);
    packets = test::packets_in(to.near) - before;
    close(from.near);
    close(to.near);
  }
  EXPECT_EQ(packets, 1U);
}

// The other direction is done; here come bytes and the end behind them.
TEST(SpliceRelay, LosesNoLastBytesWhenOnlyTheEndIsExpected) {
  Scratch s;
  EventLoop loop;
  const auto from = test::tcp_pair();
  const auto to = test::tcp_pair();
  auto source = std::move(*TcpStream::adopt(loop, from.far));
  auto sink = std::move(*TcpStream::adopt(loop, to.far));
  ASSERT_EQ(send(from.near, "one more", 8, 0), 8);
  shutdown(from.near, SHUT_WR);
  test::LoopDriver(loop).run_until([&] { return source->peer_closed(); });
  Relay relay(s.scratch);
  relay.close_follows();
  bool again = false;
  EXPECT_EQ(relay.pump(*source, *sink, again), Relay::State::done);
  sink.reset();
  std::array<char, 64> buffer;
  EXPECT_EQ(recv(to.near, buffer.data(), buffer.size(), 0), 8);
  EXPECT_EQ(recv(to.near, buffer.data(), buffer.size(), 0), 0);
  close(from.near);
  close(to.near);
}

TEST(SpliceRelay, LosesNoPipeWhenASinkIsLostWithBytesInIt) {
  const std::size_t before = open_descriptors();
  {
    EventLoop loop;
    Scratch s;
    const auto client = test::tcp_pair();
    const auto upstream = test::tcp_pair();
    TcpTunnel tunnel(loop, s, client.far, upstream.far);
    std::thread sender([&] { (void)send_all(client.near, 64 * 1024 * 1024, 1); });
    std::uint64_t last = 0;
    int quiet = 0;
    // No progress for a while: everything is full.
    test::LoopDriver driver(loop);
    bool reset = false;
    driver.run_until([&] {
      quiet = tunnel.up.bytes() == last && last > 0 ? quiet + 1 : 0;
      last = tunnel.up.bytes();
      if (quiet == 20 && !reset) {
        reset = true;
        const linger hard{1, 0};
        setsockopt(upstream.near, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(upstream.near);
      }
      return tunnel.up.state() != Relay::State::open || tunnel.down.state() == Relay::State::source_lost;
    });
    EXPECT_TRUE(reset);
    tunnel.client->abort();
    shutdown(client.near, SHUT_RDWR);
    tunnel.client.reset();
    sender.join();
    close(client.near);
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(SpliceRelay, ASourceThatResetsIsLost) {
  EventLoop loop;
  Scratch s;
  const auto client = test::tcp_pair();
  const auto upstream = test::tcp_pair();
  TcpTunnel tunnel(loop, s, client.far, upstream.far);
  std::thread peer([&] {
    std::string block(2 * 1024 * 1024, 'x');
    (void)send(client.near, block.data(), block.size(), MSG_NOSIGNAL);
    const linger hard{1, 0};
    setsockopt(client.near, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(client.near);
  });
  int end = -1;
  std::thread reader([&] { (void)receive_all(upstream.near, end); });
  test::LoopDriver(loop).run_until(
      [&] { return tunnel.up.state() == Relay::State::source_lost || tunnel.down.state() == Relay::State::sink_lost; });
  tunnel.upstream->abort();
  tunnel.upstream.reset();
  peer.join();
  reader.join();
  EXPECT_EQ(end, ECONNRESET) << "passed on as a reset, not as an end";
  close(upstream.near);
}

TEST(PipePool, GivesEmptyPipesAndClosesDirtyOnes) {
  const std::size_t before = open_descriptors();
  {
    PipePool pool;
    const auto pipe = pool.take();
    ASSERT_TRUE(pipe.valid());
    EXPECT_GT(pipe.capacity, 0);
    ASSERT_EQ(write(pipe.write_end, "left", 4), 4);
    pool.give(pipe, true);
    EXPECT_EQ(open_descriptors(), before);
    const auto clean = pool.take();
    pool.give(clean, false);
    const auto same = pool.take();
    EXPECT_EQ(same.read_end, clean.read_end);
    std::vector<PipePool::Pipe> all{same};
    while (true) {
      const auto next = pool.take();
      if (!next.valid()) break;
      all.push_back(next);
    }
    EXPECT_EQ(all.size(), PipePool::kMost);
    for (const auto& one : all) pool.give(one, false);
    EXPECT_EQ(open_descriptors(), before + 2 * PipePool::kKept);
  }
  EXPECT_EQ(open_descriptors(), before);
}

}  // namespace
}  // namespace edgemux::core
