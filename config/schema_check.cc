#include <algorithm>

#include "config/schema.h"
#include "config/values.h"

namespace edgemux::config {
namespace {

using Kind = Type::Kind;

std::string_view shape_of(const Node& node) {
  if (node.is_map()) return "a map";
  if (node.is_list()) return "a list";
  return "a single value";
}

std::string either_of(const Type& type) {
  std::string out;
  for (const auto& [alternative, word] :
       {std::pair{type.scalar, "a single value"}, {type.map, "a map"}, {type.list, "a list"}}) {
    if (alternative != nullptr) out += (out.empty() ? "" : " or ") + std::string(word);
  }
  return out;
}

// What messages call a node: the key that it stands under, or an entry of the list that stands there.
struct Label {
  std::string_view key;
  bool entry = false;
  [[nodiscard]] std::string text() const { return (entry ? "an entry of " : "") + quote(key); }
};

class Checker {
 public:
  Checker(Problems& problems, bool include) : problems_(problems), include_(include) {}

  void value(const Node& node, const Type& type, Label name) {
    switch (type.kind) {
      case Kind::map:
        return map(node, type, name);
      case Kind::dictionary:
        return dictionary(node, type, name);
      case Kind::list:
        return list(node, type, name);
      case Kind::either: {
        const Type* chosen = node.is_map() ? type.map : node.is_list() ? type.list : type.scalar;
        if (chosen != nullptr && (node.is_null() ? type.scalar != nullptr : true)) return value(node, *chosen, name);
        return wrong(node, name, either_of(type));
      }
      default:
        return scalar(node, type, name);
    }
  }

 private:
  void wrong(const Node& node, Label name, std::string_view expected, std::string_view hint = {}) {
    if (node.is_null()) {
      problems_.error(node.place, name.text() + " has no value; it must be " + std::string(expected),
                      std::string(hint));
    } else {
      problems_.error(node.place,
                      name.text() + " must be " + std::string(expected) + ", not " + std::string(shape_of(node)),
                      std::string(hint));
    }
  }

  void map(const Node& node, const Type& type, Label name) {
    if (!node.is_map()) return wrong(node, name, "a map", type.example);
    std::uint64_t seen = 0;
    for (const Node* key = node.first; key != nullptr; key = key->next->next) {
      const auto found = std::find_if(type.fields.begin(), type.fields.end(),
                                      [&](const Field& field) { return field.name == key->text; });
      if (found == type.fields.end()) {
        unknown(*key, type);
        continue;
      }
      seen |= 1ULL << static_cast<unsigned>(found - type.fields.begin());
      field(*key, *key->next, *found);
    }
    for (std::size_t i = 0; i < type.fields.size(); ++i) {
      if (type.fields[i].need == Field::Need::required && (seen & (1ULL << i)) == 0 &&
          !(include_ && type.fields[i].main_only)) {
        missing(node, type.fields[i], name);
      }
    }
  }

  void missing(const Node& node, const Field& field, Label name) {
    problems_.error(node.place, name.key.empty() ? "the file has no " + quote(field.name)
                                                 : quote(field.name) + " is missing in " + name.text());
  }

  void unknown(const Node& key, const Type& type) {
    problems_.error(key.place, "unknown key " + quote(key.text),
                    problems_.full() ? std::string() : what_instead(key.text, type));
  }

  static std::string foreign(std::string_view word, const Type& type) {
    const auto found =
        std::find_if(type.foreign.begin(), type.foreign.end(), [&](const Foreign& one) { return one.word == word; });
    return found == type.foreign.end() ? std::string() : std::string(found->hint);
  }

  // Of a key that the map does not have: what it is called here, or where it belongs, or what there is.
  static std::string what_instead(std::string_view key, const Type& type) {
    constexpr std::size_t most_listed = 6;
    if (auto hint = foreign(key, type); !hint.empty()) return hint;
    std::string below;
    std::string listed;
    std::vector<std::string_view> names;
    names.reserve(type.fields.size());
    for (const auto& field : type.fields) {
      names.push_back(field.name);
      listed += (listed.empty() ? "there is '" : ", '") + std::string(field.name) + "'";
      if (has(*field.type, key))
        below += (below.empty() ? "it belongs into '" : " or '") + std::string(field.name) + "'";
    }
    if (auto near = did_you_mean(key, names); !near.empty()) return near;
    if (!below.empty()) return below;
    return names.size() <= most_listed ? listed : std::string();
  }

  // Maps that stand there, or are entries of what does, have such a key.
  static bool has(const Type& type, std::string_view key) {
    if (type.kind == Kind::map) {
      return std::any_of(type.fields.begin(), type.fields.end(), [&](const Field& field) { return field.name == key; });
    }
    if (type.kind == Kind::list) return has(*type.element, key);
    return type.kind == Kind::either && type.map != nullptr && has(*type.map, key);
  }

