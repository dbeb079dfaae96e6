#pragma once
// Slabs: memory for small objects of few sizes of which there are many, the TLS library's. Blocks of one size lie side
// by side, without headers between them and without holes that only other sizes would fit into.
//
// A slab is 64 KiB of one block size and belongs to the thread that made it: taking and giving back there costs a few
// instructions and no lock. Blocks that another thread gives back go to the owner over a list that it looks through
// when it runs short. Slabs that are empty go back to the kernel, but for a few. What a thread leaves behind at its end
// is taken over by the next one that begins.

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace edgemux::core {

class Slabs {
 public:
  static constexpr std::size_t kSlab = 64 * 1024;
  static constexpr std::size_t kSmall = 1024;          // sizes up to it are held, by steps of 16 bytes,
  static constexpr std::size_t kLargeFrom = 7 * 1024;  // and those around that of a connection
  static constexpr std::size_t kLargeTo = 8 * 1024;
  static constexpr std::size_t kAddresses = 16ULL << 30;  // reserved, not used; beyond it the heap serves

  [[nodiscard]] static bool holds(std::size_t size) {
    return size <= kSmall || (size > kLargeFrom && size <= kLargeTo);
  }
  // Needs holds(size). Aligned to 16 bytes. Null: there is none, ask the heap.
  static void* take(std::size_t size);
  // Whether the block is from here.
  [[nodiscard]] static bool owns(const void* block) {
    return std::bit_cast<std::uintptr_t>(block) - base_.load(std::memory_order_relaxed) < kAddresses;
  }
  [[nodiscard]] static std::size_t size_of(const void* block);
  static void give(void* block);

  // Slabs that hold blocks or are kept at hand, of all threads.
  [[nodiscard]] static std::size_t slabs();

 private:
  struct Slab;
  struct Heap;
  struct Reserve;
  struct Guard;

  static Heap* heap() { return mine_ != nullptr ? mine_ : begin(); }
  static Heap* begin();
  static Reserve& reserve();
  static Slab* slab_of(const void* block);

  // This thread's; null before its first block and after its end.
  static constinit inline thread_local Heap* mine_ = nullptr;
  // Of the reserved addresses; before there are any, one that owns() nothing.
  static constinit inline std::atomic<std::uintptr_t> base_{~std::uintptr_t{0} - kAddresses};
};

}  // namespace edgemux::core
