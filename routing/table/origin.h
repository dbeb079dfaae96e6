#pragma once
// Origin: the place in the configuration that a value came from, for errors, logs and `explain`.

#include <cstdint>
#include <memory>
#include <string>

namespace edgemux::routing {

struct Origin {
  std::shared_ptr<const std::string> file;  // as the operator wrote it; one string per file, shared
  std::uint32_t line = 0;                   // from 1; 0 = no place (a default)
  std::uint32_t column = 0;                 // from 1

  friend bool operator==(const Origin&, const Origin&) = default;

  // "routes.d/a.yaml:12:3"
  [[nodiscard]] std::string to_string() const {
    if (file == nullptr) return "(default)";
    return *file + ":" + std::to_string(line) + ":" + std::to_string(column);
  }
};

}  // namespace edgemux::routing
