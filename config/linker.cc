#include "config/linker.h"

#include <algorithm>
#include <bit>

#include "config/reminders.h"

namespace edgemux::config {
namespace {

constexpr std::size_t max_reminders = 20;
constexpr std::size_t max_guessed = 10'000;  // names that one is compared with

}  // namespace

Linker::Linker(Shared shared) : shared_(std::move(shared)) {
  const auto& listeners = shared_.settings.listeners;
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    if (listeners[i].protocol == routing::Protocol::tls) tls_mask_ |= 1ULL << i;
    if (listeners[i].protocol == routing::Protocol::http) http_mask_ |= 1ULL << i;
  }
}

bool Linker::admit_upstreams(const FileSpec& file, const Scope& scope, Problems& problems) {
  if (scope.main) main_ = problems.origin({}).file;
  clashes_.clear();
  bool ok = check_scope(file, scope, problems);
  for (const auto& upstream : file.upstreams) {
    const auto& name = upstream.name;
    const auto found = named_.find(name.text);
    if (found == named_.end()) continue;
    const auto& first = found->second.origin;
    const auto second = [&](const routing::Origin& other) {
      return "a second upstream " + quote(name.text) + "; the first stands at " + other.to_string();
    };
    if (takes_from(first.file, problems, [&](const Had::Names& it) { return it.upstreams.count(name.text) != 0; })) {
      to_give_way_.push_back(
          {{first.file, {first.line, first.column}, second(problems.origin(name.place))}, {name.place, second(first)}});
      continue;
    }
    clash(name.place, second(first), problems);
    ok = false;
  }
  if (!admitted(ok, scope)) return false;
  for (const auto& upstream : file.upstreams) {
    check_networks(upstream, scope.tenant.get(), upstream.name.place, problems);
    named_.emplace(upstream.name.text,
                   Named{&upstream, problems.origin(upstream.name.place), folder_of(scope), nullptr, false});
    report(upstream, folder_of(scope), problems);
    if (scope.tenant != nullptr) remind_of_short_ttls(upstream, problems);
  }
  return true;
}

routing::UpstreamPtr Linker::make(const UpstreamSpec& spec, const routing::Origin& origin,
                                  const routing::TenantPtr& tenant, std::string_view lineage,
                                  const std::string& folder) {
  routing::Upstream upstream = spec.value;
  upstream.origin = origin;
  upstream.tenant = tenant;
  if (spec.tls) {
    const auto& answer = shared_.upstream_tls.get(*spec.tls, folder, shared_.inputs);
    upstream.transport.tls = answer.policy;
    upstream.transport.refused = answer.refused;
  }
  return shared_.registry.make(std::move(upstream), lineage);
}

void Linker::report(const UpstreamSpec& spec, const std::string& folder, Problems& problems) {
  if (!spec.tls) return;
  const auto& answer = shared_.upstream_tls.get(*spec.tls, folder, shared_.inputs);
  if (!answer.refused.empty()) {
    problems.error(answer.place, "upstream " + quote(spec.name.text) + ": " + answer.refused,
                   "its requests get 502 until that is repaired");
  }
  for (const auto& [place, warning] : answer.warnings) {
    problems.warning(place, "upstream " + quote(spec.name.text) + ": " + warning);
  }
}

// Bytes that belong to somebody else's TLS go nowhere inside of ours.
void Linker::refuse_tls(const routing::UpstreamPtr& upstream, std::string_view what, Place place, Problems& problems) {
  if (upstream == nullptr || (upstream->transport.tls == nullptr && upstream->transport.refused.empty())) return;
  problems.error(place, std::string(what) + " passes bytes on as they are; upstream " + quote(upstream->name) +
                            " has 'tls' and cannot be used here");
}

