#include "routing/table/host_table.h"

#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>
#include <new>
#include <stdexcept>

namespace edgemux::routing {

namespace {

constexpr std::size_t longest_name = 253;
constexpr std::size_t kLine = 64;            // of the cache
constexpr std::size_t kFetched = 4;          // lines: what most groups have at most
constexpr std::size_t kMostPlaces = 0xffff;  // that a shard can tell apart

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The text without ":port"; nothing when what follows the colon is no port.
std::string_view without_port(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return text;
  const auto port = text.substr(colon + 1);
  unsigned value = 0;
  for (const char c : port) {
    if (!is_digit(c)) return {};
    value = value * 10 + static_cast<unsigned>(c - '0');
    if (value > 65535) return {};
  }
  return text.substr(0, colon);
}

bool last_label_is_number(std::string_view name) {
  const auto dot = name.rfind('.');
  const auto label = dot == std::string_view::npos ? name : name.substr(dot + 1);
  return std::all_of(label.begin(), label.end(), is_digit);
}

// The middle and the ends of a 128-bit product depend on every bit of both factors.
std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

std::uint64_t load(const char* from, std::size_t bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, from, bytes);
  return value;
}

void fill_random(std::uint64_t (&seed)[2]) {
  if (::getrandom(seed, sizeof seed, 0) == static_cast<ssize_t>(sizeof seed)) return;
  // Kernels before 3.17 and seccomp filters only. Addresses and the clock still differ from process to process.
  const auto now = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  seed[0] = fold(now ^ 0x9e3779b97f4a7c15U, reinterpret_cast<std::uintptr_t>(&seed) | 1U);
  seed[1] = fold(seed[0] ^ 0xd1b54a32d192ed03U, now | 1U);
}

// Small shards make a change cheap; in a very large table larger ones keep the directory small enough to stay near.
std::size_t names_per_shard(std::size_t names) {
  constexpr std::size_t kVeryLarge = 300'000;
  return names < kVeryLarge ? 40 : 96;
}

}  // namespace

std::string_view normalise_host(std::string_view text, char* buffer, bool wildcard) {
  std::string_view rest = without_port(text);
  if (rest.ends_with('.')) rest.remove_suffix(1);
  if (rest.empty() || rest.size() > longest_name) return {};

  std::size_t at = 0;
  if (wildcard && rest.starts_with("*.")) {
    buffer[0] = '*';
    buffer[1] = '.';
    at = 2;
  }
  bool label_open = false;
  for (; at < rest.size(); ++at) {
    const char c = rest[at];
    if (c == '.') {
      if (!label_open) return {};
      label_open = false;
      buffer[at] = c;
      continue;
    }
    const bool upper = c >= 'A' && c <= 'Z';
    if (!upper && !(c >= 'a' && c <= 'z') && !is_digit(c) && c != '-' && c != '_') return {};
    buffer[at] = upper ? static_cast<char>(c - 'A' + 'a') : c;
    label_open = true;
  }
  const std::string_view name(buffer, rest.size());
  if (!label_open || last_label_is_number(name)) return {};
  return name;
}

// The name's bytes follow the flags, from the tail padding on.
struct HostTable::Record {
  static constexpr std::size_t header = sizeof(RoutePtr) + 2;

  RoutePtr route;
  std::uint8_t length = 0;
  bool wildcard = false;

  [[nodiscard]] static std::size_t size_for(std::size_t key) {
    constexpr std::size_t grain = alignof(Record);
    return (header + key + grain - 1) / grain * grain;
  }
  [[nodiscard]] std::size_t size() const { return size_for(length); }
  [[nodiscard]] std::string_view key() const { return {reinterpret_cast<const char*>(this) + header, length}; }
  [[nodiscard]] char* bytes() { return reinterpret_cast<char*>(this) + header; }
  static const Record* at(const std::byte* place) { return std::launder(reinterpret_cast<const Record*>(place)); }
};

