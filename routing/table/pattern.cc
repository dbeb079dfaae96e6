#include "routing/table/pattern.h"

#include <re2/re2.h>

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

Pattern::Pattern(std::string_view text) : text_(text), compiled_(std::make_unique<const Compiled>(text)) {}
Pattern::~Pattern() = default;

core::Result<PatternPtr> Pattern::compile(std::string_view text, Cover cover) {
  if (text.size() > kLongest) return core::fail("it is longer than " + std::to_string(kLongest) + " characters");
  std::shared_ptr<Pattern> pattern(new Pattern(text));
  pattern->cover_ = cover;
  if (!pattern->compiled_->expression.ok()) return core::fail(pattern->compiled_->expression.error());
  return pattern;
}

bool Pattern::matches(std::string_view text) const {
  const auto anchor = cover_ == Cover::whole ? RE2::ANCHOR_BOTH : RE2::UNANCHORED;
  return compiled_->expression.Match(piece(text), 0, text.size(), anchor, nullptr, 0);
}

}  // namespace edgemux::routing
