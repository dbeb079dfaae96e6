#include "core/tls/slabs.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <mutex>
#include <new>

namespace edgemux::core {

namespace {

constexpr std::size_t kSmallStep = 16;
constexpr std::size_t kLargeStep = 64;
constexpr std::size_t kSmallClasses = Slabs::kSmall / kSmallStep;
constexpr std::size_t kClasses = kSmallClasses + (Slabs::kLargeTo - Slabs::kLargeFrom) / kLargeStep;
constexpr std::size_t kHeader = 64;
constexpr unsigned kSpare = 4;                    // empty slabs that a thread keeps
constexpr std::size_t kStep = 16 * Slabs::kSlab;  // addresses are made usable so many at a time

constexpr std::size_t class_of(std::size_t size) {
  if (size <= Slabs::kSmall) return size == 0 ? 0 : (size - 1) / kSmallStep;
  return kSmallClasses + (size - Slabs::kLargeFrom - 1) / kLargeStep;
}

constexpr std::size_t size_of_class(std::size_t index) {
  if (index < kSmallClasses) return (index + 1) * kSmallStep;
  return Slabs::kLargeFrom + (index - kSmallClasses + 1) * kLargeStep;
}

// A free block's first word leads to the next one.
struct Free {
  Free* next;
};

}  // namespace

// At the beginning of its 64 KiB.
struct Slabs::Slab {
  Heap* owner;
  Slab* next;   // in its owner's list of slabs with room
  Slab** link;  // what points at us; null = in no list
  Free* free;
  std::uint32_t block_size;
  std::uint16_t size_class;
  std::uint16_t capacity;
  std::uint16_t used;
  std::uint16_t touched;  // blocks that were ever taken; those behind have never been written to

  [[nodiscard]] char* blocks() { return reinterpret_cast<char*>(this) + kHeader; }
};

struct Slabs::Heap {
  std::array<Slab*, kClasses> with_room{};
  Slab* spare = nullptr;
  unsigned spares = 0;
  std::atomic<Free*> returned{nullptr};  // by other threads
  Heap* next_orphan = nullptr;

  void list(Slab& slab) {
    Slab*& head = with_room[slab.size_class];
    slab.next = head;
    slab.link = &head;
    if (head != nullptr) head->link = &slab.next;
    head = &slab;
  }
  static void unlist(Slab& slab) {
    *slab.link = slab.next;
    if (slab.next != nullptr) slab.next->link = slab.link;
    slab.link = nullptr;
    slab.next = nullptr;
  }
  void take_back(Slab& slab, void* block);
  void take_back_returned();
  Slab* refill(std::size_t index);
};

// The addresses, and what no thread has at present.
struct Slabs::Reserve {
  std::mutex mutex;
  char* fresh = nullptr;   // never used
  char* usable = nullptr;  // end of what may be touched
  char* end = nullptr;
  Slab* unused = nullptr;  // without memory but for the page of the list
  Heap* orphans = nullptr;
  std::atomic<std::size_t> out{0};