routing::UpstreamPtr Linker::resolve(const TargetSpec& target, Traffic traffic, Problems& problems) {
  if (target.inline_upstream != nullptr) {
    check_networks(*target.inline_upstream, tenant_.get(), target.name.place, problems);
    inline_.push_back({target.inline_upstream.get(), tenant_ != nullptr, traffic});
    return make(*target.inline_upstream, problems.origin(target.name.place), tenant_, {}, folder_of(*scope_));
  }
  const auto& name = target.name.text;
  if (const auto found = named_.find(name); found != named_.end()) {
    auto& named = found->second;
    named.has_requests = named.has_requests || traffic == Traffic::requests;
    if (named.made == nullptr) {
      const auto& owner = scope_->tenant;  // of the file, not of a route that the main file writes for a tenant
      named.made =
          make(*named.spec, named.origin, owner, (owner == nullptr ? "" : owner->name + "/") + name, named.folder);
    }
    return named.made;
  }
  if (shared_.doubt.any_name || shared_.doubt.names.count(name) != 0) {
    const std::string problem = "upstream " + quote(name) + " is defined in a file that is set aside";
    problems.warning(target.name.place, problem, "it has no endpoints until that file is repaired");
    return shared_.registry.make_empty(name, scope_->tenant, problems.origin(target.name.place), problem);
  }
  report_unknown(target, problems);
  return nullptr;
}

void Linker::report_unknown(const TargetSpec& target, Problems& problems) const {
  const auto& name = target.name.text;
  std::vector<std::string_view> names;
  if (!problems.full() && shared_.doubt.names.size() + named_.size() <= max_guessed) {
    names.assign(shared_.doubt.names.begin(), shared_.doubt.names.end());
    for (const auto& [known, entry] : named_) names.push_back(known);
  }
  std::sort(names.begin(), names.end());
  auto hint = did_you_mean(name, names);
  if (hint.empty() && scope_->tenant != nullptr) {
    hint = "a tenant's files see the upstreams of that tenant's files only";
  } else if (hint.empty()) {
    hint = "name one of 'upstreams', or write host:port";
  }
  problems.error(target.name.place, "unknown upstream " + quote(name), hint);
}

// Port 80 of the same hosts, reached as the backend is. Its ports do not matter there, so that routes which differ in
// those alone share one. Its origin is the first of them.
routing::UpstreamPtr Linker::backend_solver(const routing::Upstream& backend, const routing::Origin& origin) {
  const auto has_port_80 = [](const routing::EndpointSpec& endpoint) {
    // A service's ports are its own.
    return !(endpoint.address && endpoint.address->is_unix()) && !endpoint.service;
  };
  std::string key = backend.tenant == nullptr ? std::string() : backend.tenant->name;
  key += '/';
  if (backend.connect_timeout) key += std::to_string(backend.connect_timeout->count());
  key += "/" + std::to_string(backend.dns.min_ttl.count()) + "/" + std::to_string(backend.dns.max_ttl.count());
  if (backend.transport.source_address) key += "/" + backend.transport.source_address->ip();
  bool none = true;
  for (const auto& endpoint : backend.endpoints) {
    if (!has_port_80(endpoint)) continue;
    none = false;
    key.append("|").append(endpoint.host).append(" ").append(std::to_string(endpoint.weight));
  }
  if (none) key.append("|").append(backend.name);
  auto& known = solvers_[std::move(key)];
  if (known != nullptr) return known;
  routing::Upstream solver;
  solver.origin = origin;
  solver.tenant = backend.tenant;
  solver.connect_timeout = backend.connect_timeout;
  solver.dns = backend.dns;
  solver.transport.source_address = backend.transport.source_address;
  for (const auto& endpoint : backend.endpoints) {
    if (!has_port_80(endpoint)) continue;
    const auto twice = std::find_if(solver.endpoints.begin(), solver.endpoints.end(),
                                    [&](const auto& other) { return other.host == endpoint.host; });
    if (twice != solver.endpoints.end()) {
      twice->weight = std::max(twice->weight, endpoint.weight);  // it is drained where all of its ports are
      continue;
    }
    routing::EndpointSpec copy = endpoint;
    copy.port = 80;
    copy.line = copy.column = 0;
    if (copy.address) copy.address->set_port(80);
    copy.text = copy.address ? copy.address->to_string() : copy.host + ":80";
    solver.endpoints.push_back(std::move(copy));
  }
  solver.name = solver.endpoints.empty() ? backend.name + " port 80" : solver.endpoints.front().text;
  known = shared_.registry.make(std::move(solver));
  return known;
}

