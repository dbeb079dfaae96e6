#pragma once
// UpstreamRegistry: gives upstreams their identity, id and UpstreamState. Equal identities share both, over compiles
// too, for as long as any Upstream of that identity is alive.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "routing/table/upstream.h"

namespace edgemux::config {

class UpstreamRegistry {
 public:
  // Fills identity, id and state. A new state gets its endpoints that are addresses at once; names are left to
  // discovery.
  // `lineage`: what the upstream is called, where it has a name of its own; a part of the identity. One that is new,
  // but whose name was another upstream's before, goes on with that one's UpstreamRuntime.
  routing::UpstreamPtr make(routing::Upstream upstream, std::string_view lineage = {});
  // An upstream without endpoints that says why.
  routing::UpstreamPtr make_empty(const std::string& name, const routing::TenantPtr& tenant, routing::Origin origin,
                                  const std::string& problem);
  // Room for that many more.
  void reserve(std::size_t more) { known_.reserve(known_.size() + more); }
  // Frees the ids that nobody holds any more. Looks at all of them, unless there are no more than `in_use`.
  void prune(std::size_t in_use = 0);
  // The same, when so many were made since the last time that it is worth it.
  void prune_soon();
  [[nodiscard]] std::size_t size() const { return known_.size(); }

 private:
  struct Known {
    std::uint32_t id;
    std::weak_ptr<routing::UpstreamState> state;
  };
  struct Lineage {
    std::weak_ptr<routing::UpstreamState> state;
    std::weak_ptr<routing::UpstreamRuntime> runtime;
  };
  // True: the state is new.
  bool attach(routing::Upstream& upstream, std::string_view lineage);
  std::shared_ptr<routing::UpstreamRuntime> runtime_of(std::string_view lineage);

  std::unordered_map<std::string, Known> known_;
  std::unordered_map<std::string, Lineage> lineages_;
  std::vector<std::uint32_t> free_;
  std::uint32_t next_ = 1;
  std::size_t made_ = 0;  // identities, since they were pruned
};

}  // namespace edgemux::config
