#pragma once
// LocalReply: an answer that edgemux gives by itself: a refusal, a redirect, a fixed response, an ACME token.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/http/field.h"
#include "listeners/close_reason.h"

namespace edgemux::listeners {

struct LocalReply {
  std::uint16_t status = 500;
  std::string_view body;  // lives until the call returns
  bool of_route = false;  // the body lives as long as the route: it is sent as the client takes it
  std::string_view content_type = "text/plain; charset=utf-8";
  std::string_view location;                                     // redirects
  std::span<const std::pair<std::string, std::string>> headers;  // names in lower case
  const core::FieldList* preflight = nullptr;                    // the fields of the CORS preflight that it answers
  CloseReason reason = CloseReason::done;
};

// "503 Service Unavailable: no endpoint of upstream argocd can be reached\n"
std::string describe(std::uint16_t status, std::string_view why);

}  // namespace edgemux::listeners
