#include "routing/upstream/discovery.h"

#include <pthread.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/base/log.h"
#include "core/io/timer_wheel.h"
#include "routing/upstream/fair_queue.h"

namespace edgemux::routing {

namespace {

bool same(const EndpointSet& a, const EndpointSet& b) {
  return a.problem == b.problem && std::equal(a.endpoints.begin(), a.endpoints.end(), b.endpoints.begin(),
                                              b.endpoints.end(), [](const Endpoint& x, const Endpoint& y) {
                                                return x.address == y.address && x.text == y.text &&
                                                       x.weight == y.weight && x.host == y.host;
                                              });
}

void publish_if_changed(const Upstream& upstream, EndpointSet set) {
  const auto before = upstream.state->published();
  if (same(set, *before)) return;
  if (!set.endpoints.empty() && !set.problem.empty() && set.problem != before->problem) {
    core::log_warn("upstream {}: {}", upstream.name, set.problem);
  }
  upstream.state->publish(std::make_shared<const EndpointSet>(std::move(set)));
}

bool has_names(const Upstream& upstream) {
  return std::any_of(upstream.endpoints.begin(), upstream.endpoints.end(),
                     [](const EndpointSpec& spec) { return !spec.address.has_value(); });
}

bool has_family(const std::vector<core::SocketAddress>& addresses, core::Resolver::Family family) {
  const bool v4 = family == core::Resolver::Family::v4;
  return std::any_of(addresses.begin(), addresses.end(), [v4](const auto& address) { return address.is_v4() == v4; });
}

}  // namespace

// Everything that belongs to the discovery thread.
class Discovery::Names {
 public:
  Names(core::EventLoop& loop, Options options)
      : loop_(loop),
        options_(std::move(options)),
        resolver_(loop, options_.resolver),
        random_(std::random_device{}()),
        places_(options_.max_in_flight) {}

  void track(const std::vector<UpstreamPtr>& upstreams) {
    {
      const std::lock_guard lock(known_);
      follow(upstreams);
      forget_unused();
    }
    for (const auto& tracked : tracked_) publish(*tracked);
    ask_waiting();
  }

  // The endpoints of an upstream that is perhaps not tracked yet, by what is known now. Any thread.
  EndpointSet assemble(const Upstream& upstream) {
    static const NameState unanswered;
    std::vector<const NameState*> states;
    const std::lock_guard lock(known_);
    for (const auto& spec : upstream.endpoints) {
      const auto found = spec.address.has_value()
                             ? names_.end()
                             : names_.find(key_of(upstream.tenant_name(), spec.host, spec.service));
      states.push_back(found == names_.end() ? &unanswered : &found->second->state);
    }
    return assemble_endpoints(upstream, states);
  }

  std::mutex publishing;  // held from comparing a state's set to replacing it

 private:
  struct Tracked;

  void follow(const std::vector<UpstreamPtr>& upstreams) {
    for (auto& [host, name] : names_) name->users.clear();
    tracked_.clear();
    tracked_.reserve(upstreams.size());
    for (const auto& upstream : upstreams) {
      Tracked& tracked = *tracked_.emplace_back(std::make_unique<Tracked>(*this, upstream));
      for (const auto& spec : upstream->endpoints) {
        Name* name = spec.address.has_value() ? nullptr : &name_of(upstream->tenant_name(), spec.host, spec.service);
        tracked.parts.push_back(name);
        // An upstream may list a name twice, with two ports.
        if (name != nullptr && (name->users.empty() || name->users.back() != &tracked)) name->users.push_back(&tracked);
      }
    }
  }

  using Family = core::Resolver::Family;
  using Answer = core::Resolver::Answer;

  struct Name {
    Name(Names& owner, std::string_view whose, std::string text, bool srv)
        : names(owner), tenant(whose), host(std::move(text)), timer(on_due, this), service(srv) {}
    ~Name() {
      names.places_.leave(*this);
      if (led_to && --names.led_to_.at(tenant) == 0) names.led_to_.erase(tenant);
    }
    Name(const Name&) = delete;
    Name& operator=(const Name&) = delete;
    static void on_due(void* self) {
      auto& name = *static_cast<Name*>(self);
      name.names.places_.wait(name.tenant, name);
      name.names.ask_waiting();
    }
    [[nodiscard]] bool unused() const { return users.empty() && services.empty(); }