// Up to eight records of a group, which follow it one behind the other.
struct HostTable::Block {
  static constexpr std::size_t kMost = 8;
  std::array<std::uint8_t, kMost> tags{};    // 0 behind the last
  std::array<std::uint8_t, kMost> places{};  // from the block's end, in units of a record's alignment

  static const Block* at(const std::byte* place) { return std::launder(reinterpret_cast<const Block*>(place)); }
  [[nodiscard]] const std::byte* records() const { return reinterpret_cast<const std::byte*>(this + 1); }
  [[nodiscard]] const Record* record(std::size_t index) const {
    return Record::at(records() + places[index] * alignof(Record));
  }
  [[nodiscard]] std::size_t count() const {
    return static_cast<std::size_t>(std::find(tags.begin(), tags.end(), 0) - tags.begin());
  }
  [[nodiscard]] const std::byte* end() const {
    const Record* const last = record(count() - 1);
    return reinterpret_cast<const std::byte*>(last) + last->size();
  }
  // Calls `visit` with the records that may have the tag, until it returns true. Most others are left out.
  template <typename Visit>
  bool each(std::uint8_t tag, Visit&& visit) const {
    constexpr std::uint64_t kOnes = 0x0101010101010101U;
    const std::uint64_t differ = std::bit_cast<std::uint64_t>(tags) ^ kOnes * tag;
    // A byte's upper bit where it is zero (or one, above a zero).
    for (std::uint64_t same = (differ - kOnes) & ~differ & kOnes << 7U; same != 0; same &= same - 1) {
      if (visit(*record(static_cast<std::size_t>(std::countr_zero(same)) / 8))) return true;
    }
    return false;
  }
};

struct HostTable::Hashed {
  std::uint64_t hash;
  std::string_view key;
  bool wildcard;
  const RoutePtr* route;
};

// Memory for the shards of a big table, in huge pages: elsewhere a miss of the cache is one of the address translation
// too. It goes when the last shard in it does, so a table whose shards were all replaced but one holds a page for it.
struct HostTable::Chunk {
  static constexpr std::size_t kSize = std::size_t{2} * 1024 * 1024;
  std::atomic<std::uint32_t> references{1};

  // Null: there is no memory for it.
  static Chunk* make() {
    void* const got = ::mmap(nullptr, 2 * kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) return nullptr;
    auto* const begin = static_cast<std::byte*>(got);
    const std::size_t before = (kSize - reinterpret_cast<std::uintptr_t>(got) % kSize) % kSize;
    if (before > 0) ::munmap(begin, before);
    ::munmap(begin + before + kSize, kSize - before);
    ::madvise(begin + before, kSize, MADV_HUGEPAGE);  // refused where the kernel has none: then small ones
    return new (begin + before) Chunk;
  }
  static void release(Chunk* chunk) {
    if (chunk->references.fetch_sub(1, std::memory_order_acq_rel) == 1) ::munmap(chunk, kSize);
  }
};

// Where fill() puts shards. One thread's.
class HostTable::Arena {
 public:
  explicit Arena(bool huge) : huge_(huge) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    if (chunk_ != nullptr) Chunk::release(chunk_);
  }
  // The memory is the caller's to free: by Chunk::release where there is a chunk, by operator delete where not.
  std::pair<void*, Chunk*> allocate(std::size_t bytes) {
    if (!huge_ || bytes > Chunk::kSize / 8) return {::operator new(bytes), nullptr};
    if (chunk_ == nullptr || Chunk::kSize - used_ < bytes) {
      if (chunk_ != nullptr) Chunk::release(chunk_);
      chunk_ = Chunk::make();
      used_ = kLine;
      if (chunk_ == nullptr) return {::operator new(bytes), nullptr};
    }
    void* const place = reinterpret_cast<std::byte*>(chunk_) + used_;
    used_ += (bytes + kLine - 1) / kLine * kLine;
    chunk_->references.fetch_add(1, std::memory_order_relaxed);
    return {place, chunk_};
  }

 private:
  bool huge_;
  Chunk* chunk_ = nullptr;
  std::size_t used_ = 0;
};

