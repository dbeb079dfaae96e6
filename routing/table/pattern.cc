#include "routing/table/pattern.h"

#include <re2/re2.h>

#include <algorithm>

namespace edgemux::routing {
namespace {

RE2::Options options() {
  RE2::Options out;
  out.set_max_mem(Pattern::kMemory);
  out.set_log_errors(false);
  out.set_never_capture(true);
  out.set_encoding(RE2::Options::EncodingLatin1);
  return out;
}

re2::StringPiece piece(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

struct Pattern::Compiled {
  explicit Compiled(std::string_view text) : expression(piece(text), options()) {}
  RE2 expression;
};

Pattern::Pattern(std::string_view text, Cover cover) : text_(text), cover_(cover) {}
Pattern::~Pattern() = default;

core::Result<PatternPtr> Pattern::compile(std::string_view text, Cover cover) {
  if (text.size() > kLongest) return core::fail("it is longer than " + std::to_string(kLongest) + " characters");
  std::shared_ptr<Pattern> pattern(new Pattern(text, cover));
  pattern->compiled_ = std::make_unique<const Compiled>(text);
  const RE2& expression = pattern->compiled_->expression;
  if (expression.error_code() == RE2::ErrorPatternTooLarge) {
    return core::fail("it takes more than " + std::to_string(kMemory / 1024) + " KiB; write smaller counts");
  }
  if (!expression.ok()) return core::fail(expression.error());
  int instructions = expression.ProgramSize();
  // Else the first match, on a worker, would compile it.
  if (cover == Cover::anywhere) instructions = std::max(instructions, expression.ReverseProgramSize());
  pattern->instructions_ = static_cast<std::uint32_t>(instructions);
  return pattern;
}

PatternPtr Pattern::outline() const {
  std::shared_ptr<Pattern> outline(new Pattern(text_, cover_));
  outline->instructions_ = instructions_;
  return outline;
}

bool Pattern::matches(std::string_view text) const {
  if (compiled_ == nullptr) return false;
  const auto anchor = cover_ == Cover::whole ? RE2::ANCHOR_BOTH : RE2::UNANCHORED;
  return compiled_->expression.Match(piece(text), 0, text.size(), anchor, nullptr, 0);
}

}  // namespace edgemux::routing
