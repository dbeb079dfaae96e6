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
constexpr std::size_t kLine = 64;    // of the cache
constexpr std::size_t kFetched = 4;  // lines from a name's place on: it is in one of them but for few

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

// What is kept of a hash beside the place that it tells. Not 0.
std::uint8_t tag_of(std::uint64_t hashed) { return static_cast<std::uint8_t>(hashed | 1U); }

// 0x80 in each byte that is 0; in bytes of 1 too that stand above such a one.
std::uint32_t zero_bytes(std::uint32_t word) { return (word - 0x01010101U) & ~word & 0x80808080U; }

// Where the dots of a name are, from its first to its last; `name` has at most longest_name bytes.
class Dots {
 public:
  explicit Dots(std::string_view name) {
    const std::size_t rest = name.size() % 8;
    const std::size_t whole = name.size() - rest;
    for (std::size_t at = 0; at < whole; at += 8) add(at, in_order(load(name.data() + at, 8)));
    if (rest > 0) {
      std::uint64_t last = 0;
      if (whole > 0) {
        last = in_order(load(name.data() + name.size() - 8, 8)) >> (64 - 8 * rest);
      } else {
        for (std::size_t i = rest; i > 0; --i) last = last << 8U | static_cast<unsigned char>(name[i - 1]);
      }
      add(whole, last);
    }
    left_ = static_cast<std::size_t>(sums_ * kEach >> 56U);
  }
  [[nodiscard]] std::size_t left() const { return left_; }
  // While some are left.
  std::size_t next() {
    --left_;
    while (bits_[word_] == 0) ++word_;
    const auto at = static_cast<std::size_t>(std::countr_zero(bits_[word_]));
    bits_[word_] &= bits_[word_] - 1;
    return word_ * 64 + at;
  }

 private:
  static constexpr std::uint64_t kEach = 0x0101010101010101U;

  static std::uint64_t in_order(std::uint64_t word) {
    return std::endian::native == std::endian::big ? __builtin_bswap64(word) : word;
  }
  // `word`: eight bytes from `at` on, a multiple of 8; the first is the lowest.
  void add(std::size_t at, std::uint64_t word) {
    word ^= kEach * '.';
    const std::uint64_t others = ((word & kEach * 0x7f) + kEach * 0x7f) | word;  // 0x80 in each that is no dot
    const std::uint64_t dots = ~others >> 7U & kEach;
    sums_ += dots;
    // The product's highest byte has each byte's lowest bit.
    bits_[at / 64] |= dots * 0x0102040810204080U >> 56U << at % 64;
  }

  std::array<std::uint64_t, (longest_name + 63) / 64> bits_{};
  std::uint64_t sums_ = 0;  // of bytes, each by its place in its word
  std::size_t left_ = 0;
  std::size_t word_ = 0;
};

void fill_random(std::uint64_t (&seed)[2]) {
  if (::getrandom(seed, sizeof seed, 0) == static_cast<ssize_t>(sizeof seed)) return;
  // Kernels before 3.17 and seccomp filters only. Addresses and the clock still differ from process to process.
  const auto now = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  seed[0] = fold(now ^ 0x9e3779b97f4a7c15U, reinterpret_cast<std::uintptr_t>(&seed) | 1U);
  seed[1] = fold(seed[0] ^ 0xd1b54a32d192ed03U, now | 1U);
}

// Of 64 places 45 have a name: then most names stand at theirs or next to it.
constexpr std::size_t places_for(std::size_t names) { return names * 64 / 45 + 1; }
constexpr std::size_t kMostPlaces = 1'000;  // for a name

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

// A line: a name and its route, and, whichever name that is, where the names are that have their place here.
struct alignas(kLine) HostTable::Slot {
  static constexpr std::size_t kReach = 16;   // how far from its place a name may be, in lines
  static constexpr std::size_t kInside = 40;  // bytes of a name

  RoutePtr route;
  std::uint32_t tags = 0;      // a byte each for this line and those behind it; 0: none of ours is there
  std::uint16_t names_at = 0;  // bit i: in the line i further
  std::uint8_t length = 0;     // 0: no name is here
  bool wildcard : 1 = false;
  bool stand_in : 1 = false;
  // The name; of a longer one, how many bytes from this line's beginning it stands (32 bits).
  std::array<char, kInside> bytes;

