#include "admin/status.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "core/base/log.h"

namespace edgemux::admin {

namespace {

using Json = nlohmann::ordered_json;

// The upstreams are told in full up to here; a large table would make a page of megabytes.
constexpr std::size_t kMaxUpstreams = 1000;  // of the platform, and of tenants together
constexpr std::size_t kMaxUpstreamsOfTenant = 100;
constexpr std::size_t kMaxTenants = 1000;
constexpr std::size_t kMaxDiagnostics = 100;

constexpr std::size_t kOthers = 0;  // the slot of listeners that have none of their own

// `slots`: so many have names. Who has no slot has counted nothing yet; or, where there is none left, shares that of
// the others, and its figures cannot be told (null).
void add_figures(Json& one, const core::Metrics& metrics, std::size_t slot, std::size_t slots) {
  const auto tell = [&](const char* name, auto read) {
    if (slot < slots) {
      one[name] = metrics.over_workers([&](const auto& worker) { return read(worker.listeners[slot]); });
    } else if (slots < core::kListenerSlots) {
      one[name] = 0;
    } else {
      one[name] = nullptr;
    }
  };
  using Figures = core::ListenerMetrics;
  tell("connections_total", [](const Figures& f) { return f.accepted.read(); });
  tell("connections_active", [](const Figures& f) { return f.active.read(); });
  tell("requests_total", [](const Figures& f) {
    std::uint64_t sum = 0;
    for (const auto& count : f.requests) sum += count.read();
    return sum;
  });
  tell("errors_total", [](const Figures& f) { return f.requests.back().read(); });
  tell("bytes_in_total", [](const Figures& f) { return f.client_received.read(); });
  tell("bytes_out_total", [](const Figures& f) { return f.client_sent.read(); });
}

// With a row for those that share a slot, where there are any.
Json listeners_of(const StatusView& view) {
  const auto names = view.metrics.listener_names();
  bool shared = false;
  Json list = Json::array();
  for (const auto& listener : view.snapshot.listeners) {
    Json binds = Json::array();
    for (const auto& bind : listener->spec.binds) binds.push_back(bind.text);
    Json one{{"name", listener->spec.name},
             {"protocol", routing::protocol_name(listener->spec.protocol)},
             {"bind", std::move(binds)},
             {"hosts", listener->hosts.size()}};
    const auto slot =
        static_cast<std::size_t>(std::find(names.begin(), names.end(), listener->spec.name) - names.begin());
    shared = shared || slot == core::kListenerSlots;
    add_figures(one, view.metrics, slot, names.size());
    list.push_back(std::move(one));
  }
  if (shared) {
    Json others;
    others["name"] = names[kOthers];
    add_figures(others, view.metrics, kOthers, names.size());
    list.push_back(std::move(others));
  }
  return list;
}

// The platform's come first. Nobody takes the place of all others.
std::vector<const routing::Upstream*> shown_upstreams(const routing::Snapshot& snapshot) {
  std::vector<const routing::Upstream*> shown;
  std::map<const routing::TenantState*, std::size_t> of_tenant;
  for (const bool tenants : {false, true}) {
    const std::size_t most = shown.size() + kMaxUpstreams;
    for (const auto& upstream : snapshot.upstreams) {
      if (shown.size() == most) break;
      const routing::Tenant* tenant = upstream->tenant.get();
      if (tenants != (tenant != nullptr) || (tenants && ++of_tenant[tenant->state.get()] > kMaxUpstreamsOfTenant))
        continue;
      shown.push_back(upstream.get());
    }
  }
  return shown;
}

Json upstreams_of(const routing::Snapshot& snapshot) {
  Json list = Json::array();
  for (const routing::Upstream* upstream : shown_upstreams(snapshot)) {
    const auto set = upstream->state->published();
    const routing::UpstreamRuntime* runtime = upstream->state->known_runtime();
    Json endpoints = Json::array();
    for (const auto& endpoint : set->endpoints) {
      endpoints.push_back({{"endpoint", endpoint.text}, {"state", routing::state_name(endpoint)}});
    }
    Json one{{"name", upstream->name},
             {"origin", upstream->origin.to_string()},
             {"endpoints", std::move(endpoints)},
             {"connections", runtime == nullptr ? 0 : runtime->connections.load(std::memory_order_relaxed)},
             {"pending", runtime == nullptr ? 0 : runtime->pending.load(std::memory_order_relaxed)},
             {"overflows", runtime == nullptr ? 0 : runtime->overflows.load(std::memory_order_relaxed)}};
    if (upstream->max_requests != 0) {
      one["requests"] = runtime == nullptr ? 0 : runtime->requests.load(std::memory_order_relaxed);
    }
    if (upstream->tenant != nullptr) one["tenant"] = upstream->tenant->name;
    if (!set->problem.empty()) one["problem"] = set->problem;
    list.push_back(std::move(one));
  }
  return list;
}

Json tenants_of(const routing::Snapshot& snapshot) {
  using Figures = routing::TenantState::Figures;
  const auto read = [](const std::atomic<std::uint64_t>& value) { return value.load(std::memory_order_relaxed); };
  Json list = Json::array();
  for (std::size_t i = 0; i < std::min(snapshot.tenants.size(), kMaxTenants); ++i) {
    const auto& tenant = snapshot.tenants[i];
    const auto& state = *tenant->state;
    Json one{{"name", tenant->name},
             {"origin", snapshot.tenant_places.at(i).to_string()},
             {"connections_active", state.connections()},
             {"connections_total", state.sum([&](const Figures& f) { return read(f.connections); })},
             {"requests_total", state.sum([&](const Figures& f) {
                std::uint64_t requests = 0;
                for (const auto& count : f.requests) requests += read(count);
                return requests;
              })},
             {"bytes_total", state.sum([&](const Figures& f) { return read(f.received) + read(f.sent); })},
             {"files_set_aside", state.files_set_aside.load(std::memory_order_relaxed)}};
    const auto limit = [&one](const char* name, std::uint64_t value) {
      if (value != 0) one["limits"][name] = value;
    };
    limit("connections", tenant->limits.connections);
    limit("new_connections_per_second", tenant->limits.new_connections_per_second);
    limit("requests_per_second", tenant->limits.requests_per_second);
    limit("bandwidth", tenant->limits.bandwidth);
    list.push_back(std::move(one));
  }
  return list;
}

Json workers_of(const core::Metrics& metrics) {
  const auto now = core::log_clock();
  Json list = Json::array();
  for (unsigned i = 0; i < metrics.workers(); ++i) {
    const auto last = metrics.worker(i).heartbeat.read();
    Json one{{"index", i}};
    if (last != 0) one["last_sign_of_life_ms"] = now > last ? now - last : 0;
    list.push_back(std::move(one));
  }
  return list;
}

Json diagnostics_of(const std::vector<config::Diagnostic>& diagnostics) {
  Json list = Json::array();
  for (const auto& diagnostic : diagnostics) {
    if (list.size() == kMaxDiagnostics) break;
    Json one{{"severity", diagnostic.severity == config::Severity::error ? "error" : "warning"},
             {"message", diagnostic.message},
             {"text", diagnostic.render()}};
    if (diagnostic.origin.file != nullptr) {
      one["file"] = *diagnostic.origin.file;
      one["line"] = diagnostic.origin.line;
      one["column"] = diagnostic.origin.column;
    }
    list.push_back(std::move(one));
  }
  return list;
}

std::string utc(std::int64_t seconds) {
  const auto when = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&when, &parts);
  std::array<char, 32> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

}  // namespace

std::string render_status(const StatusView& view) {
  const auto& metrics = view.metrics;
  Json status{{"version", EDGEMUX_VERSION},
              {"pid", ::getpid()},
              {"uptime_seconds", view.uptime_ms / 1000},
              {"ready", view.not_ready.empty()}};
  if (!view.not_ready.empty()) status["not_ready"] = view.not_ready;
  status["generation"] = view.snapshot.generation;
  status["hosts"] = view.snapshot.host_count;
  status["connections"] = view.connections;
  status["reloads"] = {{"ok", metrics.reloads_ok.load()},
                       {"failed", metrics.reloads_failed.load()},
                       {"refused", metrics.reloads_refused.load()},
                       {"files_set_aside", metrics.sources_set_aside.load()}};
  if (const auto expiry = metrics.certificates_expire.load(); expiry != 0) status["certificates_expire"] = utc(expiry);
  status["access_log"] = {{"lines", view.access_log.written()}, {"dropped", view.access_log.dropped()}};
  status["listeners"] = listeners_of(view);
  status["upstreams_total"] = view.snapshot.upstreams.size();
  status["upstreams"] = upstreams_of(view.snapshot);
  status["tenants_total"] = view.snapshot.tenants.size();
  status["tenants"] = tenants_of(view.snapshot);
  status["workers"] = workers_of(metrics);
  status["set_aside"] = view.set_aside;
  status["diagnostics_total"] = view.diagnostics.size();
  status["diagnostics"] = diagnostics_of(view.diagnostics);
  // Names come from files of tenants: what is not UTF-8 is replaced, never thrown at.
  return status.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace edgemux::admin