std::uint64_t Linker::listeners_of(const RouteSpec& spec, Problems& problems) {
  if (!spec.listeners) return Linked::kEveryListener;
  const auto& listeners = shared_.settings.listeners;
  std::uint64_t mask = 0;
  for (const auto& name : *spec.listeners) {
    const auto found =
        std::find_if(listeners.begin(), listeners.end(), [&](const auto& l) { return l.name == name.text; });
    if (found != listeners.end()) {
      made_.named_listeners |= 1ULL << static_cast<unsigned>(found - listeners.begin());
      mask |= 1ULL << static_cast<unsigned>(found - listeners.begin());
      if (shared_.settings.sound.listeners && found->protocol == routing::Protocol::tcp) {
        problems.error(name.place, quote(name.text) + " is a tcp listener; it has no hosts, only an upstream");
      }
      continue;
    }
    std::vector<std::string_view> names;
    if (!problems.full()) {
      for (const auto& listener : listeners) names.push_back(listener.name);
    }
    auto hint = did_you_mean(name.text, names);
    constexpr std::size_t most_listed = 8;
    if (hint.empty() && names.size() <= most_listed) {
      for (const auto known : names) hint += (hint.empty() ? "there is " : ", ") + quote(known);
    }
    problems.error(name.place, "unknown listener " + quote(name.text), hint);
  }
  if (shared_.settings.sound.listeners && spec.target && mask != 0 && (mask & ~http_mask_) == 0) {
    const Name& first = spec.listeners->front();
    problems.error(first.place,
                   quote(first.text) + " is an http listener; " + quote(spec.key()) + " needs a tls listener");
  }
  return mask;
}

routing::Rule Linker::make_rule(const RuleSpec& spec, Problems& problems) {
  routing::Rule rule = spec.value;
  rule.origin = problems.origin(spec.place);
  if (auto* forward = std::get_if<routing::Forward>(&rule.action); forward != nullptr && !spec.targets.empty()) {
    forward->upstream = resolve(spec.targets.front(), Traffic::requests, problems);
  }
  if (auto* split = std::get_if<routing::Split>(&rule.action)) {
    for (std::size_t i = 0; i < spec.targets.size(); ++i) {
      split->parts[i].upstream = resolve(spec.targets[i], Traffic::requests, problems);
    }
  }
  auto place = spec.patterns.begin();
  routing::replace_patterns(rule, [&](const routing::PatternPtr& outline) {
    auto pattern = shared_.patterns.get(outline->text(), outline->cover());
    if (!pattern) {
      problems.error(*place, "bad regular expression " + quote(outline->text()) + ": " + pattern.error().message);
    } else if (*pattern == nullptr && shared_.patterns.tell()) {
      problems.error(*place,
                     "the files of a tenant may have at most " + std::to_string(Patterns::kMost) +
                         " different regular expressions together",
                     "write 'path', 'exact_path' or whole values instead");
    }
    ++place;
    return pattern && *pattern != nullptr ? *pattern : outline;
  });
  if (spec.mirrors.empty()) return rule;
  auto filters = std::make_shared<routing::Filters>(*rule.filters);
  for (const auto& mirror : spec.mirrors) {
    filters->mirrors.push_back({resolve(mirror.target, Traffic::requests, problems), mirror.share});
  }
  rule.filters = std::move(filters);
  return rule;
}

const TlsPolicies::Answer& Linker::policy_of(const RouteSpec& spec, Problems& problems) {
  const auto& answer = shared_.policies.get(spec.tls.get(), folder_of(*scope_), shared_.inputs);
  if (answer.policy == nullptr && spec.tls != nullptr) shared_.policies.report(*spec.tls, answer.error, problems);
  return answer;
}

void Linker::report_refused(const RouteSpec& spec, const std::string& refused, Problems& problems) {
  if (refused.empty()) return;
  problems.error(spec.tls->client_ca.place, refused, "every connection to this host is refused until it is repaired");
}

