#include "routing/table/route.h"

#include <algorithm>

namespace edgemux::routing {

bool AccessList::admits(const core::SocketAddress& client) const {
  const auto holds = [&client](const core::Network& network) { return network.contains(client); };
  if (std::any_of(deny.begin(), deny.end(), holds)) return false;
  return allow.empty() || std::any_of(allow.begin(), allow.end(), holds);
}

}  // namespace edgemux::routing
