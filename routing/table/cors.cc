#include "routing/table/cors.h"

#include <algorithm>

#include "core/http/bytes.h"

namespace edgemux::routing {
namespace {

using core::FieldList;

std::string_view value_of(const FieldList& fields, std::string_view name) {
  const core::Field* field = fields.find(name);
  return field == nullptr ? std::string_view() : field->value;
}

bool host_byte(char c) { return core::is_digit(c) || core::is_alpha(c) || c == '-' || c == '.' || c == '_'; }

// Then the answer is the same for all, those who name no origin among them: caches give it to anybody.
bool same_for_all(const Cors& cors) { return cors.any_origin && !cors.credentials; }

// What every answer says about the origin. False: it does not fit.
bool add_origin(const Cors& cors, std::string_view origin, FieldList& answer) {
  if (same_for_all(cors)) return answer.add({"access-control-allow-origin", "*"});
  if (!answer.add({"vary", "Origin"})) return false;
  if (!admits_origin(cors, origin)) return true;
  return answer.add({"access-control-allow-origin", origin}) &&
         (!cors.credentials || answer.add({"access-control-allow-credentials", "true"}));
}

}  // namespace

std::string_view preflight_method(core::Method method, const FieldList& request) {
  if (method != core::Method::options || value_of(request, "origin").empty()) return {};
  return value_of(request, "access-control-request-method");
}

bool admits_origin(const Cors& cors, std::string_view origin) {
  if (origin.empty()) return false;
  if (cors.any_origin) return true;
  return std::any_of(cors.origins.begin(), cors.origins.end(), [origin](const Cors::Origin& one) {
    if (!one.wildcard) return core::equal_ignoring_case(origin, one.before);
    const std::size_t around = one.before.size() + one.after.size();
    if (origin.size() <= around) return false;
    const std::string_view middle = origin.substr(one.before.size(), origin.size() - around);
    return core::equal_ignoring_case(origin.substr(0, one.before.size()), one.before) &&
           core::equal_ignoring_case(origin.substr(origin.size() - one.after.size()), one.after) &&
           std::all_of(middle.begin(), middle.end(), host_byte);
  });
}

void answer_preflight(const Cors& cors, const FieldList& request, FieldList& answer) {
  const std::string_view origin = value_of(request, "origin");
  (void)add_origin(cors, origin, answer);  // a head of our own has room
  if (!admits_origin(cors, origin)) return;
  const auto add = [&](std::string_view name, bool any, const std::string& listed, std::string_view asked) {
    if (!any || !cors.credentials) return std::string_view(listed);
    answer.add({"vary", name});
    return asked;
  };
  const std::string_view method_name = "access-control-request-method";
  const std::string_view headers_name = "access-control-request-headers";
  const auto methods = add(method_name, cors.any_method, cors.methods, value_of(request, method_name));
  const auto headers = add(headers_name, cors.any_header, cors.headers, value_of(request, headers_name));
  if (!methods.empty()) answer.add({"access-control-allow-methods", methods});
  if (!headers.empty()) answer.add({"access-control-allow-headers", headers});
  answer.add({"access-control-max-age", cors.max_age});
}

bool share_answer(const Cors& cors, std::string_view origin, FieldList& answer) {
  for (core::Field& field : answer) {
    if (field.name.starts_with("access-control-")) field.hop_by_hop = true;
  }
  if (!add_origin(cors, origin, answer)) return false;
  if (cors.expose.empty() || !(same_for_all(cors) || admits_origin(cors, origin))) return true;
  return answer.add({"access-control-expose-headers", cors.expose});
}

}  // namespace edgemux::routing