core::TlsPolicyPtr Linker::make_policy(const RouteSpec& spec, routing::Route& route, Problems& problems) {
  const auto& answer = policy_of(spec, problems);
  route.refused = answer.refused;
  made_.has_tls = true;
  return answer.policy;
}

void Linker::make_host(const RouteSpec& spec, routing::Route& route, Problems& problems) {
  routing::VirtualHost host;
  host.max_request_body = spec.max_request_body;
  std::vector<routing::Rule> rules;
  rules.reserve(spec.rules.size());
  for (const auto& from : spec.rules) rules.push_back(make_rule(from, problems));
  host.rules = routing::RuleTable(std::move(rules));
  host.tls = make_policy(spec, route, problems);
  route.action = std::move(host);
}

std::shared_ptr<const routing::Route> Linker::make_route(const RouteSpec& spec, Problems& problems) {
  auto route = std::make_shared<routing::Route>();
  if (!spec.hosts.empty()) route->name = spec.hosts.front().text;
  route->origin = problems.origin(spec.place);
  route->owner = tenant_;
  if (tenant_ != nullptr) route->tenant = tenant_->name;
  route->access = spec.access;
  route->on_http = spec.on_http;
  if (spec.target) {
    auto upstream = resolve(*spec.target, Traffic::tunnels, problems);
    refuse_tls(upstream, quote(spec.key()), spec.target->name.place, problems);
    if (spec.kind == RouteSpec::Kind::passthrough) {
      route->action = routing::Passthrough{std::move(upstream)};
    } else {
      route->action = routing::Terminate{std::move(upstream), make_policy(spec, *route, problems)};
    }
  } else {
    make_host(spec, *route, problems);
  }
  if (spec.solver) {
    route->solver_origin = problems.origin(spec.solver_place);
    const auto* backend = std::get_if<routing::Passthrough>(&route->action);
    if (spec.solver->inline_upstream != nullptr) {
      route->acme_solver = resolve(*spec.solver, Traffic::requests, problems);
    } else if (backend != nullptr && backend->upstream != nullptr) {
      route->acme_solver = backend_solver(*backend->upstream, route->solver_origin);
    }
  }
  return route;
}

// Of a version that was linked with listeners which may have other names now: one that is gone may be any.
std::uint64_t Linker::mask_of(const RouteSpec& spec) const {
  if (!spec.listeners) return Linked::kEveryListener;
  std::uint64_t mask = 0;
  const auto& listeners = shared_.settings.listeners;
  for (const auto& name : *spec.listeners) {
    const auto at =
        std::find_if(listeners.begin(), listeners.end(), [&](const auto& l) { return l.name == name.text; });
    if (at == listeners.end()) return Linked::kEveryListener;
    mask |= 1ULL << static_cast<unsigned>(at - listeners.begin());
  }
  return mask;
}

void Linker::note(const FileSpec* spec, Had::Names& names) const {
  if (spec == nullptr) return;
  names.upstreams.insert(spec->upstream_names.begin(), spec->upstream_names.end());
  for (const auto& route : spec->routes) {
    const std::uint64_t listeners = mask_of(route);
    for (const auto& host : route.hosts) names.hosts[host.text] |= listeners;
  }
}

const Linker::Had& Linker::had(const std::string& file) {
  const auto [at, fresh] = had_.try_emplace(file);
  if (fresh && shared_.held) {
    const Held held = shared_.held(file);
    note(held.now, at->second.now);
    note(held.once, at->second.once);
  }
  return at->second;
}

// Whether the other file, which was admitted, wants what the one at hand has more right to.
template <typename Has>
bool Linker::takes_from(const std::shared_ptr<const std::string>& other, const Problems& problems, Has has) {
  const auto file = problems.origin({}).file;
  if (examining_ || other == file || other == main_ || file == main_) return false;
  const auto right = [&](const Had& it) { return has(it.now) ? 2 : has(it.once) ? 1 : 0; };
  const int own = right(had(*file));
  return own > right(had(*other));
}

