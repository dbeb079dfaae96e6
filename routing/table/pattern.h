#pragma once
// Pattern: a regular expression of the configuration, compiled once, off the loops. RE2 (linear in the input, whatever
// the pattern): its headers appear in pattern.cc only. Bytes, not characters: nothing in a request need be UTF-8.
//
// Each pattern may take kMemory for its programs and what it has learned from inputs; beyond that it forgets and learns
// again, and gets slower, never larger. Thread safe; shared by all workers.
//
// Time: a text costs its bytes, but up to instructions() for each byte where a pattern cannot learn enough. MatchWork
// bounds that for one request.

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
  static constexpr std::int64_t kMemory = 64 * 1024;

  // `whole`: the pattern describes all of the text; `anywhere`: it may begin and end within, unless it says ^ and $.
  // Error: why RE2 does not take it.
  static core::Result<PatternPtr> compile(std::string_view text, Cover cover);
  ~Pattern();
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;

  // The same without what was compiled: it matches nothing, and takes no more than its text.
  [[nodiscard]] PatternPtr outline() const;

  [[nodiscard]] bool matches(std::string_view text) const;
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] Cover cover() const { return cover_; }
  // Of its program.
  [[nodiscard]] std::uint32_t instructions() const { return instructions_; }
  // What a text of so many bytes may cost, for MatchWork.
  [[nodiscard]] std::uint64_t steps(std::size_t bytes) const { return instructions_ * (std::uint64_t{bytes} + kStart); }

 private:
  static constexpr std::uint64_t kStart = 16;  // to begin costs as much as that many bytes

  struct Compiled;
  Pattern(std::string_view text, Cover cover);

  std::string text_;
  Cover cover_;
  std::uint32_t instructions_ = 0;
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace edgemux::routing
