#pragma once
// Leftover: bytes that could not be finished in one call and wait in memory of their own. Empty = no memory.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

namespace edgemux::core {

class Leftover {
 public:
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  [[nodiscard]] std::size_t size() const { return end_ - begin_; }
  [[nodiscard]] std::string_view view() const { return {bytes_.get() + begin_, size()}; }

  void append(std::string_view more) {
    if (more.empty()) return;
    if (capacity_ - end_ < more.size()) {
      const std::size_t room = std::max(size() + more.size(), empty() ? 0 : 2 * size());
      std::unique_ptr<char[]> bytes(new char[room]);
      if (!empty()) std::memcpy(bytes.get(), bytes_.get() + begin_, size());
      end_ = size();
      begin_ = 0;
      capacity_ = room;
      bytes_ = std::move(bytes);
    }
    std::memcpy(bytes_.get() + end_, more.data(), more.size());
    end_ += more.size();
  }

  // Drops the first `count` bytes; the memory goes with the last one.
  void consume(std::size_t count) {
    begin_ += count;
    if (empty()) clear();
  }
  void clear() {
    bytes_.reset();
    begin_ = end_ = capacity_ = 0;
  }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace edgemux::core
