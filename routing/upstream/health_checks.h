#pragma once
// HealthChecks: looks after the endpoints of upstreams that ask for it, once for the whole process, on the discovery
// thread: active checks (health_check), and the end of ejections (outlier). What it finds goes into EndpointState;
// every change of an endpoint's health is logged once. Of a tenant's upstream a line in ten seconds tells of all
// changes of a kind, and a tenant has one line in a second.
//
// New endpoints are checked soon after they appear, then every interval give or take a tenth. What is known survives
// track(): an endpoint that stays keeps its health and its results in a row, also when the check's parameters change;
// it is then checked soon, by the new ones. Places are shared by tenants, the platform being one (fair_queue.h).
//
// Threads: everything on the loop's thread, the constructor included unless the loop does not run yet.

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/http/http1_server.h"
#include "core/io/event_loop.h"
#include "core/io/output.h"
#include "core/tls/context.h"
#include "routing/table/upstream.h"
#include "routing/upstream/fair_queue.h"

namespace edgemux::routing {

class HealthChecks {
 public:
  // `max_in_flight`: checks at the same time; others that are due wait for their tenant's turn.
  explicit HealthChecks(core::EventLoop& loop, std::size_t max_in_flight = 256);
  ~HealthChecks();  // outside of the loop's run()
  HealthChecks(const HealthChecks&) = delete;
  HealthChecks& operator=(const HealthChecks&) = delete;

  static bool concerns(const Upstream& upstream) {
    return upstream.health_check != nullptr || upstream.outlier.consecutive_failures != 0;
  }

  // The upstreams of the table in force that concern it; all others are left alone from now on.
  void track(const std::vector<UpstreamPtr>& upstreams);

 private:
  struct Check;
  struct Watched;
  enum class Change : std::uint8_t { unhealthy, healthy, back };
  static constexpr std::uint64_t kTick = 100;  // ms

  void tick();
  void follow(Watched& watched);
  static void let_go(const Watched& watched, const EndpointSet& before);
  void due(Check& check);
  void arm_next(Check& check);
  void arm_soon(Check& check);
  void begin(Check& check);
  void finished(Check& check, const std::string& problem, bool made);
  void run_waiting();
  void end_ejections(Watched& watched, std::uint64_t now);
  void changed(Watched& watched, Change change, std::string what);
  void tell_changes();
  void tell_changes(Watched& watched);
  static void leave(Watched& watched);
  static void let_back(const Watched& watched, EndpointState& endpoint);
  [[nodiscard]] core::TlsClientPolicyPtr tls_of(const Upstream& upstream);

  core::EventLoop& loop_;
  std::minstd_rand random_;
  core::BlockPool blocks_;
  core::HttpScratch http_;
  std::unique_ptr<core::TlsWorker> tls_;  // made when a check needs it
  FairQueue<Check> places_;               // before watched_, whose checks leave it
  std::unordered_map<const UpstreamRuntime*, std::unique_ptr<Watched>> watched_;
  std::unordered_map<std::string, std::uint64_t> next_lines_;  // of tenants: when each may have one
  core::Timer tick_;
};

}  // namespace edgemux::routing