// This, then the blocks of its groups one behind the other.
struct HostTable::Shard {
  std::atomic<std::uint32_t> references{1};
  std::uint32_t count = 0;
  Chunk* chunk = nullptr;  // null: a block of the heap
  std::size_t bytes = 0;   // of all
  std::size_t used = 0;    // of the blocks

  [[nodiscard]] std::byte* blocks() { return reinterpret_cast<std::byte*>(this + 1); }
  [[nodiscard]] const std::byte* blocks() const { return reinterpret_cast<const std::byte*>(this + 1); }

  static Shard* make(std::size_t block_bytes, Arena& arena) {
    const std::size_t size = sizeof(Shard) + block_bytes;
    const auto [place, chunk] = arena.allocate(size);
    auto* shard = new (place) Shard;
    shard->chunk = chunk;
    shard->bytes = size;
    return shard;
  }
  static std::size_t size_for(std::span<const Hashed> group) {
    std::size_t bytes = (group.size() + Block::kMost - 1) / Block::kMost * sizeof(Block);
    for (const Hashed& name : group) bytes += Record::size_for(name.key.size());
    return bytes;
  }
  void add(std::span<const Hashed> group) {
    for (std::size_t i = 0; i < group.size(); i += Block::kMost) {
      auto* const block = new (blocks() + used) Block;
      std::byte* const begin = blocks() + used + sizeof(Block);
      std::byte* end = begin;
      for (std::size_t k = 0; k < std::min(Block::kMost, group.size() - i); ++k) {
        const Hashed& name = group[i + k];
        auto* record = new (end) Record{*name.route, static_cast<std::uint8_t>(name.key.size()), name.wildcard};
        std::memcpy(record->bytes(), name.key.data(), name.key.size());
        block->tags[k] = tag_of(name.hash);
        block->places[k] = static_cast<std::uint8_t>(static_cast<std::size_t>(end - begin) / alignof(Record));
        end += record->size();
      }
      used = static_cast<std::size_t>(end - blocks());
      count += static_cast<std::uint32_t>(std::min(Block::kMost, group.size() - i));
    }
  }
  template <typename Visit>
  void each(Visit&& visit) const {
    for (const std::byte* at = blocks(); at != blocks() + used;) {
      const Block* const block = Block::at(at);
      at = block->end();
      for (std::size_t i = 0; i < block->count(); ++i) visit(*block->record(i));
    }
  }
  static void destroy(Shard* shard) {
    shard->each([](const Record& record) { const_cast<Record&>(record).~Record(); });
    Chunk* const chunk = shard->chunk;
    shard->~Shard();
    if (chunk != nullptr) {
      Chunk::release(chunk);
    } else {
      ::operator delete(shard);
    }
  }
};

HostTable::ShardRef::ShardRef(const ShardRef& from) : shard_(from.shard_), begins(from.begins) {
  if (shard_ != nullptr) shard_->references.fetch_add(1, std::memory_order_relaxed);
}

HostTable::ShardRef::~ShardRef() {
  if (shard_ != nullptr && shard_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) Shard::destroy(shard_);
}

HostTable::HostTable() = default;
HostTable::~HostTable() = default;
HostTable::HostTable(HostTable&&) noexcept = default;
HostTable& HostTable::operator=(HostTable&&) noexcept = default;

HostTable::HostTable(const std::vector<Entry>& entries) : HostTable(views_of(entries)) {}

HostTable::HostTable(std::span<const View> entries) {
  if (entries.empty()) return;
  fill_random(seed_);
  fill(entries);
}

std::vector<HostTable::View> HostTable::views_of(const std::vector<Entry>& entries) {
  std::vector<View> views;
  views.reserve(entries.size());
  for (const Entry& entry : entries) views.push_back({entry.name, &entry.route});
  return views;
}

