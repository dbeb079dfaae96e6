#include "routing/upstream/resolved_endpoints.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace edgemux::routing {

namespace {

bool contains(const std::vector<core::SocketAddress>& addresses, const core::SocketAddress& address) {
  return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

// Collects the endpoints of one upstream.
class Assembly {
 public:
  explicit Assembly(const Tenant* tenant) : tenant_(tenant) {}

  void add(const core::SocketAddress& address, std::string text, std::uint32_t weight, const std::string& host) {
    if (const char* why = tenant_ == nullptr ? nullptr : tenant_->refuses(address)) {
      if (!refused.empty()) refused += "; ";
      refused += text + " " + why;
      return;
    }
    const bool known = std::any_of(set.endpoints.begin(), set.endpoints.end(),
                                   [&address](const Endpoint& endpoint) { return endpoint.address == address; });
    if (!known) set.endpoints.push_back({address, std::move(text), weight, nullptr, host});
  }

  // All addresses of a name. False: it has none.
  bool add_name(const NameState& name, const std::string& text, const std::string& host, std::uint16_t port,
                std::uint32_t weight) {
    for (core::SocketAddress address : name.addresses) {
      address.set_port(port);
      add(address, text + " (" + address.ip() + ")", weight, host);
    }
    return !name.addresses.empty();
  }

  // The targets with the lowest priority of which any has an address (RFC 2782).
  bool add_service(const EndpointSpec& spec, const NameState& name) {
    std::vector<const ServiceTarget*> order;
    for (const auto& target : name.targets) order.push_back(&target);
    std::stable_sort(order.begin(), order.end(), [](const ServiceTarget* a, const ServiceTarget* b) {
      return a->service.priority < b->service.priority;
    });
    const bool weighted = std::any_of(order.begin(), order.end(), [](const auto* t) { return t->service.weight != 0; });
    bool any = false;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const auto& service = order[i]->service;
      if (any && service.priority != order[i - 1]->service.priority) break;
      const std::uint32_t weight = weighted ? std::max<std::uint32_t>(service.weight, 1) : 1;
      const std::string text = service.host + ":" + std::to_string(service.port);
      any = add_name(*order[i]->name, text, service.host, service.port, spec.weight == 0 ? 0 : weight) || any;
    }
    return any;
  }

  // Each name once.
  void complain(const std::string& host, const std::string& problem) {
    if (std::find(told_.begin(), told_.end(), &host) != told_.end()) return;
    if (std::any_of(told_.begin(), told_.end(), [&host](const std::string* other) { return *other == host; })) return;
    told_.push_back(&host);
    if (!set.problem.empty()) set.problem += "; ";
    set.problem += host + (problem.empty() ? " is not resolved yet" : " does not resolve: " + problem);
  }

  EndpointSet set;
  std::string refused;  // by the tenant's networks

 private:
  const Tenant* tenant_;
  std::vector<const std::string*> told_;
};

}  // namespace

EndpointSet assemble_endpoints(const Upstream& upstream, std::span<const NameState* const> names) {
  Assembly assembly(upstream.tenant.get());
  for (std::size_t i = 0; i < upstream.endpoints.size(); ++i) {
    const EndpointSpec& spec = upstream.endpoints[i];
    if (spec.address.has_value()) {
      assembly.add(*spec.address, spec.text, spec.weight, spec.host);
      continue;
    }
    const NameState& name = *names[i];
    if (spec.service && !name.targets.empty()) {
      if (assembly.add_service(spec, name)) continue;
      for (const auto& target : name.targets) assembly.complain(target.service.host, target.name->problem);
    } else if (spec.service || !assembly.add_name(name, spec.text, spec.host, spec.port, spec.weight)) {
      assembly.complain(spec.host, name.problem);
    }
  }
  EndpointSet& set = assembly.set;
  if (!assembly.refused.empty()) {
    set.problem += (set.problem.empty() ? "" : "; ") + ("tenant " + upstream.tenant->name + " may not use it: ") +
                   assembly.refused;
  }
  if (!set.endpoints.empty()) set.problem.clear();
  return std::move(set);
}

std::vector<core::SocketAddress> keep_order(const std::vector<core::SocketAddress>& known,
                                            const std::vector<core::SocketAddress>& fresh) {
  std::vector<core::SocketAddress> out;
  out.reserve(fresh.size());
  for (const auto& address : known) {
    if (contains(fresh, address)) out.push_back(address);
  }
  for (const auto& address : fresh) {
    if (!contains(out, address)) out.push_back(address);
  }
  return out;
}

}  // namespace edgemux::routing
