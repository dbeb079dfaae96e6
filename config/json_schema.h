#pragma once
// json_schema: the schema as JSON Schema (draft 2020-12), for editors and for checks before a deployment. Made from the
// very description that the parser uses. What `check` accepts it accepts, given the file as YAML 1.1 or 1.2 loaders see
// it (`off` may have become false); what only several keys together can tell wrong (a route without rules, two equal
// hosts) it does not know.

#include <string>

namespace edgemux::config {

enum class SchemaOf { main_file, included_file };

// Indented, ends with a newline.
std::string json_schema(SchemaOf file);

}  // namespace edgemux::config