void HostTable::take(std::vector<ShardRef> directory) {
  directory_ = std::make_shared<const std::vector<ShardRef>>(std::move(directory));
  shards_ = *directory_;
}

void HostTable::fill(std::span<const View> entries) {
  const std::size_t count = entries.size() / names_per_shard(entries.size()) + 1;
  std::vector<ShardRef> shards(count);
  shards_ = shards;
  size_ = 0;
  labels_ = {};
  wildcard_labels_.reset();
  // By shard, in one pass over the names and one over the shards.
  std::vector<Hashed> hashed;
  std::vector<std::uint32_t> begins(count + 1);
  hashed.reserve(entries.size());
  std::size_t bytes = 0;
  for (const View& entry : entries) {
    const std::string_view key = host_key(entry.name);
    bytes += Record::size_for(key.size());
    const bool wildcard = key.size() != entry.name.size();
    hashed.push_back({hash(key), key, wildcard, entry.route});
    ++begins[shard_of(hashed.back().hash) + 1];
  }
  for (std::size_t i = 1; i <= count; ++i) begins[i] += begins[i - 1];
  std::vector<Hashed> sorted(hashed.size());
  auto next = begins;
  for (const Hashed& name : hashed) sorted[next[shard_of(name.hash)]++] = name;
  Arena arena(bytes >= 2 * Chunk::kSize);
  for (std::size_t i = 0; i < count; ++i) {
    rebuild(shards[i], arena, std::span(sorted).subspan(begins[i], begins[i + 1] - begins[i]), {});
  }
  take(std::move(shards));
}

void HostTable::count_label(std::string_view key, bool wildcard, int by) {
  if (!wildcard) return;
  const auto dots = static_cast<std::size_t>(std::count(key.begin(), key.end(), '.'));
  labels_[dots] += static_cast<std::uint32_t>(by);
  wildcard_labels_.set(dots, labels_[dots] != 0);
}

void HostTable::rebuild(ShardRef& shard, Arena& arena, std::span<const Hashed> fresh,
                        std::span<const std::string_view> gone) {
  std::vector<Hashed> all(fresh.begin(), fresh.end());
  const Shard* old = shard.get();
  if (old != nullptr) {
    size_ -= old->count;
    old->each([&](const Record& record) {
      count_label(record.key(), record.wildcard, -1);
      if (std::find(gone.begin(), gone.end(), record.key()) != gone.end()) return;
      all.push_back({hash(record.key()), record.key(), record.wildcard, &record.route});
    });
  }
  ShardRef made;
  if (!all.empty()) {
    std::sort(all.begin(), all.end(),
              [](const Hashed& a, const Hashed& b) { return group_of(a.hash) < group_of(b.hash); });
    std::array<std::span<const Hashed>, kGroups> groups;
    std::size_t bytes = 0;
    for (auto from = all.begin(); from != all.end();) {
      const std::size_t group = group_of(from->hash);
      const auto to = std::find_if(from, all.end(), [&](const Hashed& name) { return group_of(name.hash) != group; });
      groups[group] = {from, to};
      bytes += Shard::size_for(groups[group]);
      from = to;
    }
    // Names are spread by a random hash, so that no shard comes near.
    if (bytes / alignof(Record) > kMostPlaces) throw std::length_error("a shard of host names is full");
    made = ShardRef(Shard::make(bytes, arena));
    for (std::size_t group = 0; group < kGroups; ++group) {
      made->add(groups[group]);
      made.begins[group + 1] = static_cast<std::uint16_t>(made->used / alignof(Record));
    }
    for (const Hashed& name : all) count_label(name.key, name.wildcard, 1);
    size_ += all.size();
  }
  shard = std::move(made);
}

