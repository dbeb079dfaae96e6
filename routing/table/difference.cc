#include "routing/table/difference.h"

#include <algorithm>
#include <map>
#include <set>
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

bool same_work(const Host& a, const Host& b) {
  return a.tenant == b.tenant && a.kind == b.kind && a.upstream == b.upstream && a.identity == b.identity &&
         a.solver == b.solver;
}

using Routes = std::map<std::string, const Route*>;  // by listener

// One of the two tables, by name. It outlives this.
class Hosts {
 public:
  explicit Hosts(const Snapshot& snapshot) {
    for (const auto& listener : snapshot.listeners) {
      tables_.emplace(listener->spec.name, &listener->hosts);
      for (auto& entry : listener->hosts.entries()) {
        if (entry.route == nullptr || entry.stand_in) {
          owned_.insert(std::move(entry.name));
        } else {
          routes_[std::move(entry.name)].emplace(listener->spec.name, entry.route.get());
        }
      }
    }
  }

  [[nodiscard]] const std::map<std::string, Routes>& routes() const { return routes_; }
  // Names that some listener has no route of their own for, though they are somebody's.
  [[nodiscard]] const std::set<std::string>& owned() const { return owned_; }
  [[nodiscard]] const HostTable* table(const std::string& listener) const {
    const auto at = tables_.find(listener);
    return at == tables_.end() ? nullptr : at->second;
  }
  [[nodiscard]] bool has(const std::string& name, const std::string& listener) const {
    const auto at = routes_.find(name);
    return at != routes_.end() && at->second.count(listener) != 0;
  }

  const Host& describe(const Route* route) {
    const auto [at, fresh] = described_.try_emplace(route);
    if (fresh) at->second = routing::describe(*route);
    return at->second;
  }

  // What all its routes do, told one behind the other.
  Host joined(const Routes& routes) {
    std::vector<const Host*> told;
    Host host;
    for (const auto& [listener, route] : routes) {
      append(host.listeners, listener);
      const Host& part = describe(route);
      if (std::any_of(told.begin(), told.end(), [&](const Host* one) { return same_work(*one, part); })) continue;
      told.push_back(&part);
      if (told.size() == 1) {
        const std::string listeners = std::move(host.listeners);
        host = part;
        host.listeners = listeners;
        continue;
      }
      if (host.tenant != part.tenant) append(host.tenant, part.tenant);
      if (host.kind != part.kind) append(host.kind, part.kind);
      append(host.upstream, part.upstream, "; ");
      append(host.identity, part.identity, "\n");
      if (host.solver != part.solver) append(host.solver, part.solver, "; ");
    }
    return host;
  }

 private:
  std::map<std::string, const HostTable*> tables_;
  std::map<std::string, Routes> routes_;
  std::set<std::string> owned_;
  std::unordered_map<const Route*, Host> described_;
};

