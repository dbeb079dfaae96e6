#pragma once
// Leftover: bytes that could not be finished in one call and wait in memory of their own. Empty = no memory
// but a pointer.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace edgemux::core {

class Leftover {
 public:
  [[nodiscard]] bool empty() const { return held_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return empty() ? 0 : held_->end - held_->begin; }
  [[nodiscard]] std::string_view view() const {
    return empty() ? std::string_view() : std::string_view(held_->bytes.get() + held_->begin, size());
  }

  void append(std::string_view more) {
    if (more.empty()) return;
    if (empty()) held_ = std::make_unique<Held>();
    if (held_->capacity - held_->end < more.size()) {
      const std::size_t before = size();
      const std::size_t room = std::max(before + more.size(), 2 * before);
      std::unique_ptr<char[]> bytes(new char[room]);
      if (before > 0) std::memcpy(bytes.get(), held_->bytes.get() + held_->begin, before);
      *held_ = {std::move(bytes), 0, before, room};
    }
    std::memcpy(held_->bytes.get() + held_->end, more.data(), more.size());
    held_->end += more.size();
  }

  // Drops the first `count` bytes; the memory goes with the last one.
  void consume(std::size_t count) {
    if (empty()) return;
    held_->begin += count;
    if (held_->begin == held_->end) clear();
  }
  void clear() { held_.reset(); }

 private:
  struct Held {
    std::unique_ptr<char[]> bytes;
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t capacity = 0;
  };
  std::unique_ptr<Held> held_;
};

}  // namespace edgemux::core
