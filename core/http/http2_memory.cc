#include "core/http/http2_memory.h"

#include <malloc.h>

#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EDGEMUX_PLAIN_HEAP 1  // so that every block is watched
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EDGEMUX_PLAIN_HEAP 1
#endif
#endif

namespace edgemux::core {

#ifndef EDGEMUX_PLAIN_HEAP

namespace {

// Classes are powers of two: 32, 64, ... 8192 bytes. The heap may add a word or two to a block, never as much again.
constexpr unsigned kSmallest = 5;
constexpr std::size_t kClasses = 9;
constexpr std::size_t kLargest = std::size_t{1} << (kSmallest + kClasses - 1);
constexpr std::size_t kKeptBytes = 64 * 1024;  // per class

constexpr std::size_t class_of(std::size_t size) {
  return size <= (std::size_t{1} << kSmallest) ? 0 : static_cast<std::size_t>(std::bit_width(size - 1)) - kSmallest;
}

// A free block's first word leads to the next one.
struct FreeBlocks {
  struct List {
    void* head = nullptr;
    std::size_t room = 0;
  };
  std::array<List, kClasses> lists;
  bool gone = false;

  FreeBlocks() {
    for (std::size_t i = 0; i < kClasses; ++i) lists[i].room = kKeptBytes >> (i + kSmallest);
  }
  ~FreeBlocks() {
    for (List& list : lists) {
      while (list.head != nullptr) {
        void* block = list.head;
        std::memcpy(&list.head, block, sizeof list.head);
        std::free(block);
      }
    }
    gone = true;  // other destructors of the thread may still free
  }
};
thread_local FreeBlocks blocks;

}  // namespace

void* take_http2_memory(std::size_t size) {
  if (size > kLargest) return std::malloc(size);
  const std::size_t index = class_of(size);
  FreeBlocks::List& list = blocks.lists[index];
  if (list.head == nullptr) return std::malloc(std::size_t{1} << (index + kSmallest));
  void* block = list.head;
  std::memcpy(&list.head, block, sizeof list.head);
  ++list.room;
  return block;
}

void give_http2_memory(void* block) noexcept {
  if (block == nullptr) return;
  const std::size_t size = malloc_usable_size(block);
  // The largest class that fits in it wholly.
  const auto width = static_cast<unsigned>(std::bit_width(size)) - 1;
  if (width < kSmallest || size >= 2 * kLargest || blocks.gone || blocks.lists[width - kSmallest].room == 0) {
    std::free(block);
    return;
  }
  FreeBlocks::List& list = blocks.lists[width - kSmallest];
  std::memcpy(block, &list.head, sizeof list.head);
  list.head = block;
  --list.room;
}

namespace {

void* resize(void* block, std::size_t size) {
  if (block == nullptr) return take_http2_memory(size);
  const std::size_t present = malloc_usable_size(block);
  if (size <= present) return block;
  void* larger = take_http2_memory(size);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, block, present);
  give_http2_memory(block);
  return larger;
}

}  // namespace

#else

void* take_http2_memory(std::size_t size) { return std::malloc(size); }
void give_http2_memory(void* block) noexcept { std::free(block); }

namespace {
void* resize(void* block, std::size_t size) { return std::realloc(block, size); }
}  // namespace

#endif

nghttp2_mem* http2_memory() {
  static nghttp2_mem memory = {
      nullptr,
      [](std::size_t size, void*) { return take_http2_memory(size); },
      [](void* block, void*) { give_http2_memory(block); },
      [](std::size_t count, std::size_t size, void*) {
        if (size != 0 && count > SIZE_MAX / size) return static_cast<void*>(nullptr);
        void* block = take_http2_memory(count * size);
        return block != nullptr ? std::memset(block, 0, count * size) : nullptr;
      },
      [](void* block, std::size_t size, void*) { return resize(block, size); },
  };
  return &memory;
}

}  // namespace edgemux::core
