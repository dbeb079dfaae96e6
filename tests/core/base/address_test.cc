#include "core/base/address.h"

#include <gtest/gtest.h>

namespace edgemux::core {
namespace {

TEST(UnixSocketAddress, IsAValueLikeAnyOther) {
  const auto a = SocketAddress::unix_socket("/run/a.sock");
  const auto b = SocketAddress::unix_socket("/run/b.sock");
  EXPECT_EQ(a, SocketAddress::unix_socket("/run/a.sock"));
  EXPECT_FALSE(a == b);
  EXPECT_FALSE(a == SocketAddress());
  EXPECT_TRUE(a.valid() && a.is_unix() && !a.is_v4() && !a.is_v6());
  EXPECT_EQ(a.port(), 0);
  EXPECT_EQ(a.to_string(), "unix:/run/a.sock");
  EXPECT_EQ(b.unix_path(), "/run/b.sock");
  EXPECT_EQ(a.ip(), "-");
}

TEST(UnixSocketAddress, IsInNoNetwork) {
  const auto a = SocketAddress::unix_socket("/run/a.sock");
  for (const char* network : {"0.0.0.0/0", "::/0"}) EXPECT_FALSE(Network::parse(network)->contains(a)) << network;
}

}  // namespace
}  // namespace edgemux::core
