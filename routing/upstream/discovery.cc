#include "routing/upstream/discovery.h"

#include <pthread.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <mutex>
#include <random>
#include <unordered_map>
#include <utility>

#include "core/base/log.h"
#include "core/io/timer_wheel.h"

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
  if (same(set, *upstream.state->published())) return;
  upstream.state->publish(std::make_shared<const EndpointSet>(std::move(set)));
}

bool has_names(const Upstream& upstream) {
  return std::any_of(upstream.endpoints.begin(), upstream.endpoints.end(),
                     [](const EndpointSpec& spec) { return !spec.address.has_value(); });
}

std::string listing(const std::vector<core::SocketAddress>& addresses) {
  std::string text;
  for (const auto& address : addresses) text += (text.empty() ? "" : ", ") + address.ip();
  return text;
}

}  // namespace

// Everything that belongs to the discovery thread.
class Discovery::Names {
 public:
  Names(core::EventLoop& loop, Options options)
      : loop_(loop),
        options_(std::move(options)),
        resolver_(loop, options_.resolver),
        random_(std::random_device{}()) {}

  void track(const std::vector<UpstreamPtr>& upstreams) {
    {
      const std::lock_guard lock(known_);
      follow(upstreams);
      forget_unused();
    }
    for (const auto& tracked : tracked_) publish(tracked);
    ask_waiting();
  }

  // The endpoints of an upstream that is perhaps not tracked yet, by what is known now. Any thread.
  EndpointSet assemble(const Upstream& upstream) {
    static const NameState unanswered;
    std::vector<const NameState*> states;
    const std::lock_guard lock(known_);
    for (const auto& spec : upstream.endpoints) {
      const auto found = spec.address.has_value() ? names_.end() : names_.find(key_of(spec.host, spec.service));
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
      Tracked& tracked = tracked_.emplace_back(Tracked{upstream, {}});
      for (const auto& spec : upstream->endpoints) {
        Name* name = spec.address.has_value() ? nullptr : &name_of(spec.host, spec.service);
        tracked.names.push_back(name);
        // An upstream may list a name twice, with two ports.
        if (name != nullptr && (name->users.empty() || name->users.back() != &tracked)) name->users.push_back(&tracked);
      }
    }
  }

  using Family = core::Resolver::Family;

  struct Name {
    Name(Names& owner, std::string text, bool srv)
        : names(owner), host(std::move(text)), timer(on_due, this), service(srv) {}
    static void on_due(void* self) {
      auto& name = *static_cast<Name*>(self);
      name.names.waiting_.push_back(&name);
      name.names.ask_waiting();
    }

    Names& names;
    std::string host;
    NameState state;
    unsigned failures = 0;  // in a row
    core::Timer timer;
    core::Resolver::Query query;
    std::vector<Tracked*> users;
    std::vector<Name*> services;  // of which it is a target
    std::vector<Name*> targets;   // of a service
    bool service;
  };

  struct Tracked {
    UpstreamPtr upstream;
    std::vector<Name*> names;  // one per endpoint; null = an address
  };

  // A service and a host may have the same name.
  static std::string key_of(const std::string& host, bool service) { return service ? "srv:" + host : host; }

  Name& name_of(const std::string& host, bool service) {
    auto& name = names_[key_of(host, service)];
    if (name == nullptr) {
      name = std::make_unique<Name>(*this, host, service);
      waiting_.push_back(name.get());
    }
    return *name;
  }

  void forget_unused() {
    // Services first: their targets may go with them.
    for (const bool services : {true, false}) {
      for (auto it = names_.begin(); it != names_.end();) {
        Name& name = *it->second;
        if (name.service != services || !name.users.empty() || !name.services.empty()) {
          ++it;
          continue;
        }
        drop(name);
        it = names_.erase(it);
      }
    }
  }

  // Takes it out of whatever it is in, but not out of names_.
  void drop(Name& name) {
    if (name.query.active()) --in_flight_;
    std::erase(waiting_, &name);
    for (Name* target : name.targets) std::erase(target->services, &name);
  }

  void ask_waiting() {
    while (in_flight_ < options_.max_in_flight && !waiting_.empty()) {
      Name& name = *waiting_.front();
      waiting_.pop_front();
      ++in_flight_;
      const auto on_answer = [this, &name](core::Result<core::Resolver::Answer> result) {
        --in_flight_;
        if (!result.has_value()) {
          failed(name, result.error());
        } else if (name.service) {
          served(name, *result);
        } else if (const Family missing = lost_family(name, *result); missing != Family::any) {
          return ask_again(name, std::move(*result), missing);
        } else {
          answered(name, *result, false);
        }
        changed(name);
      };
      name.query =
          name.service ? resolver_.resolve_service(name.host, on_answer) : resolver_.resolve(name.host, on_answer);
    }
  }

  void changed(const Name& name) {
    for (const Tracked* user : name.users) publish(*user);
    for (const Name* service : name.services) {
      for (const Tracked* user : service->users) publish(*user);
    }
    ask_waiting();
  }

  // The family that had addresses before and has none in the answer.
  static Family lost_family(const Name& name, const core::Resolver::Answer& answer) {
    const auto has = [](const std::vector<core::SocketAddress>& list, bool v4) {
      return std::any_of(list.begin(), list.end(), [v4](const auto& address) { return address.is_v4() == v4; });
    };
    for (const bool v4 : {true, false}) {
      if (has(name.state.addresses, v4) && !has(answer.addresses, v4)) return v4 ? Family::v4 : Family::v6;
    }
    return Family::any;
  }