  [[nodiscard]] std::string_view key() const {
    if (length <= kInside) return {bytes.data(), length};
    std::uint32_t distance = 0;
    std::memcpy(&distance, bytes.data(), sizeof distance);
    return {reinterpret_cast<const char*>(this) + distance, length};
  }
  // The same as key() == key, for keys of a usual length, kWord to kInside bytes: three words that may overlap, and one
  // jump.
  static constexpr std::size_t kWord = 16;
  [[nodiscard]] bool has_usual(std::string_view key) const {
    if (length != key.size()) return false;
    const auto differ = [&](std::size_t at) {
      const char* const mine = bytes.data() + at;
      const char* const other = key.data() + at;
      return (load(mine, 8) ^ load(other, 8)) | (load(mine + 8, 8) ^ load(other + 8, 8));
    };
    const std::size_t last = key.size() - kWord;
    return (differ(0) | differ(std::min(last, kWord)) | differ(last)) == 0;
  }
  // `rest`: where a name that is too long may stand. Tells how much of that was used.
  std::size_t put(const Hashed& name, char* rest);
};

struct HostTable::Hashed {
  std::uint64_t hash;
  std::string_view key;
  bool wildcard;
  const RoutePtr* route;
  bool stand_in;
};

std::size_t HostTable::Slot::put(const Hashed& name, char* rest) {
  route = *name.route;
  length = static_cast<std::uint8_t>(name.key.size());
  wildcard = name.wildcard;
  stand_in = name.stand_in;
  if (length <= kInside) {
    std::memcpy(bytes.data(), name.key.data(), length);
    return 0;
  }
  const auto distance = static_cast<std::uint32_t>(rest - reinterpret_cast<char*>(this));
  std::memcpy(bytes.data(), &distance, sizeof distance);
  std::memcpy(rest, name.key.data(), length);
  return length;
}

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
  // A whole number of lines. It is the caller's to free: by Chunk::release where there is a chunk, by operator delete
  // where not.
  std::pair<void*, Chunk*> allocate(std::size_t bytes) {
    if (!huge_ || bytes > Chunk::kSize / 8) return {::operator new (bytes, std::align_val_t{kLine}), nullptr};
    if (chunk_ == nullptr || Chunk::kSize - used_ < bytes) {
      if (chunk_ != nullptr) Chunk::release(chunk_);
      chunk_ = Chunk::make();
      used_ = kLine;
      if (chunk_ == nullptr) return {::operator new (bytes, std::align_val_t{kLine}), nullptr};
    }
    void* const place = reinterpret_cast<std::byte*>(chunk_) + used_;
    used_ += bytes;
    chunk_->references.fetch_add(1, std::memory_order_relaxed);
    return {place, chunk_};
  }

 private:
  bool huge_;
  Chunk* chunk_ = nullptr;
  std::size_t used_ = 0;
};

// This, then its lines, then the names that are too long for them.
struct alignas(kLine) HostTable::Shard {
  std::atomic<std::uint32_t> references{1};
  std::uint32_t count = 0;  // of names
  std::uint32_t lines = 0;
  std::size_t bytes = 0;   // of all
  Chunk* chunk = nullptr;  // null: a block of the heap

  [[nodiscard]] Slot* slots() { return std::launder(reinterpret_cast<Slot*>(this + 1)); }

  // `names` by place, of which there are `places`. Null: one would be too far from its place.
  static Shard* make(std::span<const Hashed> names, std::size_t places, Arena& arena) {
    std::size_t lines = 0;
    std::size_t bytes = 0;
    for (const Hashed& name : names) {
      const std::size_t place = place_of(name.hash, places);
      lines = std::max(lines, place) + 1;
      if (lines - place > Slot::kReach) return nullptr;
      if (name.key.size() > Slot::kInside) bytes += name.key.size();
    }
    lines = std::max(lines, places);
    static_assert(sizeof(Slot) == kLine);
    bytes = (sizeof(Shard) + lines * sizeof(Slot) + bytes + kLine - 1) / kLine * kLine;
    if (bytes > UINT32_MAX) throw std::length_error("a shard of host names is full");
    const auto [memory, chunk] = arena.allocate(bytes);
    auto* const shard = new (memory) Shard;
    shard->count = static_cast<std::uint32_t>(names.size());
    shard->lines = static_cast<std::uint32_t>(lines);
    shard->bytes = bytes;
    shard->chunk = chunk;  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): destroy() frees it
    for (std::size_t i = 0; i < lines; ++i) new (reinterpret_cast<Slot*>(shard + 1) + i) Slot;
    Slot* const slots = shard->slots();
    char* rest = reinterpret_cast<char*>(slots + lines);
    std::size_t at = 0;
    for (const Hashed& name : names) {
      const std::size_t place = place_of(name.hash, places);
      at = std::max(at, place);
      slots[place].names_at = static_cast<std::uint16_t>(slots[place].names_at | 1U << (at - place));
      if (at - place < kFetched) slots[place].tags |= std::uint32_t{tag_of(name.hash)} << 8 * (at - place);
      rest += slots[at++].put(name, rest);
    }
    return shard;
  }
  template <typename Visit>
  void each(Visit&& visit) {
    for (Slot* slot = slots(); slot != slots() + lines; ++slot) {
      if (slot->length > 0) visit(*slot);
    }
  }
  static void destroy(Shard* shard) {
    std::destroy_n(shard->slots(), shard->lines);
    Chunk* const chunk = shard->chunk;
    shard->~Shard();
    if (chunk != nullptr) {
      Chunk::release(chunk);
    } else {
      ::operator delete (shard, std::align_val_t{kLine});
    }
  }
};

