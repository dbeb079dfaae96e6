#pragma once
// Assembly: the tables of a snapshot out of linked units. Whole, or from those of the snapshot before and the units
// that changed since: then it costs what changed, and all else is shared.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/linked.h"
#include "config/settings.h"
#include "config/tenancy.h"
#include "routing/table/snapshot.h"

namespace edgemux::config {

class Assembly {
 public:
  // By tenant, "" for the platform, which is always there. None is null.
  using Units = std::map<std::string, LinkedPtr, std::less<>>;

  // All are borrowed.
  Assembly(const Settings& settings, const Tenancy& tenancy, const Units& units);

  // Fills listeners, upstreams, host_count. Listeners with the same hosts share their table's memory.
  void build(routing::Snapshot& snapshot) const;
  // The same, from `before`, which had the same listeners, by name and protocol; `changed`: the units that are others
  // now or gone, as they were then (null = there was none). Those with a host whose owner is another now are among
  // them.
  void build_from(const routing::Snapshot& before, const Units& changed, routing::Snapshot& snapshot) const;

 private:
  // What serves a host, or covers a claim, on one listener. Nothing: the name is in no table.
  using Place = std::optional<routing::RoutePtr>;
  struct Found {
    const Linked* unit = nullptr;
    const Linked::Host* host = nullptr;
  };
  // A host may stand in its tenant's unit and in the platform's.
  struct Both {
    Found own;
    Found platform;
    [[nodiscard]] bool any() const { return own.host != nullptr || platform.host != nullptr; }
    [[nodiscard]] routing::RoutePtr route_on(std::size_t listener) const;
  };
  [[nodiscard]] const Linked* unit_of(const routing::Tenant* tenant) const;
  [[nodiscard]] Both find(std::string_view name) const;
  [[nodiscard]] bool decides(const routing::Claim& claim) const;
  [[nodiscard]] Place claimed(const routing::Claim& claim, std::size_t listener) const;
  [[nodiscard]] std::vector<std::string> touched(const routing::ClaimTable& before, const Units& changed) const;
  void fill(routing::Snapshot& snapshot) const;
  [[nodiscard]] std::shared_ptr<routing::Listener> listener(std::size_t index) const;
  // Of one listener. `own`: entries that no unit holds; they stay where they are.
  using Views = std::vector<routing::HostTable::View>;
  [[nodiscard]] bool has_hosts(std::size_t listener) const;
  [[nodiscard]] Views views(std::size_t listener, std::deque<routing::HostTable::Entry>& own) const;

  const Settings& settings_;
  const routing::ClaimTable& claims_;
  const Units& units_;
  const Linked* platform_;
};

}  // namespace edgemux::config
