#pragma once
// Rules and requests for tests, in one line each. A rule is known by the body that it responds with.

#include <string>
#include <utility>
#include <vector>

#include "routing/table/rule.h"

namespace edgemux::test {

class RuleBuilder {
 public:
  explicit RuleBuilder(std::string name) { rule_.action = routing::Respond{200, std::move(name), {}}; }

  RuleBuilder& path(routing::Rule::Kind kind, std::string text) {
    rule_.kind = kind;
    rule_.path = std::move(text);
    return *this;
  }
  RuleBuilder& prefix(std::string text) { return path(routing::Rule::Kind::prefix, std::move(text)); }
  RuleBuilder& exact(std::string text) { return path(routing::Rule::Kind::exact, std::move(text)); }
  RuleBuilder& regex(std::string text) {
    rule_.path_pattern = routing::Pattern::compile(text, routing::Pattern::Cover::whole).value();
    return path(routing::Rule::Kind::regex, std::move(text));
  }
  RuleBuilder& priority(std::uint32_t value) {
    rule_.priority = value;
    return *this;
  }
  RuleBuilder& methods(std::vector<std::string> list) {
    conditions_.methods = std::move(list);
    return *this;
  }
  RuleBuilder& header(std::string name, std::string value) {
    conditions_.headers.push_back({std::move(name), std::move(value), nullptr});
    return *this;
  }
  RuleBuilder& header_regex(std::string name, std::string text) {
    auto pattern = routing::Pattern::compile(text, routing::Pattern::Cover::anywhere).value();
    conditions_.headers.push_back({std::move(name), std::move(text), std::move(pattern)});
    return *this;
  }
  RuleBuilder& query(std::string name, std::string value) {
    conditions_.query.push_back({std::move(name), std::move(value), nullptr});
    return *this;
  }
  RuleBuilder& query_regex(std::string name, std::string text) {
    auto pattern = routing::Pattern::compile(text, routing::Pattern::Cover::anywhere).value();
    conditions_.query.push_back({std::move(name), std::move(text), std::move(pattern)});
    return *this;
  }
  RuleBuilder& cors() {
    auto filters = std::make_shared<routing::Filters>();
    filters->cors.emplace();
    rule_.filters = std::move(filters);
    return *this;
  }
  [[nodiscard]] routing::Rule rule() const {
    routing::Rule made = rule_;
    if (!conditions_.methods.empty() || !conditions_.headers.empty() || !conditions_.query.empty()) {
      made.conditions = std::make_shared<const routing::Conditions>(conditions_);
    }
    return made;
  }

 private:
  routing::Rule rule_;
  routing::Conditions conditions_;
};

inline const std::string& named(const routing::Rule& rule) { return std::get<routing::Respond>(rule.action).body; }

struct Request {
  std::string target;  // path and query
  std::string method_text = "GET";
  core::FieldList fields;

  Request& method(std::string text) {
    method_text = std::move(text);
    return *this;
  }
  // Literals only: the list holds views.
  Request& header(std::string_view name, std::string_view value) {
    fields.add({name, value, core::classify_field(name)});
    return *this;
  }
  [[nodiscard]] routing::RequestFacts facts() const {
    const std::string_view all = target;
    const auto mark = all.find('?');
    return {all.substr(0, mark), core::method_of(method_text), method_text, &fields,
            mark == std::string_view::npos ? std::string_view() : all.substr(mark + 1)};
  }
};

inline Request request(std::string target) {
  Request made;
  made.target = std::move(target);
  return made;
}

}  // namespace edgemux::test