[[gnu::always_inline]] inline std::uint64_t HostTable::hash(std::string_view key) const {
  const char* const end = key.data() + key.size();
  std::uint64_t state = seed_[0];
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  if (key.size() >= 16) {  // what is left of the last 16 bytes overlaps what is done
    for (const char* at = key.data(); at < end - 16; at += 16) {
      state = fold(load(at, 8) ^ seed_[1], load(at + 8, 8) ^ state);
    }
    low = load(end - 16, 8);
    high = load(end - 8, 8);
  } else if (key.size() >= 8) {  // and so do the two words here
    low = load(key.data(), 8);
    high = load(end - 8, 8);
  } else if (key.size() >= 4) {
    low = load(key.data(), 4);
    high = load(end - 4, 4);
  } else {
    for (const char c : key) low = low << 8U | static_cast<unsigned char>(c);
  }
  state = fold(low ^ seed_[1], high ^ state);
  // Bytes are read twice where they overlap, so that the length counts only here, where no byte can make up for it.
  return fold(state ^ seed_[0], seed_[1] ^ key.size());
}

constinit const HostTable::Slot HostTable::kNowhere{};

[[gnu::always_inline]] inline HostTable::Place HostTable::place(std::string_view key) const {
  const std::uint64_t hashed = hash(key);
  const ShardRef& shard = shards_[shard_of(hashed)];
  if (shard.get() == nullptr) return {&kNowhere, 1};
  const Slot* const found = shard->slots() + place_of(hashed, shard.places());
  for (std::size_t line = 0; line < kFetched; ++line) __builtin_prefetch(found + line);
  return {found, tag_of(hashed)};
}

[[gnu::always_inline]] inline const HostTable::Slot* HostTable::probe(std::string_view key, Place at) {
  // A name that is here has its tag here, nearly always as the only one: then which line it is in is no jump, that the
  // processor would have to guess before memory has answered. One that is not here is seldom looked for any further.
  const std::uint32_t same = zero_bytes(at.slot->tags ^ 0x01010101U * at.tag);
  if (same != 0 && key.size() >= Slot::kWord && key.size() <= Slot::kInside) {
    const Slot* const slot = at.slot + static_cast<std::size_t>(std::countr_zero(same)) / 8;
    if (slot->has_usual(key)) return slot;
  }
  if ((same | at.slot->names_at >> kFetched) == 0) return nullptr;
  return probe_all(key, at.slot);
}

const HostTable::Slot* HostTable::probe_all(std::string_view key, const Slot* place) {
  for (unsigned names = place->names_at; names != 0; names &= names - 1) {
    const Slot* const slot = place + std::countr_zero(names);
    if (slot->key() == key) return slot;
  }
  return nullptr;
}

