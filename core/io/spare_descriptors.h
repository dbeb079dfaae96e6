#pragma once
// SpareDescriptors: some that are held for when none is left. Whoever lets one go takes it at once: others may be
// waiting for it, too.

#include <cstddef>
#include <vector>

namespace edgemux::core {

class SpareDescriptors {
 public:
  explicit SpareDescriptors(std::size_t count);
  ~SpareDescriptors();
  SpareDescriptors(const SpareDescriptors&) = delete;
  SpareDescriptors& operator=(const SpareDescriptors&) = delete;

  // Closes one. False: all are gone.
  bool let_go();
  // Opens those again that were let go, as many as are to be had.
  void refill();

 private:
  std::size_t count_;
  std::vector<int> held_;
};

}  // namespace edgemux::core