void Linker::clash(Place place, std::string message, Problems& problems) {
  if (examining_ || problems.origin({}).file == main_) {
    problems.error(place, std::move(message));
  } else {
    clashes_.push_back({place, std::move(message)});
  }
}

bool Linker::is_examined(const Linked& among, const Linked::Claim& claim) const {
  return examining_ && &among == &made_ && claim.file >= admitted_files_;
}

bool Linker::admitted(bool ok, const Scope& scope) {
  for (auto& wanted : to_give_way_) {
    if (ok) {
      giving_way_.push_back(std::move(wanted.of));
    } else if (scope.last_good) {
      clashes_.push_back(std::move(wanted.otherwise));
    }
  }
  to_give_way_.clear();
  return ok;
}

bool Linker::check_free(const Linked& among, const Linked::Host& host, const Name& name, std::uint64_t listeners,
                        Problems& problems) {
  for (const Linked::Claim* other = among.claim_of(host); other != nullptr; other = among.after(*other)) {
    const std::uint64_t both = other->listeners & listeners & (tls_mask_ | http_mask_);
    if (both == 0) continue;
    // Another version of the file at hand, which that would take the place of.
    if (&among == &made_ && other->file != made_.files.size() - 1 &&
        made_.files[other->file] == problems.origin({}).file) {
      continue;
    }
    const auto first = static_cast<std::size_t>(std::countr_zero(both));
    const auto stands = [&](const routing::Origin& at) {
      return "host " + quote(name.text) + " stands on listener " + quote(shared_.settings.listeners[first].name) +
             " already, at " + at.to_string();
    };
    const auto has = [&](const Had::Names& it) {
      const auto at = it.hosts.find(name.text);
      return at != it.hosts.end() && (at->second & both) != 0;
    };
    const routing::Origin there{among.files[other->file], other->place.line, other->place.column};
    if (&among == &made_ && takes_from(there.file, problems, has)) {
      to_give_way_.push_back(
          {{there.file, other->place, stands(problems.origin(name.place))}, {name.place, stands(there)}});
      continue;
    }
    clash(name.place, stands(there), problems);
    if (is_examined(among, *other)) ++among_examined_;
    return false;
  }
  return true;
}

std::size_t Linker::claim(const RouteSpec& spec, std::uint64_t listeners, Problems& problems) {
  const auto route = static_cast<std::uint32_t>(made_.routes.size());
  std::size_t got = 0;
  for (const auto& host : spec.hosts) {
    if (!belongs(host, problems)) continue;
    ++got;
    const auto [at, fresh] = made_.index.try_emplace(host.text, static_cast<std::uint32_t>(made_.hosts.size()));
    if (fresh) made_.hosts.push_back({host.text, 0});
    const Linked::Host* other = shared_.platform == nullptr ? nullptr : shared_.platform->find(host.text);
    if (other == nullptr || check_free(*shared_.platform, *other, host, listeners, problems)) {
      check_free(made_, made_.hosts[at->second], host, listeners, problems);
    }
    auto& newest = made_.hosts[at->second].claim;
    made_.claims.push_back(
        {listeners, route, newest, static_cast<std::uint32_t>(made_.files.size() - 1), at->second, host.place});
    newest = static_cast<std::uint32_t>(made_.claims.size());
  }
  return got;
}

// What is no error, but hardly meant.
void Linker::remind(const RouteSpec& spec, const routing::Route& route, std::uint64_t listeners, Problems& problems) {
  if (spec.solver && (listeners & http_mask_) == 0) {
    problems.warning(spec.solver_place, "'acme_solver' has no effect: this route is on no http listener");
  }
  const bool on_tls = (listeners & tls_mask_) != 0;
  const bool on_http = (listeners & http_mask_) != 0;
  if (shared_.settings.sound.listeners) remind_of_on_http(spec, on_tls, on_http, problems);
  report_refused(spec, route.refused, problems);
  remind_of_unreachable(spec, on_tls, on_http, problems);
  remind_of_circles(spec, on_tls, on_http, problems);
  if (spec.kind == RouteSpec::Kind::passthrough || (listeners & tls_mask_) == 0) return;
  for (const auto& host : spec.hosts) {
    if (shared_.certificates.find(name_to_serve(host.text), route.tenant)) continue;
    if (shared_.tenancy.claims().owner(host.text) != route.owner.get()) continue;  // said already
    if (reminded_++ < max_reminders) {
      problems.warning(host.place, "no certificate serves " + quote(host.text) + "; its TLS connections are refused");
    }
  }
}

