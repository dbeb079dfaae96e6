#pragma once
// `edgemux schema`: the configuration's JSON Schema.

#include <iosfwd>

namespace edgemux::cli {

// `include`: of an included file. Always 0.
int schema(bool include, std::ostream& out);

}  // namespace edgemux::cli
