// The text itself; that it takes and refuses what the parser does is shown with a validator in tests/schema_test.py.
#include "config/json_schema.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "config/schema.h"

namespace edgemux::config {
namespace {

using nlohmann::json;

json schema(SchemaOf file = SchemaOf::main_file) { return json::parse(json_schema(file)); }

void keys_without_help(const Type& type, const std::string& path, std::set<const Type*>& seen,
                       std::vector<std::string>& out) {
  if (!seen.insert(&type).second) return;
  for (const auto& field : type.fields) {
    if (field.help.empty()) out.push_back(path + "." + std::string(field.name));
    keys_without_help(*field.type, path + "." + std::string(field.name), seen, out);
  }
  for (const Type* below : {type.element, type.scalar, type.map, type.list}) {
    if (below != nullptr) keys_without_help(*below, path, seen, out);
  }
}

TEST(JsonSchema, EverySupportedKeySaysWhatItIsFor) {
  std::set<const Type*> seen;
  std::vector<std::string> missing;
  keys_without_help(configuration_type(), "", seen, missing);
  EXPECT_EQ(missing, std::vector<std::string>()) << "write a `help` in config/schema.cc";
}

TEST(JsonSchema, HoldsHelpRangesAndWords) {
  const auto properties = schema()["properties"];
  EXPECT_EQ(properties["routes"]["description"], "hosts, and what they get");
  const auto workers = properties["workers"]["anyOf"];
  EXPECT_EQ(workers[0], json({{"type", "integer"}, {"minimum", 1}, {"maximum", 1024}}));
  EXPECT_EQ(workers[2], json({{"enum", {"auto"}}}));
  EXPECT_EQ(properties["version"]["enum"], json({"1", 1}));
}

TEST(JsonSchema, SaysHowLongATextMayBe) {
  const auto whole = json_schema(SchemaOf::main_file);
  EXPECT_NE(whole.find("\"maxLength\": 1048576"), std::string::npos);
  EXPECT_NE(whole.find("\"maxLength\": 8192"), std::string::npos);
}

TEST(JsonSchema, AnIncludedFileHasOnlyItsOwnKeys) {
  const auto included = schema(SchemaOf::included_file);
  EXPECT_TRUE(included["properties"].contains("routes"));
  EXPECT_FALSE(included["properties"].contains("listeners"));
  EXPECT_FALSE(included.contains("required"));
  EXPECT_EQ(schema()["required"], json({"listeners"}));
}

TEST(JsonSchema, EveryReferenceLeadsSomewhere) {
  for (const auto file : {SchemaOf::main_file, SchemaOf::included_file}) {
    const auto whole = schema(file);
    std::size_t references = 0;
    const auto text = whole.dump();
    for (auto at = text.find("#/$defs/"); at != std::string::npos; at = text.find("#/$defs/", at + 1)) {
      const auto name = text.substr(at + 8, text.find('"', at) - at - 8);
      EXPECT_TRUE(whole["$defs"].contains(name)) << name;
      ++references;
    }
    EXPECT_GE(references, 2U);
  }
}

}  // namespace
}  // namespace edgemux::config
