#include "core/io/listening_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>
#include <vector>

#include "tests/support/loop_driver.h"

namespace edgemux::core {
namespace {

SocketAddress loopback(std::uint16_t port = 0) { return *SocketAddress::parse_ip("127.0.0.1", port); }

SocketAddress address_of(int fd) {
  sockaddr_storage storage;
  socklen_t size = sizeof storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size);
  return SocketAddress::from(reinterpret_cast<const sockaddr*>(&storage), size);
}

int dial(const SocketAddress& address) {
  const int fd = socket(address.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(fd, address.data(), address.size()), 0) << address.to_string();
  return fd;
}

TEST(ListeningDescriptor, SaysThatThePortIsTaken) {
  test::LoopbackListener other;
  const auto opened = ListeningDescriptor::open(other.address(), {}, true);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("in use by another process"), std::string::npos) << opened.error().message;
  EXPECT_NE(opened.error().message.find(other.address().to_string()), std::string::npos) << opened.error().message;
}

TEST(ListeningDescriptor, SharesThePortAmongWorkersButNotWithAFirst) {
  auto first = ListeningDescriptor::open(loopback(), {}, true);
  ASSERT_TRUE(first) << first.error().message;
  const SocketAddress address = address_of(first->fd());
  auto second = ListeningDescriptor::open(address, {}, false);
  EXPECT_TRUE(second) << second.error().message;
  const auto stranger = ListeningDescriptor::open(address, {}, true);
  EXPECT_FALSE(stranger) << "SO_REUSEPORT alone would have let it in";
}

TEST(ListeningDescriptor, SaysThatTheAddressIsNotOfThisMachine) {
  const auto opened = ListeningDescriptor::open(*SocketAddress::parse_ip("192.0.2.1", 8080), {}, true);
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("no such address"), std::string::npos) << opened.error().message;
}

TEST(ListeningDescriptor, HiddenLeavesNewClientsToAnotherOne) {
  const auto wide = ListeningDescriptor::open(*SocketAddress::parse_ip("0.0.0.0", 0), {}, true);
  ASSERT_TRUE(wide);
  const SocketAddress address = loopback(address_of(wide->fd()).port());
  const auto exact = ListeningDescriptor::open(address, {}, false);
  ASSERT_TRUE(exact) << exact.error().message;
  const auto queued = [](const ListeningDescriptor& listening) {
    const int fd = accept4(listening.fd(), nullptr, nullptr, SOCK_NONBLOCK);
    if (fd >= 0) close(fd);
    return fd >= 0;
  };
  const int before = dial(address);
  exact->hide();
  const int after = dial(address);
  EXPECT_TRUE(queued(*exact)) << "who came before";
  EXPECT_FALSE(queued(*exact));
  EXPECT_TRUE(queued(*wide)) << "who came after";
  close(before);
  close(after);
}

TEST(ListeningDescriptor, ClosesWhatItHeldWhenMoved) {
  auto first = ListeningDescriptor::open(loopback(), {}, true);
  auto second = ListeningDescriptor::open(loopback(), {}, true);
  ASSERT_TRUE(first && second);
  const int kept = second->fd();
  const int gone = first->fd();
  *first = std::move(*second);
  EXPECT_EQ(first->fd(), kept);
  second = ListeningDescriptor::open(loopback(), {}, true);  // frees what the move left behind
  EXPECT_NE(fcntl(kept, F_GETFD), -1);
  EXPECT_TRUE(second->fd() == gone || fcntl(gone, F_GETFD) == -1);
}

