#pragma once
// Discovery: keeps the endpoint sets of upstreams with named endpoints up to date, and looks after the health of those
// that ask for it (health_checks.h), on a thread of its own, so that neither a worker nor a large compile ever waits
// for a name server or an endpoint, nor it for them.
//
// update() says which upstreams exist. Each distinct name of a tenant, the platform being one, is asked for once,
// however many of its upstreams use it: at once when it is new, then when its TTL is over, within the tightest bounds
// of those that use it (SRV records, whose TTL is not known, after the lower bound). Places for questions are shared by
// tenants (fair_queue.h). A failure keeps the last good answer and is tried again with growing, jittered pauses; when
// only one family fails, that family's last addresses are kept. That a name is gone is no failure: once the name
// servers have said so for `gone_hold` without a break, its last answer is given up. Of a service the targets with the
// lowest priority that have an address are its endpoints. Whenever an upstream's set differs from the one that its
// state holds, a new one is published: endpoints as written, all addresses of a name in its place, nothing twice, no
// more than resolved_endpoints.h allows. An address that stays keeps its place, so a server that rotates its answers
// changes nothing. A set is empty only while no name of its upstream has an answer and nothing was written as an
// address; its `problem` then says why.
//
// Upstreams that are not in the latest update() are left alone from then on: their state keeps its last set. So are
// those without endpoints: whoever made them has published why.
//
// Threads: update() and the destructor from one thread of the owner's; results go to UpstreamState, which is thread
// safe.

#include <chrono>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/io/event_loop.h"
#include "core/io/resolver.h"
#include "routing/table/upstream_list.h"
#include "routing/upstream/health_checks.h"
#include "routing/upstream/resolved_endpoints.h"

namespace edgemux::routing {

class Discovery {
 public:
  struct Options {
    core::Resolver::Options resolver;
    milliseconds min_ttl{1'000};
    milliseconds max_ttl{300'000};
    milliseconds tenant_min_ttl{1'000};  // whatever the file of a tenant says
    milliseconds retry_min{1'000};
    milliseconds retry_max{60'000};
    milliseconds gone_hold{30'000};
    std::size_t max_in_flight = 64;    // names that are asked for at the same time; others wait for their tenant's turn
    std::size_t max_targets = 16'384;  // names that a tenant's services lead to; of more the rest is left out
  };

  Discovery();
  explicit Discovery(Options options);
  // Stops and joins the thread.
  ~Discovery();
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  // The upstreams of the snapshot that is published now. Endpoints that were written as addresses, and those of names
  // that were resolved for the table before, are published before it returns, so call it before the snapshot goes to
  // the workers. Never waits for an answer. Costs what the parts of the list cost that were not in the one before.
  void update(const UpstreamList& upstreams);

 private:
  class Names;
  // Of a part of the latest list, those that the thread has to know of.
  struct Followed {
    UpstreamList::Part part;
    std::vector<UpstreamPtr> named;
    std::vector<UpstreamPtr> checked;
  };
  Followed follow(const UpstreamList::Part& part);

  std::unordered_map<const void*, Followed> followed_;  // by the part's address
  core::EventLoop loop_;
  // The thread's; made before it starts, destroyed after it ended.
  std::unique_ptr<Names> names_;
  std::unique_ptr<HealthChecks> checks_;
  std::thread thread_;
};

}  // namespace edgemux::routing
