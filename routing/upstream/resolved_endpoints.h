#pragma once
// The endpoints of an upstream, from what its names resolve to. Values and pure functions; discovery.h asks and keeps.

#include <span>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/io/resolver.h"
#include "routing/table/upstream.h"

namespace edgemux::routing {

struct NameState;

struct ServiceTarget {
  core::Resolver::Service service;
  const NameState* name = nullptr;  // of service.host
};

// How many addresses of a name are used.
inline constexpr std::size_t kMaxAddresses = 256;

// What is known of one name. Nothing of all: not answered yet.
struct NameState {
  std::vector<core::SocketAddress> addresses;  // the last good answer, port 0, at most kMaxAddresses
  std::string problem;                         // why the latest try failed; empty after a good one
  std::vector<ServiceTarget> targets{};        // of a service: the last good answer
  bool more = false;                           // the answer had more addresses
};

// The set that follows from what is known, at most kMaxEndpoints: `names` holds one entry per endpoint of `upstream`;
// those of endpoints with an address are ignored and may be null. Pure.
EndpointSet assemble_endpoints(const Upstream& upstream, std::span<const NameState* const> names);

// The addresses of `fresh`, at most kMaxAddresses: first those that `known` has, in its order, then the new ones in
// theirs. Pure.
std::vector<core::SocketAddress> keep_order(const std::vector<core::SocketAddress>& known,
                                            const std::vector<core::SocketAddress>& fresh);

// For people: "10.0.0.1, 10.0.0.2", of many the first and how many more there are. Pure.
std::string listing(const std::vector<core::SocketAddress>& addresses);

}  // namespace edgemux::routing
