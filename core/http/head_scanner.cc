#include "core/http/bytes.h"
#include "core/http/head_parser.h"

namespace edgemux::core {

HeadScanner::State HeadScanner::refuse(std::uint16_t status, const char* reason) {
  status_ = status;
  reason_ = reason;
  return State::error;
}

HeadScanner::State HeadScanner::too_large() {
  return first_line_over_ ? refuse(431, "head too large") : refuse(414, "request target too long");
}

HeadScanner::State HeadScanner::feed(std::string_view piece) {
  const char* const begin = piece.data();
  const char* const end = begin + piece.size();
  const char* p = begin;
  while (p < end) {
    const char c = *p++;
    switch (place_) {
      case Place::leading:
        if (c == '\r') {
          place_ = Place::leading_cr;
          continue;
        }
        break;
      case Place::leading_cr:
        if (c != '\n') return refuse(400, "bare CR");
        if (++leading_lines_ > kMaxLeadingLines) return refuse(400, "empty lines before the request");
        place_ = Place::leading;
        continue;
      case Place::line:
        break;
      case Place::line_cr:
        if (c != '\n') return refuse(400, "bare CR");
        place_ = Place::line_start;
        first_line_over_ = first_line_over_ || length_ + static_cast<std::size_t>(p - begin) <= limit_;
        continue;
      case Place::line_start:
        if (c == '\r') {
          place_ = Place::final_cr;
          continue;
        }
        break;
      case Place::final_cr:
        if (c != '\n') return refuse(400, "bare CR");
        length_ += static_cast<std::size_t>(p - begin);
        if (length_ > limit_) return too_large();
        return State::complete;
    }
    // Within a line.
    if (c == '\r') {
      place_ = Place::line_cr;
    } else if (is_value_byte(c)) {
      place_ = Place::line;
    } else {
      return refuse(400, c == '\n' ? "bare LF" : "control byte in the head");
    }
  }
  length_ += piece.size();
  if (length_ >= limit_) return too_large();
  return State::need_more;
}

}  // namespace edgemux::core
