// What a rule matches, and which rules of a host stand in each other's way.
#include <algorithm>
#include <array>

#include "config/read_rule.h"
#include "config/values.h"
#include "core/http/bytes.h"
#include "core/http/path.h"
#include "routing/table/shadowed.h"

namespace edgemux::config {
namespace {

using routing::Rule;

std::vector<std::string> read_methods(const Node& node, Problems& problems) {
  std::vector<std::string> out;
  if (!node.is_list()) return out;
  for (const Node* item = node.first; item != nullptr; item = item->next) {
    if (!item->is_scalar() || item->is_null()) continue;
    if (out.size() == max_rule_entries) return too_many(item->place, "methods", problems), out;
    std::string upper(item->text);
    for (char& c : upper) {
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    }
    if (!core::is_token(item->text)) {
      problems.error(item->place, quote(item->text) + " is no method");
    } else if (upper != item->text) {
      problems.error(item->place, quote(item->text) + " is no method: they are written in capitals",
                     "did you mean " + quote(upper) + "?");
    } else if (upper == "CONNECT") {
      problems.error(item->place, "CONNECT is never served");
    } else if (std::find(out.begin(), out.end(), upper) != out.end()) {
      problems.error(item->place, "method " + quote(upper) + " stands in this list twice");
    } else {
      out.push_back(std::move(upper));
    }
  }
  return out;
}

// Those of one rule.
class PatternReader {
 public:
  PatternReader(RuleSpec& spec, Patterns& patterns, Problems& problems)
      : spec_(spec), patterns_(patterns), problems_(problems) {}

  // Null: it is missing, which was reported.
  routing::PatternPtr read(const Node& node, routing::Pattern::Cover cover) {
    if (!node.is_scalar() || node.is_null()) return nullptr;
    auto pattern = patterns_.get(node.text, cover);
    if (pattern && *pattern != nullptr) {
      spec_.patterns.push_back(node.place);
      return *pattern;
    }
    spec_.sound = false;
    if (!pattern) {
      problems_.error(node.place, "bad regular expression " + quote(node.text) + ": " + pattern.error().message);
    } else if (patterns_.tell()) {
      problems_.error(node.place,
                      "a file may have at most " + std::to_string(Patterns::kMost) + " different regular expressions",
                      "write 'path', 'exact_path' or whole values instead, or put the rest into another file");
    }
    return nullptr;
  }

