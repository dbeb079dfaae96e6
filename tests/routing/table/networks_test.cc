// Where a tenant's endpoints may be, as a table.
#include "routing/table/networks.h"

#include <gtest/gtest.h>

namespace edgemux::routing {
namespace {

using core::Network;
using core::SocketAddress;

SocketAddress at(const std::string& text) {
  const auto parts = core::parse_host_port(text);
  return *SocketAddress::parse_ip(parts->host, parts->port);
}

struct Case {
  const char* address;
  std::vector<const char*> networks;
  const char* verdict;  // "" = may be dialled
};

TEST(EndpointNetworks, AnyAddressMayBeThatOfAMachineThatDoesNotTellItsOwn) {
  const Listened listened{{}, {443}, {}, false};
  OwnAddresses own;
  own.set_listeners(listened);
  own.set_machine(listened);
  EXPECT_TRUE(own.hold(at("203.0.113.5:443")));
  EXPECT_FALSE(own.hold(at("203.0.113.5:8443")));
}

TEST(EndpointNetworks, AddressesAgainstNetworks) {
  OwnAddresses own;
  const Listened listened{{at("198.51.100.7:443")}, {80, 443, 9902}, {at("203.0.113.5:1"), at("[2001:db8::5]:1")}};
  own.set_listeners(listened);
  own.set_machine(listened);
  const std::vector<Case> cases{
      {"10.1.2.3:80", {}, ""},
      {"10.1.2.3:80", {"10.1.2.0/24"}, ""},
      {"10.1.3.3:80", {"10.1.2.0/24"}, "is outside its networks"},
      {"10.1.3.3:80", {"10.1.2.0/24", "10.1.3.0/24"}, ""},
      {"[2001:db8::1]:80", {"10.0.0.0/8"}, "is outside its networks"},
      {"[2001:db8::1]:80", {"2001:db8::/32"}, ""},
      {"10.1.2.3:80", {"::/0"}, "is outside its networks"},
      // Loopback, by itself, by everything, and by name.
      {"127.0.0.1:80", {}, "is a loopback address"},
      {"127.0.0.1:80", {"0.0.0.0/0"}, "is a loopback address"},
      {"127.0.0.1:80", {"127.0.0.0/8"}, ""},
      {"127.0.0.1:80", {"127.0.0.1"}, ""},
      {"127.9.9.9:80", {"127.0.0.1"}, "is a loopback address"},
      {"[::1]:80", {"::/0"}, "is a loopback address"},
      {"[::1]:80", {"::1"}, ""},
      // IPv4 in IPv6's clothes. A mapped address is IPv4 from the moment it is read.
      {"[::ffff:127.0.0.1]:80", {"::/0"}, "is a loopback address"},
      {"[::ffff:10.1.2.3]:80", {"10.1.2.0/24"}, ""},
      {"[::127.0.0.1]:80", {"::/0"}, "is an IPv4 address in an IPv6 form"},
      {"[64:ff9b::a9fe:a9fe]:80", {"::/0"}, "is an IPv4 address in an IPv6 form"},
      {"[2002:7f00:1::1]:80", {"::/0"}, "is an IPv4 address in an IPv6 form"},
      {"[64:ff9b::a01:203]:80", {"64:ff9b::/96"}, ""},
      // Metadata services must be named exactly.
      {"169.254.169.254:80", {"0.0.0.0/0"}, "is the address of a metadata service"},
      {"169.254.169.254:80", {"169.254.0.0/16"}, "is the address of a metadata service"},
      {"169.254.169.254:80", {"169.254.169.254"}, ""},
      {"[fd00:ec2::254]:80", {"fd00::/8"}, "is the address of a metadata service"},
      {"[fd00:ec2::254]:80", {"fd00:ec2::254"}, ""},
      {"100.100.100.200:80", {"100.64.0.0/10"}, "is the address of a metadata service"},
      {"169.254.3.4:80", {"0.0.0.0/0"}, "is a link-local address"},
      {"169.254.3.4:80", {"169.254.0.0/16"}, ""},
      {"[fe80::1]:80", {"::/0"}, "is a link-local address"},
      {"0.0.0.0:80", {"0.0.0.0/0"}, "is an unspecified address"},
      {"0.1.2.3:80", {}, "is an unspecified address"},
      {"[::]:80", {"::/0"}, "is an unspecified address"},
      {"224.0.0.1:80", {"0.0.0.0/0"}, "is a multicast address"},
      {"[ff02::1]:80", {"::/0"}, "is a multicast address"},
      {"255.255.255.255:80", {"0.0.0.0/0"}, "is a reserved address"},
      // Ourselves.
      {"198.51.100.7:443", {"198.51.100.0/24"}, "is a listener of edgemux itself"},
      {"198.51.100.7:443", {"198.51.100.7"}, ""},
      {"198.51.100.7:8443", {"198.51.100.0/24"}, ""},
      {"203.0.113.5:443", {"203.0.113.0/24"}, "is a listener of edgemux itself"},
      {"203.0.113.5:9902", {}, "is a listener of edgemux itself"},
      {"203.0.113.5:444", {"203.0.113.0/24"}, ""},
      {"203.0.113.6:443", {"203.0.113.0/24"}, ""},
      {"[2001:db8::5]:80", {"2001:db8::/32"}, "is a listener of edgemux itself"},
      {"[2001:db8::5]:80", {"2001:db8::5"}, ""},
  };
  for (const auto& one : cases) {
    std::vector<Network> networks;
    std::string label = one.address;
    for (const char* text : one.networks) {
      networks.push_back(*Network::parse(text));
      label += std::string(" ") + text;
    }
    const char* verdict = endpoint_refusal(at(one.address), networks, own.hold(at(one.address)));
    EXPECT_STREQ(verdict == nullptr ? "" : verdict, one.verdict) << label;
  }
}

}  // namespace
}  // namespace edgemux::routing