HostTable HostTable::with(const std::vector<Entry>& changes, const std::vector<std::string>& removed) const {
  HostTable made;
  if (shards_.empty()) {
    made = HostTable(changes);
    return made;
  }
  made.directory_ = directory_;
  made.shards_ = shards_;
  std::copy(std::begin(seed_), std::end(seed_), std::begin(made.seed_));
  made.wildcard_labels_ = wildcard_labels_;
  made.labels_ = labels_;
  made.size_ = size_;
  if (changes.empty() && removed.empty()) return made;

  std::vector<ShardRef> directory(shards_.begin(), shards_.end());
  std::vector<Hashed> touched;  // a null route pointer: removed
  touched.reserve(changes.size() + removed.size());
  const auto touch = [&](const std::string& name, const RoutePtr* route) {
    const std::string_view key = host_key(name);
    touched.push_back({hash(key), key, key.size() != name.size(), route});
  };
  for (const Entry& entry : changes) touch(entry.name, &entry.route);
  for (const std::string& name : removed) touch(name, nullptr);
  const auto shard = [this](const Hashed& name) { return shard_of(name.hash); };
  std::sort(touched.begin(), touched.end(), [&](const auto& a, const auto& b) { return shard(a) < shard(b); });

  Arena heap(false);
  std::vector<Hashed> fresh;
  std::vector<std::string_view> gone;
  for (std::size_t i = 0; i < touched.size();) {
    const std::size_t at = shard(touched[i]);
    fresh.clear();
    gone.clear();
    for (; i < touched.size() && shard(touched[i]) == at; ++i) {
      gone.push_back(touched[i].key);
      if (touched[i].route != nullptr) fresh.push_back(touched[i]);
    }
    made.rebuild(directory[at], heap, fresh, gone);
  }
  made.take(std::move(directory));
  // Grown or shrunk a good deal: spread anew.
  if (made.size_ > shards_.size() * 3 * names_per_shard(made.size_) || made.size_ * 8 < shards_.size()) {
    const auto all = made.entries();
    made.fill(views_of(all));
  }
  return made;
}

std::uint64_t HostTable::hash(std::string_view key) const {
  const char* at = key.data();
  std::size_t left = key.size();
  std::uint64_t state = seed_[0] ^ left;
  for (; left > 16; left -= 16, at += 16) state = fold(load(at, 8) ^ seed_[1], load(at + 8, 8) ^ state);
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  if (left >= 8) {  // the two words overlap where fewer than 16 bytes are left
    low = load(at, 8);
    high = load(at + left - 8, 8);
  } else if (left >= 4) {
    low = load(at, 4);
    high = load(at + left - 4, 4);
  } else {
    for (std::size_t i = 0; i < left; ++i) low = low << 8U | static_cast<unsigned char>(at[i]);
  }
  state = fold(low ^ seed_[1], high ^ state);
  return fold(state ^ seed_[0], seed_[1] | 1U);
}

HostTable::Group HostTable::group(std::uint64_t hashed) const {
  const ShardRef& shard = shards_[shard_of(hashed)];
  if (shard.get() == nullptr) return {nullptr, nullptr};
  const std::size_t index = group_of(hashed);
  const std::byte* const blocks = shard->blocks();
  const Group found{blocks + shard.begins[index] * alignof(Record), blocks + shard.begins[index + 1] * alignof(Record)};
  // A number that is the same for all is not guessed wrong, and so costs less than to fetch what is needed.
  for (std::size_t line = 0; line < kFetched; ++line) __builtin_prefetch(found.at + line * kLine);
  return found;
}

const HostTable::Record* HostTable::probe(std::string_view key, std::uint64_t hashed, Group group) {
  const Record* found = nullptr;
  while (group.at != group.end) {
    const Block* const block = Block::at(group.at);
    const auto is_it = [&](const Record& record) {
      if (record.key() != key) return false;
      found = &record;
      return true;
    };
    if (block->each(tag_of(hashed), is_it) || block->tags.back() == 0) break;
    group.at = block->end();
  }
  return found;
}

