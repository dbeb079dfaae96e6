#include "core/http/path.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace edgemux::core {
namespace {

std::string normal(std::string_view path) {
  std::vector<char> scratch(path_room(path));
  const NormalPath result = normalize_path(path, scratch);
  return result.error != nullptr ? "error: " + std::string(result.error) : std::string(result.path);
}

TEST(Path, NothingToChangeIsTheInputItself) {
  for (const std::string_view path : {"/", "/a", "/a/b.c/", "/a..b/c.", "/a;b=c/d", "/~x/_-"}) {
    const NormalPath result = normalize_path(path, {});
    EXPECT_EQ(result.error, nullptr) << path;
    EXPECT_EQ(result.path.data(), path.data()) << path;
    EXPECT_EQ(result.path.size(), path.size()) << path;
  }
}

TEST(Path, Normalises) {
  const struct {
    const char* from;
    const char* to;
  } table[] = {
      {"/%61%41%7E%2d", "/aA~-"},
      {"/a%2fb", "/a%2Fb"},
      {"/a%2f.b%5c..c%2F%2fd.%2F...", "/a%2F.b%5C..c%2F%2Fd.%2F..."},
      {"/a%252f..%252fb", "/a%252f..%252fb"},
      {"/%e4%bd%a0", "/%E4%BD%A0"},
      {"/a%20b%3F%23", "/a%20b%3F%23"},
      {"/%2541", "/%2541"},
      {"/br{x}", "/br%7Bx%7D"},
      {"/\"<>^`|", "/%22%3C%3E%5E%60%7C"},
      {"/%22%3c%3E%5e%60%7b%7c%7d", "/%22%3C%3E%5E%60%7B%7C%7D"},
      {"/{/../|", "/%7C"},
      {"/a/./b", "/a/b"},
      {"/a/../b", "/b"},
      {"/a/b/../../c", "/c"},
      {"/a/%2e%2E/b", "/b"},
      {"/a/.%2e/b", "/b"},
      {"/a/.", "/a/"},
      {"/a/..", "/"},
      {"/.", "/"},
      {"/./", "/"},
      {"/a/b/..", "/a/"},
      {"//a", "/a"},
      {"/a//b///c//", "/a/b/c/"},
      {"/a//../b", "/b"},
      {"/a/b//../c", "/a/c"},
      {"/.well-known/x", "/.well-known/x"},
      {"/..a/...", "/..a/..."},
      {"/a/.b;c", "/a/.b;c"},
  };
  for (const auto& c : table) {
    EXPECT_EQ(normal(c.from), c.to) << c.from;
    EXPECT_EQ(normal(normal(c.from)), c.to) << c.from;
  }
}

TEST(Path, Refuses) {
  const struct {
    const char* path;
    const char* error;
  } table[] = {
      {"", "path without a leading slash"},         {"*", "path without a leading slash"},
      {"a/b", "path without a leading slash"},      {"/..", "path climbs above the root"},
      {"/a/../../b", "path climbs above the root"}, {"/%2e%2e/a", "path climbs above the root"},
      {"//..", "path climbs above the root"},       {"/a%", "invalid escape in the path"},
      {"/a%4", "invalid escape in the path"},       {"/a%4g", "invalid escape in the path"},
      {"/a%g4", "invalid escape in the path"},      {"/a%00", "encoded control in the path"},
      {"/a%0d%0a", "encoded control in the path"},  {"/a%7f", "encoded control in the path"},
      {"/a\\b", "backslash in the path"},           {"/a/..;x/b", "dot segment with a parameter"},
      {"/a/.;/b", "dot segment with a parameter"},  {"/a/%2e%2e;/b", "dot segment with a parameter"},
  };
  for (const auto& c : table) EXPECT_EQ(normal(c.path), "error: " + std::string(c.error)) << c.path;
  for (const char* path : {"/a/..%2fb", "/a/..%5Cb", "/a/%2e%2e%2Fb", "/a/.%2fb", "/a%2f..", "/a%5c.", "/a%2F..%2Fb",
                           "/..%2f", "/%2f..", "/a%20b%2F..%5c/c", "/a%2f..;x%2fb", "/a%2f%2f../b"}) {
    EXPECT_EQ(normal(path), "error: dot segment with an escaped slash") << path;
  }
}

TEST(Path, RoomIsForWhatIsEscaped) {
  EXPECT_EQ(path_room("/a/./b"), 6U);
  EXPECT_EQ(path_room("/{}"), 7U);
  char scratch[6];
  EXPECT_NE(normalize_path("/{}", scratch).error, nullptr);
}

TEST(Path, ScratchTooSmallIsRefused) {
  char scratch[3];
  EXPECT_NE(normalize_path("/a/./b", scratch).error, nullptr);
}

}  // namespace
}  // namespace edgemux::core
