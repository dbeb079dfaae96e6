#include "config/diagnostic.h"

#include <algorithm>

#include "config/problems.h"
#include "config/utf8.h"

namespace edgemux::config {
namespace {

// U+0080 to U+009F, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069: controls, line ends, and those that turn the
// direction of what follows.
bool turns(std::string_view character) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 2) return byte(0) == 0xC2 && byte(1) < 0xA0;
  if (character.size() != 3 || byte(0) != 0xE2) return false;
  if (byte(1) == 0x80) return byte(2) == 0x8E || byte(2) == 0x8F || (byte(2) >= 0xA8 && byte(2) <= 0xAE);
  return byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9;
}

// Without what would move a terminal's cursor, start a line of its own in a log, read other than it stands, or is no
// UTF-8.
std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const std::size_t length = utf8_length(text, at);
    if (byte == '\t') {
      out += ' ';
    } else if (byte < 0x20 || byte == 0x7f || length == 0 || turns(text.substr(at, length))) {
      out += '?';
    } else {
      out += text.substr(at, length);
    }
    at += length == 0 ? 1 : length;
  }
  return out;
}

bool continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

// The byte where the `column`-th character (from 1) begins.
std::size_t offset_of(std::string_view line, std::size_t column) {
  std::size_t at = 0;
  for (std::size_t seen = 1; at < line.size() && seen < column; ++seen) {
    ++at;
    while (at < line.size() && continuation(line[at])) ++at;
  }
  return at;
}

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> before2(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before2.swap(before);
    before.swap(row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({before[j] + 1, row[j - 1] + 1, before[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before2[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace

std::string Diagnostic::headline() const {
  std::string out = origin.file == nullptr ? std::string("(default)") : printable(*origin.file);
  if (origin.line != 0) out += ":" + std::to_string(origin.line) + ":" + std::to_string(origin.column);
  out += severity == Severity::error ? ": error: " : ": warning: ";
  out += printable(message);
  if (!hint.empty()) out += "; " + printable(hint);
  return out;
}

void Diagnostic::show(std::string_view line) {
  constexpr std::size_t width = 120;  // bytes
  constexpr std::size_t longest = 3;  // continuation bytes of a character
  const std::size_t at = offset_of(line, origin.column);
  std::size_t begin = at > width ? at - width / 2 : 0;
  for (std::size_t i = 0; i < longest && begin > 0 && begin < line.size() && continuation(line[begin]); ++i) --begin;
  std::size_t end = std::min(line.size(), begin + width);
  for (std::size_t i = 0; i < longest && end < line.size() && continuation(line[end]); ++i) ++end;
  source_line = line.substr(begin, end - begin);
  source_column = 1;
  for (std::size_t i = begin; i < at; ++i) source_column += continuation(line[i]) ? 0 : 1;
}

std::string Diagnostic::render() const {
  std::string out = headline();
  if (source_line.empty() || origin.line == 0) return out;
  out += "\n    " + printable(source_line);
  out += "\n    " + std::string(source_column - 1, ' ') + "^";
  return out;
}

bool any_error(const std::vector<Diagnostic>& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& d) { return d.severity == Severity::error; });
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  if (word.empty() || word.size() > 64) return {};
  std::size_t best = std::max<std::size_t>(1, word.size() / 3) + 1;
  std::string_view found;
  for (const auto candidate : candidates) {
    const std::size_t longer = std::max(word.size(), candidate.size());
    if (longer - std::min(word.size(), candidate.size()) >= best) continue;
    const std::size_t d = distance(word, candidate);
    if (d < best && d < candidate.size()) {
      best = d;
      found = candidate;
    }
  }
  return found;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& candidates) {
  const auto found = nearest(word, candidates);
  if (found.empty() || found == word) return {};
  return "did you mean '" + std::string(found) + "'?";
}

std::string Problems::uses_of(Place place) const {
  constexpr std::size_t most = 3;
  std::size_t found = 0;
  std::string out;
  for (const Alias& alias : aliases_) {
    if (place <= alias.begin || alias.end < place || ++found > most) continue;
    out += (out.empty() ? " (used at " : ", ") + std::to_string(alias.at.line) + ":" + std::to_string(alias.at.column);
  }
  if (found > most) out += " and " + std::to_string(found - most) + " more";
  return out.empty() ? out : out + ", too)";
}

bool Problems::add(Severity severity, Place place, std::string message, std::string hint) {
  if (severity == Severity::error) ++errors_;
  if (full()) {
    if (severity == Severity::error) ++unreported_;
    return false;
  }
  message += uses_of(place);
  const bool again = std::any_of(diagnostics_.begin(), diagnostics_.end(), [&](const Diagnostic& one) {
    return place.line != 0 && one.origin.line == place.line && one.origin.column == place.column &&
           one.severity == severity && one.message == message && one.hint == hint;
  });
  if (again) return false;
  Diagnostic d;
  d.severity = severity;
  d.origin = origin(place);
  d.message = std::move(message);
  d.hint = std::move(hint);
  if (bytes_ != nullptr && place.line != 0) d.show(line_of(*bytes_, place.line));
  diagnostics_.push_back(std::move(d));
  return true;
}

bool Problems::sound_between(Place from, Place to) const {
  return !full() && std::none_of(diagnostics_.begin(), diagnostics_.end(), [&](const Diagnostic& one) {
    const Place at{one.origin.line, one.origin.column};
    return one.severity == Severity::error && from <= at && at < to;
  });
}

std::vector<Diagnostic> Problems::take() {
  if (unreported_ > 0) {
    Diagnostic d;
    d.origin = origin({});
    d.message =
        "and " + std::to_string(unreported_) + (unreported_ == 1 ? " more error" : " more errors") + " in this file";
    d.rest = unreported_;
    diagnostics_.push_back(std::move(d));
    unreported_ = 0;
  }
  std::vector<Diagnostic> out;
  out.swap(diagnostics_);
  return out;
}

std::string quote(std::string_view text) {
  constexpr std::size_t longest = 80;
  if (text.size() <= longest) return "'" + std::string(text) + "'";
  std::size_t end = longest;
  while (end > 0 && continuation(text[end])) --end;
  return "'" + std::string(text.substr(0, end)) + "...'";
}

std::string_view line_of(std::string_view bytes, std::uint32_t line) {
  std::size_t at = 0;
  for (std::uint32_t n = 1; n < line; ++n) {
    at = bytes.find('\n', at);
    if (at == std::string_view::npos) return {};
    ++at;
  }
  auto text = bytes.substr(at, bytes.find('\n', at) - at);
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  return text;
}

}  // namespace edgemux::config
