#include "config/upstream_registry.h"

#include <charconv>

namespace edgemux::config {
namespace {

void add_number(std::string& to, std::uint64_t number) {
  char digits[20];
  to.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

std::string identity_of(const routing::Upstream& upstream) {
  std::string out;
  out.reserve(40 + upstream.endpoints.size() * 32);
  out = "http1";
  for (const auto& endpoint : upstream.endpoints) {
    out += '|';
    out += endpoint.host;
    out += '|';
    add_number(out, endpoint.port);
  }
  const auto& k = upstream.keepalive;
  for (const std::uint64_t number :
       {static_cast<std::uint64_t>(upstream.connect_timeout.count()),
        static_cast<std::uint64_t>(upstream.max_connections), static_cast<std::uint64_t>(k.idle.count()),
        static_cast<std::uint64_t>(k.max_age.count()), k.max_requests, static_cast<std::uint64_t>(k.connections)}) {
    out += ';';
    add_number(out, number);
  }
  return out;
}

}  // namespace

bool UpstreamRegistry::attach(routing::Upstream& upstream) {
  const auto [at, fresh] = known_.try_emplace(upstream.identity);
  auto& known = at->second;
  if (fresh) {
    if (free_.empty()) {
      known.id = next_++;
    } else {
      known.id = free_.back();
      free_.pop_back();
    }
  }
  upstream.id = known.id;
  upstream.state = known.state.lock();
  if (upstream.state != nullptr) return false;
  upstream.state = std::make_shared<routing::UpstreamState>();
  known.state = upstream.state;
  return true;
}

routing::UpstreamPtr UpstreamRegistry::make(routing::Upstream upstream) {
  upstream.identity = identity_of(upstream);
  if (attach(upstream)) {
    auto set = std::make_shared<routing::EndpointSet>();
    for (const auto& endpoint : upstream.endpoints) {
      if (endpoint.address) {
        set->endpoints.push_back({*endpoint.address, endpoint.text, endpoint.weight});
      } else if (set->problem.empty()) {
        set->problem = endpoint.host + " is not resolved yet";
      }
    }
    if (!set->endpoints.empty()) set->problem.clear();
    upstream.state->publish(std::move(set));
  }
  return std::make_shared<const routing::Upstream>(std::move(upstream));
}

routing::UpstreamPtr UpstreamRegistry::make_empty(const std::string& name, routing::Origin origin,
                                                  const std::string& problem) {
  routing::Upstream upstream;
  upstream.name = name;
  upstream.identity = "missing|" + name;
  upstream.origin = std::move(origin);
  if (attach(upstream)) {
    auto set = std::make_shared<routing::EndpointSet>();
    set->problem = problem;
    upstream.state->publish(std::move(set));
  }
  return std::make_shared<const routing::Upstream>(std::move(upstream));
}

void UpstreamRegistry::prune() {
  for (auto at = known_.begin(); at != known_.end();) {
    if (at->second.state.expired()) {
      free_.push_back(at->second.id);
      at = known_.erase(at);
    } else {
      ++at;
    }
  }
}

}  // namespace edgemux::config
