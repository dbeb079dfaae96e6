#pragma once
// HostTable: from a host name to its route, for one listener. Built once, then immutable.
//
// An exact name beats a wildcard, a longer wildcard beats a shorter one. "*.example.com" covers one or more labels and never
// "example.com" itself. An owned name that is not attached to this listener is kept as such (`detached`), so
// that it is unknown here and never falls to somebody's wildcard.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "routing/table/route.h"

namespace edgemux::routing {

// Lower-cases, drops one trailing dot and a ":port". Empty when the text is no host name that a route could have:
// longer than 253 bytes, an empty label, a byte outside [a-z0-9-_.] (a leading "*." is allowed with `wildcard`).
// IP addresses come out empty as well: no route has one. `buffer` holds at least 256 bytes and backs the result.
std::string_view normalise_host(std::string_view text, char* buffer, bool wildcard = false);

class HostTable {
 public:
  struct Entry {
    std::string name;  // normalised; "*.example.com" for a wildcard
    RoutePtr route;    // null = detached
  };

  HostTable() = default;
  // `entries` hold no name twice. Costs O(n).
  explicit HostTable(std::vector<Entry> entries);

  // `name` is normalised. The pointer lives as long as the table. Null: nobody owns the name here.
  [[nodiscard]] const RoutePtr* find(std::string_view name) const;

  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }

 private:
  [[nodiscard]] const Entry* probe(std::string_view name, bool wildcard) const;

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> slots_;  // open addressing over entries_, index + 1; 0 = free
  std::uint64_t seed_ = 0;            // random per table: names are chosen by strangers
  bool has_wildcards_ = false;
};

}  // namespace edgemux::routing
