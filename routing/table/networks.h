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

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/base/address.h"

namespace edgemux::routing {

// What this process listens on, as far as addresses tell it.
struct Listened {
  std::vector<core::SocketAddress> listeners;  // bound to one address
  std::vector<std::uint16_t> ports;            // bound to every address that the machine has
  std::vector<core::SocketAddress> machine;    // its addresses, whatever their ports
  bool machine_known = true;                   // false: any address may be the machine's

  [[nodiscard]] bool hold(const core::SocketAddress& address) const;
  friend bool operator==(const Listened&, const Listened&) = default;
};

// The same of what is in force: reloads move listeners, containers and tunnels make addresses come and go. Thread safe.
class OwnAddresses {
 public:
  [[nodiscard]] bool hold(const core::SocketAddress& address) const;
  // The machine's addresses stay what they are.
  void set_listeners(const Listened& now);
  // The listeners stay what they are.
  void set_machine(const Listened& now);

 private:
  mutable std::mutex mutex_;
  Listened now_;
};

// Null: the address may be dialled. Otherwise what speaks against it: "is a loopback address". `own`: it is a
// listener's.
const char* endpoint_refusal(const core::SocketAddress& address, std::span<const core::Network> networks, bool own);

}  // namespace edgemux::routing
