#pragma once
// The server's side of CORS (Fetch standard, "CORS protocol"), decided by the proxy. A preflight is answered here and
// never goes upstream. For any other request the answer's access-control fields are ours alone: what the upstream says
// is dropped, and nothing takes its place where the origin is not admitted. Requests are never refused: that is the
// browser's part. Pure.
//
// `*` in methods, headers and origins is written as `*`, but with credentials, where browsers take it literally, as
// what the request asks for. Names beside it are written, too: it never stands for Authorization. Fields that are added
// point into the Cors and into the request's fields.

#include <string_view>

#include "core/http/field.h"
#include "core/http/message.h"
#include "routing/table/action.h"

namespace edgemux::routing {

// Empty: no preflight. Otherwise the method that it asks for.
std::string_view preflight_method(core::Method method, const core::FieldList& request);

bool admits_origin(const Cors& cors, std::string_view origin);

// The fields of a preflight's answer (204, no body).
void answer_preflight(const Cors& cors, const core::FieldList& request, core::FieldList& answer);

// Any other answer. `origin`: the request's Origin, empty when it has none; it must live as long as the field list.
// False: there is no room for what is added.
bool share_answer(const Cors& cors, std::string_view origin, core::FieldList& answer);

}  // namespace edgemux::routing
