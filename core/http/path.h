#pragma once
// One path for matching and forwarding: what the rules look at is what the upstream gets, so that no two readings of a
// path exist. Pure.
//
// - Percent-encoded unreserved characters (RFC 3986, 2.3) are decoded, other escapes stay, their hex in upper case:
//   "%2F" never becomes a separator. What a target may hold and a URI may not, " < > ^ ` { | }, is escaped.
// - "." and ".." segments are resolved, encoded dots too. Going above the root is refused.
// - Runs of '/' become one. Backends differ in how they read "//admin", and a rule on /admin must not be avoidable; the
//   price is that a URL within a path ("/proxy/https://x") reaches the upstream with one slash.
// - Refused: no leading '/', a bad escape, an encoded control (%00-%1F, %7F), a backslash, "." or ".." followed by ';'
//   (some backends drop the parameter and then climb), and "." or ".." next to %2F or %5C (many decode, then climb). So
//   is the "*" of OPTIONS: it is no path.

#include <cstddef>
#include <span>
#include <string_view>

namespace edgemux::core {

struct NormalPath {
  const char* error = nullptr;  // static text; answer 400
  std::string_view path;        // the input itself when nothing was to be changed, else a view into `scratch`
};

// A byte of a path may become an escape.
inline constexpr std::size_t kPathGrowth = 3;
// How many bytes normalize_path() may need: at most kPathGrowth * path.size(). Looks at every byte.
std::size_t path_room(std::string_view path);

// `path`: without the query. `scratch`: at least path_room(path) bytes, only used when something changes.
NormalPath normalize_path(std::string_view path, std::span<char> scratch);

}  // namespace edgemux::core