// `listeners`: those that it is about; empty = all.
void compare_work(const std::string& name, const Host& before, const Host& after, const std::string& listeners,
                  std::vector<Change>& out) {
  const auto one = [&](const char* what, const std::string& was, const std::string& is) {
    if (was != is) out.push_back({name, what, was, is, before.at, after.at, listeners});
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
}

// Two works, and the listeners that had the one and have the other.
struct Move {
  Host before;
  Host after;
  std::vector<std::string> listeners;
};

void add_move(std::vector<Move>& moves, const Host& before, const Host& after, const std::string& listener) {
  const auto same = std::find_if(moves.begin(), moves.end(), [&](const Move& move) {
    return same_work(move.before, before) && same_work(move.after, after);
  });
  if (same != moves.end()) {
    same->listeners.push_back(listener);
  } else {
    moves.push_back({before, after, {listener}});
  }
}

std::string joined(const std::vector<std::string>& listeners) {
  std::string out;
  for (const auto& listener : listeners) append(out, listener);
  return out;
}

void compare_routes(const std::string& name, const Routes& was, Hosts& old, const Routes& is, Hosts& now,
                    std::vector<Change>& out) {
  const Host before = old.joined(was);
  const Host after = now.joined(is);
  const auto did_so = [&](const Host& work) {
    return std::any_of(was.begin(), was.end(),
                       [&](const auto& one) { return same_work(old.describe(one.second), work); });
  };
  std::vector<Move> moves;
  for (const auto& [listener, route] : is) {
    const Host& work = now.describe(route);
    const auto at = was.find(listener);
    if (at == was.end() && did_so(work)) continue;  // that it is on this listener, too, is all
    const Host& work_before = at == was.end() ? before : old.describe(at->second);
    if (!same_work(work_before, work)) add_move(moves, work_before, work, listener);
  }
  for (const Move& move : moves) {
    compare_work(name, move.before, move.after, move.listeners.size() == is.size() ? "" : joined(move.listeners), out);
  }
  if (before.listeners != after.listeners) {
    out.push_back({name, "listeners", before.listeners, after.listeners, before.at, after.at, {}});
  }
}

// Who serves the name, or all names of a wildcard, on a listener, where it has no route of its own there.
struct Cover {
  const Route* route = nullptr;  // null: nobody
  std::string name;              // of the wildcard
};

Cover cover_of(const Hosts& hosts, const std::string& name, const std::string& listener) {
  const HostTable* table = hosts.table(listener);
  if (table == nullptr) return {};
  const RoutePtr* route = table->find(name);
  if (route == nullptr) return {};
  for (const auto& entry : table->candidates(name)) {
    if (entry.route == *route && !entry.stand_in) return {route->get(), entry.name};
  }
  return {};
}

// Names without a route that a wildcard covers in one table only, as they are claimed in the other, or detached.
// What becomes of the wildcard itself is told by its own name.
void compare_covers(Hosts& old, Hosts& now, const std::vector<std::string>& listeners, Difference& out) {
  std::set<std::string> names = old.owned();
  names.insert(now.owned().begin(), now.owned().end());
  const auto tell = [](const std::string& name, const std::vector<std::string>& on, const std::string& wildcard,
                       Host host, std::vector<Host>& to) {
    host.name = name;
    host.listeners = joined(on);
    host.wildcard = wildcard;
    to.push_back(std::move(host));
  };
  for (const auto& name : names) {
    std::map<std::pair<std::string, std::string>, std::vector<Move>> moves;  // by the wildcards before and after
    for (const auto& listener : listeners) {
      if (old.has(name, listener) || now.has(name, listener)) continue;
      const Cover was = cover_of(old, name, listener);
      const Cover is = cover_of(now, name, listener);
      if (was.name == is.name || (was.route == nullptr && !old.has(is.name, listener)) ||
          (is.route == nullptr && !now.has(was.name, listener))) {
        continue;
      }
      add_move(moves[{was.name, is.name}], was.route == nullptr ? Host() : old.describe(was.route),
               is.route == nullptr ? Host() : now.describe(is.route), listener);
    }
    for (const auto& [wildcards, of_them] : moves) {
      const auto& [was, is] = wildcards;
      for (const Move& move : of_them) {
        if (was.empty()) {
          tell(name, move.listeners, is, move.after, out.appear);
        } else if (is.empty()) {
          tell(name, move.listeners, was, move.before, out.vanish);
        } else {
          compare_work(name, move.before, move.after, joined(move.listeners), out.change);
        }
      }
    }
  }
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
      out.push_back({now.name, "appears", "", binds_of(now), {}, now.origin, {}});
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
      out.push_back({now.name,
                     "upstream",
                     to_before.upstream,
                     to_after.upstream + (alike ? " with other settings" : ""),
                     was->origin,
                     now.origin,
                     {}});
    }
    if (was->protocol != now.protocol) {
      out.push_back({now.name,
                     "protocol",
                     std::string(protocol_name(was->protocol)),
                     std::string(protocol_name(now.protocol)),
                     was->origin,
                     now.origin,
                     {}});
    }
    if (was->binds != now.binds) {
      out.push_back({now.name, "bind", binds_of(*was), binds_of(now), was->origin, now.origin, {}});
    }
  }
  for (const auto& listener : before.listeners) {
    const auto& was = listener->spec;
    if (find(after, was.name) == nullptr) {
      out.push_back({was.name, "vanishes", binds_of(was), "", was.origin, {}, {}});
    }
  }
}

}  // namespace

Difference compare(const Snapshot& before, const Snapshot& after) {
  Difference out;
  Hosts old(before);
  Hosts now(after);
  const auto alone = [](const std::string& name, const Routes& routes, Hosts& of) {
    Host host = of.joined(routes);
    host.name = name;
    return host;
  };
  for (const auto& [name, routes] : now.routes()) {
    const auto was = old.routes().find(name);
    if (was == old.routes().end()) {
      out.appear.push_back(alone(name, routes, now));
    } else {
      compare_routes(name, was->second, old, routes, now, out.change);
    }
  }
  for (const auto& [name, routes] : old.routes()) {
    if (now.routes().count(name) == 0) out.vanish.push_back(alone(name, routes, old));
  }
  std::set<std::string> listeners;
  for (const auto* snapshot : {&before, &after}) {
    for (const auto& listener : snapshot->listeners) listeners.insert(listener->spec.name);
  }
  compare_covers(old, now, {listeners.begin(), listeners.end()}, out);
  const auto by_name = [](const auto& a, const auto& b) { return a.name < b.name; };
  std::stable_sort(out.appear.begin(), out.appear.end(), by_name);
  std::stable_sort(out.vanish.begin(), out.vanish.end(), by_name);
  std::stable_sort(out.change.begin(), out.change.end(), by_name);
  compare_listeners(before, after, out.listeners);
  return out;
}

namespace {

bool is_served(const Snapshot& snapshot, const std::string& name) {
  return std::any_of(snapshot.listeners.begin(), snapshot.listeners.end(), [&](const auto& listener) {
    const RoutePtr* route = listener->hosts.find(name);
    return route != nullptr && *route != nullptr;
  });
}

// Names that a wildcard served, and that now belong to a claim without a route for them.
void add_claimed_away(const Snapshot& before, const Snapshot& after, std::vector<std::string>& lost) {
  if (before.claims == after.claims) return;
  for (const Claim& claim : after.claims->claims()) {
    const Claim* old = before.claims->find(claim.host);
    if (old != nullptr && old->host == claim.host) continue;
    if (is_served(before, claim.host) && !is_served(after, claim.host)) lost.push_back(claim.host);
  }
}

}  // namespace

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
  add_claimed_away(before, after, lost);
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
