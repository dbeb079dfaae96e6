#pragma once
// MatchWork: what finding the rule of one request may cost, whatever the rules of its host are. A worker does nothing
// else meanwhile. Beyond it nothing is looked at any more and the request is to be refused: no rule can be told to be
// its own.

#include <cstddef>
#include <cstdint>

namespace edgemux::routing {

class MatchWork {
 public:
  // A step is a comparison, or an instruction of a pattern for one byte: some nanoseconds at most.
  static constexpr std::uint64_t kMost = 8 * 1024 * 1024;
  // The instructions that the patterns of one host may have together, so that the first thousand bytes are always
  // looked at.
  static constexpr std::uint64_t kMostInstructions = kMost / 1024;

  // False: it is too much.
  bool spend(std::uint64_t steps) {
    over_ = over_ || steps > left_;
    if (!over_) left_ -= steps;
    return !over_;
  }
  [[nodiscard]] bool over() const { return over_; }

 private:
  std::uint64_t left_ = kMost;
  bool over_ = false;
};

}  // namespace edgemux::routing
