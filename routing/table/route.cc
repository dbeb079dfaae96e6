#include "routing/table/route.h"

#include <algorithm>

namespace edgemux::routing {

namespace {

// By path element: "/a" covers "/a" and "/a/b", not "/ab".
bool covers(std::string_view prefix, std::string_view path) {
  if (prefix == "/") return path.starts_with('/');
  return path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/');
}

}  // namespace

bool AccessList::admits(const core::SocketAddress& client) const {
  const auto holds = [&client](const core::Network& network) { return network.contains(client); };
  if (std::any_of(deny.begin(), deny.end(), holds)) return false;
  return allow.empty() || std::any_of(allow.begin(), allow.end(), holds);
}

const Rule* VirtualHost::match(std::string_view path) const {
  for (const Rule& rule : rules) {
    if (rule.kind == Rule::Kind::exact ? rule.path == path : covers(rule.path, path)) return &rule;
  }
  return nullptr;
}

}  // namespace edgemux::routing
