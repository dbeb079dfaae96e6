#include "routing/table/rule.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "core/http/bytes.h"
#include "routing/table/cors.h"

namespace edgemux::routing {
namespace {

// The decoded byte at `at`, which moves on. Escapes that are none stay as they are.
char next_byte(std::string_view text, std::size_t& at) {
  const char c = text[at++];
  if (c == '+') return ' ';
  if (c != '%' || at + 1 >= text.size()) return c;
  const int high = core::hex_digit(text[at]);
  const int low = core::hex_digit(text[at + 1]);
  if (high < 0 || low < 0) return c;
  at += 2;
  return static_cast<char>(high * 16 + low);
}

bool decodes_to(std::string_view raw, std::string_view text) {
  std::size_t at = 0;
  for (const char c : text) {
    if (at == raw.size() || next_byte(raw, at) != c) return false;
  }
  return at == raw.size();
}

bool pattern_takes(const Pattern& pattern, std::string_view raw, MatchWork* work) {
  if (work != nullptr && !work->spend(pattern.steps(raw.size()))) return false;
  if (raw.find_first_of("%+") == std::string_view::npos) return pattern.matches(raw);
  std::array<char, 2048> small;
  std::string large;  // what a rule is meant for is short
  char* out = small.data();
  if (raw.size() > small.size()) {
    large.resize(raw.size());
    out = large.data();
  }
  std::size_t size = 0;
  for (std::size_t at = 0; at < raw.size();) out[size++] = next_byte(raw, at);
  return pattern.matches({out, size});
}

bool query_holds(std::string_view query, const ValueMatch& wanted, MatchWork* work) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view parameter = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t equals = std::min(parameter.find('='), parameter.size());
    if (!decodes_to(parameter.substr(0, equals), wanted.name)) continue;
    const std::string_view value = parameter.substr(std::min(equals + 1, parameter.size()));
    if (wanted.pattern ? pattern_takes(*wanted.pattern, value, work) : decodes_to(value, wanted.value)) return true;
  }
  return false;
}

bool headers_hold(const core::FieldList* fields, const ValueMatch& wanted, MatchWork* work) {
  if (fields == nullptr) return false;
  return std::any_of(fields->begin(), fields->end(), [&](const core::Field& field) {
    return field.name == wanted.name && (!field.hop_by_hop || core::is_always_hop_by_hop(field.id)) &&
           wanted.takes(field.value, work);
  });
}

bool lists(const std::vector<std::string>& methods, std::string_view method) {
  return std::find(methods.begin(), methods.end(), method) != methods.end();
}

}  // namespace

bool prefix_covers(std::string_view prefix, std::string_view path) {
  if (prefix == "/") return path.starts_with('/');
  return path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/');
}

bool Rule::takes_path(std::string_view text, MatchWork* work) const {
  switch (kind) {
    case Kind::exact:
      return text == path;
    case Kind::regex:
      return (work == nullptr || work->spend(path_pattern->steps(text.size()))) && path_pattern->matches(text);
    case Kind::prefix:
      return prefix_covers(path, text);
  }
  return false;
}

Rule::Verdict Rule::test_conditions(const RequestFacts& request) const {
  if (conditions == nullptr) return Verdict::match;
  const Conditions& c = *conditions;
  MatchWork* const work = request.work;
  if (work != nullptr && !work->spend(c.methods.size() + 1)) return Verdict::method;
  if (!c.methods.empty() && !lists(c.methods, request.method_text)) {
    const bool asks = filters != nullptr && filters->cors && request.fields != nullptr;
    if (asks && work != nullptr && !work->spend(request.fields->size())) return Verdict::method;
    const auto asked = asks ? preflight_method(request.method, *request.fields) : std::string_view();
    if (asked.empty() || !lists(c.methods, asked)) return Verdict::method;
  }
  const std::size_t fields = request.fields == nullptr ? 0 : request.fields->size();
  for (const auto& header : c.headers) {
    if (work != nullptr && !work->spend(fields)) return Verdict::header;
    if (!headers_hold(request.fields, header, work)) return Verdict::header;
  }
  for (const auto& parameter : c.query) {
    if (work != nullptr && !work->spend(request.query.size())) return Verdict::query;
    if (!query_holds(request.query, parameter, work)) return Verdict::query;
  }
  return Verdict::match;
}

bool goes_before(const Rule& a, const Rule& b) {
  // Smaller goes first.
  const auto rank = [](const Rule& rule) {
    const Conditions* c = rule.conditions.get();
    const std::size_t most = SIZE_MAX;
    return std::tuple{UINT32_MAX - rule.priority,
                      rule.kind,
                      rule.kind == Rule::Kind::prefix ? most - rule.path.size() : 0,
                      c == nullptr || c->methods.empty(),
                      most - (c == nullptr ? 0 : c->headers.size()),
                      most - (c == nullptr ? 0 : c->query.size())};
  };
  return rank(a) < rank(b);
}

}  // namespace edgemux::routing
