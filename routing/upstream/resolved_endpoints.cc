#include "routing/upstream/resolved_endpoints.h"

#include <algorithm>
#include <cstdint>
#include <unordered_set>
#include <utility>

#include "core/base/address_set.h"

namespace edgemux::routing {

namespace {

constexpr std::size_t kListed = 8;  // of what there may be thousands

// What is wrong, of many the first.
class Complaints {
 public:
  void add(const std::string& what) {
    if (++count_ > kListed + 1) return;
    if (!text_.empty()) text_ += "; ";
    text_ += count_ <= kListed ? what : "and others";
  }
  [[nodiscard]] bool full() const { return count_ > kListed; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::size_t count_ = 0;
};

// Collects the endpoints of one upstream.
class Assembly {
 public:
  explicit Assembly(const Tenant* tenant) : tenant_(tenant) {}

  [[nodiscard]] bool full() const { return set_.endpoints.size() == kMaxEndpoints; }

  // `resolved`: it is one of the addresses of what was written.
  void add(const core::SocketAddress& address, const std::string& written, bool resolved, std::uint32_t weight,
           const std::string& host) {
    const auto text = [&] { return resolved ? written + " (" + address.ip() + ")" : written; };
    if (const char* why = tenant_ == nullptr ? nullptr : tenant_->refuses(address)) {
      refused_.add(refused_.full() ? std::string() : text() + " " + why);
    } else if (full()) {
      left_out_ = true;
    } else if (known_.insert(address)) {
      set_.endpoints.push_back({address, text(), weight, nullptr, host});
    }
  }

  // All addresses of a name. False: it has none.
  bool add_name(const NameState& name, const std::string& text, const std::string& host, std::uint16_t port,
                std::uint32_t weight) {
    if (name.more && many_.insert(&name).second) {
      limits_.add(host + " has more than " + std::to_string(kMaxAddresses) + " addresses");
    }
    for (core::SocketAddress address : name.addresses) {
      if (full()) {
        left_out_ = true;
        break;
      }
      address.set_port(port);
      add(address, text, true, weight, host);
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
    if (unknown_.full()) return;
    if (std::any_of(told_.begin(), told_.end(), [&host](const std::string* other) { return *other == host; })) return;
    told_.push_back(&host);
    unknown_.add(host + (problem.empty() ? " is not resolved yet" : " does not resolve: " + problem));
  }

  EndpointSet finish() {
    if (!set_.endpoints.empty()) {
      if (left_out_) limits_.add("it has more than " + std::to_string(kMaxEndpoints) + " endpoints");
      if (!limits_.text().empty()) set_.problem = limits_.text() + "; the rest is left out";
      return std::move(set_);
    }
    set_.problem = unknown_.text();
    if (refused_.text().empty()) return std::move(set_);
    if (!set_.problem.empty()) set_.problem += "; ";
    set_.problem += "tenant " + tenant_->name + " may not use it: " + refused_.text();
    return std::move(set_);
  }

 private:
  const Tenant* tenant_;
  EndpointSet set_;
  core::AddressSet known_;
  std::unordered_set<const NameState*> many_;  // with more addresses than are used
  std::vector<const std::string*> told_;       // of names that do not resolve
  bool left_out_ = false;
  Complaints unknown_;
  Complaints refused_;  // by the tenant's networks
  Complaints limits_;
};

}  // namespace

EndpointSet assemble_endpoints(const Upstream& upstream, std::span<const NameState* const> names) {
  Assembly assembly(upstream.tenant.get());
  for (std::size_t i = 0; i < upstream.endpoints.size(); ++i) {
    const EndpointSpec& spec = upstream.endpoints[i];
    if (spec.address.has_value()) {
      assembly.add(*spec.address, spec.text, false, spec.weight, spec.host);
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
  return assembly.finish();
}

std::vector<core::SocketAddress> keep_order(const std::vector<core::SocketAddress>& known,
                                            const std::vector<core::SocketAddress>& fresh) {
  core::AddressSet answered;
  for (const auto& address : fresh) answered.insert(address);
  core::AddressSet taken;
  std::vector<core::SocketAddress> out;
  for (const auto& address : known) {
    if (answered.contains(address) && taken.insert(address)) out.push_back(address);
  }
  for (const auto& address : fresh) {
    if (out.size() >= kMaxAddresses) break;
    if (taken.insert(address)) out.push_back(address);
  }
  return out;
}

std::string listing(const std::vector<core::SocketAddress>& addresses) {
  std::string text;
  for (std::size_t i = 0; i < std::min(addresses.size(), kListed); ++i) {
    text += (text.empty() ? "" : ", ") + addresses[i].ip();
  }
  if (addresses.size() > kListed) text += " and " + std::to_string(addresses.size() - kListed) + " more";
  return text;
}

}  // namespace edgemux::routing
