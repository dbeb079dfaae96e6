#include "admin/exposition.h"

#include <dirent.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>

#include "config/reminders.h"
#include "core/base/log.h"
#include "listeners/close_reason.h"

namespace edgemux::admin {

namespace {

using core::Counter;
using core::ListenerMetrics;
using core::Metrics;

constexpr std::array<std::string_view, core::kConnectResults> kConnectNames{"ok", "refused", "timeout", "failed",
                                                                            "limited"};
constexpr std::array<std::string_view, core::kMirrorResults> kMirrorNames{"answered", "failed", "dropped"};
constexpr std::uint64_t kStaleMs = 10'000;

// A label's value: backslash, quote and newline are escaped.
std::string label_value(std::string_view value) {
  std::string out = "\"";
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + '"';
}

class Text {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    fmt::format_to(out(), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  template <class Value>
  void sample(std::string_view labels, Value value) {
    suffixed("", labels, value);
  }
  template <class Value>
  void suffixed(std::string_view suffix, std::string_view labels, Value value) {
    if (labels.empty()) {
      fmt::format_to(out(), "{}{} {}\n", name_, suffix, value);
    } else {
      fmt::format_to(out(), "{}{}{{{}}} {}\n", name_, suffix, labels, value);
    }
  }
  template <class Value>
  void single(std::string_view name, std::string_view type, std::string_view help, Value value) {
    family(name, type, help);
    sample("", value);
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::back_insert_iterator<std::string> out() { return std::back_inserter(text_); }
  std::string_view name_;
  std::string text_;
};

// The listeners that exist, and "other" only where it was needed.
class Listeners {
 public:
  explicit Listeners(const Metrics& metrics) : metrics_(metrics), names_(metrics.listener_names()) {}

  template <class Read>
  std::uint64_t sum(std::size_t slot, Read read) const {
    return metrics_.over_workers(
        [&](const core::WorkerMetrics& worker) -> std::uint64_t { return read(worker.listeners[slot]); });
  }
  // visit(slot, label)
  template <class Visit>
  void each(Visit visit) const {
    for (std::size_t slot = 0; slot < names_.size(); ++slot) {
      if (slot == 0 && sum(0, [](const ListenerMetrics& l) { return l.accepted.read(); }) == 0) continue;
      visit(slot, "listener=" + label_value(names_[slot]));
    }
  }

 private:
  const Metrics& metrics_;
  std::vector<std::string> names_;
};

struct NamedCounter {
  std::string_view label;
  Counter ListenerMetrics::*counter;
};

void write_plain(Text& text, const Listeners& listeners, Counter ListenerMetrics::*counter) {
  listeners.each([&](std::size_t slot, const std::string& label) {
    text.sample(label, listeners.sum(slot, [&](const ListenerMetrics& l) { return (l.*counter).read(); }));
  });
}

template <std::size_t N>
void write_labelled(Text& text, const Listeners& listeners, std::string_view name,
                    const std::array<NamedCounter, N>& counters) {
  listeners.each([&](std::size_t slot, const std::string& label) {
    for (const auto& each : counters) {
      const auto value = listeners.sum(slot, [&](const ListenerMetrics& l) { return (l.*each.counter).read(); });
      text.sample(fmt::format("{},{}=\"{}\"", label, name, each.label), value);
    }
  });
}

std::string seconds(std::uint64_t micros) { return fmt::format("{}.{:06}", micros / 1'000'000, micros % 1'000'000); }

void write_latency(Text& text, const Listeners& listeners) {
  text.family("edgemux_request_duration_seconds", "histogram", "Time from a request's first byte to its end.");
  listeners.each([&](std::size_t slot, const std::string& label) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i <= core::kLatencyBounds.size(); ++i) {
      count += listeners.sum(slot, [&](const ListenerMetrics& l) { return l.latency.bucket(i); });
      const auto bound = i < core::kLatencyBounds.size()
                             ? fmt::format("{}", static_cast<double>(core::kLatencyBounds[i]) / 1e6)
                             : std::string("+Inf");
      text.suffixed("_bucket", fmt::format("{},le=\"{}\"", label, bound), count);
    }
    const auto sum = listeners.sum(slot, [](const ListenerMetrics& l) { return l.latency.sum_micros(); });
    text.suffixed("_sum", label, seconds(sum));
    text.suffixed("_count", label, count);
  });
}

void write_listeners(Text& text, const Metrics& metrics) {
  const Listeners listeners(metrics);
  text.family("edgemux_connections_total", "counter", "Client connections accepted.");
  write_plain(text, listeners, &ListenerMetrics::accepted);
  text.family("edgemux_connections_active", "gauge", "Client connections open now.");
  write_plain(text, listeners, &ListenerMetrics::active);
  text.family("edgemux_requests_total", "counter",
              "HTTP requests finished, by class of the status (none: there was no answer).");
  listeners.each([&](std::size_t slot, const std::string& label) {
    for (std::size_t i = 0; i < core::kStatusClasses.size(); ++i) {
      const auto value = listeners.sum(slot, [&](const ListenerMetrics& l) { return l.requests[i].read(); });
      text.sample(fmt::format("{},class=\"{}\"", label, core::kStatusClasses[i]), value);
    }
  });
  write_latency(text, listeners);
  text.family("edgemux_bytes_total", "counter", "Bytes moved; of terminated connections the plain text.");
  write_labelled<4>(text, listeners, "direction",
                    {{{"client_received", &ListenerMetrics::client_received},
                      {"client_sent", &ListenerMetrics::client_sent},
                      {"upstream_sent", &ListenerMetrics::upstream_sent},
                      {"upstream_received", &ListenerMetrics::upstream_received}}});
  text.family("edgemux_tls_handshakes_total", "counter", "TLS handshakes of terminated connections.");
  write_labelled<3>(text, listeners, "result",
                    {{{"full", &ListenerMetrics::handshakes_full},
                      {"resumed", &ListenerMetrics::handshakes_resumed},
                      {"failed", &ListenerMetrics::handshakes_failed}}});
  text.family("edgemux_tunnels_total", "counter",
              "Connections that reached an endpoint as bytes (passthrough, terminate, tcp), and upgrades.");
  write_plain(text, listeners, &ListenerMetrics::tunnels);
  text.family("edgemux_tunnels_active", "gauge", "Tunnels open now.");
  write_plain(text, listeners, &ListenerMetrics::tunnels_active);
}

void write_workers(Text& text, const Metrics& metrics) {
  const auto sum = [&](Counter core::WorkerMetrics::*counter) {
    return metrics.over_workers([&](const core::WorkerMetrics& w) { return (w.*counter).read(); });
  };
  text.family("edgemux_drops_total", "counter", "Connections and requests that ended in a failure, by reason.");
  for (std::size_t i = 0; i < listeners::kCloseReasons; ++i) {
    const auto reason = static_cast<listeners::CloseReason>(i);
    if (!listeners::is_failure(reason)) continue;
    text.sample(fmt::format("reason=\"{}\"", listeners::close_reason_name(reason)),
                metrics.over_workers([&](const core::WorkerMetrics& w) { return w.closes[i].read(); }));
  }
  text.family("edgemux_upstream_connects_total", "counter", "Attempts to connect to an endpoint.");
  for (std::size_t i = 0; i < kConnectNames.size(); ++i) {
    text.sample(fmt::format("result=\"{}\"", kConnectNames[i]),
                metrics.over_workers([&](const core::WorkerMetrics& w) { return w.upstream_connects[i].read(); }));
  }
  text.single("edgemux_upstream_reuses_total", "counter", "Requests sent over a connection from the pool.",
              sum(&core::WorkerMetrics::upstream_reuses));
  text.single("edgemux_upstream_retries_total", "counter", "Attempts after the first.",
              sum(&core::WorkerMetrics::upstream_retries));
  text.family("edgemux_mirrored_requests_total", "counter",
              "Copies of requests for mirrors, by what became of them; a dropped one was never sent.");
  for (std::size_t i = 0; i < kMirrorNames.size(); ++i) {
    text.sample(fmt::format("result=\"{}\"", kMirrorNames[i]),
                metrics.over_workers([&](const core::WorkerMetrics& w) { return w.mirrored[i].read(); }));
  }
  text.single("edgemux_upstream_connections_idle", "gauge", "Connections waiting in the pools.",
              sum(&core::WorkerMetrics::upstream_idle));
  text.single("edgemux_accept_failures_total", "counter",
              "Times that clients had to wait, as there was no descriptor or memory to accept them.",
              sum(&core::WorkerMetrics::accept_failures));
  text.single("edgemux_workers", "gauge", "Worker threads.", metrics.workers());
}

// ---- tenants ----

using TenantFigures = routing::TenantState::Figures;

// One line per tenant with figures of its own, and one for all others together.
template <class Read>
void write_tenant_counter(Text& text, std::span<const routing::TenantPtr> tenants, std::string_view more, Read read) {
  const auto label = [&](std::string_view name) {
    std::string out = "tenant=" + label_value(name);
    if (!more.empty()) out += "," + std::string(more);
    return out;
  };
  for (const auto& tenant : tenants) {
    if (tenant->state->labelled()) text.sample(label(tenant->name), tenant->state->sum(read));
  }
  const auto& others = tenants.front()->state->others();  // they share one
  if (others.any()) text.sample(label(kOtherTenants), others.sum(read));
}

// The same; `add` makes one of two values. Those that read() has nothing of are passed over.
template <class Read, class Add>
void write_tenant_gauge(Text& text, std::span<const routing::TenantPtr> tenants, Read read, Add add) {
  using Value = typename std::invoke_result_t<Read, const routing::TenantState&>::value_type;
  std::optional<Value> others;
  for (const auto& tenant : tenants) {
    const std::optional<Value> value = read(*tenant->state);
    if (!value) continue;
    if (tenant->state->labelled()) {
      text.sample("tenant=" + label_value(tenant->name), *value);
    } else {
      others = others ? add(*others, *value) : *value;
    }
  }
  if (others) text.sample("tenant=" + label_value(kOtherTenants), *others);
}

void write_tenants(Text& text, std::span<const routing::TenantPtr> tenants) {
  using State = routing::TenantState;
  if (tenants.empty()) return;
  const auto counter = [&](std::string_view more, auto read) { write_tenant_counter(text, tenants, more, read); };
  const auto figure = [](std::atomic<std::uint64_t> TenantFigures::*member) {
    return [member](const TenantFigures& f) { return (f.*member).load(std::memory_order_relaxed); };
  };
  const auto add = [](std::uint64_t a, std::uint64_t b) { return a + b; };
  text.family("edgemux_tenant_connections_total", "counter", "Client connections by server name.");
  counter("", figure(&TenantFigures::connections));
  text.family("edgemux_tenant_connections_active", "gauge", "Of these, open now.");
  write_tenant_gauge(
      text, tenants, [](const State& state) { return std::optional<std::uint64_t>(state.connections()); }, add);
  text.family("edgemux_tenant_requests_total", "counter",
              "HTTP requests finished, by class of the status (none: there was no answer).");
  for (std::size_t i = 0; i < core::kStatusClasses.size(); ++i) {
    counter(fmt::format("class=\"{}\"", core::kStatusClasses[i]),
            [i](const TenantFigures& f) { return f.requests[i].load(std::memory_order_relaxed); });
  }
  text.family("edgemux_tenant_bytes_total", "counter", "Bytes of bodies and tunnels.");
  counter("direction=\"client_received\"", figure(&TenantFigures::received));
  counter("direction=\"client_sent\"", figure(&TenantFigures::sent));
  text.family("edgemux_tenant_refused_total", "counter", "Connections and requests over a limit of the tenant.");
  counter("what=\"connection\"", figure(&TenantFigures::refused_connections));
  counter("what=\"request\"", figure(&TenantFigures::refused_requests));
  text.family("edgemux_tenant_files_set_aside", "gauge", "Broken files of the tenant.");
  write_tenant_gauge(
      text, tenants,
      [](const State& state) {
        return std::optional<std::uint64_t>(state.files_set_aside.load(std::memory_order_relaxed));
      },
      add);
  const auto expiry = [](const State& state) -> std::optional<std::int64_t> {
    const auto at = state.certificates_expire.load(std::memory_order_relaxed);
    return at == 0 ? std::nullopt : std::optional(at);
  };
  if (std::none_of(tenants.begin(), tenants.end(), [&](const auto& tenant) { return expiry(*tenant->state); })) return;
  text.family("edgemux_tenant_certificates_expire_timestamp_seconds", "gauge",
              "When the first of the tenant's certificates that serve a host expires.");
  write_tenant_gauge(text, tenants, expiry, [](std::int64_t a, std::int64_t b) { return std::min(a, b); });
}

// ---- the process, by the names that Prometheus clients share ----

std::uint64_t open_descriptors() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/fd"), ::closedir);
  std::uint64_t count = 0;
  while (folder != nullptr && ::readdir(folder.get()) != nullptr) ++count;
  return count > 3 ? count - 3 : 0;  // ".", ".." and the folder itself
}

std::uint64_t resident_bytes() {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/proc/self/statm", "re"), std::fclose);
  unsigned long total = 0;
  unsigned long resident = 0;
  if (file == nullptr || std::fscanf(file.get(), "%lu %lu", &total, &resident) != 2) return 0;
  return std::uint64_t{resident} * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::uint64_t cpu_micros() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto micros = [](const timeval& t) {
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(t.tv_usec);
  };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
}

void write_process(Text& text, const Metrics& metrics, const listeners::AccessLog& access_log) {
  const auto read = [](const auto& value) { return value.load(std::memory_order_relaxed); };
  text.family("edgemux_build_info", "gauge", "Always 1; the version is the label.");
  text.sample("version=\"" EDGEMUX_VERSION "\"", 1);
  text.single("edgemux_config_generation", "gauge", "Number of the table in force.", read(metrics.generation));
  text.single("edgemux_hosts", "gauge", "Hosts in the table in force.", read(metrics.hosts));
  text.family("edgemux_reloads_total", "counter", "Reloads of the configuration.");
  text.sample("result=\"ok\"", read(metrics.reloads_ok));
  text.sample("result=\"failed\"", read(metrics.reloads_failed));
  text.sample("result=\"refused\"", read(metrics.reloads_refused));
  text.single("edgemux_config_last_reload_successful", "gauge",
              "0: the configuration on the disk is broken, refused, or cannot be put in force; what was before serves.",
              read(metrics.reload_succeeded) ? 1 : 0);
  text.single("edgemux_config_last_reload_success_timestamp_seconds", "gauge",
              "When the configuration was last loaded and is what serves.", read(metrics.reload_success_at));
  text.single("edgemux_config_files_set_aside", "gauge", "Broken files whose last good bytes serve instead.",
              read(metrics.sources_set_aside));
  if (const auto expiry = read(metrics.certificates_expire); expiry != 0) {
    text.single("edgemux_certificates_expire_timestamp_seconds", "gauge",
                "When the first of the platform's certificates that serve a host expires.", expiry);
  }
  text.single("edgemux_access_log_lines_total", "counter", "Access-log lines written.", access_log.written());
  text.single("edgemux_access_log_dropped_total", "counter", "Access-log lines lost.", access_log.dropped());
  text.single("edgemux_log_dropped_total", "counter", "Lines of the process log lost.", core::log_drops());
  text.single("process_start_time_seconds", "gauge", "When it started.", metrics.started_at);
  text.single("process_cpu_seconds_total", "counter", "CPU time of all threads.", seconds(cpu_micros()));
  text.single("process_resident_memory_bytes", "gauge", "Memory in use.", resident_bytes());
  text.single("process_open_fds", "gauge", "Open descriptors.", open_descriptors());
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  text.single("process_max_fds", "gauge", "Limit of open descriptors.", files.rlim_cur);
}

}  // namespace

