#pragma once
// UpstreamPool: one worker's connections to one upstream. Picks endpoints round robin, for every request anew; lends
// that connection to the endpoint which was used last, or makes one; holds limits.connections, which counts over all
// workers. A connection that several streams can share is lent for as long as it has room.

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

  enum class Acquired : std::uint8_t { ready, waiting, limit };
  // See stream.h. `fresh`: only on a connection that is made for it.
  Acquired acquire(UpstreamStream& stream, bool fresh);

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
  friend class UpstreamPlace;
  // A stream has left the connection, or it has room again: it is kept, when its codec says so and the limits allow it,
  // or closed.
  void take_back(UpstreamConnection& connection);
  // Counts one connection more, if need be in the place of an idle one of ours.
  bool lease();
  void end_lease();
  static constexpr std::size_t kNoSlot = SIZE_MAX;
  // Takes over the newest endpoint set, if there is a newer one.
  void refresh();
  // Where the connection's endpoint stands in the present set.
  [[nodiscard]] std::size_t slot_of(const UpstreamConnection& connection) const;
  // A connection with room to the endpoint whose turn it is.
  UpstreamConnection* find_room(std::size_t turn);
  void list(UpstreamConnection& connection);
  void unlist(UpstreamConnection& connection);
  void unpark(UpstreamConnection& connection);
  // Whether the connection may live on once nobody uses it.
  [[nodiscard]] bool worth_keeping(const UpstreamConnection& connection) const;
  // The connection closed itself: out of the lists, freed at the end of the turn.
  void remove(UpstreamConnection& connection);

  UpstreamContext& context_;
  UpstreamPtr upstream_;
  std::vector<std::unique_ptr<UpstreamConnection>> all_;
  std::vector<UpstreamConnection*> room_;  // those that can take a request, in the order they got there
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