// Room for that many more routes, so that large files do not rehash on the way.
void Linker::grow(std::size_t routes) {
  if (routes < 1024) return;
  made_.index.reserve(made_.hosts.size() + routes);
  made_.hosts.reserve(made_.hosts.size() + routes);
  made_.claims.reserve(made_.claims.size() + routes);
  made_.routes.reserve(made_.routes.size() + routes);
  shared_.registry.reserve(routes);
}

bool Linker::admit_routes(const FileSpec& file, const Scope& scope, Problems& problems) {
  scope_ = &scope;
  clashes_.clear();
  const std::size_t before = problems.errors();
  const std::size_t first_claim = made_.claims.size();
  const std::size_t first_route = made_.routes.size();
  const std::size_t first_host = made_.hosts.size();
  const std::size_t first_pattern = shared_.patterns.size();
  std::vector<std::uint64_t> masks;
  masks.reserve(file.routes.size());
  made_.files.push_back(problems.origin({}).file);
  grow(file.routes.size());
  reminded_ = 0;
  inline_.clear();
  tenant_ = scope.tenant;
  for (const auto& tcp : file.tcp_listeners) {
    auto upstream = resolve(tcp.target, Traffic::tunnels, problems);
    refuse_tls(upstream, "a tcp listener", tcp.target.name.place, problems);
    use(upstream);
    made_.tcp_upstreams.insert_or_assign(tcp.listener, std::move(upstream));
  }
  for (const auto& spec : file.routes) {
    const std::uint64_t listeners = listeners_of(spec, problems);
    tenant_ = tenant_of(spec, scope, problems);
    const std::size_t hosts = claim(spec, listeners, problems);
    masks.push_back(listeners);
    made_.routes.push_back(hosts == 0 && !spec.hosts.empty() ? nullptr : make_route(spec, problems));
  }
  if (!admitted(problems.errors() == before && clashes_.empty(), scope)) {
    withdraw(first_claim, first_route, first_host);
    shared_.patterns.withdraw(first_pattern);
    return false;
  }
  for (const auto& [spec, of_tenant, traffic] : inline_) {
    report(*spec, folder_of(*scope_), problems);
    if (of_tenant) remind_of_short_ttls(*spec, problems);
    if (traffic == Traffic::tunnels) remind_of_tunnels_only(*spec, problems);
  }
  for (std::size_t i = 0; i < file.routes.size(); ++i) {
    if (made_.routes[first_route + i] == nullptr) continue;
    const auto& route = *made_.routes[first_route + i];
    remind(file.routes[i], route, masks[i], problems);
    use(route.acme_solver);
    if (const auto* upstream = routing::upstream_of_bytes(route)) use(*upstream);
    if (const auto* host = std::get_if<routing::VirtualHost>(&route.action)) {
      for (const auto& rule : host->rules) {
        routing::for_each_upstream(rule, [this](const routing::UpstreamPtr& upstream) { use(upstream); });
      }
    }
  }
  if (reminded_ > max_reminders) {
    problems.more_warnings(reminded_ - max_reminders, "hosts without a certificate");
  }
  return true;
}

void Linker::withdraw(std::size_t first_claim, std::size_t first_route, std::size_t first_host) {
  // Newest first, so that each host's chain is left as it was.
  for (std::size_t i = made_.claims.size(); i > first_claim; --i) {
    const auto& claim = made_.claims[i - 1];
    made_.hosts[claim.host].claim = claim.next;
  }
  made_.claims.resize(first_claim);
  made_.routes.resize(first_route);
  for (std::size_t i = first_host; i < made_.hosts.size(); ++i) made_.index.erase(made_.hosts[i].name);
  made_.hosts.resize(first_host);
}

