#include "listeners/actions.h"

#include "routing/table/cors.h"
#include "routing/table/rewrite.h"

namespace edgemux::listeners {

const routing::UpstreamPtr* upstream_of(const routing::Rule& rule, std::uint64_t random) {
  if (const auto* forward = std::get_if<routing::Forward>(&rule.action)) return &forward->upstream;
  if (const auto* split = std::get_if<routing::Split>(&rule.action)) return split->pick(random);
  return nullptr;
}

bool shape_request(const routing::Rule& rule, core::FieldList& fields, core::OutgoingRequest& request,
                   std::string& rewritten) {
  const routing::Filters& filters = *rule.filters;
  if (filters.rewrite) {
    if (request.path != "*") {
      rewritten.clear();
      routing::rewrite_path(*filters.rewrite, request.path, rule.path, rewritten);
      request.path = rewritten;
    }
    if (filters.rewrite->host) request.authority = *filters.rewrite->host;
  }
  if (!routing::modify(filters.request_headers, fields)) return false;
  request.fields = {fields.begin(), fields.size()};
  return true;
}

bool shape_answer(const routing::Filters& filters, std::string_view origin, core::FieldList& fields) {
  if (filters.cors) routing::share_answer(*filters.cors, origin, fields);
  return routing::modify(filters.response_headers, fields);
}

void shape_preflight(const routing::Filters& filters, const core::FieldList& request, core::FieldList& fields) {
  routing::answer_preflight(*filters.cors, request, fields);
  (void)routing::modify(filters.response_headers, fields);
}

}  // namespace edgemux::listeners
