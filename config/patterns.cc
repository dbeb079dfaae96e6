#include "config/patterns.h"

#include <utility>

namespace edgemux::config {

const routing::PatternPtr* Patterns::find(const std::string& key) const {
  const auto found = all_.find(key);
  return found == all_.end() ? nullptr : &found->second;
}

core::Result<routing::PatternPtr> Patterns::get(std::string_view text, routing::Pattern::Cover cover) {
  std::string key(cover == routing::Pattern::Cover::whole ? "=" : "~");
  key += text;
  if (const auto* known = find(key)) return *known;
  if (order_.size() >= most_) return nullptr;
  order_.push_back(key);
  if (const auto* known = before_ == nullptr ? nullptr : before_->find(key)) {
    all_.emplace(std::move(key), *known);
    return *known;
  }
  auto pattern = routing::Pattern::compile(text, cover);
  if (pattern) all_.emplace(std::move(key), *pattern);
  return pattern;
}

void Patterns::withdraw(std::size_t mark) {
  told_ = false;
  for (; order_.size() > mark; order_.pop_back()) all_.erase(order_.back());
}

}  // namespace edgemux::config
