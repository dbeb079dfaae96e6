#include "config/json_schema.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "config/schema.h"

namespace edgemux::config {
namespace {

using Json = nlohmann::ordered_json;
using Kind = Type::Kind;

// The parser takes every scalar as the text that was written. Loaders turn some into other values.
Json any_scalar() { return {{"type", {"string", "number", "boolean"}}}; }

void add_word(Json& to, std::string_view word) {
  to.push_back(word);
  if (word.empty()) to.push_back(nullptr);
  if (word == "off") to.push_back(false);
  if (word == "on") to.push_back(true);
  if (word == "true" || word == "false") to.push_back(word == "true");
  // 301 and 1.2, when they are not quoted.
  const bool number = !word.empty() && word.find_first_not_of("0123456789.") == std::string_view::npos;
  if (number) to.push_back(Json::parse(word, nullptr, false));
}

Json words_of(const Type& type) {
  Json words = Json::array();
  for (const auto& word : type.words) add_word(words, word.text);
  return {{"enum", std::move(words)}};
}

// Of a quantity that is written as a text. That it is more than 0 can be told; other bounds cannot.
std::string pattern_of(const Type& type) {
  const std::string digits = type.min > 0 ? "0*[1-9][0-9]*" : "[0-9]+";
  switch (type.kind) {
    case Kind::number:
      return "^" + digits + "$";
    case Kind::duration:
      return "^(" + digits + " ?(ms|s|m|h)" + (type.min > 0 ? "" : "|0") + ")$";
    case Kind::decimal:
      return R"(^[0-9]+(\.[0-9]{1,3})?$)";
    case Kind::percent:
      return "^0*(100|[0-9]{1,2}) ?%$";
    default:
      return "^" + digits + " ?(B|KiB|MiB|GiB)?$";
  }
}

class Writer {
 public:
  explicit Writer(bool include) : include_(include) {}

  Json file(const Type& type) {
    count(type, "");
    Json out{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
             {"title", include_ ? "edgemux: an included file" : "edgemux configuration, version 1"}};
    out.update(inline_value(type));
    Json definitions = Json::object();
    for (const auto* shared : shared_) definitions[names_.at(shared)] = inline_value(*shared);
    out["$defs"] = std::move(definitions);
    return out;
  }

 private:
  static bool composed(const Type& type) { return type.kind == Kind::map || type.kind == Kind::either; }

  // Types that stand in several places become definitions, under the first key that leads to them.
  void count(const Type& type, std::string_view name) {
    if (composed(type) && ++uses_[&type] == 2) {
      std::string unique(name);
      while (!taken_.insert(unique).second) unique += "_";
      names_[&type] = unique;
      shared_.push_back(&type);
    }
    if (uses_[&type] > 1) return;
    for (const auto& field : type.fields) {
      if (field.type != nullptr && !hidden(field)) count(*field.type, field.name);
    }
    for (const Type* below : {type.element, type.scalar, type.map, type.list}) {
      if (below != nullptr) count(*below, name);
    }
  }

  [[nodiscard]] bool hidden(const Field& field) const { return include_ ? field.main_only : field.include_only; }

  Json value(const Type& type) {
    if (const auto found = names_.find(&type); found != names_.end()) return {{"$ref", "#/$defs/" + found->second}};
    return inline_value(type);
  }

  Json inline_value(const Type& type) {
    switch (type.kind) {
      case Kind::text:
        return text(type);
      case Kind::choice:
        return words_of(type);
      case Kind::number:
      case Kind::duration:
      case Kind::size:
      case Kind::percent:
      case Kind::decimal:
        return quantity(type);
      case Kind::map:
        return map(type);
      case Kind::dictionary:
        return {{"type", "object"}, {"additionalProperties", value(*type.element)}};
      case Kind::list: {
        Json out{{"type", "array"}, {"items", value(*type.element)}};
        if (type.min > 0) out["minItems"] = type.min;
        if (type.max != UINT64_MAX) out["maxItems"] = type.max;
        return out;
      }
      case Kind::either:
        break;
    }
    Json choices = Json::array();
    for (const Type* choice : {type.scalar, type.map, type.list}) {
      if (choice != nullptr) choices.push_back(value(*choice));
    }
    return {{"anyOf", std::move(choices)}};
  }

  static Json text(const Type& type) {
    Json out = type.words.empty() ? any_scalar() : Json{{"type", {"string", "number", "boolean", "null"}}};
    if (type.max != UINT64_MAX) out["maxLength"] = type.max;  // characters, of which there are no more than bytes
    return out;
  }

  static Json quantity(const Type& type) {
    Json choices = Json::array();
    if (type.kind == Kind::number || type.kind == Kind::size) {
      Json number{{"type", "integer"}, {"minimum", type.min}};
      if (type.max != UINT64_MAX) number["maximum"] = type.max;
      choices.push_back(std::move(number));
    } else if (type.kind == Kind::decimal) {
      // The digits behind the point are not counted: loaders make binary fractions of them.
      choices.push_back({{"type", "number"}, {"minimum", type.min / 1000}, {"maximum", type.max / 1000}});
    } else if (type.kind == Kind::duration && type.min == 0) {
      choices.push_back({{"const", 0}});
    }
    choices.push_back({{"type", "string"}, {"pattern", pattern_of(type)}});
    if (!type.words.empty()) choices.push_back(words_of(type));
    return {{"anyOf", std::move(choices)}};
  }

  Json map(const Type& type) {
    Json properties = Json::object();
    Json required = Json::array();
    for (const auto& field : type.fields) {
      if (hidden(field)) continue;
      properties[std::string(field.name)] = property(field);
      if (field.need == Field::Need::required) required.push_back(field.name);
    }
    Json out{{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
    if (!required.empty()) out["required"] = std::move(required);
    return out;
  }

  Json property(const Field& field) {
    Json out = Json::object();
    if (!field.help.empty()) out["description"] = field.help;
    out.update(value(*field.type));
    return out;
  }

  bool include_;
  std::map<const Type*, int> uses_;
  std::map<const Type*, std::string> names_;
  std::vector<const Type*> shared_;
  std::set<std::string> taken_;
};

}  // namespace

std::string json_schema(SchemaOf file) {
  return Writer(file == SchemaOf::included_file).file(configuration_type()).dump(2) + "\n";
}

}  // namespace edgemux::config
