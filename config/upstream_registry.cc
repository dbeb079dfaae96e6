#include "config/upstream_registry.h"

#include <charconv>

namespace edgemux::config {
namespace {

void add_number(std::string& to, std::uint64_t number) {
  char digits[20];
  to.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

// What differs from the defaults: most upstreams have none of it.
void add_balance(std::string& out, const routing::Upstream& upstream) {
  const auto add = [&out](std::string_view name, std::uint64_t value, std::uint64_t usual) {
    if (value == usual) return;
    out += name;
    add_number(out, value);
  };
  static const routing::Upstream usual;
  const auto& b = upstream.balance;
  add(";balance ", static_cast<std::uint64_t>(b.kind), static_cast<std::uint64_t>(usual.balance.kind));
  add(";slow ", static_cast<std::uint64_t>(b.slow_start.count()), 0);
  add(";panic ", b.panic_threshold, usual.balance.panic_threshold);
  add(";requests ", upstream.max_requests, 0);
  add(";pending ", upstream.max_pending, 0);
  add(";wait ", static_cast<std::uint64_t>(upstream.pending_timeout.count()),
      static_cast<std::uint64_t>(usual.pending_timeout.count()));
  if (upstream.outlier != usual.outlier) {
    add(";outlier ", upstream.outlier.consecutive_failures, 0);
    add(" ", static_cast<std::uint64_t>(upstream.outlier.eject_for.count()), 0);
    add(" ", upstream.outlier.max_ejected, 0);
  }
  add(";ttl ", static_cast<std::uint64_t>(upstream.dns.min_ttl.count()), 0);
  add(";max ", static_cast<std::uint64_t>(upstream.dns.max_ttl.count()), 0);
  if (upstream.health_check == nullptr) return;
  const auto& check = *upstream.health_check;
  out += ";check " + std::to_string(static_cast<int>(check.kind)) + ' ' + check.path + ' ' + check.host;
  for (const auto status : check.expect) add(" ", status, 0);
  // Free text goes with its length, so that it cannot pass for what follows.
  add(" body ", check.expect_body.size(), 0);
  out += check.expect_body;
  for (const auto number :
       {static_cast<std::uint64_t>(check.interval.count()), static_cast<std::uint64_t>(check.timeout.count()),
        std::uint64_t{check.unhealthy_after}, std::uint64_t{check.healthy_after}}) {
    add(" ", number, 0);
  }
}

std::string identity_of(const routing::Upstream& upstream, std::string_view lineage) {
  std::string out;
  out.reserve(40 + lineage.size() + upstream.endpoints.size() * 32);
  if (upstream.tenant != nullptr) out = upstream.tenant->name + "/";  // nothing is shared between tenants
  // Nor between names: each has its own limits and health. The length goes first, so that no name passes for the rest.
  if (!lineage.empty()) {
    add_number(out, lineage.size());
    out += ':';
    out += lineage;
    out += ' ';
  }
  constexpr std::string_view kVersions[] = {"http1", "h2", "auto"};
  out += kVersions[static_cast<std::size_t>(upstream.transport.version)];
  for (const auto& endpoint : upstream.endpoints) {
    out += endpoint.service ? "|srv:" : "|";
    out += endpoint.host;
    out += '|';
    add_number(out, endpoint.port);
    if (endpoint.weight != 1) {
      out += '*';
      add_number(out, endpoint.weight);
    }
  }
  const auto& k = upstream.keepalive;
  for (const std::uint64_t number :
       {static_cast<std::uint64_t>(upstream.max_connections), static_cast<std::uint64_t>(k.idle.count()),
        static_cast<std::uint64_t>(k.max_age.count()), k.max_requests, static_cast<std::uint64_t>(k.connections)}) {
    out += ';';
    add_number(out, number);
  }
  if (upstream.connect_timeout) {
    out += ";connect ";
    add_number(out, static_cast<std::uint64_t>(upstream.connect_timeout->count()));
  }
  add_balance(out, upstream);
  out += upstream.transport.identity();
  return out;
}

}  // namespace

bool UpstreamRegistry::attach(routing::Upstream& upstream, std::string_view lineage) {
  const auto [at, fresh] = known_.try_emplace(upstream.identity);
  auto& known = at->second;
  if (fresh) {
    ++made_;
    if (free_.empty()) {
      known.id = next_++;
    } else {
      known.id = free_.back();
      free_.pop_back();
    }
  }
  upstream.id = known.id;
  upstream.state = known.state.lock();
  const bool made = upstream.state == nullptr;
  if (made) {
    upstream.state = std::make_shared<routing::UpstreamState>(runtime_of(lineage));
    known.state = upstream.state;
  }
  if (!lineage.empty()) lineages_[std::string(lineage)].state = upstream.state;
  return made;
}

std::shared_ptr<routing::UpstreamRuntime> UpstreamRegistry::runtime_of(std::string_view lineage) {
  if (lineage.empty()) return nullptr;
  const auto found = lineages_.find(std::string(lineage));
  if (found == lineages_.end()) return nullptr;
  auto& [state, runtime] = found->second;
  // The latest one may have been of a table that was never put in force.
  auto shared = runtime.lock();
  if (const auto before = state.lock(); before != nullptr) shared = before->shared_runtime();
  runtime = shared;
  return shared;
}

routing::UpstreamPtr UpstreamRegistry::make(routing::Upstream upstream, std::string_view lineage) {
  upstream.identity = identity_of(upstream, lineage);
  if (attach(upstream, lineage)) {
    auto set = std::make_shared<routing::EndpointSet>();
    for (const auto& endpoint : upstream.endpoints) {
      if (endpoint.address && upstream.tenant != nullptr && upstream.tenant->refuses(*endpoint.address) != nullptr) {
        set->problem = "tenant " + upstream.tenant->name + " may not use it: " + endpoint.text + " " +
                       upstream.tenant->refuses(*endpoint.address);
      } else if (endpoint.address) {
        set->endpoints.push_back({*endpoint.address, endpoint.text, endpoint.weight, nullptr, endpoint.host});
      } else if (set->problem.empty()) {
        set->problem = endpoint.host + " is not resolved yet";
      }
    }
    if (!set->endpoints.empty()) set->problem.clear();
    upstream.state->publish(std::move(set));
  }
  return std::make_shared<const routing::Upstream>(std::move(upstream));
}

routing::UpstreamPtr UpstreamRegistry::make_empty(const std::string& name, const routing::TenantPtr& tenant,
                                                  routing::Origin origin, const std::string& problem) {
  routing::Upstream upstream;
  upstream.name = name;
  upstream.identity = "missing|" + (tenant == nullptr ? "" : tenant->name) + "|" + name;
  upstream.missing = true;
  upstream.origin = std::move(origin);
  if (attach(upstream, {})) {
    auto set = std::make_shared<routing::EndpointSet>();
    set->problem = problem;
    upstream.state->publish(std::move(set));
  }
  return std::make_shared<const routing::Upstream>(std::move(upstream));
}

void UpstreamRegistry::prune_soon() {
  if (made_ > 1024 + known_.size() / 4) prune();
}

void UpstreamRegistry::prune(std::size_t in_use) {
  made_ = 0;
  if (known_.size() <= in_use) return;
  std::erase_if(lineages_,
                [](const auto& entry) { return entry.second.state.expired() && entry.second.runtime.expired(); });
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
