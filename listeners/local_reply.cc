#include "listeners/local_reply.h"

#include "core/http/status.h"

namespace edgemux::listeners {

std::string describe(std::uint16_t status, std::string_view why) {
  std::string text = std::to_string(status) + " ";
  text += core::reason_phrase(status);
  if (!why.empty()) {
    text += ": ";
    text += why;
  }
  text += '\n';
  return text;
}

}  // namespace edgemux::listeners
