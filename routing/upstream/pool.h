#pragma once
// UpstreamPool: one worker's connections to one upstream. Picks endpoints round robin, for every request anew; lends
// the connection to that endpoint which was used last, or makes one; holds limits.connections, which counts over all
// workers.

#include <memory>
#include <span>
#include <vector>

#include "routing/upstream/connection.h"

namespace edgemux::routing {

class UpstreamPool {
 public:
  UpstreamPool(UpstreamContext& context, UpstreamPtr upstream);
  ~UpstreamPool();
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;

  // An idle connection, or one that is being made; null when limits.connections is reached. `fresh`: never an idle
  // one. Failures to connect come to the observer later.
  UpstreamConnection* acquire(UpstreamConnection::Observer& observer, bool fresh);
  // Gives a connection back. It is kept when its codec says so and the limits allow it; otherwise closed.
  void release(UpstreamConnection& connection);

  // For tunnels: the endpoints of now and where to begin among them.
  struct Pick {
    std::shared_ptr<const EndpointSet> endpoints;
    std::size_t first;
  };
  Pick pick();
  // Takes a connection's place in limits.connections; false when it is reached. For tunnels; give_place() ends it. The
  // pool lives for as long as a place is held.
  bool take_place();
  void give_place();

  void close_idle();
  // No connection or tunnel at all, and none was asked for since the call before.
  [[nodiscard]] bool unused();

  [[nodiscard]] const Upstream& upstream() const { return *upstream_; }
  [[nodiscard]] std::size_t connections() const { return all_.size(); }

 private:
  friend class UpstreamConnection;
  // Counts one connection more, if need be in the place of an idle one of ours.
  bool lease();
  void end_lease();
  static constexpr std::size_t kNoSlot = SIZE_MAX;
  // Takes over the newest endpoint set, if there is a newer one.
  void refresh();
  // Where the connection's endpoint stands in the present set.
  [[nodiscard]] std::size_t slot_of(const UpstreamConnection& connection) const;
  // An idle connection to the endpoint whose turn it is.
  UpstreamConnection* take_idle(std::size_t turn);
  // The connection closed itself: out of the lists, freed at the end of the turn.
  void remove(UpstreamConnection& connection);
  void forget_idle(UpstreamConnection& connection);

  UpstreamContext& context_;
  UpstreamPtr upstream_;
  std::vector<std::unique_ptr<UpstreamConnection>> all_;
  std::vector<UpstreamConnection*> idle_;
  std::shared_ptr<const EndpointSet> endpoints_;
  std::uint64_t version_ = 0;
  std::size_t next_;
  std::size_t tunnels_ = 0;  // places held by tunnels
  bool used_ = true;
};

// All pools of a worker, found by Upstream::id in one step.
class UpstreamPools {
 public:
  explicit UpstreamPools(UpstreamContext& context) : context_(context) {}
  UpstreamPool& of(const UpstreamPtr& upstream);
  // Frees pools that nobody uses; for a slow timer.
  void sweep();
  void close_idle();

 private:
  UpstreamContext& context_;
  std::vector<std::unique_ptr<UpstreamPool>> pools_;
};

}  // namespace edgemux::routing
