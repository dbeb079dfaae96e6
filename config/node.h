#pragma once
// Node and Document: a YAML file as a tree, with the place of everything. Maps keep the order of their keys.
//
// A Document owns its bytes and its nodes; nodes and texts live as long as it does. Aliases are expanded (copied),
// within the caps of yaml.h.

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace edgemux::config {

struct Place {
  std::uint32_t line = 0;    // from 1; 0 = the file as a whole
  std::uint32_t column = 0;  // from 1, in characters
  // NOLINTNEXTLINE(modernize-use-nullptr): its own zero
  friend auto operator<=>(const Place&, const Place&) = default;
};

struct Node {
  enum class Kind : std::uint8_t { scalar, map, list };
  Kind kind = Kind::scalar;
  bool plain = false;      // a scalar without quotes
  std::uint32_t size = 0;  // children; a map has two per key
  Place place;
  std::string_view text;        // scalars
  const Node* first = nullptr;  // child
  const Node* next = nullptr;   // sibling; in a map: key, value, key, value

  [[nodiscard]] bool is_scalar() const { return kind == Kind::scalar; }
  [[nodiscard]] bool is_map() const { return kind == Kind::map; }
  [[nodiscard]] bool is_list() const { return kind == Kind::list; }
  // A key without a value, "~" or "null".
  [[nodiscard]] bool is_null() const { return is_scalar() && plain && (text.empty() || text == "~" || text == "null"); }
  // The value of `key` in a map, or null.
  [[nodiscard]] const Node* get(std::string_view key) const {
    if (kind != Kind::map) return nullptr;
    for (const Node* k = first; k != nullptr; k = k->next->next) {
      if (k->text == key) return k->next;
    }
    return nullptr;
  }
};

class Document {
 public:
  explicit Document(std::shared_ptr<const std::string> bytes) : bytes_(std::move(bytes)) {}
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;

  [[nodiscard]] const std::string& bytes() const { return *bytes_; }
  [[nodiscard]] const Node* root() const { return root_; }
  void set_root(const Node* root) { root_ = root; }

  Node* make() {
    if (used_ == size_) {
      size_ = blocks_.empty() ? smallest : std::min(2 * size_, largest);
      blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(size_ * sizeof(Node)));
      used_ = 0;
    }
    return new (blocks_.back().get() + used_++ * sizeof(Node)) Node;
  }
  // `text` itself where it lies in the file's bytes, else a copy.
  std::string_view keep(std::string_view text) {
    const auto* begin = bytes_->data();
    if (text.data() >= begin && text.data() + text.size() <= begin + bytes_->size()) return text;
    return copies_.emplace_back(text);
  }

 private:
  static_assert(std::is_trivially_destructible_v<Node> && alignof(Node) <= alignof(std::max_align_t));
  static constexpr std::size_t smallest = 64;  // nodes of a block
  static constexpr std::size_t largest = 512;
  std::shared_ptr<const std::string> bytes_;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  std::size_t size_ = 0;  // of the latest block
  std::size_t used_ = 0;  // of it
  std::deque<std::string> copies_;
  const Node* root_ = nullptr;
};

}  // namespace edgemux::config
