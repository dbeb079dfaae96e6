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

// Classes are powers of two and half as much again: 32, 48, 64, 96, ... 8192 bytes. The heap may add a word or two to a
// block, never as much as to the next class.
constexpr unsigned kSmallest = 5;  // as a power
constexpr std::size_t kClasses = 17;
constexpr std::size_t class_size(std::size_t index) {
  return ((index & 1U) != 0 ? std::size_t{3} : std::size_t{2}) << (kSmallest - 1 + index / 2);
}
constexpr std::size_t kLargest = class_size(kClasses - 1);
constexpr std::size_t kKeptBytes = 64 * 1024;  // per class

// The smallest class that holds `size` bytes.
constexpr std::size_t class_of(std::size_t size) {
  if (size <= class_size(0)) return 0;
  const auto power = static_cast<std::size_t>(std::bit_width(size - 1));
  const std::size_t index = 2 * (power - kSmallest);
  return size <= class_size(index - 1) ? index - 1 : index;
}

// The largest class that fits into a block of `size` bytes wholly.
constexpr std::size_t class_within(std::size_t size) {
  const auto power = static_cast<std::size_t>(std::bit_width(size)) - 1;
  const std::size_t index = 2 * (power - kSmallest);
  return size >= class_size(index + 1) ? index + 1 : index;
}

static_assert(class_size(0) == 32 && class_size(1) == 48 && class_size(2) == 64 && class_size(3) == 96);
static_assert(class_of(1) == 0 && class_of(33) == 1 && class_of(48) == 1 && class_of(49) == 2 && class_of(65) == 3);
static_assert(class_within(40) == 0 && class_within(56) == 1 && class_within(72) == 2 && class_within(104) == 3);

// A free block's first word leads to the next one.
struct FreeBlocks {
  struct List {
    void* head = nullptr;
    std::size_t room = 0;
  };
  std::array<List, kClasses> lists;
  bool watched = false;  // a Janitor tidies up at the end of the thread
  bool gone = false;

  constexpr FreeBlocks() {
    for (std::size_t i = 0; i < kClasses; ++i) lists[i].room = kKeptBytes / class_size(i);
  }
};
// Without a constructor or destructor that runs, so that reaching it costs nothing.
constinit thread_local FreeBlocks blocks;

struct Janitor {
  Janitor() { blocks.watched = true; }
  ~Janitor() {
    for (FreeBlocks::List& list : blocks.lists) {
      while (list.head != nullptr) {
        void* block = list.head;
        std::memcpy(&list.head, block, sizeof list.head);
        std::free(block);
      }
    }
    blocks.gone = true;  // other destructors of the thread may still free
  }
};

void watch() {
  static thread_local Janitor janitor;
  (void)janitor;
}

}  // namespace

void* take_http2_memory(std::size_t size) {
  if (size > kLargest) return std::malloc(size);
  const std::size_t index = class_of(size);
  FreeBlocks::List& list = blocks.lists[index];
  void* block = list.head;
  if (block == nullptr) return std::malloc(class_size(index));
  std::memcpy(&list.head, block, sizeof list.head);
  ++list.room;
  return block;
}

void give_http2_memory(void* block) noexcept {
  if (block == nullptr) return;
  const std::size_t size = malloc_usable_size(block);
  if (size < class_size(0) || size >= kLargest + kLargest / 2 || blocks.gone) return std::free(block);
  FreeBlocks::List& list = blocks.lists[class_within(size)];
  if (list.room == 0) return std::free(block);
  if (!blocks.watched) watch();
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