HostTable::ShardRef::ShardRef(const ShardRef& from) : shard_(from.shard_), places_(from.places_) {
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
  for (const Entry& entry : entries) views.push_back({entry.name, &entry.route, entry.stand_in});
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
  exact_dots_ = {};
  wildcard_dots_ = {};
  // By shard, in one pass over the names and one over the shards.
  std::vector<Hashed> hashed;
  std::vector<std::uint32_t> begins(count + 1);
  hashed.reserve(entries.size());
  std::size_t bytes = places_for(entries.size()) * sizeof(Slot);
  for (const View& entry : entries) {
    const std::string_view key = host_key(entry.name);
    if (key.size() > Slot::kInside) bytes += key.size();
    const bool wildcard = key.size() != entry.name.size();
    hashed.push_back({hash(key), key, wildcard, entry.route, entry.stand_in});
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

void HostTable::count(std::string_view key, bool wildcard, int by) {
  (wildcard ? wildcard_dots_ : exact_dots_).add(Dots(key).left(), by);
}

void HostTable::rebuild(ShardRef& shard, Arena& arena, std::span<const Hashed> fresh,
                        std::span<const std::string_view> gone) {
  std::vector<Hashed> all(fresh.begin(), fresh.end());
  Shard* const old = shard.get();
  if (old != nullptr) {
    size_ -= old->count;
    old->each([&](const Slot& slot) {
      count(slot.key(), slot.wildcard, -1);
      if (std::find(gone.begin(), gone.end(), slot.key()) != gone.end()) return;
      all.push_back({hash(slot.key()), slot.key(), slot.wildcard, &slot.route, slot.stand_in});
    });
  }
  ShardRef made;
  if (!all.empty()) {
    const auto low = [](const Hashed& name) { return name.hash & 0xffffffffU; };
    std::sort(all.begin(), all.end(), [&](const Hashed& a, const Hashed& b) { return low(a) < low(b); });
    // A random hash spreads them: of some dozens the first number nearly always does, and each further one is likelier
    // to.
    for (std::size_t places = places_for(all.size()); made.get() == nullptr; places += places / 4 + 1) {
      if (places > all.size() * kMostPlaces) throw std::length_error("more host names share a hash than a table holds");
      made = ShardRef(Shard::make(all, places, arena), static_cast<std::uint32_t>(places));
    }
    for (const Hashed& name : all) count(name.key, name.wildcard, 1);
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
  made.exact_dots_ = exact_dots_;
  made.wildcard_dots_ = wildcard_dots_;
  made.size_ = size_;
  if (changes.empty() && removed.empty()) return made;

  std::vector<ShardRef> directory(shards_.begin(), shards_.end());
  std::vector<Hashed> touched;  // a null route pointer: removed
  touched.reserve(changes.size() + removed.size());
  const auto touch = [&](const std::string& name, const RoutePtr* route, bool stand_in) {
    const std::string_view key = host_key(name);
    touched.push_back({hash(key), key, key.size() != name.size(), route, stand_in});
  };
  for (const Entry& entry : changes) touch(entry.name, &entry.route, entry.stand_in);
  for (const std::string& name : removed) touch(name, nullptr, false);
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

const RoutePtr* HostTable::find(std::string_view name) const {
  if (name.size() > longest_name || shards_.empty()) return nullptr;
  const Slot* const found = wildcard_dots_.any.any() ? find_covering(name) : probe(name, place(name));
  return found == nullptr || found->route == nullptr ? nullptr : &found->route;
}

const HostTable::Slot* HostTable::find_covering(std::string_view name) const {
  if (name.empty() || name.front() == '.') return nullptr;
  // Asked for first: it is what is looked for most, and the rest is done while memory answers.
  Place exact = exact_dots_.any.any() ? place(name) : Place{&kNowhere, 1};
  Dots dots(name);
  if (!exact_dots_.has(dots.left())) exact = {&kNowhere, 1};
  // The suffixes that a wildcard may have, longest first. They are fetched while the exact name is looked for.
  struct Suffix {
    std::size_t at;
    Place place;
  };
  std::array<Suffix, 8> suffixes;  // nothing but the first `count` is set
  std::size_t count = 0;
  const auto next_suffixes = [&] {
    for (count = 0; dots.left() > 0 && count < suffixes.size();) {
      const bool wanted = wildcard_dots_.has(dots.left());
      const std::size_t at = dots.next();
      if (wanted) suffixes[count++] = {at, place(name.substr(at))};
    }
  };
  next_suffixes();
  if (const Slot* slot = probe(name, exact)) return slot;
  for (; count > 0; next_suffixes()) {
    for (std::size_t i = 0; i < count; ++i) {
      if (const Slot* slot = probe(name.substr(suffixes[i].at), suffixes[i].place)) return slot;
    }
  }
  return nullptr;
}

const HostTable::Slot* HostTable::find_key(std::string_view key) const {
  return size_ == 0 ? nullptr : probe(key, place(key));
}

bool HostTable::serves(std::string_view name) const {
  const std::string_view key = host_key(name);
  const Slot* slot = find_key(key);
  return slot != nullptr && slot->route != nullptr;
}

std::vector<HostTable::Entry> HostTable::candidates(std::string_view name) const {
  std::vector<Entry> result;
  if (size_ == 0 || name.empty() || name.size() > longest_name || name.front() == '.') return result;
  const auto add = [&](std::string_view key) {
    if (const Slot* slot = find_key(key)) {
      result.push_back({(slot->wildcard ? "*" : "") + std::string(key), slot->route, slot->stand_in});
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
    Shard* const shard = before.shards_[i].get();
    if (shard == nullptr || (kin && shards_[i].get() == shard)) continue;
    shard->each([&](const Slot& slot) {
      if (slot.route == nullptr || slot.stand_in) return;
      auto name = (slot.wildcard ? "*" : "") + std::string(slot.key());
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
    shard->each([&](const Slot& slot) {
      result.push_back({(slot.wildcard ? "*" : "") + std::string(slot.key()), slot.route, slot.stand_in});
    });
  }
  return result;
}

}  // namespace edgemux::routing