    Names& names;
    std::string tenant;  // empty: the platform
    std::string host;
    NameState state;
    unsigned failures = 0;                    // in a row
    std::optional<std::uint64_t> gone_since;  // the name servers have said so since then, without a break
    core::Timer timer;
    core::Resolver::Query query;
    std::vector<Tracked*> users;
    std::unordered_set<Name*> services;  // of which it is a target
    std::unordered_set<Name*> targets;   // of a service
    bool service;
    bool led_to = false;  // it was made for a service
  };

  struct Tracked {
    Tracked(Names& owner, UpstreamPtr which)
        : names(owner),
          upstream(std::move(which)),
          timer([](void* self) { static_cast<Tracked*>(self)->names.publish(*static_cast<Tracked*>(self)); }, this) {}

    Names& names;
    UpstreamPtr upstream;
    std::vector<Name*> parts;  // one per endpoint; null = an address
    core::Timer timer;         // until it is published
    std::uint64_t rests_until = 0;
  };

  // A service and a host may have the same name.
  static std::string key_of(std::string_view tenant, const std::string& host, bool service) {
    std::string key(tenant);
    key += service ? "/srv:" : "/";
    return key += host;
  }
  static std::string key_of(const Name& name) { return key_of(name.tenant, name.host, name.service); }

  Name& name_of(std::string_view tenant, const std::string& host, bool service) {
    auto& name = names_[key_of(tenant, host, service)];
    if (name == nullptr) {
      name = std::make_unique<Name>(*this, tenant, host, service);
      places_.wait(tenant, *name);
    }
    return *name;
  }

  // Null: the services of the tenant lead to as many names as they may.
  Name* target_of(const Name& service, const std::string& host) {
    if (const auto found = names_.find(key_of(service.tenant, host, false)); found != names_.end()) {
      return found->second.get();
    }
    std::size_t& made = led_to_[service.tenant];
    if (!service.tenant.empty() && made >= options_.max_targets) return nullptr;
    ++made;
    Name& target = name_of(service.tenant, host, false);
    target.led_to = true;
    return &target;
  }

  void forget_unused() {
    // Services first: their targets may go with them.
    for (const bool services : {true, false}) {
      for (auto it = names_.begin(); it != names_.end();) {
        Name& name = *it->second;
        if (name.service != services || !name.unused()) {
          ++it;
          continue;
        }
        for (Name* target : name.targets) target->services.erase(&name);
        it = names_.erase(it);
      }
    }
  }

  void ask_waiting() {
    while (Name* name = places_.take()) {
      const auto on_answer = [this, name](core::Result<Answer> result) { on_result(*name, std::move(result)); };
      name->query =
          name->service ? resolver_.resolve_service(name->host, on_answer) : resolver_.resolve(name->host, on_answer);
    }
  }

  void on_result(Name& name, core::Result<Answer> result) {
    if (result.has_value() && !name.service) return addresses_came(name, std::move(*result));
    if (result.has_value()) {
      served(name, *result);
    } else if (!held_long_enough(name, result.error())) {
      failed(name, result.error());
    } else if (name.service) {
      give_up(name, result.error());
    } else {
      return ask_before_giving_up(name, has_family(name.state.addresses, Family::v4) ? Family::v4 : Family::v6);
    }
    done(name);
  }

  void addresses_came(Name& name, Answer answer) {
    if (const Family missing = lost_family(name, answer); missing != Family::any) {
      return ask_again(name, std::move(answer), missing);
    }
    answered(name, answer, false);
    done(name);
  }

  // The question is over.
  void done(Name& name) {
    places_.leave(name);
    for (Tracked* user : name.users) publish_soon(*user);
    for (const Name* service : name.services) {
      for (Tracked* user : service->users) publish_soon(*user);
    }
    ask_waiting();
  }

  // The family that had addresses before and has none in the answer.
  static Family lost_family(const Name& name, const Answer& answer) {
    for (const Family family : {Family::v4, Family::v6}) {
      if (has_family(name.state.addresses, family) && !has_family(answer.addresses, family)) return family;
    }
    return Family::any;
  }

