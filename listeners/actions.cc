#include "listeners/actions.h"

#include "routing/table/cors.h"
#include "routing/table/rewrite.h"

namespace edgemux::listeners {

namespace {

bool change_request(const routing::HeaderModifier& change, core::FieldList& fields) {
  routing::drop_aliases(change, fields);
  return routing::modify(change, fields);
}

}  // namespace

bool shape_request(const routing::Rule& rule, const routing::Split::Part* part, core::FieldList& fields,
                   core::OutgoingRequest& request, std::string& rewritten) {
  if (rule.filters != nullptr) {
    const routing::Filters& filters = *rule.filters;
    if (filters.rewrite) {
      if (request.path != "*") {
        rewritten.clear();
        routing::rewrite_path(*filters.rewrite, request.path, rule.path, rewritten);
        request.path = rewritten;
      }
      if (filters.rewrite->host) request.authority = *filters.rewrite->host;
    }
    if (!change_request(filters.request_headers, fields)) return false;
  }
  if (part != nullptr && part->headers != nullptr && !change_request(part->headers->request, fields)) return false;
  request.fields = {fields.begin(), fields.size()};
  return true;
}

bool shape_answer(const routing::Rule& rule, const routing::Split::Part* part, std::string_view origin,
                  core::FieldList& fields) {
  if (part != nullptr && part->headers != nullptr && !routing::modify(part->headers->response, fields)) return false;
  if (rule.filters == nullptr) return true;
  if (rule.filters->cors && !routing::share_answer(*rule.filters->cors, origin, fields)) return false;
  return routing::modify(rule.filters->response_headers, fields);
}

void shape_preflight(const routing::Filters& filters, const core::FieldList& request, core::FieldList& fields) {
  routing::answer_preflight(*filters.cors, request, fields);
  (void)routing::modify(filters.response_headers, fields);
}

}  // namespace edgemux::listeners
