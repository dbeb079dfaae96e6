// Preloaded into the proxy by the end-to-end tests: counts what every thread takes from the heap, in a file that is
// mapped by the test too (EDGEMUX_ALLOCATIONS). A thread's slot: its id, how often, and the sizes of the last ones.
// tests/e2e/support/allocations.py reads it and knows the layout.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* block, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

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
  const char* path = std::getenv("EDGEMUX_ALLOCATIONS");
  const int fd = path != nullptr ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* mapped = mmap(nullptr, kSlots * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped != MAP_FAILED) slots = static_cast<Slot*>(mapped);
}

void count(std::size_t size) {
  Slot* first = slots.load(std::memory_order_relaxed);
  if (first == nullptr) return;
  if (own == nullptr) {
    const std::size_t index = used.fetch_add(1);
    own = first + (index < kSlots ? index : kSlots - 1);
    own->thread = static_cast<std::uint64_t>(syscall(SYS_gettid));
  }
  const std::uint64_t before = own->count.fetch_add(1, std::memory_order_relaxed);
  own->last[before % kLast] = size;
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) {
  count(size);
  return __libc_malloc(size);
}

void* calloc(std::size_t number, std::size_t size) {
  count(number * size);
  return __libc_calloc(number, size);
}

void* realloc(void* block, std::size_t size) {
  count(size);
  return __libc_realloc(block, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** block, std::size_t alignment, std::size_t size) {
  count(size);
  *block = __libc_memalign(alignment, size);
  return *block != nullptr ? 0 : ENOMEM;
}
}