std::string render_metrics(const Metrics& metrics, const listeners::AccessLog& access_log,
                           std::span<const routing::TenantPtr> tenants) {
  Text text;
  write_listeners(text, metrics);
  write_workers(text, metrics);
  write_tenants(text, tenants);
  write_process(text, metrics, access_log);
  return text.take();
}

namespace {

struct UpstreamSums {
  std::array<std::uint64_t, routing::kStateNames.size()> endpoints{};
  std::uint64_t connections = 0;
  std::uint64_t requests = 0;
  bool requests_limited = false;
  std::uint64_t pending = 0;
  std::uint64_t overflows = 0;  // since the call before

  void add(const routing::Upstream& upstream, routing::UpstreamRuntime& runtime) {
    const routing::UpstreamState& state = *upstream.state;
    const auto set = state.published();  // another may be published meanwhile
    for (const auto& endpoint : set->endpoints) {
      const auto name = routing::state_name(endpoint);
      const auto at = std::find(routing::kStateNames.begin(), routing::kStateNames.end(), name);
      ++endpoints[static_cast<std::size_t>(at - routing::kStateNames.begin())];
    }
    connections += runtime.connections.load(std::memory_order_relaxed);
    requests += runtime.requests.load(std::memory_order_relaxed);
    requests_limited = requests_limited || upstream.max_requests != 0;
    pending += runtime.pending.load(std::memory_order_relaxed);
    overflows += runtime.take_overflows();
  }
};

using SumsByName = std::map<std::string_view, UpstreamSums>;

// Where an upstream of that name counts, among those of the same owner, of whom `left` more may have a name.
UpstreamSums& sums_of(SumsByName& own, std::string_view name, std::size_t most, std::size_t& left) {
  if (const auto found = own.find(name); found != own.end()) return found->second;
  if (left == 0 || own.size() >= most) return own[kOtherUpstreams];
  --left;
  return own[name];
}

std::map<std::string_view, SumsByName> sum_upstreams(const routing::UpstreamList& upstreams) {
  std::map<std::string_view, SumsByName> by_tenant;  // "" is the platform
  std::size_t left_to_platform = kOfPlatform;
  std::size_t left_to_tenants = kOfPlatform;
  for (const auto& upstream : upstreams) {
    const bool limited = upstream->max_connections != 0 || upstream->max_requests != 0;
    if (upstream->state->known_runtime() == nullptr) continue;
    routing::UpstreamRuntime& runtime = upstream->state->runtime();
    if (upstream->health_check == nullptr && upstream->outlier.consecutive_failures == 0 && !limited) continue;
    if (upstream->tenant == nullptr) {
      sums_of(by_tenant[""], upstream->name, kOfPlatform, left_to_platform).add(*upstream, runtime);
      continue;
    }
    const bool known = by_tenant.contains(upstream->tenant->name);
    auto& own = by_tenant[known || left_to_tenants > 0 ? std::string_view(upstream->tenant->name) : kOtherTenants];
    sums_of(own, upstream->name, kOfTenant, left_to_tenants).add(*upstream, runtime);
  }
  return by_tenant;
}

}  // namespace

