#pragma once
// Reason phrases of HTTP status codes (RFC 9110, section 15). Pure.

#include <string_view>

namespace edgemux::core {

// "Not Found" for 404; empty for a code without a registered phrase.
std::string_view reason_phrase(int status);

// "HTTP/1.1 404 Not Found\r\n", ready to be copied; empty for a code without a registered phrase.
std::string_view status_line(int status);

}  // namespace edgemux::core
