#include "core/io/spare_descriptors.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace edgemux::core {

SpareDescriptors::SpareDescriptors(std::size_t count) : count_(count) {
  held_.reserve(count);
  refill();
}

SpareDescriptors::~SpareDescriptors() {
  while (let_go()) {
  }
}

bool SpareDescriptors::let_go() {
  if (held_.empty()) return false;
  close(held_.back());
  held_.pop_back();
  return true;
}

void SpareDescriptors::refill() {
  while (held_.size() < count_) {
    const int fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0) return;
    held_.push_back(fd);
  }
}

}  // namespace edgemux::core
