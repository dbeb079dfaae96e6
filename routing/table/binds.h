#pragma once
// Which addresses a listener's binds stand for. Pure.

#include <string_view>

#include "routing/table/snapshot.h"

namespace edgemux::routing {

// 0.0.0.0 or ::, whatever the port.
inline bool every_address(const core::SocketAddress& address) {
  return address.bytes().find_first_not_of('\0') == std::string_view::npos;
}

// `wide` stands for every address, that of `other` among them; their ports may differ.
inline bool covers(const Bind& wide, const Bind& other) {
  if (!every_address(wide.address)) return false;
  return wide.dual_stack || other.dual_stack || wide.address.is_v4() == other.address.is_v4();
}

}  // namespace edgemux::routing
