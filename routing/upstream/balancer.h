#pragma once
// Balancer: which endpoint is next. Pure: no clock, no socket; the endpoints' atomics are all that it reads of the
// world.
//
//   balancer.rebuild(set, policy, now);     when the set, its health or the policy changed, or due(now)
//   i = balancer.pick(hash, avoid);         index into rotation()
//
// The rotation holds the endpoints that take traffic now: those with a weight that are usable, or, when fewer than the
// panic threshold are usable, all with a weight. It is shared with whoever connects, who goes on from `i` and around.
//
// - round_robin: by weight, spread evenly (earliest deadline first).
// - least_connections: the fewest requests and tunnels under way per weight, over all workers. Of more than 32
//   endpoints each pick compares 32.
// - random_two: two at random by weight, of them the less busy one.
// - source_hash: the same client keeps its endpoint. An endpoint that is not usable gives its own clients to others and
//   moves no one else.
//
// Slow start: an endpoint that came (back) into service begins with a tenth of its weight and gets the rest bit by bit.
// It does not touch source_hash, whose clients would move twice.
//
// One per worker and upstream. A pick costs tens of nanoseconds and allocates nothing; rebuild() is for changes.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/base/address.h"
#include "routing/table/upstream.h"
#include "routing/upstream/maglev.h"

namespace edgemux::routing {

// What source_hash goes by: the address, without the port.
std::uint64_t source_hash(const core::SocketAddress& client);

class Balancer {
 public:
  // Workers begin at different places.
  explicit Balancer(std::uint64_t seed);

  void rebuild(std::shared_ptr<const EndpointSet> set, const BalancePolicy& policy, std::uint64_t now);
  // A slow start has gone a step further.
  [[nodiscard]] bool due(std::uint64_t now) const { return next_step_ != 0 && now >= next_step_; }

  // Never null. Empty: there is nothing to pick; its `problem` says why.
  [[nodiscard]] const std::shared_ptr<const EndpointSet>& rotation() const { return rotation_; }
  // Fewer are usable than the panic threshold asks for: all are used.
  [[nodiscard]] bool panic() const { return panic_; }

  // `hash`: source_hash() of the client; only that policy looks at it. `avoid`: an endpoint that has just failed; it is
  // taken only when there is no other. An empty rotation: 0.
  std::size_t pick(std::uint64_t hash = 0, const EndpointState* avoid = nullptr);

 private:
  struct Turn {
    double deadline;
    std::uint32_t index;
  };

  void build_rotation(const std::shared_ptr<const EndpointSet>& set, const BalancePolicy& policy);
  void build_weights(const BalancePolicy& policy, std::uint64_t now);
  // How long each has to wait for its next turn, of the time between two of them.
  using Waits = std::unordered_map<const EndpointState*, double>;
  [[nodiscard]] Waits waits_for_turns() const;
  void build_turns(const Waits& waits);
  void build_alias();
  void build_table(const std::shared_ptr<const EndpointSet>& set);
  [[nodiscard]] std::size_t choose(std::uint64_t hash);
  [[nodiscard]] std::size_t next_turn();
  [[nodiscard]] std::uint32_t earliest();
  template <class Load>
  [[nodiscard]] std::size_t least(Load load);
  [[nodiscard]] std::size_t at_random();
  [[nodiscard]] std::size_t by_hash(std::uint64_t hash) const;
  [[nodiscard]] double load(std::size_t i) const {
    return static_cast<double>(states_[i]->active.load(std::memory_order_relaxed)) * weighted_[i];
  }
  void sift_down(std::size_t at);
  std::uint64_t random();

  Balance kind_ = Balance::round_robin;
  std::shared_ptr<const EndpointSet> rotation_ = std::make_shared<EndpointSet>();
  std::vector<const EndpointState*> states_;  // of the rotation
  std::vector<double> weights_;               // of the rotation, slow start applied
  std::vector<double> weighted_;              // 1 / weight
  bool equal_ = true;                         // all weights are
  bool panic_ = false;
  std::uint64_t next_step_ = 0;
  std::uint64_t random_;
  std::size_t next_;

  // Of round_robin with weights: the cycle, or where that would be too long the heap that makes it.
  std::vector<std::uint32_t> cycle_;
  std::vector<Turn> turns_;
  double clock_ = 0;  // the deadline of the latest turn

  // Of random_two (Walker's alias method): keep an index with probability `keep`, else take `other`.
  struct Alias {
    double keep;
    std::uint32_t other;
  };
  std::vector<Alias> alias_;

  // Of source_hash: the table over the whole set, which changes with the set only, and where its entries are in the
  // rotation.
  std::shared_ptr<const EndpointSet> table_set_;
  MaglevTable table_;
  std::vector<std::uint32_t> place_;
};

}  // namespace edgemux::routing
