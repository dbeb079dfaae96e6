#include "routing/table/host_table.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>
#include <new>

namespace edgemux::routing {

namespace {

constexpr std::size_t longest_name = 253;

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

// The key that a name is stored under: a wildcard without its star.
std::string_view key_of(std::string_view name) { return name.starts_with("*.") ? name.substr(1) : name; }

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
};

struct HostTable::Hashed {
  std::uint64_t hash;
  std::string_view key;
  bool wildcard;
  const RoutePtr* route;
};

// One block: this, the slots, the records one behind the other.
struct HostTable::Shard {
  static constexpr unsigned place_bits = 20;
  static constexpr std::uint32_t place_mask = (1U << place_bits) - 1;

  std::atomic<std::uint32_t> references{1};
  std::uint32_t mask = 0;  // of the slots
  std::uint32_t bytes = 0;
  std::uint32_t used = 0;  // bytes of records
  std::uint64_t count = 0;

  // A slot: 12 bits of the hash, then the record's place in units of its alignment, plus 1; 0 = free.
  [[nodiscard]] std::uint32_t* slots() { return reinterpret_cast<std::uint32_t*>(this + 1); }
  [[nodiscard]] const std::uint32_t* slots() const { return reinterpret_cast<const std::uint32_t*>(this + 1); }
  [[nodiscard]] std::byte* records() { return reinterpret_cast<std::byte*>(slots() + mask + 1); }
  [[nodiscard]] const std::byte* records() const { return reinterpret_cast<const std::byte*>(slots() + mask + 1); }
  [[nodiscard]] const Record* at(std::size_t place) const {
    return std::launder(reinterpret_cast<const Record*>(records() + place));
  }
  static std::uint32_t tag(std::uint64_t hashed) { return static_cast<std::uint32_t>(hashed >> 32U) << place_bits; }

  // Room for `count` records of `record_bytes` together; at least two slots, so that the records are aligned.
  static Shard* make(std::size_t count, std::size_t record_bytes) {
    const std::size_t slots = std::bit_ceil(count + count / 4 + 2);  // at most 4/5 full
    const std::size_t size = sizeof(Shard) + slots * sizeof(std::uint32_t) + record_bytes;
    auto* shard = new (::operator new(size)) Shard;
    shard->mask = static_cast<std::uint32_t>(slots - 1);
    shard->bytes = static_cast<std::uint32_t>(size);
    std::memset(shard->slots(), 0, slots * sizeof(std::uint32_t));
    return shard;
  }
  void add(const Hashed& name) {
    auto* record =
        new (records() + used) Record{*name.route, static_cast<std::uint8_t>(name.key.size()), name.wildcard};
    std::memcpy(record->bytes(), name.key.data(), name.key.size());
    std::size_t at = name.hash & mask;
    while (slots()[at] != 0) at = (at + 1) & mask;
    slots()[at] = tag(name.hash) | (used / static_cast<std::uint32_t>(alignof(Record)) + 1);
    used += static_cast<std::uint32_t>(record->size());
    ++count;
  }
  template <typename Visit>
  void each(Visit&& visit) const {
    for (std::size_t at = 0; at < used; at += this->at(at)->size()) visit(*this->at(at));
  }
  static void destroy(Shard* shard) {
    for (std::size_t at = 0; at < shard->used;) {
      auto* record = std::launder(reinterpret_cast<Record*>(shard->records() + at));
      at += record->size();
      record->~Record();
    }
    shard->~Shard();
    ::operator delete(shard);
  }
};

HostTable::ShardRef::ShardRef(Shard* shard) : shard_(shard), mask_(shard->mask) {}

HostTable::ShardRef::ShardRef(const ShardRef& from) : shard_(from.shard_), mask_(from.mask_) {
  if (shard_ != nullptr) shard_->references.fetch_add(1, std::memory_order_relaxed);
}

HostTable::ShardRef::~ShardRef() {
  if (shard_ != nullptr && shard_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) Shard::destroy(shard_);
}

HostTable::HostTable() = default;
HostTable::~HostTable() = default;
HostTable::HostTable(HostTable&&) noexcept = default;
HostTable& HostTable::operator=(HostTable&&) noexcept = default;

HostTable::HostTable(std::vector<Entry> entries) {
  if (entries.empty()) return;
  fill_random(seed_);
  fill(std::move(entries));
}

void HostTable::fill(std::vector<Entry> entries) {
  constexpr std::size_t names_per_shard = 96;
  constexpr std::size_t most_shards = 1U << 16U;
  const std::size_t count = std::min(std::bit_ceil(entries.size() / names_per_shard + 1), most_shards);
  shards_ = std::vector<ShardRef>(count);
  size_ = 0;
  // By shard, in one pass over the names and one over the shards.
  std::vector<Hashed> hashed;
  std::vector<std::uint32_t> begins(count + 1);
  hashed.reserve(entries.size());
  for (const Entry& entry : entries) {
    const std::string_view key = key_of(entry.name);
    const bool wildcard = key.size() != entry.name.size();
    hashed.push_back({hash(key), key, wildcard, &entry.route});
    ++begins[(hashed.back().hash >> 48U & (count - 1)) + 1];
  }
  for (std::size_t i = 1; i <= count; ++i) begins[i] += begins[i - 1];
  std::vector<Hashed> sorted(hashed.size());
  auto next = begins;
  for (const Hashed& name : hashed) sorted[next[name.hash >> 48U & (count - 1)]++] = name;
  for (std::size_t i = 0; i < count; ++i) {
    rebuild(i, std::span(sorted).subspan(begins[i], begins[i + 1] - begins[i]), {});
  }
}

void HostTable::count_label(std::string_view key, bool wildcard, int by) {
  if (!wildcard) return;
  const auto dots = static_cast<std::size_t>(std::count(key.begin(), key.end(), '.'));
  labels_[dots] += static_cast<std::uint32_t>(by);
  wildcard_labels_.set(dots, labels_[dots] != 0);
}

void HostTable::rebuild(std::size_t index, std::span<const Hashed> fresh, std::span<const std::string_view> gone) {
  std::vector<Hashed> all(fresh.begin(), fresh.end());
  const Shard* old = shards_[index].get();
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
    std::size_t bytes = 0;
    for (const Hashed& name : all) bytes += Record::size_for(name.key.size());
    made = ShardRef(Shard::make(all.size(), bytes));
    for (const Hashed& name : all) {
      made->add(name);
      count_label(name.key, name.wildcard, 1);
    }
    size_ += all.size();
  }
  shards_[index] = std::move(made);
}