  // Whether the family is gone, or could only not be asked for.
  void ask_again(Name& name, Answer first, Family family) {
    const auto on_answer = [this, &name, first = std::move(first), family](core::Result<Answer> result) {
      Answer both = first;
      const bool kept = !result.has_value() && result.error().retryable;
      if (result.has_value()) {
        both.addresses.insert(both.addresses.end(), result->addresses.begin(), result->addresses.end());
        both.ttl = std::min(both.ttl, result->ttl);
      } else if (kept) {
        core::log_warn("{}: the name servers fail for {}; going on with its last addresses", name.host,
                       family == Family::v4 ? "IPv4" : "IPv6");
        for (const auto& address : name.state.addresses) {
          if (address.is_v4() == (family == Family::v4)) both.addresses.push_back(address);
        }
      }
      answered(name, both, kept);
      done(name);
    };
    name.query = resolver_.resolve(name.host, on_answer, family);
  }

  // Where one family fails and the other is not there, the answer for both is that the name is gone. So each that has
  // addresses is asked for alone.
  void ask_before_giving_up(Name& name, Family family) {
    const auto on_answer = [this, &name, family](core::Result<Answer> result) {
      if (result.has_value()) return addresses_came(name, std::move(*result));
      if (result.error().retryable) {
        failed(name, result.error());
      } else if (family == Family::v4 && has_family(name.state.addresses, Family::v6)) {
        return ask_before_giving_up(name, Family::v6);
      } else {
        give_up(name, result.error());
      }
      done(name);
    };
    name.query = resolver_.resolve(name.host, on_answer, family);
  }

  // `kept`: some of it is an earlier answer; ask again soon.
  void answered(Name& name, const Answer& answer, bool kept) {
    const std::lock_guard lock(known_);
    auto addresses = keep_order(name.state.addresses, answer.addresses);
    const bool other = addresses != name.state.addresses;
    if (name.failures != 0) {
      core::log_info("{} resolves again: {}", name.host, listing(addresses));
    } else if (other && !name.state.addresses.empty()) {
      core::log_info("{} now resolves to {}, before to {}", name.host, listing(addresses),
                     listing(name.state.addresses));
    }
    name.state.addresses = std::move(addresses);
    name.state.more = name.state.addresses.size() < answer.addresses.size();
    succeeded(name);
    arm(name, static_cast<std::uint64_t>(kept ? bounds(name).first.count() : within_bounds(name, answer.ttl).count()));
  }

  void served(Name& name, const Answer& answer) {
    const std::lock_guard lock(known_);
    if (name.failures != 0) core::log_info("{} resolves again: {} targets", name.host, answer.services.size());
    succeeded(name);
    if (!set_targets(name, answer.services)) {
      core::log_limited(core::LogLevel::warn, {"targets", name.tenant},
                        "tenant {}: its services lead to more than {} names; some of {} are left out", name.tenant,
                        options_.max_targets, name.host);
      if (name.targets.empty()) name.state.problem = "the tenant's services lead to too many names";
    }
    arm(name, static_cast<std::uint64_t>(bounds(name).first.count()));
  }

  static void succeeded(Name& name) {
    name.failures = 0;
    name.gone_since.reset();
    name.state.problem.clear();
  }

  // False: some are left out.
  bool set_targets(Name& name, const std::vector<core::Resolver::Service>& services) {
    const auto before = std::exchange(name.targets, {});
    name.state.targets.clear();
    bool all = true;
    for (const auto& service : services) {
      Name* target = target_of(name, service.host);
      all = all && target != nullptr;
      if (target == nullptr) continue;
      name.state.targets.push_back({service, &target->state});
      name.targets.insert(target);
      target->services.insert(&name);
    }
    for (Name* old : before) {
      if (name.targets.find(old) != name.targets.end()) continue;
      old->services.erase(&name);
      if (old->unused()) names_.erase(key_of(*old));
    }
    return all;
  }

  [[nodiscard]] bool held_long_enough(const Name& name, const core::Error& error) const {
    return !error.retryable && name.gone_since.has_value() && left_of_hold(name) == 0 &&
           (!name.state.addresses.empty() || !name.targets.empty());
  }

  [[nodiscard]] std::uint64_t left_of_hold(const Name& name) const {
    const std::uint64_t ends = *name.gone_since + static_cast<std::uint64_t>(options_.gone_hold.count());
    return ends > loop_.now() ? ends - loop_.now() : 0;
  }

