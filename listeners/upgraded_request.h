#pragma once
// UpgradedRequest: what is kept of a request for as long as the tunnel lasts that it became: whose its bytes are, and
// what the tunnel's line in the access log says.

#include <string>

#include "core/base/address.h"
#include "routing/table/tenant.h"

namespace edgemux::listeners {

struct UpgradedRequest {
  core::SocketAddress client;  // as trusted proxies say
  routing::TenantPtr tenant;   // null = the platform
  std::string route;
  std::string request_id;
  // Empty where no access log was written when it began.
  std::string host;
  std::string path;
  [[nodiscard]] routing::TenantState* state() const { return tenant == nullptr ? nullptr : tenant->state.get(); }
};

}  // namespace edgemux::listeners
