#include "cli/schema.h"

#include <ostream>

#include "config/json_schema.h"

namespace edgemux::cli {

int schema(bool include, std::ostream& out) {
  out << config::json_schema(include ? config::SchemaOf::included_file : config::SchemaOf::main_file);
  return 0;
}

}  // namespace edgemux::cli