std::string render_upstreams(const routing::UpstreamList& upstreams, CounterTotals& overflows) {
  const auto by_tenant = sum_upstreams(upstreams);
  Text text;
  text.family("edgemux_upstream_endpoints", "gauge", "Endpoints of checked or limited upstreams, by state.");
  const auto each = [&](auto&& visit) {
    for (const auto& [tenant, own] : by_tenant) {
      const std::string whose = tenant.empty() ? "" : "tenant=" + label_value(tenant) + ",";
      for (const auto& [name, sums] : own) visit(whose + "upstream=" + label_value(name), sums);
    }
  };
  each([&](const std::string& labels, const UpstreamSums& sums) {
    for (std::size_t i = 0; i < sums.endpoints.size(); ++i) {
      text.sample(fmt::format("{},state=\"{}\"", labels, routing::kStateNames[i]), sums.endpoints[i]);
    }
  });
  const auto write = [&](std::string_view family, std::string_view type, std::string_view help,
                         std::uint64_t UpstreamSums::*value) {
    text.family(family, type, help);
    each([&](const std::string& labels, const UpstreamSums& sums) { text.sample(labels, sums.*value); });
  };
  write("edgemux_upstream_connections", "gauge", "Connections, tunnels and kept ones too.", &UpstreamSums::connections);
  text.family("edgemux_upstream_requests", "gauge", "Requests in flight, where limits.requests counts them.");
  each([&](const std::string& labels, const UpstreamSums& sums) {
    if (sums.requests_limited) text.sample(labels, sums.requests);
  });
  write("edgemux_upstream_pending", "gauge", "Requests that wait for a connection.", &UpstreamSums::pending);
  text.family("edgemux_upstream_overflows_total", "counter", "Requests and tunnels that met a limit.");
  CounterTotals totals;
  each([&](const std::string& labels, const UpstreamSums& sums) {
    const auto before = overflows.find(labels);
    const auto total = (before == overflows.end() ? 0 : before->second) + sums.overflows;
    totals.emplace(labels, total);
    text.sample(labels, total);
  });
  overflows = std::move(totals);
  return text.take();
}

