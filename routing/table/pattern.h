#pragma once
// Pattern: a regular expression of the configuration, compiled once, off the loops. RE2 (linear in the input, whatever
// the pattern): its headers appear in pattern.cc only. Bytes, not characters: nothing in a request need be UTF-8.
//
// Each pattern may take kMemory for its program and what it has learned from inputs; beyond that it forgets and learns
// again, and gets slower, never larger. Thread safe; shared by all workers.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace edgemux::routing {

class Pattern;
using PatternPtr = std::shared_ptr<const Pattern>;

class Pattern {
 public:
  enum class Cover : std::uint8_t { whole, anywhere };
  static constexpr std::size_t kLongest = 1024;  // of the pattern's text
  static constexpr std::int64_t kMemory = 256 * 1024;

  // `whole`: the pattern describes all of the text; `anywhere`: it may begin and end within, unless it says ^ and $.
  // Error: why RE2 does not take it.
  static core::Result<PatternPtr> compile(std::string_view text, Cover cover);
  ~Pattern();
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  [[nodiscard]] bool matches(std::string_view text) const;
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  struct Compiled;
  explicit Pattern(std::string_view text);

  std::string text_;
  Cover cover_ = Cover::whole;
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace edgemux::routing