HostTable HostTable::with(std::vector<Entry> changes, const std::vector<std::string>& removed) const {
  HostTable made;
  if (shards_.empty()) {
    made = HostTable(std::move(changes));
    return made;
  }
  made.shards_ = shards_;
  std::copy(std::begin(seed_), std::end(seed_), std::begin(made.seed_));
  made.wildcard_labels_ = wildcard_labels_;
  made.labels_ = labels_;
  made.size_ = size_;

  const std::size_t mask = shards_.size() - 1;
  std::vector<Hashed> touched;  // a null route pointer: removed
  touched.reserve(changes.size() + removed.size());
  const auto touch = [&](const std::string& name, const RoutePtr* route) {
    const std::string_view key = key_of(name);
    touched.push_back({hash(key), key, key.size() != name.size(), route});
  };
  for (const Entry& entry : changes) touch(entry.name, &entry.route);
  for (const std::string& name : removed) touch(name, nullptr);
  const auto shard = [mask](const Hashed& name) { return name.hash >> 48U & mask; };
  std::sort(touched.begin(), touched.end(), [&](const auto& a, const auto& b) { return shard(a) < shard(b); });

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
    made.rebuild(at, fresh, gone);
  }
  // Grown or shrunk a good deal: spread anew.
  if (made.size_ > shards_.size() * 512 || made.size_ * 8 < shards_.size()) made.fill(made.entries());
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

void HostTable::prefetch(std::uint64_t hashed) const {
  const ShardRef& shard = shard_of(hashed);
  if (shard.get() != nullptr) __builtin_prefetch(shard->slots() + (hashed & shard.mask()));
}

const HostTable::Record* HostTable::probe(std::string_view key, std::uint64_t hashed) const {
  const ShardRef& shard = shard_of(hashed);
  if (shard.get() == nullptr) return nullptr;
  const std::uint32_t tag = Shard::tag(hashed);
  const std::uint32_t* slots = shard->slots();
  const std::uint64_t mask = shard.mask();
  for (std::size_t at = hashed & mask; slots[at] != 0; at = (at + 1) & mask) {
    if ((slots[at] & ~Shard::place_mask) != tag) continue;
    const auto* records = reinterpret_cast<const std::byte*>(slots + mask + 1);
    const std::size_t place = ((slots[at] & Shard::place_mask) - std::size_t{1}) * alignof(Record);
    const auto* record = std::launder(reinterpret_cast<const Record*>(records + place));
    if (record->key() == key) return record;
  }
  return nullptr;
}

const RoutePtr* HostTable::find(std::string_view name) const {
  if (size_ == 0 || name.empty() || name.size() > longest_name || name.front() == '.') return nullptr;
  const auto attached = [](const Record& record) { return record.route == nullptr ? nullptr : &record.route; };
  const std::uint64_t hashed = hash(name);
  if (wildcard_labels_.none()) {
    const Record* record = probe(name, hashed);
    return record == nullptr ? nullptr : attached(*record);
  }

  // The suffixes that a wildcard may have, longest first. Their slots are fetched while the exact name is looked for.
  struct Suffix {
    std::string_view key;
    std::uint64_t hash;
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
      suffixes[count++] = {key, hash(key)};
    }
  };
  prefetch(hashed);
  next_suffixes();
  for (std::size_t i = 0; i < count; ++i) prefetch(suffixes[i].hash);
  if (const Record* record = probe(name, hashed)) return attached(*record);
  for (; count > 0; next_suffixes()) {
    for (std::size_t i = 0; i < count; ++i) {
      if (const Record* record = probe(suffixes[i].key, suffixes[i].hash)) return attached(*record);
    }
  }
  return nullptr;
}

bool HostTable::serves(std::string_view name) const {
  const std::string_view key = key_of(name);
  const Record* record = size_ == 0 ? nullptr : probe(key, hash(key));
  return record != nullptr && record->route != nullptr;
}

std::vector<HostTable::Entry> HostTable::candidates(std::string_view name) const {
  std::vector<Entry> result;
  if (size_ == 0 || name.empty() || name.size() > longest_name || name.front() == '.') return result;
  const auto add = [&](std::string_view key) {
    if (const Record* record = probe(key, hash(key))) {
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
  std::size_t bytes = shards_.capacity() * sizeof(ShardRef);
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
