#include "routing/table/difference.h"

#include <algorithm>
#include <map>
#include <unordered_map>

namespace edgemux::routing {

namespace {

using Host = Difference::Host;
using Change = Difference::Change;

void append(std::string& list, const std::string& word, const char* between = ", ") {
  if (!list.empty()) list += between;
  list += word;
}

std::string describe(const Upstream& upstream) {
  std::string endpoints;
  for (const auto& endpoint : upstream.endpoints) {
    append(endpoints, endpoint.text + (endpoint.weight == 1 ? "" : " weight " + std::to_string(endpoint.weight)));
  }
  std::string how;
  const auto& transport = upstream.transport;
  if (transport.version != HttpVersion::http1) append(how, transport.version == HttpVersion::http2 ? "h2" : "auto");
  if (transport.tls != nullptr || !transport.refused.empty()) append(how, "TLS");
  if (transport.proxy_protocol != core::ProxyVersion::off) {
    append(how, transport.proxy_protocol == core::ProxyVersion::v1 ? "PROXY v1" : "PROXY v2");
  }
  if (!how.empty()) how = " (" + how + ")";
  // The name of an inline upstream is its endpoint.
  return upstream.name == endpoints ? endpoints + how : upstream.name + " [" + endpoints + "]" + how;
}

// Who gets which share: "split 90 to a, 10 to b".
std::string describe(const Split& split) {
  std::string shares;
  for (const auto& part : split.parts) {
    append(shares, std::to_string(part.weight) + " to " + (part.upstream == nullptr ? "nobody" : part.upstream->name));
  }
  return "split " + shares;
}

// What is not said of an upstream by its description.
void add_identity(Host& host, const UpstreamPtr& upstream) {
  if (upstream != nullptr) append(host.identity, upstream->identity, "\n");
}

Host describe(const Route& route) {
  Host host;
  host.tenant = route.tenant;
  host.at = route.origin;
  if (route.acme_solver != nullptr) host.solver = describe(*route.acme_solver);
  if (const UpstreamPtr* upstream = upstream_of_bytes(route)) {
    host.kind = std::holds_alternative<Passthrough>(route.action) ? "passthrough" : "terminate";
    if (*upstream != nullptr) host.upstream = describe(**upstream);
    add_identity(host, *upstream);
    return host;
  }
  host.kind = "rules";
  std::vector<std::string> seen;
  std::vector<const Upstream*> identified;
  const auto say = [&](std::string text) {
    if (std::find(seen.begin(), seen.end(), text) != seen.end()) return;
    append(host.upstream, text);
    seen.push_back(std::move(text));
  };
  for (const auto& rule : std::get<VirtualHost>(route.action).rules) {
    const auto* split = std::get_if<Split>(&rule.action);
    if (split != nullptr) say(describe(*split));
    for_each_upstream(rule, [&](const UpstreamPtr& upstream) {
      if (upstream == nullptr) return;
      say(describe(*upstream));
      if (std::find(identified.begin(), identified.end(), upstream.get()) != identified.end()) return;
      identified.push_back(upstream.get());
      add_identity(host, upstream);
    });
  }
  return host;
}

// By name; a host that has several routes, on different listeners, has what they say one behind the other.
std::map<std::string, Host> hosts_of(const Snapshot& snapshot) {
  struct Found {
    std::vector<const Route*> routes;
    std::vector<std::string> listeners;
  };
  std::map<std::string, Found> found;
  for (const auto& listener : snapshot.listeners) {
    for (auto& entry : listener->hosts.entries()) {
      if (entry.route == nullptr || entry.stand_in) continue;
      auto& one = found[std::move(entry.name)];
      if (std::find(one.routes.begin(), one.routes.end(), entry.route.get()) == one.routes.end()) {
        one.routes.push_back(entry.route.get());
      }
      one.listeners.push_back(listener->spec.name);
    }
  }
  std::unordered_map<const Route*, Host> described;
  std::map<std::string, Host> out;
  for (auto& [name, one] : found) {
    Host host;
    for (const Route* route : one.routes) {
      const auto [at, fresh] = described.try_emplace(route);
      if (fresh) at->second = describe(*route);
      const Host& part = at->second;
      if (route == one.routes.front()) {
        host = part;
        continue;
      }
      if (host.tenant != part.tenant) append(host.tenant, part.tenant);
      append(host.kind, part.kind);
      append(host.upstream, part.upstream, "; ");
      append(host.identity, part.identity, "\n");
      if (host.solver != part.solver) append(host.solver, part.solver, "; ");
    }
    host.name = name;
    std::sort(one.listeners.begin(), one.listeners.end());
    for (const auto& listener : one.listeners) append(host.listeners, listener);
    out.emplace(name, std::move(host));
  }
  return out;
}

void compare_hosts(const Host& before, const Host& after, std::vector<Change>& out) {
  const auto one = [&](const char* what, const std::string& was, const std::string& is) {
    if (was != is) out.push_back({after.name, what, was, is, before.at, after.at});
  };
  one("tenant", before.tenant, after.tenant);
  one("kind", before.kind, after.kind);
  one("upstream", before.upstream, after.upstream);
  // Whose it is stands in the identity, too.
  if (before.upstream == after.upstream && before.tenant == after.tenant && before.kind == after.kind &&
      before.identity != after.identity) {
    one("upstream", before.upstream, after.upstream + " with other settings");
  }
  one("acme_solver", before.solver, after.solver);
  one("listeners", before.listeners, after.listeners);
}

std::string binds_of(const ListenerSpec& spec) {
  std::string out;
  for (const auto& bind : spec.binds) append(out, bind.text);
  return out;
}

void compare_listeners(const Snapshot& before, const Snapshot& after, std::vector<Change>& out) {
  const auto find = [](const Snapshot& in, const std::string& name) -> const Listener* {
    for (const auto& listener : in.listeners) {
      if (listener->spec.name == name) return listener.get();
    }
    return nullptr;
  };
  for (const auto& listener : after.listeners) {
    const auto& now = listener->spec;
    const Listener* old = find(before, now.name);
    if (old == nullptr) {
      out.push_back({now.name, "appears", "", binds_of(now), {}, now.origin});
      continue;
    }
    const ListenerSpec* was = &old->spec;
    Host to_before;
    Host to_after;
    if (old->upstream != nullptr) to_before.upstream = describe(*old->upstream);
    if (listener->upstream != nullptr) to_after.upstream = describe(*listener->upstream);
    add_identity(to_before, old->upstream);
    add_identity(to_after, listener->upstream);
    if (was->protocol == now.protocol && to_before.identity != to_after.identity) {
      const bool alike = to_before.upstream == to_after.upstream;
      out.push_back({now.name, "upstream", to_before.upstream,
                     to_after.upstream + (alike ? " with other settings" : ""), was->origin, now.origin});
    }
    if (was->protocol != now.protocol) {
      out.push_back({now.name, "protocol", std::string(protocol_name(was->protocol)),
                     std::string(protocol_name(now.protocol)), was->origin, now.origin});
    }
    if (was->binds != now.binds) {
      out.push_back({now.name, "bind", binds_of(*was), binds_of(now), was->origin, now.origin});
    }
  }
  for (const auto& listener : before.listeners) {
    const auto& was = listener->spec;
    if (find(after, was.name) == nullptr) {
      out.push_back({was.name, "vanishes", binds_of(was), "", was.origin, {}});
    }
  }
}

}  // namespace

Difference compare(const Snapshot& before, const Snapshot& after) {
  Difference out;
  const auto old = hosts_of(before);
  const auto now = hosts_of(after);
  for (const auto& [name, host] : now) {
    const auto was = old.find(name);
    if (was == old.end()) {
      out.appear.push_back(host);
    } else {
      compare_hosts(was->second, host, out.change);
    }
  }
  for (const auto& [name, host] : old) {
    if (now.count(name) == 0) out.vanish.push_back(host);
  }
  compare_listeners(before, after, out.listeners);
  return out;
}

std::vector<std::string> lost_hosts(const Snapshot& before, const Snapshot& after) {
  const auto named = [](const Snapshot& snapshot, const std::string& name) -> const HostTable* {
    for (const auto& listener : snapshot.listeners) {
      if (listener->spec.name == name) return &listener->hosts;
    }
    return nullptr;
  };
  static const HostTable none;
  std::vector<std::string> lost;
  for (const auto& listener : before.listeners) {
    const HostTable* now = named(after, listener->spec.name);
    auto names = (now == nullptr ? none : *now).lost_since(listener->hosts);
    lost.insert(lost.end(), std::make_move_iterator(names.begin()), std::make_move_iterator(names.end()));
  }
  std::sort(lost.begin(), lost.end());
  lost.erase(std::unique(lost.begin(), lost.end()), lost.end());
  // On another listener it is served still.
  std::erase_if(lost, [&](const std::string& name) {
    return std::any_of(after.listeners.begin(), after.listeners.end(),
                       [&](const auto& listener) { return listener->hosts.serves(name); });
  });
  return lost;
}

}  // namespace edgemux::routing
