#pragma once
// Patterns: the regular expressions of one file while it is read, or of one unit when it is linked. Equal ones are
// compiled once. A file keeps outlines only (Pattern::outline()): what is compiled belongs to its unit, which counts
// them over all of its files.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "routing/table/pattern.h"

namespace edgemux::config {

class Patterns {
 public:
  // Different ones, of a file but the main one, and of all files of a tenant.
  static constexpr std::size_t kMost = 1024;
  static constexpr std::size_t kNoLimit = SIZE_MAX;

  // What is in `before` is not compiled again; it may be null, and is not needed afterwards.
  explicit Patterns(std::size_t most = kNoLimit, const Patterns* before = nullptr) : most_(most), before_(before) {}

  // Null: it would be one too many. Error: why it cannot be compiled; it counts all the same, for the time it took.
  core::Result<routing::PatternPtr> get(std::string_view text, routing::Pattern::Cover cover);
  // That there was one too many is told once of a file: true the first time.
  bool tell() { return !std::exchange(told_, true); }

  // What was got from `mark` on, an earlier size(), counts no more, and another file begins.
  void withdraw(std::size_t mark);
  [[nodiscard]] std::size_t size() const { return order_.size(); }
  void settle() { before_ = nullptr; }

 private:
  [[nodiscard]] const routing::PatternPtr* find(const std::string& key) const;

  std::size_t most_;
  const Patterns* before_;
  bool told_ = false;
  std::unordered_map<std::string, routing::PatternPtr> all_;
  std::vector<std::string> order_;  // keys, as they came; of what could not be compiled too
};

}  // namespace edgemux::config
