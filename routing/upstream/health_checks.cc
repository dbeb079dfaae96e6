#include "routing/upstream/health_checks.h"

#include <algorithm>
#include <array>
#include <unordered_set>
#include <utility>

#include "core/base/log.h"
#include "routing/upstream/health.h"
#include "routing/upstream/outlier.h"
#include "routing/upstream/probe.h"

namespace edgemux::routing {

namespace {

constexpr std::uint64_t kUpstreamLineMs = 10'000;
constexpr std::uint64_t kTenantLineMs = 1000;

}  // namespace

// The checks of one endpoint.
struct HealthChecks::Check {
  Check(HealthChecks& own, Watched& of, const Endpoint& which)
      : owner(own),
        watched(of),
        endpoint(which),
        judge(which.state->health.load(std::memory_order_relaxed)),
        timer(
            [](void* self) {
              auto& check = *static_cast<Check*>(self);
              check.owner.due(check);
            },
            this) {}
  ~Check() { owner.places_.leave(*this); }
  Check(const Check&) = delete;
  Check& operator=(const Check&) = delete;

  HealthChecks& owner;
  Watched& watched;
  Endpoint endpoint;
  HealthJudge judge;
  core::Timer timer;
  std::unique_ptr<Probe> probe;
};

struct HealthChecks::Watched {
  // Changes of one kind, of which no line has told.
  struct Untold {
    std::size_t count = 0;
    std::string first;
    std::uint64_t next_line = 0;
  };

