#include "core/http/bytes.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace edgemux::core {
namespace {

// Every byte at every place of good texts of every length up to three steps of sixteen.
void for_each_text(std::string_view good, const std::function<void(const std::string&)>& check) {
  for (std::size_t length = 0; length <= 48; ++length) {
    std::string text;
    while (text.size() < length) text += good;
    text.resize(length);
    check(text);
    for (std::size_t at = 0; at < length; ++at) {
      for (int byte = 0; byte < 256; ++byte) {
        std::string one = text;
        one[at] = static_cast<char>(byte);
        check(one);
      }
    }
  }
}

TEST(Bytes, ValuesEndWhereTheTableSays) {
  for_each_text("a value\t\xe4 ", [](const std::string& text) {
    std::string copy = text;
    std::size_t end = 0;
    while (end < text.size() && is_value_byte(text[end])) ++end;
    ASSERT_EQ(skip_value(copy.data(), copy.data() + copy.size()) - copy.data(), static_cast<std::ptrdiff_t>(end));
    ASSERT_EQ(all_of<ValueBytes>(text), end == text.size());
  });
}

TEST(Bytes, TargetsEndWhereTheTableSays) {
  for_each_text("/a~!?b=%20", [](const std::string& text) {
    std::string copy = text;
    std::size_t end = 0;
    while (end < text.size() && is_target_byte(text[end])) ++end;
    ASSERT_EQ(skip_target(copy.data(), copy.data() + copy.size()) - copy.data(), static_cast<std::ptrdiff_t>(end));
    ASSERT_EQ(all_of<TargetBytes>(text), end == text.size());
  });
}

TEST(Bytes, PlainNamesAreLowerCaseLettersDigitsAndDashes) {
  for_each_text("x-ab9z", [](const std::string& text) {
    const bool plain = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
    ASSERT_EQ(all_of<PlainNameBytes>(text), plain);
  });
}

TEST(Bytes, TokensAreLoweredToTheirEndAndNothingBehind) {
  for_each_text("X-Ab9Z", [](const std::string& text) {
    std::string expected = text;
    std::size_t end = 0;
    bool underscores = false;
    for (; end < text.size() && token_lower(text[end]) != 0; ++end) {
      expected[end] = token_lower(text[end]);
      underscores |= text[end] == '_';
    }
    std::string copy = text;
    bool underscore = false;
    ASSERT_EQ(lower_token(copy.data(), copy.data() + copy.size(), underscore) - copy.data(),
              static_cast<std::ptrdiff_t>(end));
    ASSERT_EQ(copy, expected);
    ASSERT_EQ(underscore, underscores);
  });
}

}  // namespace
}  // namespace edgemux::core
