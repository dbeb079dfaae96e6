#include "routing/table/networks.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace edgemux::routing {
namespace {

struct Special {
  core::Network network;
  const char* what;
};

// The first that holds an address counts: single ones stand before the ranges around them.
const std::vector<Special>& special_ranges() {
  static const std::vector<Special> ranges = [] {
    constexpr std::pair<std::string_view, const char*> kRanges[] = {
        {"169.254.169.254/32", "is the address of a metadata service"},
        {"169.254.170.2/32", "is the address of a metadata service"},
        {"100.100.100.200/32", "is the address of a metadata service"},
        {"168.63.129.16/32", "is the address of a metadata service"},
        {"192.0.0.192/32", "is the address of a metadata service"},
        {"fd00:ec2::254/128", "is the address of a metadata service"},
        {"fd00:ec2::23/128", "is the address of a metadata service"},
        {"fd20:ce::254/128", "is the address of a metadata service"},
        {"0.0.0.0/8", "is an unspecified address"},
        {"127.0.0.0/8", "is a loopback address"},
        {"169.254.0.0/16", "is a link-local address"},
        {"224.0.0.0/4", "is a multicast address"},
        {"240.0.0.0/4", "is a reserved address"},
        {"::/128", "is an unspecified address"},
        {"::1/128", "is a loopback address"},
        {"fe80::/10", "is a link-local address"},
        {"ff00::/8", "is a multicast address"},
        // An IPv4 address in IPv6's clothes, behind which any of the above may hide. (::ffff:0:0/96 never comes here:
        // SocketAddress holds it as IPv4.)
        {"::/96", "is an IPv4 address in an IPv6 form"},
        {"64:ff9b::/96", "is an IPv4 address in an IPv6 form"},
        {"64:ff9b:1::/48", "is an IPv4 address in an IPv6 form"},
        {"2002::/16", "is an IPv4 address in an IPv6 form"},
    };
    std::vector<Special> out;
    for (const auto& [text, what] : kRanges) {
      if (const auto network = core::Network::parse(text)) out.push_back({*network, what});
    }
    return out;
  }();
  return ranges;
}

bool same_ip(const core::SocketAddress& a, const core::SocketAddress& b) {
  return a.is_v4() == b.is_v4() && a.bytes() == b.bytes();
}

}  // namespace

bool Listened::hold(const core::SocketAddress& address) const {
  if (std::find(listeners.begin(), listeners.end(), address) != listeners.end()) return true;
  if (std::find(ports.begin(), ports.end(), address.port()) == ports.end()) return false;
  return !machine_known ||
         std::any_of(machine.begin(), machine.end(), [&](const auto& own) { return same_ip(own, address); });
}

bool OwnAddresses::hold(const core::SocketAddress& address) const {
  const std::lock_guard lock(mutex_);
  return now_.hold(address);
}

void OwnAddresses::set_listeners(const Listened& now) {
  const std::lock_guard lock(mutex_);
  now_.listeners = now.listeners;
  now_.ports = now.ports;
}

void OwnAddresses::set_machine(const Listened& now) {
  const std::lock_guard lock(mutex_);
  now_.machine = now.machine;
  now_.machine_known = now.machine_known;
}

const char* endpoint_refusal(const core::SocketAddress& address, std::span<const core::Network> networks, bool own) {
  const auto named = [&](const core::Network& range) {
    return std::any_of(networks.begin(), networks.end(), [&](const core::Network& network) {
      return network.contains(address) && network.within(range);
    });
  };
  const bool exactly = std::any_of(networks.begin(), networks.end(), [&](const core::Network& network) {
    return network.single() && network.contains(address);
  });
  if (!address.valid()) return "is no address";
  if (address.is_unix()) return "is a Unix socket";
  if (own && !exactly) return "is a listener of edgemux itself";
  for (const auto& special : special_ranges()) {
    if (!special.network.contains(address)) continue;
    return named(special.network) ? nullptr : special.what;
  }
  const auto holds = [&](const core::Network& network) { return network.contains(address); };
  if (networks.empty() || std::any_of(networks.begin(), networks.end(), holds)) return nullptr;
  return "is outside its networks";
}

}  // namespace edgemux::routing