namespace {

void be_first(std::int64_t& first, const core::CertifiedKey& pair) {
  if (first == 0 || pair.not_after < first) first = pair.not_after;
}

}  // namespace

void note_expiries(const routing::Snapshot& snapshot, Metrics& metrics) {
  const core::CertificateStore& store = *snapshot.certificates;
  const std::int64_t now = std::time(nullptr);
  std::int64_t platform = 0;
  std::unordered_map<const routing::Tenant*, std::int64_t> own;
  for (const auto& listener : snapshot.listeners) {
    for (const auto& host : listener->hosts.entries()) {
      if (host.route == nullptr || host.stand_in) continue;
      if (std::holds_alternative<routing::Passthrough>(host.route->action)) continue;
      const std::string name = config::name_to_serve(host.name);
      const routing::Tenant* tenant = host.route->owner.get();
      const auto shared = store.find(name, {}, now);
      const auto chosen = tenant == nullptr ? shared : store.find(name, tenant->name, now);
      if (chosen.ecdsa != nullptr) be_first(chosen.ecdsa == shared.ecdsa ? platform : own[tenant], **chosen.ecdsa);
      if (chosen.rsa != nullptr) be_first(chosen.rsa == shared.rsa ? platform : own[tenant], **chosen.rsa);
    }
  }
  metrics.certificates_expire.store(platform);
  for (const auto& tenant : snapshot.tenants) {
    const auto found = own.find(tenant.get());
    tenant->state->certificates_expire.store(found == own.end() ? 0 : found->second);
  }
}

std::string stale_worker(const Metrics& metrics, std::uint64_t now_ms) {
  for (unsigned i = 0; i < metrics.workers(); ++i) {
    const auto last = metrics.worker(i).heartbeat.read();
    if (last == 0 || now_ms < last || now_ms - last < kStaleMs) continue;
    return fmt::format("worker {} gave no sign of life for {} s", i, (now_ms - last) / 1000);
  }
  return {};
}

}  // namespace edgemux::admin