 private:
  RuleSpec& spec_;
  Patterns& patterns_;
  Problems& problems_;
};

// A value that is written out, or { regex: ... }.
void read_value(const Node& node, routing::ValueMatch wanted, std::vector<routing::ValueMatch>& out,
                PatternReader& patterns) {
  if (node.is_map()) {
    const Node* regex = node.get("regex");
    if (regex == nullptr) return;
    wanted.pattern = patterns.read(*regex, routing::Pattern::Cover::anywhere);
    if (wanted.pattern == nullptr) return;
    wanted.value = wanted.pattern->text();
  } else {
    wanted.value = std::string(node.text);
  }
  out.push_back(std::move(wanted));
}

void read_headers(const Node& node, std::vector<routing::ValueMatch>& out, PatternReader& patterns,
                  Problems& problems) {
  if (!node.is_map()) return;
  for (const Node* key = node.first; key != nullptr; key = key->next->next) {
    if (!check_header(*key, *key->next, problems)) continue;
    if (out.size() == max_rule_entries) return too_many(key->place, "headers", problems);
    std::string name = lower_case(key->text);
    if (name == "host") {
      problems.error(key->place, "a rule does not match 'host'; that is what the route's 'host' is for");
      continue;
    }
    const bool twice = std::any_of(out.begin(), out.end(), [&](const auto& other) { return other.name == name; });
    if (twice) problems.error(key->place, "header " + quote(key->text) + " stands here twice");
    read_value(*key->next, {std::move(name), {}, nullptr}, out, patterns);
  }
}

void read_query(const Node& node, std::vector<routing::ValueMatch>& out, PatternReader& patterns, Problems& problems) {
  if (!node.is_map()) return;
  for (const Node* key = node.first; key != nullptr; key = key->next->next) {
    if (out.size() == max_rule_entries) return too_many(key->place, "parameters", problems);
    read_value(*key->next, {std::string(key->text), {}, nullptr}, out, patterns);
  }
}

// Ingress and others write "/api/*". Here it is a path with a star in it.
void warn_of_stars(const Node& node, Problems& problems) {
  if (!node.is_scalar() || node.text.empty() || node.text.front() != '/') return;
  if (!node.text.ends_with('*') && node.text.find("/*/") == std::string_view::npos) return;
  std::string hint = "a 'regex_path' matches by a pattern";
  if (node.text.ends_with("/*") && node.text.find('*') == node.text.size() - 1) {
    const auto above = node.text.substr(0, std::max<std::size_t>(node.text.size() - 2, 1));
    hint = "write 'path: " + std::string(above) + "', which covers all below it";
  }
  problems.warning(
      node.place, "a '*' in a path stands for itself: " + quote(node.text) + " matches a star, and not any text", hint);
}

void read_path_match(const Node& node, Rule::Kind kind, RuleSpec& spec, PatternReader& patterns, Problems& problems) {
  Rule& rule = spec.value;
  rule.kind = kind;
  if (kind != Rule::Kind::regex) {
    rule.path = read_path(node, problems);
    warn_of_stars(node, problems);
    if (kind == Rule::Kind::prefix && rule.path.size() > 1 && rule.path.back() == '/') rule.path.pop_back();
    return;
  }
  rule.path = std::string(node.text);
  rule.path_pattern = patterns.read(node, routing::Pattern::Cover::whole);
  if (rule.path_pattern == nullptr) rule.kind = Rule::Kind::prefix;
}

// 'path: /a'
std::string path_text(const Rule& rule) {
  constexpr std::array<const char*, 3> keys{"exact_path", "regex_path", "path"};
  return std::string("'") + keys[static_cast<std::size_t>(rule.kind)] + ": " + rule.path + "'";
}

}  // namespace

void too_many(Place place, const std::string& what, Problems& problems) {
  problems.error(place, "a rule may name at most " + std::to_string(max_rule_entries) + " " + what);
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = core::lower(c);
  return out;
}

std::string read_path(const Node& node, Problems& problems) {
  const auto refuse = [&](const std::string& why) {
    problems.error(node.place, "bad path " + quote(node.text) + ": " + why);
    return std::string("/");
  };
  if (!node.is_scalar() || node.is_null()) return "/";
  if (node.text.empty() || node.text.front() != '/') return refuse("it must begin with '/'");
  if (node.text.find_first_of("?#") != std::string_view::npos) return refuse("'?' and '#' do not belong into a path");
  for (const char c : node.text) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
      return refuse("write spaces, controls and letters beyond ASCII as percent escapes");
    }
  }
  std::string scratch(core::path_room(node.text), '\0');
  const auto normal = core::normalize_path(node.text, scratch);
  if (normal.error != nullptr) return refuse(normal.error);
  return std::string(normal.path);
}

bool check_header_name(const Node& name, Problems& problems) {
  if (core::is_token(name.text)) return true;
  problems.error(name.place, quote(name.text) + " is no header name");
  return false;
}

bool check_header(const Node& name, const Node& value, Problems& problems) {
  if (!check_header_name(name, problems)) return false;
  if (!value.is_scalar()) return true;
  if (std::all_of(value.text.begin(), value.text.end(), core::is_value_byte)) return true;
  problems.error(value.place, "the value of header " + quote(name.text) + " holds a control character");
  return false;
}