  UpstreamPtr upstream;
  std::shared_ptr<UpstreamRuntime> runtime;
  std::shared_ptr<const EndpointSet> set = std::make_shared<EndpointSet>();
  std::vector<std::unique_ptr<Check>> checks;
  std::shared_ptr<const HealthCheck> parameters;  // that the checks go by
  core::TlsClientPolicyPtr tls;                   // that the checks use
  std::array<Untold, 3> untold;                   // by Change; of a tenant's
  std::uint64_t told_at = 0;
  bool wanted = true;
};

HealthChecks::HealthChecks(core::EventLoop& loop, std::size_t max_in_flight)
    : loop_(loop),
      random_(std::random_device{}()),
      places_(max_in_flight),
      tick_([](void* self) { static_cast<HealthChecks*>(self)->tick(); }, this) {}

HealthChecks::~HealthChecks() {
  watched_.clear();
  loop_.free_retired();  // streams of checks under way, which use tls_
}

void HealthChecks::track(const std::vector<UpstreamPtr>& upstreams) {
  for (auto& [runtime, watched] : watched_) watched->wanted = false;
  for (const auto& upstream : upstreams) {
    auto runtime = upstream->state->shared_runtime();
    auto& watched = watched_[runtime.get()];
    if (watched == nullptr) watched = std::make_unique<Watched>();
    watched->runtime = std::move(runtime);
    watched->upstream = upstream;
    watched->wanted = true;
    follow(*watched);
  }
  std::erase_if(watched_, [](const auto& entry) {
    if (entry.second->wanted) return false;
    leave(*entry.second);
    return true;
  });
  run_waiting();  // in the places of those that are gone
  std::erase_if(next_lines_, [this](const auto& entry) { return entry.second <= loop_.now(); });
  if (watched_.empty()) {
    tick_.cancel();
  } else if (!tick_.armed()) {
    loop_.timers().arm(tick_, loop_.now() + kTick);
  }
}

void HealthChecks::let_back(const Watched& watched, EndpointState& endpoint) {
  const std::uint64_t ends = endpoint.eject_ends.load(std::memory_order_relaxed);
  (void)end_ejection(endpoint, *watched.runtime, watched.upstream->outlier, ends);
}

// Nobody looks after it any more, so nothing may stay that somebody would have to take back.
void HealthChecks::leave(Watched& watched) {
  watched.checks.clear();
  for (const Endpoint& endpoint : watched.set->endpoints) {
    endpoint.state->health.store(Health::unknown, std::memory_order_relaxed);
    let_back(watched, *endpoint.state);
  }
  watched.runtime->health_changed();
}

void HealthChecks::tick() {
  for (auto& [runtime, watched] : watched_) {
    if (watched->upstream->state->published() != watched->set) follow(*watched);
    if (runtime->ejected.load(std::memory_order_relaxed) != 0) end_ejections(*watched, loop_.now());
  }
  tell_changes();
  run_waiting();  // endpoints that are gone have left places
  loop_.timers().arm(tick_, loop_.now() + kTick);
}

void HealthChecks::end_ejections(Watched& watched, std::uint64_t now) {
  for (const Endpoint& endpoint : watched.set->endpoints) {
    if (end_ejection(*endpoint.state, *watched.runtime, watched.upstream->outlier, now)) {
      changed(watched, Change::back, endpoint.text + " is back, on trial");
    }
  }
  if (watched.runtime->ejected.load(std::memory_order_relaxed) == 0) return;
  for (const auto& gone : watched.runtime->ejected_beside(*watched.set)) let_back(watched, *gone);
}

void HealthChecks::changed(Watched& watched, Change change, std::string what) {
  if (watched.upstream->tenant == nullptr) {
    const auto level = change == Change::unhealthy ? core::LogLevel::warn : core::LogLevel::info;
    return core::log(level, "{}: {}", watched.upstream->title(), what);
  }
  Watched::Untold& untold = watched.untold[static_cast<std::size_t>(change)];
  if (untold.count++ == 0) untold.first = std::move(what);
}

// Who has said nothing for longest comes first: else a few that flap would use up all of their tenant's lines.
void HealthChecks::tell_changes() {
  std::vector<Watched*> changed;
  for (auto& [runtime, watched] : watched_) {
    const auto& kinds = watched->untold;
    const bool any = std::any_of(kinds.begin(), kinds.end(), [](const auto& untold) { return untold.count != 0; });
    if (any) changed.push_back(watched.get());
  }
  std::sort(changed.begin(), changed.end(), [](const Watched* a, const Watched* b) { return a->told_at < b->told_at; });
  for (Watched* watched : changed) tell_changes(*watched);
}

void HealthChecks::tell_changes(Watched& watched) {
  for (std::size_t i = 0; i < watched.untold.size(); ++i) {
    Watched::Untold& untold = watched.untold[i];
    const std::uint64_t now = loop_.now();
    if (untold.count == 0 || now < untold.next_line) continue;
    std::uint64_t& tenants_next = next_lines_[std::string(watched.upstream->tenant_name())];
    if (now < tenants_next) return;
    tenants_next = now + kTenantLineMs;
    untold.next_line = now + kUpstreamLineMs;
    watched.told_at = now;
    const auto level = static_cast<Change>(i) == Change::unhealthy ? core::LogLevel::warn : core::LogLevel::info;
    if (untold.count == 1) {
      core::log(level, "{}: {}", watched.upstream->title(), untold.first);
    } else {
      const auto& endpoints = watched.set->endpoints;
      const auto usable = std::count_if(endpoints.begin(), endpoints.end(),
                                        [&](const Endpoint& endpoint) { return endpoint.state->usable(); });
      core::log(level, "{}: {}, and {} more changes like this; {} of {} endpoints are usable now",
                watched.upstream->title(), untold.first, untold.count - 1, usable, endpoints.size());
    }
    untold.count = 0;
  }
}

// Takes over the upstream's present endpoints and parameters.
void HealthChecks::follow(Watched& watched) {
  const auto before = std::exchange(watched.set, watched.upstream->state->endpoints());
  const auto& now = watched.set->endpoints;
  let_go(watched, *before);
  std::unordered_map<const EndpointState*, std::unique_ptr<Check>> old;
  for (auto& check : std::exchange(watched.checks, {})) old.emplace(check->endpoint.state.get(), std::move(check));
  watched.tls = tls_of(*watched.upstream);
  const auto parameters = std::exchange(watched.parameters, watched.upstream->health_check);
  if (watched.parameters == nullptr) {
    if (old.empty()) return;
    for (const Endpoint& endpoint : now) endpoint.state->health.store(Health::unknown, std::memory_order_relaxed);
    watched.runtime->health_changed();
    return;
  }
  const bool changed = parameters != nullptr && *parameters != *watched.parameters;
  for (const Endpoint& endpoint : now) {
    if (endpoint.weight == 0) continue;
    const auto found = old.extract(endpoint.state.get());
    if (found.empty()) {
      arm_soon(*watched.checks.emplace_back(std::make_unique<Check>(*this, watched, endpoint)));
      continue;
    }
    Check& check = *watched.checks.emplace_back(std::move(found.mapped()));
    check.endpoint = endpoint;
    if (changed && check.timer.armed()) arm_soon(check);
  }
}

// Endpoints of the set before that are gone: they have no place among the ejected.
void HealthChecks::let_go(const Watched& watched, const EndpointSet& before) {
  std::unordered_set<const EndpointState*> stay;
  for (const Endpoint& endpoint : watched.set->endpoints) stay.insert(endpoint.state.get());
  for (const Endpoint& endpoint : before.endpoints) {
    if (stay.contains(endpoint.state.get())) continue;
    let_back(watched, *endpoint.state);
    endpoint.state->health.store(Health::unknown, std::memory_order_relaxed);
  }
}

// But not all at once.
void HealthChecks::arm_soon(Check& check) {
  const auto spread = std::clamp<std::uint64_t>(
      static_cast<std::uint64_t>(check.watched.upstream->health_check->interval.count()) / 10, 1, 500);
  const std::uint64_t soon = loop_.now() + random_() % spread;
  loop_.timers().arm(check.timer, check.timer.armed() ? std::min(check.timer.deadline(), soon) : soon);
}

// Null: the checks are plain. A check of TLS where the upstream has none is for what passes through: whether somebody
// shakes hands is asked, and not who.
core::TlsClientPolicyPtr HealthChecks::tls_of(const Upstream& upstream) {
  core::TlsClientPolicyPtr policy = upstream.transport.tls;
  if (policy == nullptr && upstream.health_check != nullptr && upstream.health_check->kind == HealthCheck::Kind::tls) {
    core::TlsClientPolicy any;
    any.verify = false;
    any.server_name = upstream.health_check->host;
    if (auto sealed = core::seal(std::move(any))) policy = *sealed;
  }
  if (policy != nullptr && tls_ == nullptr) {
    if (auto made = core::TlsWorker::create({})) tls_ = std::move(*made);
  }
  return policy;
}

void HealthChecks::due(Check& check) {
  if (check.probe != nullptr) return arm_next(check);  // the one before is still under way
  places_.wait(check.watched.upstream->tenant_name(), check);
  run_waiting();
}

void HealthChecks::run_waiting() {
  while (Check* check = places_.take()) begin(*check);
}

// The next one is due an interval after this one began, however long it takes.
void HealthChecks::arm_next(Check& check) {
  const auto pause = jittered(check.watched.upstream->health_check->interval, random_());
  loop_.timers().arm(check.timer, loop_.now() + static_cast<std::uint64_t>(std::max(pause, milliseconds(1)).count()));
}

void HealthChecks::begin(Check& check) {
  const Upstream& upstream = *check.watched.upstream;
  arm_next(check);
  check.probe = std::make_unique<Probe>(
      ProbeContext{loop_, blocks_, http_, tls_.get()},
      Probe::Target{check.endpoint.address, check.endpoint.text, upstream.health_check, check.watched.tls,
                    upstream.transport.version, upstream.transport.proxy_protocol, upstream.transport.source_address,
                    check.endpoint.host},
      [this, &check](const std::string& problem, bool made) { finished(check, problem, made); });
  check.probe->start();
}

void HealthChecks::finished(Check& check, const std::string& problem, bool made) {
  const auto gone = std::move(check.probe);
  places_.leave(check);
  const Upstream& upstream = *check.watched.upstream;
  if (!made) {
    core::log_limited(core::LogLevel::error, "health checks", "{}: {} cannot be checked: {}", upstream.title(),
                      check.endpoint.text, problem);
    return run_waiting();
  }
  const Health before = check.judge.health();
  if (check.judge.note(problem.empty(), *upstream.health_check)) {
    EndpointState& state = *check.endpoint.state;
    if (problem.empty()) {
      // One that was never known to be bad has been serving all along.
      if (before == Health::unhealthy) {
        state.ramp_begins.store(loop_.now(), std::memory_order_relaxed);
        changed(check.watched, Change::healthy, check.endpoint.text + " is healthy again");
      }
      state.health.store(Health::healthy, std::memory_order_relaxed);
    } else {
      changed(check.watched, Change::unhealthy, check.endpoint.text + " is unhealthy: " + problem);
      state.health.store(Health::unhealthy, std::memory_order_relaxed);
    }
    check.watched.runtime->health_changed();
  }
  run_waiting();
}

}  // namespace edgemux::routing
