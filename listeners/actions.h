#pragma once
// What a rule changes about a request on its way to the upstream, and about an answer on its way to the client. Pure.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/http/codec.h"
#include "core/http/message.h"
#include "routing/table/rule.h"

namespace edgemux::listeners {

// Path, authority and fields as the rule wants them, and the part of its split (null: none). `rewritten` holds the
// path. False: the fields do not fit any more.
bool shape_request(const routing::Rule& rule, const routing::Split::Part* part, core::FieldList& fields,
                   core::OutgoingRequest& request, std::string& rewritten);

// `origin`: the request's Origin, or empty. What is added points into the rule and `origin`. `part`: null for answers
// of our own.
bool shape_answer(const routing::Rule& rule, const routing::Split::Part* part, std::string_view origin,
                  core::FieldList& fields);
// The answer to a CORS preflight with these fields, by a rule with CORS.
void shape_preflight(const routing::Filters& filters, const core::FieldList& request, core::FieldList& fields);

}  // namespace edgemux::listeners
