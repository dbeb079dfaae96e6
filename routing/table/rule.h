#pragma once
// Rule: one entry of a terminated host's `rules`: which requests it takes, and what it does with them.
//
// Conditions are those of the Gateway API's HTTPRoute, and all of them must hold:
// - The path, always: exact, a prefix by path element, or a regular expression for the whole of it. What is compared is
//   the normalised path without its query (core/http/path.h).
// - Methods: one of them. A rule with `cors` takes the preflights for its methods as well.
// - Header fields: at least one field of the name has the value, each field line by itself; nothing is joined. Fields
//   that the Connection field lists, and those that this sender may not set, do not count.
// - Query parameters: at least one of the name has the value, both compared after percent-decoding, '+' as a space.
//   A regular expression for a header or parameter may match anywhere in the value.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/http/field.h"
#include "core/http/message.h"
#include "routing/table/action.h"
#include "routing/table/match_work.h"
#include "routing/table/origin.h"
#include "routing/table/pattern.h"

namespace edgemux::routing {

// What rules look at. `fields` may be null: none.
struct RequestFacts {
  std::string_view path;  // normalised
  core::Method method = core::Method::get;
  std::string_view method_text = "GET";
  const core::FieldList* fields = nullptr;
  std::string_view query = {};
  MatchWork* work = nullptr;  // null: it may cost what it will
};

struct ValueMatch {
  std::string name;   // of a header: lower case
  std::string value;  // exact; of a pattern: its text
  PatternPtr pattern;

  [[nodiscard]] bool takes(std::string_view text, MatchWork* work = nullptr) const {
    if (pattern == nullptr) return text == value;
    return (work == nullptr || work->spend(pattern->steps(text.size()))) && pattern->matches(text);
  }
  friend bool operator==(const ValueMatch& a, const ValueMatch& b) {
    return a.name == b.name && a.value == b.value && (a.pattern == nullptr) == (b.pattern == nullptr);
  }
};

// Beyond the path.
struct Conditions {
  std::vector<std::string> methods;  // empty = any
  std::vector<ValueMatch> headers;
  std::vector<ValueMatch> query;

  [[nodiscard]] bool has_patterns() const {
    const auto is_pattern = [](const ValueMatch& value) { return value.pattern != nullptr; };
    return std::any_of(headers.begin(), headers.end(), is_pattern) ||
           std::any_of(query.begin(), query.end(), is_pattern);
  }
};

struct Rule {
  enum class Kind : std::uint8_t { exact, regex, prefix };
  // The first condition that does not hold.
  enum class Verdict : std::uint8_t { match, path, method, header, query };

  Kind kind = Kind::prefix;
  std::string path = "/";   // normalised; a prefix matches by path element, "/a" not "/ab"; a trailing '/' is dropped
  PatternPtr path_pattern;  // regex; `path` is its text
  std::uint32_t priority = 0;
  std::shared_ptr<const Conditions> conditions;  // null = the path alone
  std::variant<Forward, Split, Redirect, Respond> action;
  std::shared_ptr<const Filters> filters;  // null = none
  Origin origin;

  [[nodiscard]] bool takes_path(std::string_view text, MatchWork* work = nullptr) const;
  // Everything but the path.
  [[nodiscard]] Verdict test_conditions(const RequestFacts& request) const;
  [[nodiscard]] Verdict test(const RequestFacts& request) const {
    return takes_path(request.path, request.work) ? test_conditions(request) : Verdict::path;
  }
};

// By path element: "/a" covers "/a" and "/a/b", not "/ab". "/" covers all.
bool prefix_covers(std::string_view prefix, std::string_view path);

// The order in which the rules of one host are tried: the higher priority, exact path, regular expression, longer
// prefix, with methods, more headers, more query parameters. Rules that are equal in all that stay as they are listed.
bool goes_before(const Rule& a, const Rule& b);

// Puts what `replace` makes of each pattern in its place: the path's, those of headers, those of the query.
template <class Replace>
void replace_patterns(Rule& rule, Replace replace) {
  if (rule.path_pattern != nullptr) rule.path_pattern = replace(rule.path_pattern);
  const Conditions* old = rule.conditions.get();
  if (old == nullptr || !old->has_patterns()) return;
  auto conditions = std::make_shared<Conditions>(*old);
  for (auto* values : {&conditions->headers, &conditions->query}) {
    for (auto& value : *values) {
      if (value.pattern != nullptr) value.pattern = replace(value.pattern);
    }
  }
  rule.conditions = std::move(conditions);
}

// Calls `visit` with each upstream that the rule names; they may be null.
template <class Visit>
void for_each_upstream(const Rule& rule, Visit visit) {
  if (const auto* forward = std::get_if<Forward>(&rule.action)) visit(forward->upstream);
  if (const auto* split = std::get_if<Split>(&rule.action)) {
    for (const auto& part : split->parts) visit(part.upstream);
  }
  if (rule.filters == nullptr) return;
  for (const auto& mirror : rule.filters->mirrors) visit(mirror.upstream);
}

}  // namespace edgemux::routing
