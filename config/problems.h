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

  // `bytes` may be null (a file that could not be read). `path` is the file's, absolute, where paths in it are read.
  Problems(std::shared_ptr<const std::string> file, std::shared_ptr<const std::string> bytes, std::string path = {})
      : file_(std::move(file)), bytes_(std::move(bytes)), path_(std::move(path)) {}

  [[nodiscard]] const std::string& path() const { return path_; }

  void error(Place place, std::string message, std::string hint = {}) {
    add(Severity::error, place, std::move(message), std::move(hint));
  }
  // An error that costs its own part only: the file goes on without it, and errors() does not count it.
  void flaw(Place place, std::string message, std::string hint = {}) {
    if (add(Severity::error, place, std::move(message), std::move(hint))) diagnostics_.back().flaw = true;
    --errors_;
  }
  void warning(Place place, std::string message, std::string hint = {}) {
    add(Severity::warning, place, std::move(message), std::move(hint));
  }

  // That many more, of which each alone is not told.
  void more_warnings(std::size_t count, std::string_view what) {
    if (diagnostics_.size() >= max_reported) return;
    warning({}, "and " + std::to_string(count) + " more " + std::string(what));
    diagnostics_.back().rest = count;
  }

  // From now on, what is wrong behind `begin` up to `end` is wrong where the alias `at` stands for it, too.
  void note_alias(Place at, Place begin, Place end) { aliases_.push_back({at, begin, end}); }

  [[nodiscard]] routing::Origin origin(Place place) const { return {file_, place.line, place.column}; }
  [[nodiscard]] std::size_t errors() const { return errors_; }
  // False also when there are more than are kept: nobody knows where those stand.
  [[nodiscard]] bool sound_between(Place from, Place to) const;
  // What is added now is counted only: a hint for it is no use.
  [[nodiscard]] bool full() const { return diagnostics_.size() >= max_reported; }
  [[nodiscard]] std::vector<Diagnostic> take();

 private:
  // False: it is counted only, or stands here already, as what an alias stands for is told of once.
  bool add(Severity severity, Place place, std::string message, std::string hint);

  struct Alias {
    Place at;
    Place begin;
    Place end;
  };
  // " (used at 5:9, too)", or empty.
  [[nodiscard]] std::string uses_of(Place place) const;

  std::shared_ptr<const std::string> file_;
  std::shared_ptr<const std::string> bytes_;
  std::string path_;
  std::vector<Diagnostic> diagnostics_;
  std::vector<Alias> aliases_;
  std::size_t errors_ = 0;
  std::size_t unreported_ = 0;
};

// 'text' for messages: quoted, cut to a readable length.
std::string quote(std::string_view text);

// The line of `bytes`, without its end; empty beyond the last one.
std::string_view line_of(std::string_view bytes, std::uint32_t line);

}  // namespace edgemux::config
