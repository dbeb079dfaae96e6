#include "acme/challenge.h"

#include <algorithm>

namespace edgemux::acme {

bool is_token(std::string_view text) {
  if (text.empty() || text.size() > max_token) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

bool is_challenge_path(std::string_view target) { return target.starts_with(challenge_prefix); }

std::optional<std::string_view> token_of(std::string_view target) {
  if (!is_challenge_path(target)) return std::nullopt;
  const std::string_view rest = target.substr(challenge_prefix.size());
  if (!is_token(rest)) return std::nullopt;
  return rest;
}

}  // namespace edgemux::acme
