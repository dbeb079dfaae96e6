#include "core/http/message.h"

#include <array>

namespace edgemux::core {
namespace {

constexpr std::array<std::string_view, 10> kMethods = {"GET",     "HEAD",  "POST",  "PUT",     "DELETE",
                                                       "OPTIONS", "PATCH", "TRACE", "CONNECT", ""};

}  // namespace

std::string_view method_text(Method method) { return kMethods[static_cast<std::size_t>(method)]; }

Method method_of(std::string_view text) {
  for (std::size_t i = 0; i < kMethods.size() - 1; ++i) {
    if (kMethods[i] == text) return static_cast<Method>(i);
  }
  return Method::other;
}

void RequestHead::clear() {
  method = Method::other;
  method_text = target = path = query = scheme = authority = host = upgrade_protocol = {};
  has_query = false;
  port = 0;
  major = 1;
  minor = 1;
  fields.clear();
  framing = Framing::none;
  content_length = 0;
  has_content_length = keep_alive = expect_continue = upgrade = te_trailers = never_indexed = false;
}

void ResponseHead::clear() {
  status = 0;
  reason = upgrade_protocol = {};
  minor = 1;
  fields.clear();
  framing = Framing::none;
  content_length = 0;
  has_content_length = keep_alive = upgrade = never_indexed = false;
}

}  // namespace edgemux::core
