#pragma once
// The parts of a rule: what it matches (read_match.cc), what it does (read_rule.cc), and what else (read_filters.cc).
// Nodes were checked against the schema; what is wrong beyond that is reported, and something harmless is put in its
// place.

#include <string>

#include "config/node.h"
#include "config/problems.h"
#include "config/spec.h"
#include "core/http/field.h"

namespace edgemux::config {

// Methods, headers and parameters, each: what is in a rule is compared with each other, and with every request.
inline constexpr std::size_t max_rule_entries = 256;
void too_many(Place place, const std::string& what, Problems& problems);

// What one request_headers, response_headers or respond may set and add. Those of a rule and of a part of its split,
// and the few that edgemux writes (CORS, Location, ...), fit every message that is taken.
inline constexpr std::size_t max_changed_headers = 64;
inline constexpr std::size_t max_own_headers = 16;
static_assert(2 * max_changed_headers + max_own_headers <= core::FieldList::kMostAdded);
void too_many_changes(Place place, Problems& problems);
// All that a rule writes into heads, names and values together, in bytes: as much as a request's head may be.
inline constexpr std::size_t max_rule_headers = 64UL * 1024;

// Kind, path and conditions, from the rule itself or its `match`.
void read_match(const Node& rule, RuleSpec& spec, Patterns& patterns, Problems& problems);

// A path that a rule can match or lead to: normalised, without query.
std::string read_path(const Node& node, Problems& problems);
// Where a text that is written as it stands has what other programs put something else for: $name, ${ or %[; in a path
// $1, too. A header may name a price.
enum class Groups : std::uint8_t { meant, text };
void warn_of_variables(const Node& node, Groups groups, Problems& problems);
// What replaces a matched prefix; "" is "/".
std::string read_prefix(const Node& node, routing::Rule::Kind kind, Problems& problems);
// A host name or address, perhaps with a port, to be written into a message. Returns the port; 0: there is none.
std::uint16_t check_authority(const Node& node, Problems& problems);
std::string lower_case(std::string_view text);
// Reports a name that is none, or a value with control characters.
bool check_header(const Node& name, const Node& value, Problems& problems);
bool check_header_name(const Node& name, Problems& problems);

routing::Respond read_respond(const Node& node, Problems& problems);
routing::Redirect read_redirect(const Node& node, routing::Rule::Kind kind, Problems& problems);
// Names in lower case; those that edgemux writes itself are errors. `request`: of a request, else of an answer.
routing::HeaderModifier read_headers(const Node& node, bool request, Problems& problems);
routing::Split read_split(const Node& node, std::vector<TargetSpec>& targets, Problems& problems);
// rewrite, request_headers, response_headers, cors, mirror, timeouts and retry. Null: the rule has none.
std::shared_ptr<const routing::Filters> read_filters(const Node& rule, RuleSpec& spec, Problems& problems);

}  // namespace edgemux::config
