#include "core/http/path.h"

#include <algorithm>
#include <array>

#include "core/http/bytes.h"

namespace edgemux::core {
namespace {

bool is_unreserved(char c) { return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~'; }

enum class Byte : std::uint8_t { usual, dot_or_slash, escape, raw };

// raw: a target may hold it, though a URI may not (RFC 3986, 2).
constexpr auto kBytes = [] {
  std::array<Byte, 256> table{};
  for (const char c : {'.', '/'}) table[to_byte(c)] = Byte::dot_or_slash;
  for (const char c : {'%', '\\'}) table[to_byte(c)] = Byte::escape;
  for (const char c : {'"', '<', '>', '^', '`', '{', '|', '}'}) table[to_byte(c)] = Byte::raw;
  return table;
}();

bool is_raw(char c) { return kBytes[to_byte(c)] == Byte::raw; }

// Neither an escape, nor a backslash, nor what must be escaped, nor an empty segment, nor one that starts with a dot.
bool is_plain(std::string_view path) {
  bool behind_slash = false;
  for (const char c : path) {
    const Byte kind = kBytes[to_byte(c)];
    if (kind != Byte::usual && (kind != Byte::dot_or_slash || behind_slash)) return false;
    behind_slash = c == '/';
  }
  return true;
}

void put_escaped(int byte, char* out, std::size_t& size) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  out[size++] = '%';
  out[size++] = digits[static_cast<std::size_t>(byte / 16)];
  out[size++] = digits[static_cast<std::size_t>(byte % 16)];
}

// Decodes what may be decoded and writes the rest in one spelling. Null when all is well.
const char* decode(std::string_view path, char* out, std::size_t& size) {
  size = 0;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (c == '\\') return "backslash in the path";
    if (c != '%') {
      if (c == '/' && size != 0 && out[size - 1] == '/') continue;
      if (is_raw(c)) {
        put_escaped(c, out, size);
      } else {
        out[size++] = c;
      }
      continue;
    }
    const int high = i + 2 < path.size() ? hex_digit(path[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(path[i + 2]) : -1;
    if (low < 0) return "invalid escape in the path";
    const int byte = high * 16 + low;
    if (byte < 0x20 || byte == 0x7f) return "encoded control in the path";
    i += 2;
    if (byte < 0x80 && is_unreserved(static_cast<char>(byte))) {
      out[size++] = static_cast<char>(byte);
    } else {
      put_escaped(byte, out, size);
    }
  }
  return nullptr;
}

bool is_dots(std::string_view text) {
  return text == "." || text == ".." || text.starts_with(".;") || text.starts_with("..;");
}

// "..%2Fa", "a%5C..": a dot segment for whoever takes an escaped slash for one. Escapes are in upper case.
bool hides_dots(std::string_view segment) {
  constexpr std::size_t kEscape = 3;
  bool several = false;
  for (std::size_t at = 0; (at = segment.find('%', at)) != std::string_view::npos;) {
    const std::string_view escape = segment.substr(at, kEscape);
    if (escape != "%2F" && escape != "%5C") {
      ++at;
      continue;
    }
    if (is_dots(segment.substr(0, at))) return true;
    segment.remove_prefix(at + kEscape);
    several = true;
    at = 0;
  }
  return several && is_dots(segment);
}

// Resolves "." and ".." in place (RFC 3986, 5.2.4); the text starts with '/' and has no empty segment but the last.
const char* resolve_dots(char* text, std::size_t& size) {
  std::size_t to = 1;
  for (std::size_t from = 1; from < size;) {
    std::size_t end = from;
    while (end < size && text[end] != '/') ++end;
    const std::string_view segment(text + from, end - from);
    if (segment == ".." && to == 1) return "path climbs above the root";
    if (segment.starts_with(".;") || segment.starts_with("..;")) return "dot segment with a parameter";
    if (hides_dots(segment)) return "dot segment with an escaped slash";
    if (segment == "..") {
      --to;  // behind the '/' that ends the segment before
      while (text[to - 1] != '/') --to;
    } else if (segment != ".") {
      while (from < end) text[to++] = text[from++];
      if (end < size) text[to++] = '/';
    }
    from = end + 1;
  }
  size = to;
  return nullptr;
}

}  // namespace

std::size_t path_room(std::string_view path) {
  const auto raw = static_cast<std::size_t>(std::count_if(path.begin(), path.end(), is_raw));
  return path.size() + raw * (kPathGrowth - 1);
}

NormalPath normalize_path(std::string_view path, std::span<char> scratch) {
  if (!path.starts_with('/')) return {"path without a leading slash", {}};
  if (is_plain(path)) return {nullptr, path};
  if (scratch.size() < kPathGrowth * path.size() && scratch.size() < path_room(path)) return {"path too long", {}};
  std::size_t size = 0;
  const char* error = decode(path, scratch.data(), size);
  if (error == nullptr) error = resolve_dots(scratch.data(), size);
  if (error != nullptr) return {error, {}};
  return {nullptr, {scratch.data(), size}};
}

}  // namespace edgemux::core
