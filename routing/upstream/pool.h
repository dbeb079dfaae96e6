#pragma once
// UpstreamPool: one worker's connections to one upstream. Asks the balancer for an endpoint, for every request anew;
// lends that connection to the endpoint which was used last, or makes one; holds limits.connections and
// limits.requests, which count over all workers. A connection that several streams can share is lent for as long as it
// has room.
//
// When limits.connections is reached, an idle connection of this worker goes first, then one of another worker. Up to
// limits.pending requests and tunnels wait, in order, for timeouts.pending, over all workers; what comes after them
// fails at once. A worker goes on with the connections that it has until somebody has waited a good deal longer
// elsewhere, so that they are not made anew for every request. One that is shared by streams is never given away so.

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/chain.h"
#include "routing/upstream/balancer.h"
#include "routing/upstream/connection.h"
#include "routing/upstream/place_turn.h"

namespace edgemux::routing {

class UpstreamPool final : private PlaceBoard::Member {
 public:
  UpstreamPool(UpstreamContext& context, UpstreamPtr upstream);
  ~UpstreamPool();
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;

  // refused: Upstream::transport says why.
  enum class Acquired : std::uint8_t { ready, waiting, limit, refused };
  struct Wish {
    const core::SocketAddress* client = nullptr;  // for source_hash
    bool fresh = false;                           // only on a connection that is made for it
    const EndpointState* avoid = nullptr;         // it has just failed
    bool upgrade = false;                         // where TLS decides, on a connection that speaks HTTP/1.1
  };
  // See stream.h. Of `limit` limit_reason() says which one.
  Acquired acquire(UpstreamStream& stream, const Wish& wish);
  [[nodiscard]] const char* limit_reason() const { return limit_reason_; }

  // For tunnels: the endpoints that take traffic now and where to begin among them.
  struct Pick {
    std::shared_ptr<const EndpointSet> endpoints;
    std::size_t first;
  };
  Pick pick(const Wish& wish) { return pick(source_of(wish), wish.avoid); }
  // Takes a connection's place in limits.connections; false when it is reached, or others wait for one. For tunnels;
  // give_place() ends it. The pool lives for as long as a place is held.
  bool take_place();
  void give_place();
  // After take_place() was false. False: nobody else may wait, and limit_reason() says why.
  bool wait_for_place(PlaceTurn& turn);

  // What least_connections and random_two go by: between the two calls the endpoint has one more thing to do.
  void charge(const Endpoint& endpoint) const;
  void discharge(const Endpoint& endpoint) const;
  // An endpoint failed an attempt, or answered (a tunnel: took the connection); see outlier.h.
  void failed(const Endpoint& endpoint);
  void succeeded(const Endpoint& endpoint) const;

  void close_idle();
  // False: none idles.
  bool close_oldest_idle();
  // Closes what idles at endpoints that take no traffic any more; for a slow timer.
  void refresh();
  // No connection or tunnel at all, and none was asked for since the call before.
  [[nodiscard]] bool unused();

  [[nodiscard]] const Upstream& upstream() const { return *upstream_; }
  // Per attempt.
  [[nodiscard]] milliseconds connect_timeout() const {
    return upstream_->connect_timeout.value_or(context_.connect_timeout);
  }
  [[nodiscard]] std::size_t connections() const { return all_.size(); }