TEST(Acceptor, HandsOutNonBlockingSocketsWithTheirPeer) {
  EventLoop loop;
  auto listening = ListeningDescriptor::open(loopback(), {}, true);
  ASSERT_TRUE(listening);
  std::vector<int> accepted;
  std::vector<SocketAddress> peers;
  Acceptor acceptor(loop, listening->fd(), [&](int fd, const SocketAddress& peer) {
    accepted.push_back(fd);
    peers.push_back(peer);
  });
  std::vector<int> clients;
  constexpr std::size_t kClients = 40;  // more than one batch
  for (std::size_t i = 0; i < kClients; ++i) clients.push_back(dial(address_of(listening->fd())));
  test::LoopDriver(loop).run_until([&] { return accepted.size() == kClients; });
  EXPECT_EQ(peers[0], address_of(clients[0]));
  for (const int fd : accepted) {
    EXPECT_NE(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    close(fd);
  }
  for (const int fd : clients) close(fd);
}

TEST(Acceptor, MayBeStoppedFromInsideItsCall) {
  EventLoop loop;
  auto listening = ListeningDescriptor::open(loopback(), {}, true);
  int accepted = 0;
  std::unique_ptr<Acceptor> acceptor;
  acceptor = std::make_unique<Acceptor>(loop, listening->fd(), [&](int fd, const SocketAddress&) {
    ++accepted;
    close(fd);
    acceptor->stop();
    loop.retire(std::move(acceptor));
  });
  const int one = dial(address_of(listening->fd()));
  const int two = dial(address_of(listening->fd()));
  int turns = 0;
  test::LoopDriver(loop).run_until([&] { return accepted > 0 && ++turns > 4; });
  EXPECT_EQ(accepted, 1);
  close(one);
  close(two);
}

TEST(Acceptor, TakesWhatIsQueuedAtOnce) {
  EventLoop loop;
  auto listening = ListeningDescriptor::open(loopback(), {}, true);
  std::size_t accepted = 0;
  Acceptor acceptor(loop, listening->fd(), [&](int fd, const SocketAddress&) {
    ++accepted;
    close(fd);
  });
  std::vector<int> clients;
  for (int i = 0; i < 30; ++i) clients.push_back(dial(address_of(listening->fd())));
  acceptor.accept_queued();
  EXPECT_EQ(accepted, clients.size());
  acceptor.stop();
  clients.push_back(dial(address_of(listening->fd())));
  acceptor.accept_queued();
  acceptor.resume();
  EXPECT_EQ(accepted, 30U) << "stopped is for good";
  for (const int fd : clients) close(fd);
}

// A reload may give a socket to another listener before the one that had it lets go.
TEST(Acceptor, GetsTheSocketOnceAnotherHasLetGo) {
  EventLoop loop;
  auto listening = ListeningDescriptor::open(loopback(), {}, true);
  int old_accepts = 0;
  int new_accepts = 0;
  auto old_one = std::make_unique<Acceptor>(loop, listening->fd(), [&](int fd, const SocketAddress&) {
    ++old_accepts;
    close(fd);
  });
  Acceptor new_one(loop, listening->fd(), [&](int fd, const SocketAddress&) {
    ++new_accepts;
    close(fd);
  });
  old_one->stop();
  const int client = dial(address_of(listening->fd()));
  test::LoopDriver(loop).run_until([&] { return new_accepts > 0; });
  EXPECT_EQ(old_accepts, 0);
  close(client);
}

// Out of descriptors: clients wait in the kernel's queue, and the loop does not spin on them.
TEST(Acceptor, WaitsWhileThereAreNoDescriptors) {
  EventLoop loop;
  auto listening = ListeningDescriptor::open(loopback(), {}, true);
  int accepted = 0;
  Acceptor acceptor(loop, listening->fd(), [&](int fd, const SocketAddress&) {
    ++accepted;
    close(fd);
  });
  const int client = dial(address_of(listening->fd()));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int highest = fcntl(client, F_DUPFD, 0);
  close(highest);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(highest);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  int turns = 0;
  bool restored = false;
  test::LoopDriver(loop).run_until([&] {
    if (++turns == 5) {
      EXPECT_EQ(accepted, 0);
      EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
      restored = true;
    }
    return restored && accepted == 1;
  });
  close(client);
}

}  // namespace
}  // namespace edgemux::core
