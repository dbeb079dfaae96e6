#pragma once
// LogRing: bytes from one thread to one other, without locks. A line is put in whole or not at all, so what the reader
// sees always ends with a line's end.

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace edgemux::listeners {

class LogRing {
 public:
  // Rounded up to a power of two.
  explicit LogRing(std::size_t bytes) : size_(std::bit_ceil(bytes)), data_(new char[size_]) {}

  [[nodiscard]] std::size_t capacity() const { return size_; }
  // Any thread.
  [[nodiscard]] std::size_t used() const {
    const auto tail = tail_.load(std::memory_order_acquire);
    return static_cast<std::size_t>(head_.load(std::memory_order_seq_cst) - tail);
  }

  // Writer's side. False: no room. The store is sequentially consistent: a writer that looks for a sleeping
  // reader afterwards and a reader that looks at used() after it said that it sleeps cannot miss each other.
  bool push(std::string_view line) {
    const auto head = head_.load(std::memory_order_relaxed);
    const auto tail = tail_.load(std::memory_order_acquire);
    if (size_ - static_cast<std::size_t>(head - tail) < line.size()) return false;
    const std::size_t at = static_cast<std::size_t>(head) & (size_ - 1);
    const std::size_t first = size_ - at < line.size() ? size_ - at : line.size();
    std::memcpy(data_.get() + at, line.data(), first);
    std::memcpy(data_.get(), line.data() + first, line.size() - first);
    head_.store(head + line.size(), std::memory_order_seq_cst);
    return true;
  }

  // Reader's side: what is there, in one piece or two; the unused ones are empty.
  [[nodiscard]] std::array<iovec, 2> peek() const {
    const auto tail = tail_.load(std::memory_order_relaxed);
    const auto used_now = static_cast<std::size_t>(head_.load(std::memory_order_acquire) - tail);
    const std::size_t at = static_cast<std::size_t>(tail) & (size_ - 1);
    const std::size_t first = size_ - at < used_now ? size_ - at : used_now;
    return {iovec{data_.get() + at, first}, iovec{data_.get(), used_now - first}};
  }
  void consume(std::size_t bytes) {
    tail_.store(tail_.load(std::memory_order_relaxed) + bytes, std::memory_order_release);
  }

 private:
  const std::size_t size_;
  const std::unique_ptr<char[]> data_;
  alignas(64) std::atomic<std::uint64_t> head_{0};
  alignas(64) std::atomic<std::uint64_t> tail_{0};
};

}  // namespace edgemux::listeners
