#pragma once
// Problems: collects the diagnostics of one file while it is read. After `max_reported` errors the rest are counted
// only.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/diagnostic.h"
#include "config/node.h"

namespace edgemux::config {

class Problems {
 public:
  static constexpr std::size_t max_reported = 200;

  // `bytes` may be null (a file that could not be read).
  Problems(std::shared_ptr<const std::string> file, std::shared_ptr<const std::string> bytes)
      : file_(std::move(file)), bytes_(std::move(bytes)) {}

  void error(Place place, std::string message, std::string hint = {}) {
    add(Severity::error, place, std::move(message), std::move(hint));
  }
  // An error that costs its own part only: the file goes on without it, and errors() does not count it.
  void flaw(Place place, std::string message, std::string hint = {}) {
    add(Severity::error, place, std::move(message), std::move(hint));
    --errors_;
  }
  void warning(Place place, std::string message, std::string hint = {}) {
    add(Severity::warning, place, std::move(message), std::move(hint));
  }

  [[nodiscard]] routing::Origin origin(Place place) const { return {file_, place.line, place.column}; }
  [[nodiscard]] std::size_t errors() const { return errors_; }
  [[nodiscard]] std::vector<Diagnostic> take();

 private:
  void add(Severity severity, Place place, std::string message, std::string hint);

  std::shared_ptr<const std::string> file_;
  std::shared_ptr<const std::string> bytes_;
  std::vector<Diagnostic> diagnostics_;
  std::size_t errors_ = 0;
  std::size_t unreported_ = 0;
};

// 'text' for messages: quoted, cut to a readable length.
std::string quote(std::string_view text);

// The line of `bytes`, without its end; empty beyond the last one.
std::string_view line_of(std::string_view bytes, std::uint32_t line);

}  // namespace edgemux::config
