#pragma once
// What a rule changes about a request or an answer on its way. Pure.

#include <string>
#include <string_view>

#include "core/http/field.h"
#include "routing/table/action.h"

namespace edgemux::routing {

// Appends `path` with the part that the rule matched replaced (ReplacePrefixMatch of the Gateway API): whole path
// elements, and what follows is kept, its leading '/' included. A '/' at the end of `matched` or `replacement` makes no
// difference, an empty `replacement` is "/". `path` is covered by `matched`.
//
//   path      matched  replacement  gives
//   /foo/bar  /foo     /xyz         /xyz/bar
//   /foo      /foo     /xyz/        /xyz
//   /foo/     /foo     /xyz         /xyz/
//   /foo      /foo     /            /
//   /foo/bar  /foo     ""           /bar
void replace_prefix(std::string_view path, std::string_view matched, std::string_view replacement, std::string& out);

// Appends the path that goes upstream. `matched`: the rule's path.
void rewrite_path(const Rewrite& rewrite, std::string_view path, std::string_view matched, std::string& out);

// Whether an operator may set, add or remove this field. No: it frames the message, belongs to one connection, or is
// written by edgemux itself (on requests: Host, the forwarding fields, and names that alias them by '_').
bool may_modify_request_field(std::string_view lower_case_name);
bool may_modify_answer_field(std::string_view lower_case_name);

// Before modify() of a request: the client's fields whose names are, to a backend that folds '_' and '-' (CGI, WSGI),
// those of fields that `change` sets or removes are marked as hop-by-hop, too.
void drop_aliases(const HeaderModifier& change, core::FieldList& fields);

// What is removed is marked as hop-by-hop, and so not forwarded. What is set or added points into `change`. False: the
// list is full.
bool modify(const HeaderModifier& change, core::FieldList& fields);

}  // namespace edgemux::routing
