#include "config/assembly.h"

#include <algorithm>
#include <future>
#include <unordered_set>

namespace edgemux::config {

Assembly::Assembly(const Settings& settings, const Tenancy& tenancy, const Units& units)
    : settings_(settings), claims_(tenancy.claims()), units_(units), platform_(units.find("")->second.get()) {}

const Linked* Assembly::unit_of(const routing::Tenant* tenant) const {
  if (tenant == nullptr) return nullptr;
  const auto at = units_.find(tenant->name);
  return at == units_.end() ? nullptr : at->second.get();
}

routing::RoutePtr Assembly::Both::route_on(std::size_t listener) const {
  for (const Found* found : {&own, &platform}) {
    if (found->host == nullptr) continue;
    if (auto route = found->unit->route_on(*found->host, listener)) return route;
  }
  return nullptr;
}

Assembly::Both Assembly::find(std::string_view name) const {
  Both both;
  const auto look = [name](const Linked* unit) { return Found{unit, unit == nullptr ? nullptr : unit->find(name)}; };
  both.own = look(unit_of(claims_.owner(name)));
  both.platform = look(platform_);
  return both;
}

// Of equal claims the first one does.
bool Assembly::decides(const routing::Claim& claim) const { return claims_.find(claim.host) == &claim; }

// What a tenant claims falls to no wildcard of anybody else, even where the tenant has no route for it: it gets an
// entry of its own, with the tenant's nearest wildcard route or with none.
Assembly::Place Assembly::claimed(const routing::Claim& claim, std::size_t listener) const {
  bool covered = false;
  std::string wildcard;
  for (auto dot = claim.host.find('.', claim.host.front() == '*' ? 2 : 0); dot != std::string::npos;
       dot = claim.host.find('.', dot + 1)) {
    wildcard.assign("*").append(claim.host, dot);
    const Both both = find(wildcard);
    if (!both.any()) continue;
    covered = true;
    const Found& one = both.own.host != nullptr ? both.own : both.platform;
    if (one.unit->routes[one.unit->claim_of(*one.host)->route]->owner == claim.tenant) return both.route_on(listener);
  }
  if (!covered) return std::nullopt;
  return routing::RoutePtr();
}

std::shared_ptr<routing::Listener> Assembly::listener(std::size_t index) const {
  auto made = std::make_shared<routing::Listener>();
  made->spec = settings_.listeners[index];
  const auto tcp = platform_->tcp_upstreams.find(made->spec.name);
  if (tcp != platform_->tcp_upstreams.end()) made->upstream = tcp->second;
  return made;
}

void Assembly::fill(routing::Snapshot& snapshot) const {
  snapshot.host_count = 0;
  snapshot.upstreams = {};
  for (const auto& [tenant, unit] : units_) {
    snapshot.host_count += unit->hosts.size() - unit->shared_hosts;
    snapshot.upstreams.add(unit->upstreams);
  }
}

bool Assembly::has_hosts(std::size_t listener) const {
  return settings_.listeners[listener].protocol != routing::Protocol::tcp;
}

Assembly::Views Assembly::views(std::size_t listener, std::deque<routing::HostTable::Entry>& own) const {
  Views views;
  for (const auto& [tenant, unit] : units_) {
    for (const auto& host : unit->hosts) {
      const auto* route = &unit->route_on(host, listener);
      if (unit->shared_hosts != 0 && *route == nullptr) {
        if (const auto* other = platform_->find(host.name)) route = &platform_->route_on(*other, listener);
      }
      if (unit.get() == platform_) {
        // Where its tenant's files have it too, it stands there.
        const auto* of_tenant = unit_of(unit->routes[unit->claim_of(host)->route]->owner.get());
        if (of_tenant != nullptr && of_tenant->find(host.name) != nullptr) continue;
      }
      views.push_back({host.name, route});
    }
  }
  for (const auto& claim : claims_.claims()) {
    if (!decides(claim) || find(claim.host).any()) continue;
    auto place = claimed(claim, listener);
    if (!place) continue;
    const auto& entry = own.emplace_back(routing::HostTable::Entry{claim.host, std::move(*place), true});
    views.push_back({entry.name, &entry.route, true});
  }
  return views;
}

void Assembly::build(routing::Snapshot& snapshot) const {
  fill(snapshot);
  std::deque<routing::HostTable::Entry> own;
  struct Table {
    Views views;
    routing::HostTable made;
  };
  const auto same = [](const Views& a, const Views& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
      return *x.route == *y.route && x.name == y.name && x.stand_in == y.stand_in;
    });
  };
  std::vector<Table> tables;
  std::vector<std::size_t> which;  // of them, by listener
  std::size_t names = 0;
  for (std::size_t l = 0; l < settings_.listeners.size(); ++l) {
    auto views = has_hosts(l) ? this->views(l, own) : Views();
    const auto known = std::find_if(tables.begin(), tables.end(), [&](const Table& t) { return same(t.views, views); });
    which.push_back(static_cast<std::size_t>(known - tables.begin()));
    if (known != tables.end()) continue;
    names += views.size();
    tables.push_back({std::move(views), {}});
  }
  // Large ones side by side. A new thread has the priority of this one; where there is none to be had, one after the
  // other.
  constexpr std::size_t kLarge = 20'000;
  std::vector<std::future<routing::HostTable>> others;
  for (std::size_t i = 1; i < tables.size(); ++i) {
    others.push_back(std::async(names < kLarge ? std::launch::deferred : std::launch::async | std::launch::deferred,
                                [&views = tables[i].views] { return routing::HostTable(views); }));
  }
  if (!tables.empty()) tables.front().made = routing::HostTable(tables.front().views);
  for (std::size_t i = 0; i < others.size(); ++i) tables[i + 1].made = others[i].get();
  for (std::size_t l = 0; l < settings_.listeners.size(); ++l) {
    auto made = listener(l);
    made->hosts = tables[which[l]].made.with({}, {});
    snapshot.listeners.push_back(std::move(made));
  }
}

