#pragma once
// Where a tenant's endpoints may be. Pure: addresses in, a verdict out; asked after every resolution.
//
// An address must lie in one of the tenant's networks (no networks: anywhere), and addresses that lead to the gateway
// itself or its neighbours on the link are refused all the same, unless a network names them: one that lies wholly
// within the special range. "127.0.0.0/8" or "127.0.0.1" opens loopback, "0.0.0.0/0" does not.
//
//   range                                          named by
//   loopback, link-local, unspecified, multicast,  a network within the range
//     reserved, IPv6 forms that carry an IPv4 one
//   a metadata service                             exactly that address
//   a listener of our own                          exactly that address

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/base/address.h"

namespace edgemux::routing {

// The addresses of the machine as they were looked at last: containers and tunnels make them come and go. Thread safe.
class MachineAddresses {
 public:
  // Whatever the port.
  [[nodiscard]] bool hold(const core::SocketAddress& address) const;
  // Those that came or went.
  std::vector<core::SocketAddress> set(std::vector<core::SocketAddress> addresses);

 private:
  mutable std::mutex mutex_;
  std::vector<core::SocketAddress> addresses_;
};

// What this process listens on, as far as addresses tell it. Immutable, but for the machine's.
struct OwnAddresses {
  std::vector<core::SocketAddress> listeners;       // bound to one address
  std::vector<std::uint16_t> ports;                 // bound to every address
  std::shared_ptr<const MachineAddresses> machine;  // null = not known

  [[nodiscard]] bool hold(const core::SocketAddress& address) const;
  // Bound to every address that the machine has.
  [[nodiscard]] bool listen_on(std::uint16_t port) const {
    return std::find(ports.begin(), ports.end(), port) != ports.end();
  }
  friend bool operator==(const OwnAddresses& a, const OwnAddresses& b) {
    return a.listeners == b.listeners && a.ports == b.ports && a.machine == b.machine;
  }
};

// Null: the address may be dialled. Otherwise what speaks against it: "is a loopback address". `own` may be null.
const char* endpoint_refusal(const core::SocketAddress& address, std::span<const core::Network> networks,
                             const OwnAddresses* own);

}  // namespace edgemux::routing
