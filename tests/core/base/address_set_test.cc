#include "core/base/address_set.h"

#include <gtest/gtest.h>

#include <string>

namespace edgemux::core {
namespace {

SocketAddress at(std::string_view text, std::uint16_t port = 0) { return *SocketAddress::parse_ip(text, port); }

TEST(AddressSet, KnowsWhatItHas) {
  AddressSet set;
  EXPECT_FALSE(set.contains(at("10.0.0.1")));
  EXPECT_TRUE(set.insert(at("10.0.0.1")));
  EXPECT_FALSE(set.insert(at("10.0.0.1")));
  EXPECT_TRUE(set.contains(at("10.0.0.1")));
}

TEST(AddressSet, PortsFamiliesAndPathsMakeADifference) {
  AddressSet set;
  EXPECT_TRUE(set.insert(at("10.0.0.1")));
  EXPECT_TRUE(set.insert(at("10.0.0.1", 80)));
  EXPECT_TRUE(set.insert(at("::10.0.0.1")));
  EXPECT_TRUE(set.insert(at("a00:1::")));
  EXPECT_TRUE(set.insert(SocketAddress::unix_socket("/run/a.sock")));
  EXPECT_TRUE(set.insert(SocketAddress::unix_socket("/run/b.sock")));
  EXPECT_FALSE(set.insert(SocketAddress::unix_socket("/run/a.sock")));
}

}  // namespace
}  // namespace edgemux::core