  Reserve() {
    void* addresses = mmap(nullptr, kAddresses + kSlab, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (addresses == MAP_FAILED) return;
    const auto aligned = (std::bit_cast<std::uintptr_t>(addresses) + kSlab - 1) / kSlab * kSlab;
    fresh = usable = std::bit_cast<char*>(aligned);
    end = fresh + kAddresses;
    base_.store(aligned, std::memory_order_relaxed);
  }

  Slab* take() {
    const std::lock_guard lock(mutex);
    if (Slab* slab = unused; slab != nullptr) {
      unused = slab->next;
      ++out;
      return slab;
    }
    if (fresh == usable) {
      if (fresh == end || mprotect(usable, kStep, PROT_READ | PROT_WRITE) != 0) return nullptr;
      usable += kStep;
    }
    Slab* slab = reinterpret_cast<Slab*>(fresh);
    fresh += kSlab;
    ++out;
    return slab;
  }

  void give(Slab* slab) {
    madvise(slab, kSlab, MADV_DONTNEED);
    const std::lock_guard lock(mutex);
    slab->next = unused;
    unused = slab;
    --out;
  }
};

// Never destroyed: threads may give blocks back until the very end.
Slabs::Reserve& Slabs::reserve() {
  static Reserve& made = *new Reserve;
  return made;
}

// At the end of a thread.
struct Slabs::Guard {
  bool gone = false;
  ~Guard() {
    gone = true;
    if (mine_ == nullptr) return;
    Reserve& common = reserve();
    const std::lock_guard lock(common.mutex);
    mine_->next_orphan = common.orphans;
    common.orphans = mine_;
    mine_ = nullptr;
  }
};

Slabs::Heap* Slabs::begin() {
  static thread_local Guard guard;
  if (guard.gone) return nullptr;
  Reserve& common = reserve();
  {
    const std::lock_guard lock(common.mutex);
    mine_ = common.orphans;
    if (mine_ != nullptr) common.orphans = mine_->next_orphan;
  }
  if (mine_ == nullptr) mine_ = new (std::nothrow) Heap;
  return mine_;
}

Slabs::Slab* Slabs::slab_of(const void* block) {
  return std::bit_cast<Slab*>(std::bit_cast<std::uintptr_t>(block) & ~(kSlab - 1));
}

std::size_t Slabs::size_of(const void* block) { return slab_of(block)->block_size; }

std::size_t Slabs::slabs() { return reserve().out.load(); }

void Slabs::Heap::take_back(Slab& slab, void* block) {
  auto* freed = static_cast<Free*>(block);
  freed->next = slab.free;
  slab.free = freed;
  if (slab.used-- == slab.capacity) list(slab);
  // The last slab of its size stays: what comes and goes singly should not take a slab along each time.
  if (slab.used > 0 || (slab.next == nullptr && slab.link == &with_room[slab.size_class])) return;
  unlist(slab);
  if (spares == kSpare) return reserve().give(&slab);
  ++spares;
  slab.next = spare;
  spare = &slab;
}

void Slabs::Heap::take_back_returned() {
  Free* block = returned.exchange(nullptr, std::memory_order_acquire);
  while (block != nullptr) {
    Free* next = block->next;
    take_back(*slab_of(block), block);
    block = next;
  }
}

Slabs::Slab* Slabs::Heap::refill(std::size_t index) {
  take_back_returned();
  if (with_room[index] != nullptr) return with_room[index];
  Slab* slab = spare;
  if (slab != nullptr) {
    spare = slab->next;
    --spares;
  } else {
    slab = reserve().take();
    if (slab == nullptr) return nullptr;
  }
  const std::size_t size = size_of_class(index);
  *slab = {this,
           nullptr,
           nullptr,
           nullptr,
           static_cast<std::uint32_t>(size),
           static_cast<std::uint16_t>(index),
           static_cast<std::uint16_t>((kSlab - kHeader) / size),
           0,
           0};
  list(*slab);
  return slab;
}

void* Slabs::take(std::size_t size) {
  static_assert(sizeof(Slab) <= kHeader);
  Heap* own = heap();
  if (own == nullptr) return nullptr;
  const std::size_t index = class_of(size);
  Slab* slab = own->with_room[index];
  if (slab == nullptr) slab = own->refill(index);
  if (slab == nullptr) return nullptr;
  void* block = slab->free;
  if (block != nullptr) {
    slab->free = slab->free->next;
  } else {
    block = slab->blocks() + std::size_t{slab->touched} * slab->block_size;
    ++slab->touched;
  }
  if (++slab->used == slab->capacity) Heap::unlist(*slab);
  return block;
}

void Slabs::give(void* block) {
  Slab& slab = *slab_of(block);
  Heap* own = heap();
  if (slab.owner == own) return own->take_back(slab, block);
  auto* freed = static_cast<Free*>(block);
  std::atomic<Free*>& list = slab.owner->returned;
  freed->next = list.load(std::memory_order_relaxed);
  while (!list.compare_exchange_weak(freed->next, freed, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace edgemux::core
