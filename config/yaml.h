#pragma once
// parse_yaml: bytes to a Document, or to problems with their places. The one file that knows libfyaml is yaml.cc.
//
// Refused, each with its own message: an empty file, invalid UTF-8, NUL bytes, tabs as indentation, several documents,
// a top level that is no map, duplicate keys (both places named), keys that are no scalars, tags, merge keys, and
// whatever goes beyond the caps.

#include <memory>

#include "config/node.h"
#include "config/problems.h"

namespace edgemux::config {

constexpr std::size_t max_yaml_depth = 32;
constexpr std::size_t max_yaml_aliases = 1000;         // aliases in a file
constexpr std::size_t max_yaml_alias_nodes = 100'000;  // nodes that they expand to

// Null: a problem was reported.
std::unique_ptr<Document> parse_yaml(std::shared_ptr<const std::string> bytes, Problems& problems);

}  // namespace edgemux::config
