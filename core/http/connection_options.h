#pragma once
// The tokens of a message's Connection fields (RFC 9110, 7.6.1). The head parser uses it to set keep_alive, upgrade and
// each Field's hop_by_hop; nothing else needs to look at Connection. Pure.

#include <array>
#include <cstdint>
#include <string_view>

#include "core/http/field.h"

namespace edgemux::core {

struct ConnectionOptions {
  static constexpr std::size_t kMaxListed = 16;

  bool close = false;
  bool keep_alive = false;
  bool upgrade = false;
  std::array<std::string_view, kMaxListed> listed;  // the other tokens, in any case
  std::size_t listed_count = 0;

  // Takes one Connection value in. False when an element is not a token, or there are more than kMaxListed others.
  bool add(std::string_view value);
  // Whether the options name this field. Host, Content-Length and Transfer-Encoding cannot be listed away: that would
  // change what the message is, so they are never listed.
  [[nodiscard]] bool lists(const Field& field) const;
};

}  // namespace edgemux::core
