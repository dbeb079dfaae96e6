#pragma once
// Retirable: what may be handed to EventLoop::retire(): closed now, freed when the loop's turn is over.

namespace edgemux::core {

class Retirable {
 public:
  virtual ~Retirable() = default;
};

}  // namespace edgemux::core