void Linker::use(const routing::UpstreamPtr& upstream) {
  if (upstream == nullptr || !upstream_ids_.insert(upstream->id).second) return;
  if (shared_.platform != nullptr && shared_.platform->lent.count(upstream->id) != 0) return;
  if (shared_.platform == nullptr && upstream->tenant != nullptr) made_.lent.insert(upstream->id);
  upstreams_.push_back(upstream);
}

void Linker::examine_target(const TargetSpec& target, bool material, Problems& problems) {
  if (target.inline_upstream != nullptr) {
    check_networks(*target.inline_upstream, tenant_.get(), target.name.place, problems);
    if (material) report(*target.inline_upstream, folder_of(*scope_), problems);
  } else if (const auto& name = target.name.text;
             !name.empty() && !shared_.doubt.any_name && named_.count(name) + shared_.doubt.names.count(name) == 0) {
    report_unknown(target, problems);
  }
}

void Linker::examine_route(const RouteSpec& route, bool material, Problems& problems) {
  if (route.target) examine_target(*route.target, material, problems);
  if (route.solver) examine_target(*route.solver, material, problems);
  for (const auto& rule : route.rules) {
    for (const auto& target : rule.targets) examine_target(target, material, problems);
    for (const auto& mirror : rule.mirrors) examine_target(mirror.target, material, problems);
  }
  if (material && route.tls) report_refused(route, policy_of(route, problems).refused, problems);
}

bool Linker::examine(const FileSpec& file, const Scope& scope, Problems& problems) {
  among_examined_ = 0;
  scope_ = &scope;
  tenant_ = scope.tenant;
  if (!std::exchange(examining_, true)) {
    admitted_claims_ = made_.claims.size();
    admitted_routes_ = made_.routes.size();
    admitted_hosts_ = made_.hosts.size();
    admitted_files_ = made_.files.size();
  }
  // Whether what its `tls:` names may be read.
  const bool material = shared_.settings.sound.tenants && check_scope(file, scope, problems);
  for (const auto& upstream : file.upstreams) {
    check_networks(upstream, tenant_.get(), upstream.name.place, problems);
    if (material) report(upstream, folder_of(scope), problems);
    const auto found = named_.find(upstream.name.text);
    auto first = examined_.try_emplace(upstream.name.text, problems.origin(upstream.name.place)).first->second;
    if (found != named_.end()) first = found->second.origin;
    if (first.file == problems.origin({}).file) continue;
    clash(upstream.name.place,
          "a second upstream " + quote(upstream.name.text) + "; the first stands at " + first.to_string(), problems);
    if (found == named_.end()) ++among_examined_;
  }
  made_.files.push_back(problems.origin({}).file);
  for (const auto& tcp : file.tcp_listeners) examine_target(tcp.target, material, problems);
  for (const auto& route : file.routes) {
    const std::uint64_t listeners = listeners_of(route, problems);
    tenant_ = shared_.settings.sound.tenants ? tenant_of(route, scope, problems) : nullptr;
    claim(route, listeners, problems);
    made_.routes.push_back(nullptr);
    examine_route(route, material, problems);
  }
  return problems.errors() == among_examined_;
}

void Linker::end_examining() {
  if (!examining_) return;
  withdraw(admitted_claims_, admitted_routes_, admitted_hosts_);
  made_.files.resize(admitted_files_);
}

LinkedPtr Linker::take(std::vector<std::shared_ptr<const Parsed>> sources) {
  end_examining();
  made_.sources = std::move(sources);
  made_.upstreams = std::make_shared<const std::vector<routing::UpstreamPtr>>(std::move(upstreams_));
  made_.apart = std::none_of(made_.routes.begin(), made_.routes.end(),
                             [](const auto& route) { return route != nullptr && route->owner != nullptr; });
  if (shared_.platform != nullptr) {
    made_.shared_hosts =
        static_cast<std::size_t>(std::count_if(made_.hosts.begin(), made_.hosts.end(), [this](const auto& host) {
          return shared_.platform->find(host.name) != nullptr;
        }));
  }
  return std::make_shared<const Linked>(std::move(made_));
}

}  // namespace edgemux::config