  // Whether the family is gone, or could only not be asked for.
  void ask_again(Name& name, core::Resolver::Answer first, Family family) {
    ++in_flight_;
    const auto on_answer = [this, &name, first = std::move(first),
                            family](core::Result<core::Resolver::Answer> result) {
      --in_flight_;
      core::Resolver::Answer both = first;
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
      changed(name);
    };
    name.query = resolver_.resolve(name.host, on_answer, family);
  }

  // `kept`: some of it is an earlier answer; ask again soon.
  void answered(Name& name, const core::Resolver::Answer& answer, bool kept) {
    const std::lock_guard lock(known_);
    auto addresses = keep_order(name.state.addresses, answer.addresses);
    const bool other = addresses != name.state.addresses;
    if (name.failures != 0) {
      core::log_info("{} resolves again: {}", name.host, listing(addresses));
    } else if (other && !name.state.addresses.empty()) {
      core::log_info("{} now resolves to {}, before to {}", name.host, listing(addresses),
                     listing(name.state.addresses));
    }
    name.failures = 0;
    name.state.addresses = std::move(addresses);
    name.state.problem.clear();
    arm(name, static_cast<std::uint64_t>(kept ? bounds(name).first.count() : within_bounds(name, answer.ttl).count()));
  }

  void served(Name& name, const core::Resolver::Answer& answer) {
    const std::lock_guard lock(known_);
    const auto before = std::exchange(name.targets, {});
    name.state.targets.clear();
    for (const auto& service : answer.services) {
      Name& target = name_of(service.host, false);
      name.state.targets.push_back({service, &target.state});
      if (std::find(name.targets.begin(), name.targets.end(), &target) != name.targets.end()) continue;
      name.targets.push_back(&target);
      if (std::find(target.services.begin(), target.services.end(), &name) == target.services.end()) {
        target.services.push_back(&name);
      }
    }
    for (Name* old : before) {
      if (std::find(name.targets.begin(), name.targets.end(), old) != name.targets.end()) continue;
      std::erase(old->services, &name);
      if (!old->users.empty() || !old->services.empty()) continue;
      drop(*old);
      names_.erase(key_of(old->host, false));
    }
    if (name.failures != 0) core::log_info("{} resolves again: {} targets", name.host, answer.services.size());
    name.failures = 0;
    name.state.problem.clear();
    arm(name, static_cast<std::uint64_t>(bounds(name).first.count()));
  }

  void failed(Name& name, const core::Error& error) {
    const std::lock_guard lock(known_);
    if (name.failures == 0) {
      std::string known = "no address is known";
      if (!name.state.addresses.empty()) known = "going on with " + listing(name.state.addresses);
      if (!name.state.targets.empty()) known = "going on with its last targets";
      core::log_warn("{} does not resolve: {}; {}", name.host, error.message, known);
    }
    name.state.problem = error.message;
    name.failures = std::min(name.failures + 1, 30U);
    // Somewhere in the upper half of 2, 4, 8 ... times the shortest pause.
    const auto most = std::min(static_cast<std::uint64_t>(options_.retry_min.count()) << name.failures,
                               static_cast<std::uint64_t>(options_.retry_max.count()));
    arm(name, std::uniform_int_distribution<std::uint64_t>(most / 2, most)(random_));
  }

  // The tightest bounds of those that use the name.
  [[nodiscard]] std::pair<milliseconds, milliseconds> bounds(const Name& name) const {
    milliseconds low = milliseconds::max();
    milliseconds high = milliseconds::max();
    const auto look = [&](const std::vector<Tracked*>& users) {
      for (const Tracked* user : users) {
        const DnsPolicy& dns = user->upstream->dns;
        low = std::min(low, dns.min_ttl.count() != 0 ? dns.min_ttl : options_.min_ttl);
        high = std::min(high, dns.max_ttl.count() != 0 ? dns.max_ttl : options_.max_ttl);
      }
    };
    look(name.users);
    for (const Name* service : name.services) look(service->users);
    if (low == milliseconds::max()) return {options_.min_ttl, options_.max_ttl};
    return {std::min(low, high), high};
  }

  [[nodiscard]] milliseconds within_bounds(const Name& name, milliseconds ttl) const {
    const auto [low, high] = bounds(name);
    return std::clamp(ttl, low, high);
  }

  void arm(Name& name, std::uint64_t pause) { loop_.timers().arm(name.timer, loop_.now() + pause); }

  void publish(const Tracked& tracked) {
    std::vector<const NameState*> states;
    bool settled = true;
    for (const Name* name : tracked.names) {
      states.push_back(name == nullptr ? nullptr : &name->state);
      if (name == nullptr) continue;
      const auto open = [](const NameState& state) { return state.addresses.empty() && state.problem.empty(); };
      if (name->state.targets.empty() ? open(name->state)
                                      : std::any_of(name->targets.begin(), name->targets.end(),
                                                    [&open](const Name* target) { return open(target->state); })) {
        settled = false;
      }
    }
    EndpointSet set = assemble_endpoints(*tracked.upstream, states);
    const std::lock_guard lock(publishing);
    // What an earlier table knew is better than nothing until every name has been asked for.
    if (!settled && set.endpoints.empty() && !tracked.upstream->state->published()->endpoints.empty()) return;
    publish_if_changed(*tracked.upstream, std::move(set));
  }

  core::EventLoop& loop_;
  Options options_;
  core::Resolver resolver_;
  std::minstd_rand random_;
  std::size_t in_flight_ = 0;
  std::mutex known_;  // names_ and their states: held to change them, and by other threads to look at them
  std::unordered_map<std::string, std::unique_ptr<Name>> names_;
  std::deque<Name*> waiting_;  // to be asked for, in order
  std::vector<Tracked> tracked_;
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
