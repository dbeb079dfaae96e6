#include "core/http/connection_options.h"

#include "core/http/bytes.h"

namespace edgemux::core {

bool ConnectionOptions::add(std::string_view value) {
  if (value == "keep-alive") {  // as most say it
    keep_alive = true;
    return true;
  }
  while (!value.empty()) {
    const std::size_t comma = value.find(',');
    const std::string_view element = trim_ows(value.substr(0, comma));
    value = comma == std::string_view::npos ? std::string_view() : value.substr(comma + 1);
    if (element.empty()) continue;  // RFC 9110, 5.6.1.2: a recipient accepts empty elements
    if (equal_ignoring_case(element, "keep-alive")) {
      keep_alive = true;
    } else if (equal_ignoring_case(element, "close")) {
      close = true;
    } else if (equal_ignoring_case(element, "upgrade")) {
      upgrade = true;
    } else if (!is_token(element) || listed_count == kMaxListed) {
      return false;
    } else {
      listed[listed_count++] = element;
    }
  }
  return true;
}

bool ConnectionOptions::lists(const Field& field) const {
  if (field.id == FieldId::host || field.id == FieldId::content_length || field.id == FieldId::transfer_encoding) {
    return false;
  }
  for (std::size_t i = 0; i < listed_count; ++i) {
    if (equal_ignoring_case(listed[i], field.name)) return true;
  }
  return false;
}

}  // namespace edgemux::core