const RoutePtr* HostTable::find(std::string_view name) const {
  if (size_ == 0 || name.empty() || name.size() > longest_name || name.front() == '.') return nullptr;
  const auto attached = [](const Record& record) { return record.route == nullptr ? nullptr : &record.route; };
  const std::uint64_t hashed = hash(name);
  const Group exact = group(hashed);
  if (wildcard_labels_.none()) {
    const Record* record = probe(name, hashed, exact);
    return record == nullptr ? nullptr : attached(*record);
  }

  // The suffixes that a wildcard may have, longest first. They are fetched while the exact name is looked for.
  struct Suffix {
    std::string_view key;
    std::uint64_t hash;
    Group group;
  };
  std::array<Suffix, 8> suffixes;
  std::size_t count = 0;
  std::size_t labels = static_cast<std::size_t>(std::count(name.begin(), name.end(), '.'));
  std::size_t at = 0;
  const auto next_suffixes = [&] {
    for (count = 0; labels > 0 && count < suffixes.size(); --labels) {
      at = name.find('.', at + 1);
      if (labels >= kMostLabels || !wildcard_labels_.test(labels)) continue;
      const std::string_view key = name.substr(at);
      const std::uint64_t key_hash = hash(key);
      suffixes[count++] = {key, key_hash, group(key_hash)};
    }
  };
  next_suffixes();
  if (const Record* record = probe(name, hashed, exact)) return attached(*record);
  for (; count > 0; next_suffixes()) {
    for (std::size_t i = 0; i < count; ++i) {
      if (const Record* record = probe(suffixes[i].key, suffixes[i].hash, suffixes[i].group)) return attached(*record);
    }
  }
  return nullptr;
}

const HostTable::Record* HostTable::find_key(std::string_view key) const {
  if (size_ == 0) return nullptr;
  const std::uint64_t hashed = hash(key);
  return probe(key, hashed, group(hashed));
}

bool HostTable::serves(std::string_view name) const {
  const std::string_view key = host_key(name);
  const Record* record = find_key(key);
  return record != nullptr && record->route != nullptr;
}

std::vector<HostTable::Entry> HostTable::candidates(std::string_view name) const {
  std::vector<Entry> result;
  if (size_ == 0 || name.empty() || name.size() > longest_name || name.front() == '.') return result;
  const auto add = [&](std::string_view key) {
    if (const Record* record = find_key(key)) {
      result.push_back({(record->wildcard ? "*" : "") + std::string(key), record->route});
    }
  };
  add(name);
  for (auto dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) add(name.substr(dot));
  return result;
}

std::vector<std::string> HostTable::lost_since(const HostTable& before) const {
  const bool kin =
      seed_[0] == before.seed_[0] && seed_[1] == before.seed_[1] && shards_.size() == before.shards_.size();
  std::vector<std::string> lost;
  for (std::size_t i = 0; i < before.shards_.size(); ++i) {
    const Shard* shard = before.shards_[i].get();
    if (shard == nullptr || (kin && shards_[i].get() == shard)) continue;
    shard->each([&](const Record& record) {
      if (record.route == nullptr) return;
      auto name = (record.wildcard ? "*" : "") + std::string(record.key());
      if (!serves(name)) lost.push_back(std::move(name));
    });
  }
  return lost;
}

std::size_t HostTable::size() const { return size_; }

std::size_t HostTable::memory() const {
  std::size_t bytes = shards_.size() * sizeof(ShardRef);
  for (const ShardRef& shard : shards_) {
    if (shard.get() != nullptr) bytes += shard->bytes;
  }
  return bytes;
}

std::vector<HostTable::Entry> HostTable::entries() const {
  std::vector<Entry> result;
  result.reserve(size());
  for (const ShardRef& shard : shards_) {
    if (shard.get() == nullptr) continue;
    shard->each([&](const Record& record) {
      result.push_back({(record.wildcard ? "*" : "") + std::string(record.key()), record.route});
    });
  }
  return result;
}

}  // namespace edgemux::routing
