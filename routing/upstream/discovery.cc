#include "routing/upstream/discovery.h"

#include <pthread.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <mutex>
#include <random>
#include <unordered_map>
#include <utility>

#include "core/base/log.h"
#include "core/io/timer_wheel.h"

namespace edgemux::routing {

namespace {

bool contains(const std::vector<core::SocketAddress>& addresses, const core::SocketAddress& address) {
  return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
}

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

EndpointSet assemble_endpoints(const Upstream& upstream, std::span<const NameState* const> names) {
  EndpointSet set;
  std::vector<const std::string*> told;
  std::string refused;
  const auto add = [&](const core::SocketAddress& address, std::string text, const EndpointSpec& spec) {
    if (const char* why = upstream.tenant == nullptr ? nullptr : upstream.tenant->refuses(address)) {
      if (!refused.empty()) refused += "; ";
      refused += text + " " + why;
      return;
    }
    const bool known = std::any_of(set.endpoints.begin(), set.endpoints.end(),
                                   [&address](const Endpoint& endpoint) { return endpoint.address == address; });
    if (!known) set.endpoints.push_back({address, std::move(text), spec.weight, nullptr, spec.host});
  };
  for (std::size_t i = 0; i < upstream.endpoints.size(); ++i) {
    const EndpointSpec& spec = upstream.endpoints[i];
    if (spec.address.has_value()) {
      add(*spec.address, spec.text, spec);
      continue;
    }
    const NameState& name = *names[i];
    for (core::SocketAddress address : name.addresses) {
      address.set_port(spec.port);
      add(address, spec.text + " (" + address.ip() + ")", spec);
    }
    const bool repeated =
        std::any_of(told.begin(), told.end(), [&spec](const std::string* host) { return *host == spec.host; });
    if (!name.addresses.empty() || repeated) continue;
    told.push_back(&spec.host);
    if (!set.problem.empty()) set.problem += "; ";
    set.problem += spec.host + (name.problem.empty() ? " is not resolved yet" : " does not resolve: " + name.problem);
  }
  if (!refused.empty()) {
    set.problem +=
        (set.problem.empty() ? "" : "; ") + ("tenant " + upstream.tenant->name + " may not use it: ") + refused;
  }
  if (!set.endpoints.empty()) set.problem.clear();
  return set;
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

// Everything that belongs to the discovery thread.
class Discovery::Names {
 public:
  Names(core::EventLoop& loop, Options options)
      : loop_(loop),
        options_(std::move(options)),
        resolver_(loop, options_.resolver),
        random_(std::random_device{}()) {}

  void track(const std::vector<UpstreamPtr>& upstreams) {
    for (auto& [host, name] : names_) name->users.clear();
    tracked_.clear();
    tracked_.reserve(upstreams.size());
    for (const auto& upstream : upstreams) {
      Tracked& tracked = tracked_.emplace_back(Tracked{upstream, {}});
      for (const auto& spec : upstream->endpoints) {
        Name* name = spec.address.has_value() ? nullptr : &name_of(spec.host);
        tracked.names.push_back(name);
        // An upstream may list a name twice, with two ports.
        if (name != nullptr && (name->users.empty() || name->users.back() != &tracked)) name->users.push_back(&tracked);
      }
    }
    forget_unused();
    for (const auto& tracked : tracked_) publish(tracked);
    ask_waiting();
  }

  std::mutex publishing;  // held from comparing a state's set to replacing it

 private:
  struct Tracked;

  struct Name {
    Name(Names& owner, std::string text) : names(owner), host(std::move(text)), timer(on_due, this) {}
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
  };

  struct Tracked {
    UpstreamPtr upstream;
    std::vector<Name*> names;  // one per endpoint; null = an address
  };

  Name& name_of(const std::string& host) {
    auto& name = names_[host];
    if (name == nullptr) {
      name = std::make_unique<Name>(*this, host);
      waiting_.push_back(name.get());
    }
    return *name;
  }

  void forget_unused() {
    for (auto it = names_.begin(); it != names_.end();) {
      Name& name = *it->second;
      if (!name.users.empty()) {
        ++it;
        continue;
      }
      if (name.query.active()) --in_flight_;
      std::erase(waiting_, &name);
      it = names_.erase(it);
    }
  }

  void ask_waiting() {
    while (in_flight_ < options_.max_in_flight && !waiting_.empty()) {
      Name& name = *waiting_.front();
      waiting_.pop_front();
      ++in_flight_;
      name.query = resolver_.resolve(name.host, [this, &name](core::Result<core::Resolver::Answer> result) {
        --in_flight_;
        if (result.has_value()) {
          answered(name, *result);
        } else {
          failed(name, result.error());
        }
        for (const Tracked* user : name.users) publish(*user);
        ask_waiting();
      });
    }
  }

  void answered(Name& name, const core::Resolver::Answer& answer) {
    auto addresses = keep_order(name.state.addresses, answer.addresses);
    const bool changed = addresses != name.state.addresses;
    if (name.failures != 0) {
      core::log_info("{} resolves again: {}", name.host, listing(addresses));
    } else if (changed && !name.state.addresses.empty()) {
      core::log_info("{} now resolves to {}, before to {}", name.host, listing(addresses),
                     listing(name.state.addresses));
    }
    name.failures = 0;
    name.state = {std::move(addresses), {}};
    const milliseconds ttl = std::clamp<milliseconds>(answer.ttl, options_.min_ttl, options_.max_ttl);
    arm(name, static_cast<std::uint64_t>(ttl.count()));
  }

  void failed(Name& name, const core::Error& error) {
    if (name.failures == 0) {
      core::log_warn(
          "{} does not resolve: {}; {}", name.host, error.message,
          name.state.addresses.empty() ? "no address is known" : "going on with " + listing(name.state.addresses));
    }
    name.state.problem = error.message;
    name.failures = std::min(name.failures + 1, 30U);
    // Somewhere in the upper half of 2, 4, 8 ... times the shortest pause.
    const auto most = std::min(static_cast<std::uint64_t>(options_.retry_min.count()) << name.failures,
                               static_cast<std::uint64_t>(options_.retry_max.count()));
    arm(name, std::uniform_int_distribution<std::uint64_t>(most / 2, most)(random_));
  }

  void arm(Name& name, std::uint64_t pause) { loop_.timers().arm(name.timer, loop_.now() + pause); }

  void publish(const Tracked& tracked) {
    std::vector<const NameState*> states;
    bool settled = true;
    for (const Name* name : tracked.names) {
      states.push_back(name == nullptr ? nullptr : &name->state);
      if (name != nullptr && name->state.addresses.empty() && name->state.problem.empty()) settled = false;
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
  std::unordered_map<std::string, std::unique_ptr<Name>> names_;
  std::deque<Name*> waiting_;  // to be asked for, in order
  std::vector<Tracked> tracked_;
};

Discovery::Discovery() : Discovery(Options{}) {}

Discovery::Discovery(Options options)
    : names_(std::make_unique<Names>(loop_, std::move(options))), thread_([this] { loop_.run(); }) {
  pthread_setname_np(thread_.native_handle(), "discovery");
}

Discovery::~Discovery() {
  loop_.stop();
  thread_.join();
}

void Discovery::update(std::vector<UpstreamPtr> upstreams) {
  for (const auto& upstream : upstreams) {
    if (upstream->endpoints.empty()) continue;
    // Names count as unanswered here; what the thread knows of them it publishes right after.
    static const NameState unanswered;
    const std::vector<const NameState*> states(upstream->endpoints.size(), &unanswered);
    EndpointSet set = assemble_endpoints(*upstream, states);
    const std::lock_guard lock(names_->publishing);
    if (has_names(*upstream) && !upstream->state->published()->endpoints.empty()) continue;
    publish_if_changed(*upstream, std::move(set));
  }
  std::erase_if(upstreams, [](const UpstreamPtr& upstream) { return !has_names(*upstream); });
  loop_.post([this, tracked = std::move(upstreams)] { names_->track(tracked); });
}

}  // namespace edgemux::routing
