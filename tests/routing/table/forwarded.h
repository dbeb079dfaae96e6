#pragma once
// What of a field list goes on to the other side.

#include <string>
#include <vector>

#include "core/http/field.h"

namespace edgemux::test {

inline std::vector<std::string> forwarded(const core::FieldList& fields) {
  std::vector<std::string> out;
  for (const auto& field : fields) {
    if (!field.hop_by_hop) out.push_back(std::string(field.name) + ": " + std::string(field.value));
  }
  return out;
}

}  // namespace edgemux::test
