#include "core/io/tcp_stream.h"

#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <array>
#include <cerrno>
#include <functional>
#include <string>
#include <thread>

#include "tests/support/loop_driver.h"

namespace edgemux::core {
namespace {

struct Calls final : StreamObserver {
  void on_ready(Stream& stream) override {
    ++count;
    if (action) action(stream);
  }
  int count = 0;
  std::function<void(Stream&)> action;
};

// Reads until `again`, the end or an error, as every owner must.
IoResult drain(Stream& stream, std::string& to, std::size_t piece = 64 * 1024) {
  std::string buffer(piece, 0);
  for (;;) {
    const IoResult result = stream.read(buffer);
    if (result.status != IoStatus::ok) return result;
    to.append(buffer.data(), result.bytes);
    if (!stream.readable()) return {IoStatus::again, 0, 0};
  }
}

TEST(TcpStream, ReadsWhatComesUpToTheEnd) {
  EventLoop loop;
  const auto pair = test::tcp_pair();
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  EXPECT_FALSE(stream->readable());
  std::string got;
  bool ended = false;
  Calls calls;
  calls.action = [&](Stream& s) { ended = drain(s, got, 100).status == IoStatus::eof; };
  stream->set_observer(&calls);
  const std::string sent(1000, 'r');
  std::thread peer([&] {
    EXPECT_EQ(send(pair.near, sent.data(), sent.size(), 0), static_cast<ssize_t>(sent.size()));
    shutdown(pair.near, SHUT_WR);
  });
  test::LoopDriver(loop).run_until([&] { return ended; });
  peer.join();
  EXPECT_EQ(got, sent);
  EXPECT_TRUE(stream->peer_closed());
  EXPECT_TRUE(stream->readable()) << "the end is repeated";
  std::array<char, 10> buffer;
  EXPECT_EQ(stream->read(buffer).status, IoStatus::eof);
  close(pair.near);
}

// A short read says that there is no more. If the end came with the bytes, nobody would be told of it.
TEST(TcpStream, FindsTheEndThatCameWithTheLastBytes) {
  EventLoop loop;
  const auto pair = test::tcp_pair();
  ASSERT_EQ(send(pair.near, "last", 4, 0), 4);
  shutdown(pair.near, SHUT_WR);
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  std::string got;
  IoStatus last = IoStatus::ok;
  Calls calls;
  calls.action = [&](Stream& s) { last = drain(s, got).status; };
  stream->set_observer(&calls);
  test::LoopDriver(loop).run_until([&] { return last == IoStatus::eof; });
  EXPECT_EQ(got, "last");
  close(pair.near);
}

TEST(TcpStream, SaysAgainWhenThePeerIsFullAndIsWokenWhenItIsNot) {
  EventLoop loop;
  const auto pair = test::tcp_pair(16 * 1024);
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  std::string bytes(4 * 1024 * 1024, 0);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 + i / 251);
  std::size_t offset = 0;
  int blocked = 0;
  const auto push = [&] {
    while (offset < bytes.size()) {
      // In two pieces, so that a write may end in the middle of the second.
      const std::size_t half = (bytes.size() - offset) / 2;
      const std::array<iovec, 2> pieces{
          {{bytes.data() + offset, half}, {bytes.data() + offset + half, bytes.size() - offset - half}}};
      const IoResult result = stream->write(pieces);
      if (result.status == IoStatus::again) {
        ++blocked;
        return;
      }
      ASSERT_EQ(result.status, IoStatus::ok);
      offset += result.bytes;
    }
    stream->shutdown_write();
    stream->shutdown_write();  // idempotent
  };
  Calls calls;
  calls.action = [&](Stream&) { push(); };
  stream->set_observer(&calls);
  push();
  std::string got;
  std::atomic<bool> done{false};
  std::thread peer([&] {
    std::string buffer(10'000, 0);
    for (ssize_t n = 0; (n = recv(pair.near, buffer.data(), buffer.size(), 0)) > 0;) {
      got.append(buffer.data(), static_cast<std::size_t>(n));
    }
    done = true;
  });
  test::LoopDriver(loop).run_until([&] { return done.load(); });
  peer.join();
  EXPECT_GT(blocked, 1);
  EXPECT_TRUE(got == bytes);
  close(pair.near);
}

TEST(TcpStream, AbortIsAReset) {
  EventLoop loop;
  const auto pair = test::tcp_pair();
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  stream->abort();
  stream.reset();
  char byte = 0;
  EXPECT_EQ(recv(pair.near, &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
  close(pair.near);
}

TEST(TcpStream, SeesAReset) {
  EventLoop loop;
  const auto pair = test::tcp_pair();
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  IoResult last;
  Calls calls;
  std::string got;
  calls.action = [&](Stream& s) { last = drain(s, got); };
  stream->set_observer(&calls);
  const linger reset{1, 0};
  setsockopt(pair.near, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(pair.near);
  test::LoopDriver(loop).run_until([&] { return last.status == IoStatus::error; });
  EXPECT_EQ(last.error, ECONNRESET);
}

TEST(TcpStream, Connects) {
  EventLoop loop;
  test::LoopbackListener listener;
  auto stream = std::move(*TcpStream::connect(loop, listener.address(), {}));
  EXPECT_EQ(stream->connect_state(), TcpStream::Connect::pending);
  const iovec piece{const_cast<char*>("early"), 5};
  EXPECT_EQ(stream->write({&piece, 1}).status, IoStatus::again) << "nothing goes out before it stands";
  Calls calls;
  stream->set_observer(&calls);
  test::LoopDriver(loop).run_until([&] { return stream->connect_state() == TcpStream::Connect::done; });
  EXPECT_GE(calls.count, 1);
  EXPECT_EQ(stream->write({&piece, 1}).bytes, 5U);
  const int peer = accept(listener.fd(), nullptr, nullptr);
  std::array<char, 10> buffer;
  EXPECT_EQ(recv(peer, buffer.data(), buffer.size(), 0), 5);
  close(peer);
}

TEST(TcpStream, SaysWhyItCannotConnect) {
  EventLoop loop;
  test::LoopbackListener listener;
  const SocketAddress nobody = listener.address();
  listener.close_now();
  auto stream = TcpStream::connect(loop, nobody, {});
  ASSERT_TRUE(stream);
  Calls calls;
  (*stream)->set_observer(&calls);
  test::LoopDriver(loop).run_until([&] { return (*stream)->connect_state() == TcpStream::Connect::failed; });
  EXPECT_EQ((*stream)->connect_error(), ECONNREFUSED);
}

TEST(TcpStream, WakeCallsTheOwnerOnce) {
  EventLoop loop;
  const auto pair = test::tcp_pair();
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  Calls calls;
  stream->set_observer(&calls);
  stream->wake();
  stream->wake();
  int turns = 0;
  test::LoopDriver(loop).run_until([&] { return ++turns > 4; });
  EXPECT_EQ(calls.count, 1);
  close(pair.near);
}

TEST(TcpStream, IsNeverCalledOnceItsObserverHasRetiredIt) {
  EventLoop loop;
  const auto first = test::tcp_pair();
  const auto second = test::tcp_pair();
  std::unique_ptr<TcpStream> streams[2] = {std::move(*TcpStream::adopt(loop, first.far)),
                                           std::move(*TcpStream::adopt(loop, second.far))};
  Calls calls;
  // Both are ready in one turn; the first that is called retires both.
  calls.action = [&](Stream&) {
    for (auto& stream : streams) {
      stream->set_observer(nullptr);
      stream->wake();
      loop.retire(std::move(stream));
    }
  };
  for (auto& stream : streams) stream->set_observer(&calls);
  ASSERT_EQ(send(first.near, "x", 1, 0), 1);
  ASSERT_EQ(send(second.near, "x", 1, 0), 1);
  int turns = 0;
  test::LoopDriver(loop).run_until([&] { return calls.count > 0 && ++turns > 4; });
  EXPECT_EQ(calls.count, 1);
  close(first.near);
  close(second.near);
}

// Waits until the loop has told the stream of its peer's end (or reset), reading nothing.
void await_end(EventLoop& loop, TcpStream& stream) {
  test::LoopDriver(loop).run_until([&] { return stream.peer_closed(); });
}

TEST(TcpStream, KnowsThatAShortReadWasTheLast) {
  EventLoop loop;
  const auto pair = test::tcp_pair();
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  ASSERT_EQ(send(pair.near, "last bytes", 10, 0), 10);
  shutdown(pair.near, SHUT_WR);
  await_end(loop, *stream);
  EXPECT_FALSE(stream->find_end()) << "there are bytes before it";
  std::array<char, 4> small;
  EXPECT_EQ(stream->read(small).bytes, 4U);
  EXPECT_FALSE(stream->ended()) << "a full read says nothing";
  std::array<char, 64> buffer;
  EXPECT_EQ(stream->read(buffer).bytes, 6U);
  EXPECT_TRUE(stream->ended());
  EXPECT_TRUE(stream->readable());
  EXPECT_EQ(stream->read(buffer).status, IoStatus::eof);
  close(pair.near);
}

TEST(TcpStream, FindsAnEndThatComesAlone) {
  EventLoop loop;
  const auto pair = test::tcp_pair();
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  EXPECT_FALSE(stream->find_end()) << "it is open";
  shutdown(pair.near, SHUT_WR);
  await_end(loop, *stream);
  EXPECT_FALSE(stream->ended()) << "nobody has looked";
  EXPECT_TRUE(stream->find_end());
  std::array<char, 4> buffer;
  EXPECT_EQ(stream->read(buffer).status, IoStatus::eof);
  close(pair.near);
}

// What it got is not the whole, though every byte of it can still be read.
TEST(TcpStream, TakesNoResetForTheEnd) {
  EventLoop loop;
  const auto pair = test::tcp_pair();
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  ASSERT_EQ(send(pair.near, "half", 4, 0), 4);
  const linger reset{1, 0};
  setsockopt(pair.near, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(pair.near);
  await_end(loop, *stream);
  EXPECT_FALSE(stream->find_end());
  std::string got;
  EXPECT_EQ(drain(*stream, got).status, IoStatus::error);
  EXPECT_FALSE(stream->ended());
}

// A read stops in front of urgent data, however much is behind it.
TEST(TcpStream, ReadsPastUrgentDataToTheEnd) {
  for (const bool end_with_them : {true, false}) {
    EventLoop loop;
    const auto pair = test::tcp_pair();
    auto stream = std::move(*TcpStream::adopt(loop, pair.far));
    std::string got;
    Calls calls;
    calls.action = [&](Stream& s) { (void)drain(s, got); };
    ASSERT_EQ(send(pair.near, "before", 6, 0), 6);
    ASSERT_EQ(send(pair.near, "!", 1, MSG_OOB), 1);
    ASSERT_EQ(send(pair.near, "behind", 6, 0), 6);
    if (end_with_them) shutdown(pair.near, SHUT_WR);
    stream->set_observer(&calls);
    test::LoopDriver(loop).run_until([&] { return got == "beforebehind" && stream->peer_closed() == end_with_them; });
    EXPECT_EQ(got, "beforebehind");
    close(pair.near);
  }
}

TEST(TcpStream, SendsTheLastBytesTogetherWithTheEnd) {
  // A write that nothing follows waits for 200 ms at most: a test that is stopped for as long gets another try.
  unsigned packets = 0;
  for (int attempt = 0; attempt < 5 && packets != 1; ++attempt) {
    EventLoop loop;
    const auto pair = test::tcp_pair();
    auto stream = std::move(*TcpStream::adopt(loop, pair.far));
    const unsigned before = test::packets_in(pair.near);
    const iovec piece{const_cast<char*>("farewell"), 8};
    stream->end_follows();
    EXPECT_EQ(stream->write({&piece, 1}).bytes, 8U);
    stream->shutdown_write();
    std::array<char, 64> buffer;
    EXPECT_EQ(recv(pair.near, buffer.data(), buffer.size(), 0), 8);
    EXPECT_EQ(recv(pair.near, buffer.data(), buffer.size(), 0), 0);
    packets = test::packets_in(pair.near) - before;
    close(pair.near);
  }
  EXPECT_EQ(packets, 1U);
}

TEST(TcpStream, ASpeakerSavesThePacketThatEndsTheHandshake) {
  const auto packets_of = [](bool speaks_first) {
    EventLoop loop;
    test::LoopbackListener listener;
    TcpOptions options;
    options.speaks_first = speaks_first;
    auto stream = std::move(*TcpStream::connect(loop, listener.address(), options));
    const iovec piece{const_cast<char*>("hello"), 5};
    Calls calls;
    calls.action = [&](Stream& s) { (void)s.write({&piece, 1}); };
    stream->set_observer(&calls);
    test::LoopDriver(loop).run_until([&] { return calls.count > 0; });
    const int peer = accept(listener.fd(), nullptr, nullptr);
    std::array<char, 10> buffer;
    EXPECT_EQ(recv(peer, buffer.data(), buffer.size(), 0), 5);
    const unsigned packets = test::packets_in(peer);
    close(peer);
    return packets;
  };
  const unsigned usual = packets_of(false);
  unsigned saved = usual;
  for (int attempt = 0; attempt < 5 && saved == usual; ++attempt) saved = packets_of(true);
  EXPECT_EQ(saved + 1, usual);
}

// Nagle's algorithm must not hold back what is written while earlier bytes are on their way.
TEST(TcpStream, ADialledStreamNeverWaitsForAcknowledgements) {
  EventLoop loop;
  test::LoopbackListener listener;
  auto stream = std::move(*TcpStream::connect(loop, listener.address(), {}));
  const auto no_delay = [&] {
    int value = -1;
    socklen_t size = sizeof value;
    EXPECT_EQ(getsockopt(stream->fd(), IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
    return value != 0;
  };
  test::LoopDriver(loop).run_until([&] { return stream->connect_state() == TcpStream::Connect::done; });
  const iovec piece{const_cast<char*>("x"), 1};
  (void)stream->write({&piece, 1});
  (void)stream->write({&piece, 1});
  EXPECT_TRUE(no_delay());
}

TEST(TcpOptions, AreSwitchedOnAndOffAgain) {
  test::LoopbackListener listener;
  const auto read = [&](int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    EXPECT_EQ(getsockopt(listener.fd(), level, name, &value, &size), 0);
    return value;
  };
  apply_tcp_options(listener.fd(), {17, 4321});
  EXPECT_EQ(read(IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(read(SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(read(IPPROTO_TCP, TCP_KEEPIDLE), 17);
  EXPECT_EQ(read(IPPROTO_TCP, TCP_USER_TIMEOUT), 4321);
  apply_tcp_options(listener.fd(), {});
  EXPECT_EQ(read(SOL_SOCKET, SO_KEEPALIVE), 0);
  EXPECT_EQ(read(IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
}

}  // namespace
}  // namespace edgemux::core
