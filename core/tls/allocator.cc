#include "core/tls/allocator.h"

#include <malloc.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/tls/slabs.h"

namespace edgemux::core {

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

constexpr std::size_t kSmallest = 8 * 1024;  // requests above it and up to kBlock get a block
constexpr std::size_t kBlock = 20 * 1024;
constexpr std::size_t kSlack = 64;  // what the heap may add to a block
constexpr unsigned kKept = 16;      // blocks per thread

// A free block's first word leads to the next one.
struct FreeBlocks {
  void* head = nullptr;
  unsigned count = 0;
  bool gone = false;
  ~FreeBlocks() {
    while (head != nullptr) {
      void* block = head;
      head = *static_cast<void**>(block);
      std::free(block);
    }
    gone = true;  // other destructors of the thread may still free
  }
};
thread_local FreeBlocks blocks;

void* take(std::size_t size, const char*, int) {
  if (Slabs::holds(size)) {
    if (void* block = Slabs::take(size); block != nullptr) return block;
  }
  if (size <= kSmallest || size > kBlock) return std::malloc(size);
  if (blocks.head == nullptr) return std::malloc(kBlock);
  void* block = blocks.head;
  blocks.head = *static_cast<void**>(block);
  --blocks.count;
  return block;
}

void give(void* block, const char*, int);

void* resize(void* block, std::size_t size, const char* file, int line) {
  if (block == nullptr || !Slabs::owns(block)) return std::realloc(block, size);
  const std::size_t before = Slabs::size_of(block);
  if (size <= before && size > before / 2) return block;
  void* moved = take(size, file, line);
  if (moved == nullptr) return nullptr;
  std::memcpy(moved, block, std::min(size, before));
  give(block, file, line);
  return moved;
}

void give(void* block, const char*, int) {
  if (block == nullptr) return;
  if (Slabs::owns(block)) return Slabs::give(block);
  const std::size_t size = malloc_usable_size(block);
  if (size < kBlock || size > kBlock + kSlack || blocks.count == kKept || blocks.gone) {
    std::free(block);
    return;
  }
  *static_cast<void**>(block) = blocks.head;
  blocks.head = block;
  ++blocks.count;
}

}  // namespace

void install_tls_allocator() { CRYPTO_set_mem_functions(take, resize, give); }

#else

void install_tls_allocator() {}

#endif

}  // namespace edgemux::core
