#pragma once
// HostTable: from a host name to its route, for one listener. Built once, then immutable; reading is thread safe.
//
// An exact name beats a wildcard, a longer wildcard beats a shorter one. "*.example.com" covers one or more labels and
// never "example.com" itself. An owned name that is not attached to this listener is kept as such (`detached`), so that
// it is unknown here and never falls to somebody's wildcard.
//
// Layout: the names are spread over shards of some dozens, each one immutable block of memory. A name and its route
// have a line of the cache to themselves, at the place that the name's hash tells or a few lines on, and the line at
// that place tells which ones. So a cold hit waits for memory once: the directory of shards is small enough to stay
// near, and the lines of a place are asked for at the same time. Beside the lines' numbers stands a byte of each hash:
// which line to compare with is known without a guess, and most names that nobody has are compared with none. A name of
// more than 40 bytes stands behind the shard's lines, and costs a second wait. Tables that differ in some names share
// all other shards, so that a change costs what changed. Wildcards are stored under ".example.com", which no host name
// can be, and only suffixes of a label count that some wildcard has are probed.

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "routing/table/route.h"

namespace edgemux::routing {

// Lower-cases, drops a ":port" and then one trailing dot. Empty when the text is no host name that a route could have:
// longer than 253 bytes, an empty label, a byte outside [a-z0-9-_.] (a leading "*." is allowed with `wildcard`).
// IP addresses come out empty as well, no route has one: in any spelling that resolvers take, so every name whose last
// label is all digits. `buffer` holds at least 256 bytes and backs the result.
std::string_view normalise_host(std::string_view text, char* buffer, bool wildcard = false);

// What stands for a name where names are looked up: a wildcard without its star.
constexpr std::string_view host_key(std::string_view name) { return name.starts_with("*.") ? name.substr(1) : name; }

class HostTable {
 public:
  struct Entry {
    std::string name;  // normalised, at most 253 bytes; "*.example.com" for a wildcard
    RoutePtr route;    // null = detached
    // The name is somebody's, who says nothing of it: the route is a wildcard's that covers it, or none.
    bool stand_in = false;
  };

  // An entry, as somebody else holds it.
  struct View {
    std::string_view name;
    const RoutePtr* route;  // never null itself
    bool stand_in = false;
  };

  HostTable();
  // `entries` hold no name twice. Costs O(n).
  explicit HostTable(const std::vector<Entry>& entries);
  explicit HostTable(std::span<const View> entries);
  ~HostTable();
  HostTable(HostTable&&) noexcept;
  HostTable& operator=(HostTable&&) noexcept;

  // The table that has `changes` in place of its entries of the same names, or beside them, and none of the `removed`
  // names (those that it does not have are ignored). No name stands twice in both lists together. Costs what changes,
  // and some pointers; nothing where nothing does.
  [[nodiscard]] HostTable with(const std::vector<Entry>& changes, const std::vector<std::string>& removed) const;

  // One was made with() the other, without a change: they are the same memory.
  [[nodiscard]] bool same_as(const HostTable& other) const { return directory_ == other.directory_; }

  // `name` is normalised. The pointer lives as long as the table, moved or not. Null: nobody owns the name here.
  [[nodiscard]] const RoutePtr* find(std::string_view name) const;

  // The very name, as it was entered, stands in the table and is attached.
  [[nodiscard]] bool serves(std::string_view name) const;

  // Every name of the table that covers `name`, in the order that find() asks for them: the first one decides. For
  // `explain`, not for the data path.
  [[nodiscard]] std::vector<Entry> candidates(std::string_view name) const;

  // Attached names of `before`, but for stand-ins, that are not attached here. Costs what differs, where one table was
  // made with() the other.
  [[nodiscard]] std::vector<std::string> lost_since(const HostTable& before) const;

  // Attached and detached names.
  [[nodiscard]] std::size_t size() const;
  // Bytes held by the table itself, without the routes.
  [[nodiscard]] std::size_t memory() const;
  // A copy of what the table was built from, in no particular order. For `explain` and tests, not for the data path.
  [[nodiscard]] std::vector<Entry> entries() const;

 private:
  // How many keys have how many dots: what no key has need not be looked for.
  struct DotCounts {
    static constexpr std::size_t kMost = 128;  // more than a name has
    std::bitset<kMost> any;
    std::array<std::uint32_t, kMost> keys{};
    [[nodiscard]] bool has(std::size_t dots) const { return dots < kMost && any[dots]; }
    void add(std::size_t dots, int by) {
      keys[dots] += static_cast<std::uint32_t>(by);
      any.set(dots, keys[dots] != 0);
    }
  };
  struct Slot;
  struct Hashed;
  struct Chunk;
  class Arena;
  struct Shard;
  // A shard, and how many places its names are spread over.
  class ShardRef {
   public:
    ShardRef() = default;
    // Takes over the one reference that a shard is made with.
    ShardRef(Shard* shard, std::uint32_t places) : shard_(shard), places_(places) {}
    ShardRef(const ShardRef& from);
    ShardRef(ShardRef&& from) noexcept : shard_(std::exchange(from.shard_, nullptr)), places_(from.places_) {}
    ShardRef& operator=(ShardRef from) noexcept {
      std::swap(shard_, from.shard_);
      std::swap(places_, from.places_);
      return *this;
    }
    ~ShardRef();
    Shard* operator->() const { return shard_; }
    [[nodiscard]] Shard* get() const { return shard_; }
    [[nodiscard]] std::uint32_t places() const { return places_; }

   private:
    Shard* shard_ = nullptr;
    std::uint32_t places_ = 0;
  };

  [[nodiscard]] std::uint64_t hash(std::string_view key) const;
  // Which shard, and which place in it, are two halves of a hash.
  [[nodiscard]] std::size_t shard_of(std::uint64_t hashed) const {
    return static_cast<std::size_t>((hashed >> 32U) * shards_.size() >> 32U);
  }
  static std::size_t place_of(std::uint64_t hashed, std::size_t places) {
    return static_cast<std::size_t>((hashed & 0xffffffffU) * places >> 32U);
  }
  // Where a key is looked for, in a line and those behind it, and its tag: what is kept there of its hash.
  struct Place {
    const Slot* slot;
    std::uint8_t tag;
  };
  // Asks for its lines.
  [[nodiscard]] Place place(std::string_view key) const;
  static const Slot kNowhere;  // where no key is
  static const Slot* probe(std::string_view key, Place at);
  static const Slot* probe_all(std::string_view key, const Slot* place);
  [[nodiscard]] const Slot* find_key(std::string_view key) const;
  // The name's own, or the longest wildcard's that covers it.
  [[nodiscard]] const Slot* find_covering(std::string_view name) const;
  void fill(std::span<const View> entries);
  static std::vector<View> views_of(const std::vector<Entry>& entries);
  // Replaces the shard by one with `fresh`, and with those of its names that are not among `gone`.
  void rebuild(ShardRef& shard, Arena& arena, std::span<const Hashed> fresh, std::span<const std::string_view> gone);
  void take(std::vector<ShardRef> directory);
  void count(std::string_view key, bool wildcard, int by);

  std::shared_ptr<const std::vector<ShardRef>> directory_;
  std::span<const ShardRef> shards_;  // of it
  std::uint64_t seed_[2] = {0, 0};    // random per table: names are chosen by strangers
  DotCounts exact_dots_;
  DotCounts wildcard_dots_;
  std::size_t size_ = 0;
};

}  // namespace edgemux::routing
