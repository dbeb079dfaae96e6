#pragma once
// Counts per thread, in a file that is mapped by the test too (EDGEMUX_COUNTS). A thread's slot: its id, how often it
// counted, and the last things that it counted. For libraries that are preloaded into the proxy by the end-to-end
// tests, one source each; tests/e2e/support/allocations.py reads the file and knows the layout.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace {

constexpr std::size_t kSlots = 256;
constexpr std::size_t kLast = 14;

struct Slot {
  std::uint64_t thread;
  std::atomic<std::uint64_t> count;
  std::uint64_t last[kLast];  // NOLINT(*-avoid-c-arrays)
};
static_assert(sizeof(Slot) == 128);

std::atomic<Slot*> slots;
std::atomic<std::size_t> used;
thread_local Slot* own;

__attribute__((constructor)) void map_file() {
  const char* path = std::getenv("EDGEMUX_COUNTS");
  const int fd = path != nullptr ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* mapped = mmap(nullptr, kSlots * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped != MAP_FAILED) slots = static_cast<Slot*>(mapped);
}

inline void count(std::uint64_t what) {
  Slot* first = slots.load(std::memory_order_relaxed);
  if (first == nullptr) return;
  if (own == nullptr) {
    const std::size_t index = used.fetch_add(1);
    own = first + (index < kSlots ? index : kSlots - 1);
    own->thread = static_cast<std::uint64_t>(syscall(SYS_gettid));
  }
  const std::uint64_t before = own->count.fetch_add(1, std::memory_order_relaxed);
  own->last[before % kLast] = what;
}

}  // namespace
