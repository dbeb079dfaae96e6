#pragma once
// HostTable: from a host name to its route, for one listener. Built once, then immutable; reading is thread safe.
//
// An exact name beats a wildcard, a longer wildcard beats a shorter one. "*.example.com" covers one or more labels and
// never "example.com" itself. An owned name that is not attached to this listener is kept as such (`detached`), so that
// it is unknown here and never falls to somebody's wildcard.
//
// Layout: a slot is 8 bytes (a tag of the hash and the place of a record), a record is the route pointer and the name
// side by side. A cold hit costs one miss in the slots and one in the records. Wildcards are stored under
// ".example.com", which no host name can be, and only suffixes of a label count that some wildcard has are probed.

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "routing/table/route.h"

namespace edgemux::routing {

// Lower-cases, drops a ":port" and then one trailing dot. Empty when the text is no host name that a route could have:
// longer than 253 bytes, an empty label, a byte outside [a-z0-9-_.] (a leading "*." is allowed with `wildcard`).
// IP addresses come out empty as well, no route has one: in any spelling that resolvers take, so every name whose last
// label is all digits. `buffer` holds at least 256 bytes and backs the result.
std::string_view normalise_host(std::string_view text, char* buffer, bool wildcard = false);

class HostTable {
 public:
  struct Entry {
    std::string name;  // normalised, at most 253 bytes; "*.example.com" for a wildcard
    RoutePtr route;    // null = detached
  };

  HostTable();
  // `entries` hold no name twice. Costs O(n).
  explicit HostTable(std::vector<Entry> entries);
  ~HostTable();
  HostTable(HostTable&&) noexcept;
  HostTable& operator=(HostTable&&) noexcept;

  // `name` is normalised. The pointer lives as long as the table, moved or not. Null: nobody owns the name here.
  [[nodiscard]] const RoutePtr* find(std::string_view name) const;

  // Attached and detached names.
  [[nodiscard]] std::size_t size() const;
  // Bytes held by the table itself, without the routes.
  [[nodiscard]] std::size_t memory() const;
  // A copy of what the table was built from, in that order. For `explain` and tests, not for the data path.
  [[nodiscard]] std::vector<Entry> entries() const;

 private:
  struct Slot {
    std::uint32_t tag = 0;
    std::uint32_t record = 0;  // place in units of alignof(Record), plus 1; 0 = free
  };
  struct Record;
  class Records;

  [[nodiscard]] std::uint64_t hash(std::string_view key) const;
  [[nodiscard]] const Record* probe(std::string_view key) const;

  std::vector<Slot> slots_;  // open addressing, a power of two
  std::unique_ptr<Records> records_;
  std::uint64_t seed_[2] = {0, 0};    // random per table: names are chosen by strangers
  std::bitset<128> wildcard_labels_;  // label counts of the wildcards' suffixes ("*.example.com": 2)
};

}  // namespace edgemux::routing
