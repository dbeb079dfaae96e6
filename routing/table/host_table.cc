#include "routing/table/host_table.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
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

// One block of memory that holds the records one behind the other and destroys them.
class HostTable::Records {
 public:
  explicit Records(std::size_t bytes) : block_(static_cast<std::byte*>(::operator new(bytes))), capacity_(bytes) {}
  ~Records() {
    for (std::size_t at = 0; at < used_;) {
      Record* record = this->at(at);
      at += record->size();
      record->~Record();
    }
    ::operator delete(block_);
  }
  Records(const Records&) = delete;
  Records& operator=(const Records&) = delete;

  std::size_t add(std::string_view key, bool wildcard, RoutePtr route) {
    const std::size_t place = used_;
    auto* record = new (block_ + place) Record{std::move(route), static_cast<std::uint8_t>(key.size()), wildcard};
    std::memcpy(record->bytes(), key.data(), key.size());
    used_ += record->size();
    ++count_;
    return place;
  }
  [[nodiscard]] Record* at(std::size_t place) const { return std::launder(reinterpret_cast<Record*>(block_ + place)); }
  [[nodiscard]] std::size_t used() const { return used_; }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }

 private:
  std::byte* block_;
  std::size_t capacity_;
  std::size_t used_ = 0;
  std::size_t count_ = 0;
};

HostTable::HostTable() = default;
HostTable::~HostTable() = default;
HostTable::HostTable(HostTable&&) noexcept = default;
HostTable& HostTable::operator=(HostTable&&) noexcept = default;

HostTable::HostTable(std::vector<Entry> entries) {
  if (entries.empty()) return;
  fill_random(seed_);
  std::size_t bytes = 0;
  for (const Entry& entry : entries) bytes += Record::size_for(key_of(entry.name).size());
  records_ = std::make_unique<Records>(bytes);
  slots_.resize(std::bit_ceil(entries.size() + entries.size() / 4 + 1));  // at most 4/5 full

  for (Entry& entry : entries) {
    const std::string_view key = key_of(entry.name);
    const bool wildcard = key.size() != entry.name.size();
    if (wildcard) wildcard_labels_.set(static_cast<std::size_t>(std::count(key.begin(), key.end(), '.')));
    const std::uint64_t hashed = hash(key);
    const std::size_t place = records_->add(key, wildcard, std::move(entry.route));
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hashed & mask;
    while (slots_[at].record != 0) at = (at + 1) & mask;
    slots_[at] = {static_cast<std::uint32_t>(hashed >> 32U), static_cast<std::uint32_t>(place / alignof(Record)) + 1};
  }
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

const HostTable::Record* HostTable::probe(std::string_view key) const {
  const std::uint64_t hashed = hash(key);
  const auto tag = static_cast<std::uint32_t>(hashed >> 32U);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hashed & mask; slots_[at].record != 0; at = (at + 1) & mask) {
    if (slots_[at].tag != tag) continue;
    const Record* record = records_->at((slots_[at].record - std::size_t{1}) * alignof(Record));
    if (record->key() == key) return record;
  }
  return nullptr;
}

const RoutePtr* HostTable::find(std::string_view name) const {
  if (records_ == nullptr || name.empty() || name.size() > longest_name || name.front() == '.') return nullptr;
  const auto attached = [](const Record& record) { return record.route == nullptr ? nullptr : &record.route; };
  if (const Record* record = probe(name)) return attached(*record);
  if (wildcard_labels_.none()) return nullptr;

  std::array<std::uint8_t, longest_name> dots{};  // from the right: dots[i] starts the suffix of i + 1 labels
  std::size_t count = 0;
  for (std::size_t at = name.size(); at-- > 1;) {
    if (name[at] == '.') dots[count++] = static_cast<std::uint8_t>(at);
  }
  for (std::size_t labels = std::min<std::size_t>(count, wildcard_labels_.size() - 1); labels > 0; --labels) {
    if (!wildcard_labels_.test(labels)) continue;
    if (const Record* record = probe(name.substr(dots[labels - 1]))) return attached(*record);
  }
  return nullptr;
}

std::size_t HostTable::size() const { return records_ == nullptr ? 0 : records_->count(); }

std::size_t HostTable::memory() const {
  return slots_.capacity() * sizeof(Slot) + (records_ == nullptr ? 0 : records_->capacity());
}

std::vector<HostTable::Entry> HostTable::entries() const {
  std::vector<Entry> result;
  result.reserve(size());
  for (std::size_t at = 0; records_ != nullptr && at < records_->used();) {
    const Record* record = records_->at(at);
    result.push_back({(record->wildcard ? "*" : "") + std::string(record->key()), record->route});
    at += record->size();
  }
  return result;
}

}  // namespace edgemux::routing