  // The name is gone. It is asked for like one that fails.
  void give_up(Name& name, const core::Error& error) {
    const std::lock_guard lock(known_);
    core::log_warn("{} is gone: {}; its last {} given up", name.host, error.message,
                   name.service ? "targets are" : "addresses are");
    name.state.addresses.clear();
    name.state.more = false;
    (void)set_targets(name, {});
    note_failure(name, error);
  }

  void failed(Name& name, const core::Error& error) {
    const std::lock_guard lock(known_);
    if (name.failures == 0) {
      std::string known;
      if (!name.state.addresses.empty()) known = listing(name.state.addresses);
      if (!name.state.targets.empty()) known = "its last targets";
      if (!known.empty() && !error.retryable) known += " for " + std::to_string(options_.gone_hold.count()) + " ms";
      known = known.empty() ? "no address is known" : "going on with " + known;
      core::log_warn("{} does not resolve: {}; {}", name.host, error.message, known);
    }
    if (error.retryable) {
      name.gone_since.reset();
    } else if (!name.gone_since.has_value()) {
      name.gone_since = loop_.now();
    }
    note_failure(name, error);
  }

  void note_failure(Name& name, const core::Error& error) {
    name.state.problem = error.message;
    name.failures = std::min(name.failures + 1, 30U);
    // Somewhere in the upper half of 2, 4, 8 ... times the shortest pause.
    auto most = std::min(static_cast<std::uint64_t>(options_.retry_min.count()) << name.failures,
                         static_cast<std::uint64_t>(options_.retry_max.count()));
    // An answer, if a bad one, holds for no longer than a good one.
    if (!error.retryable) most = std::min(most, static_cast<std::uint64_t>(bounds(name).second.count()));
    auto pause = std::uniform_int_distribution<std::uint64_t>(most / 2, most)(random_);
    const std::uint64_t hold = name.gone_since.has_value() ? left_of_hold(name) : 0;
    if (hold != 0) pause = std::min(pause, hold);
    arm(name, pause);
  }

  // The tightest bounds of those that use the name.
  [[nodiscard]] std::pair<milliseconds, milliseconds> bounds(const Name& name) const {
    milliseconds low = milliseconds::max();
    milliseconds high = milliseconds::max();
    const auto look = [&](const std::vector<Tracked*>& users) {
      for (const Tracked* user : users) {
        const DnsPolicy& dns = user->upstream->dns;
        low = std::min(low, dns.min_ttl.count() != 0 ? dns.min_ttl : options_.min_ttl);
        // Who names the lower bound alone means it.
        high = std::min(high, dns.max_ttl.count() != 0 ? dns.max_ttl : std::max(options_.max_ttl, dns.min_ttl));
      }
    };
    look(name.users);
    for (const Name* service : name.services) look(service->users);
    if (low == milliseconds::max()) return {options_.min_ttl, options_.max_ttl};
    if (!name.tenant.empty()) high = std::max(high, options_.tenant_min_ttl);
    if (!name.tenant.empty()) low = std::max(low, options_.tenant_min_ttl);
    return {std::min(low, high), high};
  }

  [[nodiscard]] milliseconds within_bounds(const Name& name, milliseconds ttl) const {
    const auto [low, high] = bounds(name);
    return std::clamp(ttl, low, high);
  }

  void arm(Name& name, std::uint64_t pause) { loop_.timers().arm(name.timer, loop_.now() + pause); }

  // At once, but for a large set that has just been published: it takes a while, and its names change one by one.
  void publish_soon(Tracked& tracked) {
    if (tracked.timer.armed()) return;
    if (loop_.now() >= tracked.rests_until) return publish(tracked);
    loop_.timers().arm(tracked.timer, tracked.rests_until);
  }

  void publish(Tracked& tracked) {
    constexpr std::size_t kAddressesPerMs = 8;  // which take some microseconds
    std::vector<const NameState*> states;
    bool settled = true;
    std::size_t size = 0;
    const auto look = [&](const NameState& state) {
      size += 1 + state.addresses.size();
      if (state.addresses.empty() && state.problem.empty()) settled = false;
    };
    for (const Name* name : tracked.parts) {
      states.push_back(name == nullptr ? nullptr : &name->state);
      if (name == nullptr) continue;
      if (name->targets.empty()) look(name->state);
      for (const Name* target : name->targets) look(target->state);
    }
    EndpointSet set = assemble_endpoints(*tracked.upstream, states);
    tracked.rests_until = loop_.now() + size / kAddressesPerMs;
    const std::lock_guard lock(publishing);
    // What an earlier table knew is better than nothing until every name has been asked for.
    if (!settled && set.endpoints.empty() && !tracked.upstream->state->published()->endpoints.empty()) return;
    publish_if_changed(*tracked.upstream, std::move(set));
  }