 private:
  friend class PlaceTurn;
  friend class UpstreamConnection;
  friend class UpstreamPlace;
  friend class UpstreamStream;
  // A stream has left the connection, or it has room again: it is kept, when its codec says so and the limits allow it,
  // or closed.
  void take_back(UpstreamConnection& connection);
  // Counts one connection more, if need be in the place of an idle one of ours.
  bool lease();
  void end_lease();
  static constexpr std::size_t kNoSlot = SIZE_MAX;
  Acquired overflow(const char* reason);
  // 0 where the balance does not ask for it.
  [[nodiscard]] std::uint64_t source_of(const Wish& wish) const;
  Pick pick(std::uint64_t source, const EndpointState* avoid);
  bool lease_request(UpstreamStream& stream);
  void end_request(UpstreamStream& stream);
  // Where the connection's endpoint stands in the present set.
  [[nodiscard]] std::size_t slot_of(const UpstreamConnection& connection) const;
  static constexpr std::size_t kMostWaiting = 100;  // requests for one connection in the making
  // A connection to that endpoint which is being made and may turn out to be shared.
  UpstreamConnection* find_in_the_making(const Pick& choice, const UpstreamStream& stream) const;
  // It waited for a connection that has no room for it: it gets one of its own.
  void move_on(UpstreamStream& stream);
  [[nodiscard]] bool tls_decides() const {
    return upstream_->transport.version == HttpVersion::automatic && upstream_->transport.tls != nullptr;
  }
  [[nodiscard]] static bool suits(const UpstreamConnection& connection, const UpstreamStream& stream);
  // A connection with room for the stream, to the endpoint whose turn it is.
  UpstreamConnection* find_room(std::size_t turn, const UpstreamStream& stream);
  // A new set of endpoints: connections find their places in it; those that idle and have none are closed.
  void sort_anew();
  void list(UpstreamConnection& connection);
  void unlist(UpstreamConnection& connection);
  Acquired wait_for_place(UpstreamStream& stream);
  // False: the queue is full.
  bool may_wait();
  struct Waiting {
    UpstreamStream* stream;  // or
    PlaceTurn* tunnel;
    std::uint64_t since = 0;
  };
  void queue(Waiting one);
  // They gave up.
  void stop_waiting(const UpstreamStream& stream);
  void stop_waiting(const PlaceTurn& turn);
  void took_from_queue(std::size_t count);
  void take_first();
  // Somebody else's turn has come, and not ours.
  [[nodiscard]] bool others_first() const;
  // Shared, and not to be lent any more.
  [[nodiscard]] bool worn(const UpstreamConnection& connection) const;
  // At the limit: a connection to any endpoint. One that is shared and has served for long enough only where there is
  // no other: without a place for the next one it would keep everybody out for as long as one of its streams lasts.
  UpstreamConnection* find_any(bool others_first);
  static bool may_lend(const UpstreamConnection* connection, bool others_first);
  // To whom has waited longest.
  void give_way();
  // `told` of a place, we got none: another was quicker, or the limit was lowered and one that goes makes no room yet.
  void ask_again(bool told);
  // Counts one that waited for too long; what to tell it.
  std::string waited_in_vain();
  // Gives what is free to those that wait.
  void serve_waiting();
  // Nobody waits here any more: what is free is for those of other workers.
  void pass_on_places();
  void lend(UpstreamConnection& connection, UpstreamStream& stream);
  void connect(UpstreamStream& stream, Pick choice);
  void on_place_freed() override;
  void on_asked_for_place() override;
  void post(void (*act)(UpstreamPool& pool));
  void unpark(UpstreamConnection& connection);
  // It has carried as many requests as it may.
  [[nodiscard]] bool used_up(const UpstreamConnection& connection) const;
  // Connections may come to be shared by streams.
  [[nodiscard]] bool may_share() const;
  // Nothing is wrong with it.
  [[nodiscard]] bool lasts(const UpstreamConnection& connection) const;
  // Whether the connection may live on once nobody uses it, and, shared, take more requests.
  [[nodiscard]] bool worth_keeping(const UpstreamConnection& connection) const;
  // The connection closed itself: out of the lists, freed at the end of the turn.
  void remove(UpstreamConnection& connection);

  UpstreamContext& context_;
  UpstreamPtr upstream_;
  std::vector<std::unique_ptr<UpstreamConnection>> all_;
  // Those that can take a request, in the order they got there: all, and those to each endpoint of the present set.
  core::Chain<UpstreamConnection, &UpstreamConnection::in_room_> room_;
  std::vector<core::Chain<UpstreamConnection, &UpstreamConnection::in_slot_>> slots_;
  std::shared_ptr<const EndpointSet> endpoints_;
  Balancer balancer_;
  std::uint64_t version_ = 0;
  const char* limit_reason_ = "";
  bool by_load_;                 // the balancer looks at what the endpoints have to do
  std::size_t tunnels_ = 0;      // places held by tunnels
  std::deque<Waiting> waiting_;  // for a place
  core::Deferred serve_;
  std::shared_ptr<UpstreamPool*> self_;  // what is posted from other threads holds it weakly
  bool used_ = true;
  bool told_ = false;  // that a place is free
};

// All pools of a worker, found by Upstream::id in one step. Together they keep at most UpstreamContext::most_idle.
class UpstreamPools {
 public:
  explicit UpstreamPools(UpstreamContext& context) : context_(context) { context_.pools = this; }
  UpstreamPool& of(const UpstreamPtr& upstream);
  // Looks at so many pools, in turns, whether their endpoints are other ones: idle connections to those that are gone
  // are closed although no request comes.
  void refresh(std::size_t most);
  // Frees pools that nobody uses; for a slow timer.
  void sweep();
  void close_idle();
  // The idle ones of upstreams that no table has any more; after a reload.
  void close_gone();
  // Closes that many idle connections, or what there is, the pools in turns, of each the oldest. Returns how many.
  std::size_t give_away(std::size_t most);

 private:
  UpstreamContext& context_;
  std::vector<std::unique_ptr<UpstreamPool>> pools_;
  std::size_t turn_ = 0;       // whose is next, in give_away()
  std::size_t refreshed_ = 0;  // the same, in refresh()
};

}  // namespace edgemux::routing
