#pragma once
// The schema: every key of configuration version 1 described once, as data. It drives which keys are known, their "did
// you mean", and the type and range checks.
//
// check() reports everything that one node at a time can tell (unknown keys, wrong types, values out of range, missing
// keys). Whoever reads the tree afterwards meets only nodes that it passed, or passes over them in silence.

#include <cstdint>
#include <string_view>
#include <vector>

#include "config/node.h"
#include "config/problems.h"

namespace edgemux::config {

struct Type;

struct Word {
  std::string_view text;
};

// What other programs, or people, call it, and what to write here.
struct Foreign {
  std::string_view word;
  std::string_view hint;
};

struct Field {
  enum class Need : std::uint8_t { optional, required };
  std::string_view name;
  const Type* type = nullptr;
  std::string_view help = {};  // what it says, in one line, for the JSON Schema
  Need need = Need::optional;
  bool main_only = false;     // refused in includes
  bool include_only = false;  // refused in the main file, by whoever reads the tree
};

struct Type {
  enum class Kind : std::uint8_t {
    text,
    number,
    duration,
    size,
    percent,
    decimal,
    choice,
    map,
    dictionary,
    list,
    either
  };
  Kind kind = Kind::text;
  std::uint64_t min = 0;  // number; duration in ms; size in bytes; decimal in thousandths; list in elements; of text
                          // only `max`, in bytes
  std::uint64_t max = UINT64_MAX;
  std::vector<Word> words = {};       // choice: all; number, duration: accepted besides ("auto", "off")
  std::vector<Foreign> foreign = {};  // choice: words that are none; map: keys that it does not have
  std::string_view example = {};      // map: what to write where something else stands
  std::vector<Field> fields = {};     // map
  const Type* element = nullptr;      // dictionary and list
  // either: by the kind of the node; null = that kind is refused
  const Type* scalar = nullptr;
  const Type* map = nullptr;
  const Type* list = nullptr;
};

// The whole file.
const Type& configuration_type();

void check(const Node& root, const Type& type, Problems& problems, bool include);

}  // namespace edgemux::config