  void field(const Node& key, const Node& node, const Field& field) {
    if (include_ && field.main_only) {
      problems_.error(key.place,
                      quote(field.name) + " belongs into the main file; an included file holds routes and upstreams");
    } else {
      value(node, *field.type, {field.name});
    }
  }

  void dictionary(const Node& node, const Type& type, Label name) {
    if (!node.is_map()) return wrong(node, name, "a map");
    for (const Node* key = node.first; key != nullptr; key = key->next->next) {
      if (key->text.empty()) problems_.error(key->place, "an empty name in " + name.text());
      value(*key->next, *type.element, {key->text});
    }
  }

  void list(const Node& node, const Type& type, Label name) {
    if (!node.is_list()) return wrong(node, name, "a list");
    if (node.size < type.min) problems_.error(node.place, name.text() + " must not be empty");
    if (node.size > type.max) {
      problems_.error(node.place, name.text() + " has at most " + std::to_string(type.max) + " entries");
    }
    for (const Node* item = node.first; item != nullptr; item = item->next)
      value(*item, *type.element, {name.key, true});
  }

  void scalar(const Node& node, const Type& type, Label name) {
    if (!node.is_scalar()) return wrong(node, name, expected(type));
    // Where the empty text is a word, nothing is one, too, however it is written.
    if (node.is_null()) {
      if (!is_word(type, "")) wrong(node, name, expected(type));
      return;
    }
    if (type.kind != Kind::choice && type.kind != Kind::text && is_word(type, node.text)) return;
    switch (type.kind) {
      case Kind::number:
        return range(node, name, parse_number(node.text), type, [](std::uint64_t n) { return std::to_string(n); });
      case Kind::size:
        return range(node, name, parse_size(node.text), type,
                     [](std::uint64_t n) { return std::to_string(n) + " bytes"; });
      case Kind::duration: {
        const auto parsed = parse_duration(node.text);
        return range(node, name, parsed.map([](auto ms) { return static_cast<std::uint64_t>(ms.count()); }), type,
                     [](std::uint64_t n) { return duration_text(std::chrono::milliseconds(n)); });
      }
      case Kind::decimal:
        return range(node, name, parse_decimal(node.text), type, decimal_text);
      case Kind::percent:
        if (const auto parsed = parse_percent(node.text); !parsed) {
          problems_.error(node.place, name.text() + ": " + parsed.error().message);
        }
        return;
      case Kind::choice:
        return choice(node, type, name);
      default:
        if (node.text.size() > type.max) {
          problems_.error(node.place, name.text() + " may have at most " + size_text(type.max) + ", and has " +
                                          std::to_string(node.text.size()) + " bytes");
        }
        return;
    }
  }

  template <class T, class Text>
  void range(const Node& node, Label name, const core::Result<T>& parsed, const Type& type, Text text) {
    if (!parsed) {
      problems_.error(node.place, name.text() + ": " + parsed.error().message);
    } else if (*parsed < type.min || *parsed > type.max) {
      problems_.error(node.place, name.text() + " must be " +
                                      (type.max == UINT64_MAX ? "at least " + text(type.min)
                                                              : text(type.min) + " to " + text(type.max)) +
                                      ", not " + quote(node.text));
    }
  }

  void choice(const Node& node, const Type& type, Label name) {
    std::vector<std::string_view> words;
    std::string listed;
    for (const auto& word : type.words) {
      if (word.text == node.text) return;
      words.push_back(word.text);
      listed += (listed.empty() ? "" : ", ") + std::string(word.text);
    }
    auto hint = foreign(node.text, type);
    problems_.error(
        node.place,
        name.text() + (words.size() == 1 ? " must be " : " must be one of ") + listed + ", not " + quote(node.text),
        hint.empty() ? did_you_mean(node.text, words) : std::move(hint));
  }

  static bool is_word(const Type& type, std::string_view text) {
    return std::any_of(type.words.begin(), type.words.end(), [&](const Word& word) { return word.text == text; });
  }

  static std::string_view expected(const Type& type) {
    switch (type.kind) {
      case Kind::number:
      case Kind::decimal:
        return "a number";
      case Kind::duration:
        return "a time like 5s";
      case Kind::size:
        return "a size like 64KiB";
      case Kind::percent:
        return "a share like 50%";
      default:
        return "a single value";
    }
  }

  Problems& problems_;
  bool include_;
};

}  // namespace

void check(const Node& root, const Type& type, Problems& problems, bool include) {
  Checker(problems, include).value(root, type, {});
}

}  // namespace edgemux::config