void read_match(const Node& node, RuleSpec& spec, Patterns& patterns, Problems& problems) {
  PatternReader reader(spec, patterns, problems);
  const auto before = problems.errors();
  const Node* path = nullptr;
  const Node* match = node.get("match");
  const auto take = [&](const Node* from, std::string_view key, Rule::Kind kind) {
    const Node* found = from == nullptr ? nullptr : from->get(key);
    if (found == nullptr) return;
    if (path != nullptr) {
      problems.error(found->place, "a rule matches one of 'path', 'exact_path' and 'regex_path'");
      return;
    }
    path = found;
    read_path_match(*found, kind, spec, reader, problems);
  };
  for (const Node* from : {&node, match}) {
    take(from, "path", Rule::Kind::prefix);
    take(from, "exact_path", Rule::Kind::exact);
    take(from, "regex_path", Rule::Kind::regex);
  }
  spec.value.priority = static_cast<std::uint32_t>(number_or(node.get("priority"), 0));
  if (match != nullptr) {
    routing::Conditions conditions;
    if (const Node* methods = match->get("methods")) conditions.methods = read_methods(*methods, problems);
    if (const Node* headers = match->get("headers")) read_headers(*headers, conditions.headers, reader, problems);
    if (const Node* query = match->get("query")) read_query(*query, conditions.query, reader, problems);
    if (!conditions.methods.empty() || !conditions.headers.empty() || !conditions.query.empty()) {
      spec.value.conditions = std::make_shared<const routing::Conditions>(std::move(conditions));
    }
  }
  // What the schema has refused of the conditions is missing here: the rule takes more than was meant.
  const Node* priority = node.get("priority");
  bool lost = priority != nullptr && !parse_number(priority->text);
  if (match != nullptr && spec.value.conditions == nullptr) {
    const std::array<std::string_view, 3> paths{"path", "exact_path", "regex_path"};
    const auto known = std::count_if(paths.begin(), paths.end(), [&](auto key) { return match->get(key) != nullptr; });
    lost = lost || match->size > static_cast<std::size_t>(known) * 2;
  }
  spec.sound = spec.sound && problems.errors() == before && !lost;
}

namespace {

// Those of one host are tried one after the other while a worker waits.
void check_patterns(const std::vector<RuleSpec>& specs, Problems& problems) {
  std::uint64_t instructions = 0;
  for (const auto& spec : specs) {
    routing::Rule rule = spec.value;
    auto place = spec.patterns.begin();
    bool over = false;
    routing::replace_patterns(rule, [&](const routing::PatternPtr& pattern) {
      instructions += pattern->instructions();
      if (!over && instructions > routing::MatchWork::kMostInstructions) {
        over = true;
        problems.error(*place,
                       "with this one the regular expressions of the route have " + std::to_string(instructions) +
                           " instructions; there may be " + std::to_string(routing::MatchWork::kMostInstructions),
                       "write 'path', 'exact_path' or whole values where that will do, and smaller counts");
      }
      ++place;
      return pattern;
    });
    if (over) return;
  }
}

}  // namespace

void check_rules(const std::vector<RuleSpec>& specs, Problems& problems) {
  check_patterns(specs, problems);
  if (specs.size() < 2) return;
  std::vector<Rule> rules;
  for (const auto& spec : specs) {
    if (!spec.sound) continue;
    rules.push_back(spec.value);
    rules.back().origin = problems.origin(spec.place);
  }
  const routing::RuleTable table(std::move(rules));
  for (const auto& found : routing::shadowed_rules(table)) {
    const Rule& rule = table[found.rule];
    const Rule& by = table[found.by];
    const Place place{rule.origin.line, rule.origin.column};
    if (rule.priority != by.priority || !routing::covers(rule, by)) {
      problems.warning(place, "this rule never matches: the one at " + by.origin.to_string() +
                                  " is tried before it and takes all of its requests");
    } else {
      problems.warning(place, "a second rule for " + path_text(rule) +
                                  (rule.conditions == nullptr ? "" : " with the same conditions") +
                                  " never matches; the first stands at " + by.origin.to_string());
    }
  }
}

}  // namespace edgemux::config
