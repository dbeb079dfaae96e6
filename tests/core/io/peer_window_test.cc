#include "core/io/peer_window.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "core/io/tcp_stream.h"
#include "tests/support/loop_driver.h"

namespace edgemux::core {
namespace {

TEST(PeerWindow, IsKeptClosedWhileSomethingWaitsAndProbesAreAnswered) {
  EXPECT_TRUE(keeps_window_closed({.unconfirmed = 0, .unsent = 1, .window = 0, .probes = 0}));
  EXPECT_TRUE(keeps_window_closed({.unconfirmed = 0, .unsent = 1, .window = 500, .probes = 1}))
      << "less than a segment";
  EXPECT_TRUE(keeps_window_closed({.unconfirmed = 3, .unsent = 0, .window = 0, .probes = 0})) << "closed over segments";
  EXPECT_TRUE(keeps_window_closed({.unconfirmed = 0, .unsent = 1, .window = 0, .probes = 2})) << "probes may get lost";
  EXPECT_FALSE(keeps_window_closed({.unconfirmed = 0, .unsent = 1, .window = 0, .probes = 3})) << "nobody answers";
  EXPECT_FALSE(keeps_window_closed({.unconfirmed = 3, .unsent = 9, .window = 65535, .probes = 0})) << "not confirmed";
  EXPECT_FALSE(keeps_window_closed({.unconfirmed = 0, .unsent = 0, .window = 0, .probes = 0})) << "nothing waits";
  EXPECT_FALSE(keeps_window_closed({.unconfirmed = 0, .unsent = 0, .window = 65535, .probes = 0})) << "at rest";
}

TEST(PeerWindow, OfASocketThatIsNone) { EXPECT_FALSE(send_state(STDERR_FILENO)); }

unsigned user_timeout_of(int fd) {
  unsigned value = 0;
  socklen_t size = sizeof value;
  EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &size), 0);
  return value;
}

TEST(PeerWindow, LiftsTheUserTimeoutOfAStreamWhileItIsClosed) {
  constexpr unsigned kTimeout = 40'000;
  EventLoop loop;
  const auto pair = test::tcp_pair();
  auto stream = std::move(*TcpStream::adopt(loop, pair.far));
  apply_tcp_options(pair.far, {0, kTimeout, false});
  stream->spare_closed_window(kTimeout);
  EXPECT_EQ(user_timeout_of(pair.far), kTimeout) << "nothing waits";

  std::string bytes(64 * 1024, 'w');
  const iovec piece{bytes.data(), bytes.size()};
  while (stream->write({&piece, 1}).status == IoStatus::ok) {
  }
  bool lifted = false;
  test::LoopDriver(loop).run_until([&] {
    while (lifted && recv(pair.near, bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
    }
    stream->spare_closed_window(kTimeout);
    lifted = lifted || user_timeout_of(pair.far) == 0;
    return lifted && user_timeout_of(pair.far) == kTimeout;
  });
  close(pair.near);
}

}  // namespace
}  // namespace edgemux::core