  core::EventLoop& loop_;
  Options options_;
  core::Resolver resolver_;
  std::minstd_rand random_;
  FairQueue<Name> places_;
  std::unordered_map<std::string, std::size_t> led_to_;  // by tenant: names that were made for its services
  std::mutex known_;  // names_ and their states: held to change them, and by other threads to look at them
  std::unordered_map<std::string, std::unique_ptr<Name>> names_;
  std::vector<std::unique_ptr<Tracked>> tracked_;
};

Discovery::Discovery() : Discovery(Options{}) {}

Discovery::Discovery(Options options)
    : names_(std::make_unique<Names>(loop_, std::move(options))),
      checks_(std::make_unique<HealthChecks>(loop_)),
      thread_([this] { loop_.run(); }) {
  pthread_setname_np(thread_.native_handle(), "discovery");
}

Discovery::~Discovery() {
  loop_.stop();
  thread_.join();
  checks_.reset();
}

namespace {

// What follow() would publish is what is published: addresses alone, as they were written, that the tenant may use.
bool stands(const Upstream& upstream, const EndpointSet& set) {
  if (set.endpoints.size() != upstream.endpoints.size()) return false;
  for (std::size_t i = 0; i < set.endpoints.size(); ++i) {
    const EndpointSpec& spec = upstream.endpoints[i];
    const Endpoint& endpoint = set.endpoints[i];
    if (!spec.address || !(*spec.address == endpoint.address) || spec.weight != endpoint.weight ||
        spec.text != endpoint.text || spec.host != endpoint.host) {
      return false;
    }
    if (upstream.tenant != nullptr && upstream.tenant->refuses(*spec.address) != nullptr) return false;
  }
  return true;
}

}  // namespace

Discovery::Followed Discovery::follow(const UpstreamList::Part& part) {
  Followed made{part, {}, {}};
  for (const auto& upstream : *part) {
    upstream->state->enter_table();
    if (has_names(*upstream)) made.named.push_back(upstream);
    if (HealthChecks::concerns(*upstream)) made.checked.push_back(upstream);
    if (upstream->endpoints.empty() || stands(*upstream, *upstream->state->published())) continue;
    // A new upstream, or one that was changed, begins with what is known of its names.
    EndpointSet set = names_->assemble(*upstream);
    const std::lock_guard lock(names_->publishing);
    if (has_names(*upstream) && !upstream->state->published()->endpoints.empty()) continue;
    publish_if_changed(*upstream, std::move(set));
  }
  return made;
}

void Discovery::update(const UpstreamList& upstreams) {
  const auto of_thread = [](const Followed& part) { return !part.named.empty() || !part.checked.empty(); };
  bool told = false;  // the thread has to know
  std::unordered_map<const void*, Followed> now;
  now.reserve(upstreams.parts().size());
  for (const auto& part : upstreams.parts()) {
    if (auto known = followed_.extract(part.get())) {
      now.insert(std::move(known));
      continue;
    }
    const auto& fresh = now.insert_or_assign(part.get(), follow(part)).first->second;
    told = told || of_thread(fresh);
  }
  // What is left of the list before.
  for (const auto& [part, followed] : followed_) {
    for (const auto& upstream : *followed.part) upstream->state->leave_table();
  }
  told = told || std::any_of(followed_.begin(), followed_.end(), [&](const auto& e) { return of_thread(e.second); });
  followed_ = std::move(now);
  if (!told) return;
  std::vector<UpstreamPtr> named;
  std::vector<UpstreamPtr> checked;
  for (const auto& part : upstreams.parts()) {
    const Followed& own = followed_.at(part.get());
    named.insert(named.end(), own.named.begin(), own.named.end());
    checked.insert(checked.end(), own.checked.begin(), own.checked.end());
  }
  loop_.post([this, named = std::move(named), checked = std::move(checked)] {
    names_->track(named);
    checks_->track(checked);
  });
}

}  // namespace edgemux::routing
