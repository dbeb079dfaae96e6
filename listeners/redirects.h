#pragma once
// Where redirects lead. Pure.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/http/message.h"
#include "routing/table/route.h"

namespace edgemux::listeners {

// Port 80's redirect: the same host, path and query over https. The port is left out when it is 443. 308 where
// repeating as GET would change the request (methods with a body), else 301.
struct HttpsRedirect {
  std::uint16_t status;
  std::string location;
};
HttpsRedirect https_redirect(const core::RequestHead& head, std::string_view host, std::uint16_t port);

// A rule's redirect. `path` is the normalised path that the rule matched; `host` the normalised host; `scheme` and
// `port` those that the client used (port 0: it named none). The port is the one that the redirect names; else, where
// it names a scheme, that scheme's own; else the client's. The scheme's own port is not written.
std::string rule_redirect(const routing::Redirect& redirect, const routing::Rule& rule, std::string_view scheme,
                          std::string_view host, std::uint16_t port, std::string_view path, bool has_query,
                          std::string_view query);

}  // namespace edgemux::listeners
