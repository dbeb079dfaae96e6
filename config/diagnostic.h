#pragma once
// Diagnostic: one thing that is wrong with the configuration, with its place, in words for the operator.
//
// render() gives what `edgemux check` and the log print:
//
//   routes.d/a.yaml:12:5: error: unknown key 'pasthrough'; did you mean 'passthrough'?
//       pasthrough: 10.0.0.7:443
//       ^

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "routing/table/origin.h"

namespace edgemux::config {

enum class Severity : std::uint8_t { error, warning };

struct Diagnostic {
  Severity severity = Severity::error;
  routing::Origin origin;  // line 0: the file as a whole
  std::string message;
  std::string hint;             // "did you mean 'passthrough'?"; may be empty
  std::string source_line;      // the line that `origin` points into, a long one cut around there; may be empty
  std::size_t source_column{};  // in that, from 1
  std::string tenant = {};      // whose file it is in; empty = the platform's
  std::size_t rest = 0;  // of its file, that it stands for and that are not listed; then it is the file's last one
  bool flaw = false;     // an error that costs its own part only: no file is set aside for it

  friend bool operator==(const Diagnostic&, const Diagnostic&) = default;

  // Sets source_line and source_column.
  void show(std::string_view line);
  // "FILE:LINE:COLUMN: error: MESSAGE; HINT": one line, for logs.
  [[nodiscard]] std::string headline() const;
  // The headline, the source line and a caret under the column; no newline at the end.
  [[nodiscard]] std::string render() const;
};

[[nodiscard]] bool any_error(const std::vector<Diagnostic>& diagnostics);

// The candidate that is nearest to `word` (edit distance, at most a third of its length), or empty.
[[nodiscard]] std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);
// "did you mean 'X'?" or empty.
[[nodiscard]] std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace edgemux::config