// The names whose place may be another now.
std::vector<std::string> Assembly::touched(const routing::ClaimTable& before, const Units& changed) const {
  std::unordered_set<std::string_view> names;
  // Wildcards that came or went may cover what others claim.
  bool wildcards = false;
  for (const auto& [tenant, old] : changed) {
    const auto at = units_.find(tenant);
    const Linked* now = at == units_.end() ? nullptr : at->second.get();
    const auto add = [&](const Linked* unit, const Linked* other) {
      if (unit == nullptr) return;
      for (const auto& host : unit->hosts) {
        names.insert(host.name);
        wildcards = wildcards || (host.name.front() == '*' && (other == nullptr || other->find(host.name) == nullptr));
      }
    };
    add(old.get(), now);
    add(now, old.get());
  }
  for (const auto& claim : claims_.claims()) {
    if (wildcards || changed.count(claim.tenant->name) != 0 || changed.count("") != 0) names.insert(claim.host);
  }
  // Claims that came, went or changed hands.
  if (&before != &claims_) {
    const auto compare = [&names](const routing::ClaimTable& one, const routing::ClaimTable& other) {
      for (const auto& claim : one.claims()) {
        const auto* same = other.find(claim.host);
        if (same == nullptr || same->host != claim.host || same->tenant->name != claim.tenant->name) {
          names.insert(claim.host);
        }
      }
    };
    compare(before, claims_);
    compare(claims_, before);
  }
  return {names.begin(), names.end()};
}

void Assembly::build_from(const routing::Snapshot& before, const Units& changed, routing::Snapshot& snapshot) const {
  fill(snapshot);
  const auto names = touched(*before.claims, changed);
  struct Change {
    std::vector<routing::HostTable::Entry> changes;
    std::vector<std::string> removed;
  };
  const auto same = [](const Change& a, const Change& b) {
    return a.removed == b.removed && std::equal(a.changes.begin(), a.changes.end(), b.changes.begin(), b.changes.end(),
                                                [](const auto& x, const auto& y) { return x.route == y.route; });
  };
  std::vector<Change> made;
  for (std::size_t l = 0; l < settings_.listeners.size(); ++l) {
    Change change;
    for (const auto& name : has_hosts(l) ? names : std::vector<std::string>()) {
      const Both both = find(name);
      Place place;
      const bool stand_in = !both.any();
      if (!stand_in) {
        place = both.route_on(l);
      } else if (const auto* claim = claims_.find(name); claim != nullptr && claim->host == name) {
        place = claimed(*claim, l);
      }
      if (place) {
        change.changes.push_back({name, std::move(*place), stand_in});
      } else {
        change.removed.push_back(name);
      }
    }
    const auto& old = before.listeners[l]->hosts;
    // Two tls listeners have the same hosts as a rule, and so the same table.
    std::size_t twin = 0;
    while (twin < l && !(before.listeners[twin]->hosts.same_as(old) && same(made[twin], change))) ++twin;
    auto fresh = listener(l);
    fresh->hosts = twin < l ? snapshot.listeners[twin]->hosts.with({}, {}) : old.with(change.changes, change.removed);
    snapshot.listeners.push_back(std::move(fresh));
    made.push_back(std::move(change));
  }
}

}  // namespace edgemux::config
