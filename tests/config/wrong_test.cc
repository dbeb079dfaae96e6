// Whatever is wrong is told at its place, with what to write instead. Walks the schema, so that a new key is covered
// with its entry there; the case files hold what a key's value may get wrong beyond its kind.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>
#include <set>

#include "config/compiler.h"
#include "config/schema.h"
#include "config/yaml.h"
#include "tests/config/disk_fixture.h"

namespace edgemux::config {
namespace {

// The way to one key through the file, as flow YAML: what stands before its value, and what closes it.
struct Spot {
  std::string key;
  std::string before;  // ends behind "key: "
  std::string after;
  const Field* field = nullptr;
  const Type* map = nullptr;  // that the key stands in
};

// Each map type once: in how many places it stands does not matter.
void spots(const Type& type, const std::string& before, const std::string& after, std::set<const Type*>& seen,
           std::vector<Spot>& out) {
  if (!seen.insert(&type).second) return;
  for (const auto& field : type.fields) {
    const std::string opened = before + "{ " + std::string(field.name) + ": ";
    out.push_back({std::string(field.name), opened, " }" + after, &field, &type});
    spots(*field.type, opened, " }" + after, seen, out);
  }
  if (type.kind == Type::Kind::dictionary) spots(*type.element, before + "{ any: ", " }" + after, seen, out);
  if (type.kind == Type::Kind::list) spots(*type.element, before + "[ ", " ]" + after, seen, out);
  for (const Type* below : {type.scalar, type.map, type.list}) {
    if (below != nullptr) spots(*below, before, after, seen, out);
  }
}

std::vector<Spot> every_key() {
  std::set<const Type*> seen;
  std::vector<Spot> out;
  spots(configuration_type(), "", "", seen, out);
  return out;
}

std::vector<Diagnostic> checked(const std::string& text) {
  const auto bytes = std::make_shared<const std::string>(text);
  Problems problems(std::make_shared<const std::string>("f"), bytes);
  const auto document = parse_yaml(bytes, problems);
  EXPECT_NE(document, nullptr) << text;
  if (document != nullptr) check(*document->root(), configuration_type(), problems, false);
  return problems.take();
}

const Diagnostic* at_column(const std::vector<Diagnostic>& all, std::size_t column) {
  for (const auto& one : all) {
    if (one.origin.line == 1 && one.origin.column == column) return &one;
  }
  return nullptr;
}

bool takes(const Type& type, Type::Kind kind) {
  if (type.kind != Type::Kind::either) {
    const bool list = type.kind == Type::Kind::list;
    const bool map = type.kind == Type::Kind::map || type.kind == Type::Kind::dictionary;
    return kind == Type::Kind::list ? list : kind == Type::Kind::map ? map : !list && !map;
  }
  return (kind == Type::Kind::list ? type.list : kind == Type::Kind::map ? type.map : type.scalar) != nullptr;
}

TEST(Wrong, EveryKeyOfTheWrongKindIsToldAtItsValue) {
  std::size_t asked = 0;
  for (const auto& spot : every_key()) {
    const std::pair<Type::Kind, const char*> wrong[] = {
        {Type::Kind::list, "[ x ]"}, {Type::Kind::map, "{ x: y }"}, {Type::Kind::text, "\"x y\""}};
    for (const auto& [kind, value] : wrong) {
      if (takes(*spot.field->type, kind)) continue;
      const std::string text = spot.before + value + spot.after;
      const auto all = checked(text);
      const auto* told = at_column(all, spot.before.size() + 1);
      ASSERT_NE(told, nullptr) << text;
      EXPECT_NE(told->message.find("'" + spot.key + "'"), std::string::npos) << told->render();
      EXPECT_NE(told->message.find("must be"), std::string::npos) << told->render();
      ++asked;
    }
  }
  EXPECT_GT(asked, 200U);
}

TEST(Wrong, EveryKeyWithoutAValueIsTold) {
  for (const auto& spot : every_key()) {
    const auto& type = *spot.field->type;
    if (type.kind == Type::Kind::text && !type.words.empty()) continue;  // empty is a word of its own there
    const std::string text = spot.before + "~" + spot.after;
    const auto all = checked(text);
    const auto* told = at_column(all, spot.before.size() + 1);
    ASSERT_NE(told, nullptr) << text;
    EXPECT_NE(told->message.find("'" + spot.key + "' has no value"), std::string::npos) << told->render();
  }
}

TEST(Wrong, EveryMisspelledKeyIsGuessed) {
  for (const auto& spot : every_key()) {
    const std::size_t key = spot.before.size() - spot.key.size() - 2;
    const std::string text = spot.before.substr(0, key) + spot.key + "q: 1" + spot.after;
    const auto all = checked(text);
    const auto* told = at_column(all, key + 1);
    ASSERT_NE(told, nullptr) << text;
    EXPECT_EQ(told->message, "unknown key '" + spot.key + "q'");
    // A key that is as near by may be named in its place ("tenants" for "tenantq").
    EXPECT_EQ(told->hint.rfind("did you mean '" + spot.key.substr(0, spot.key.size() - 1), 0), 0U) << told->hint;
  }
}

TEST(Wrong, EveryNumberTimeSizeShareAndWordSaysHowToWriteIt) {
  std::size_t asked = 0;
  for (const auto& spot : every_key()) {
    const char* how = nullptr;
    switch (spot.field->type->kind) {
      case Type::Kind::number:
        how = "is not a whole number";
        break;
      case Type::Kind::duration:
        how = "is not a time; write it like 500ms, 5s, 1m or 1h";
        break;
      case Type::Kind::size:
        how = "is not a size; write it like 64KiB, 100MiB or 4096 (bytes)";
        break;
      case Type::Kind::decimal:
        how = "is not a number like 5 or 0.25";
        break;
      case Type::Kind::percent:
        how = "is not a share; write it like 50%";
        break;
      case Type::Kind::choice:
        how = "must be ";
        break;
      default:
        continue;
    }
    const std::string text = spot.before + "wrong" + spot.after;
    const auto all = checked(text);
    const auto* told = at_column(all, spot.before.size() + 1);
    ASSERT_NE(told, nullptr) << text;
    EXPECT_NE(told->message.find(how), std::string::npos) << told->render();
    ++asked;
  }
  EXPECT_GT(asked, 50U);
}

class WrongFile : public DiskTest {
 protected:
  std::string told(const std::string& name) {
    CompilerOptions options;
    options.state_dir = "";
    const auto compiled = Compiler(path(name), std::move(options)).compile();
    EXPECT_EQ(compiled.snapshot, nullptr);
    EXPECT_EQ(compiled.diagnostics.size(), 1U);
    auto out = compiled.diagnostics.empty() ? "" : compiled.diagnostics.front().headline();
    for (auto at = out.find(root_.string()); at != std::string::npos; at = out.find(root_.string())) {
      out.erase(at, root_.string().size() + 1);
    }
    return out;
  }
};

TEST_F(WrongFile, SaysWhyItCannotBeRead) {
  EXPECT_EQ(told("none.yaml"), "none.yaml: error: cannot read none.yaml: No such file or directory");
  folder("folder.yaml");
  EXPECT_EQ(told("folder.yaml"), "folder.yaml: error: cannot read folder.yaml: it is a directory");
  ASSERT_EQ(::mkfifo(path("fifo.yaml").c_str(), 0600), 0);
  EXPECT_EQ(told("fifo.yaml"), "fifo.yaml: error: cannot read fifo.yaml: it is not a regular file");
  write("large.yaml", "x");
  fs::resize_file(path("large.yaml"), (64ULL << 20U) + 1);
  EXPECT_EQ(told("large.yaml"), "large.yaml: error: cannot read large.yaml: it is larger than 64 MiB");
  write("open.yaml", "listeners: []\n");
  ASSERT_EQ(::chmod(path("open.yaml").c_str(), 0666), 0);
  EXPECT_EQ(told("open.yaml"),
            "open.yaml: error: cannot read open.yaml: everybody may write to it, so it is not trusted; run chmod o-w");
  fs::create_symlink(path("loop.yaml"), path("loop.yaml"));
  EXPECT_EQ(told("loop.yaml"), "loop.yaml: error: cannot read loop.yaml: Too many levels of symbolic links");
}

TEST_F(WrongFile, SaysWhereItIsNoYaml) {
  write("a.yaml", "listeners:\n\t- name: x\n");
  EXPECT_EQ(told("a.yaml"), "a.yaml:2:1: error: tabs cannot indent YAML; use spaces");
  write("b.yaml", "listeners: [\n");
  EXPECT_NE(told("b.yaml").find("b.yaml:2:1: error: this is not valid YAML"), std::string::npos) << told("b.yaml");
  write("c.yaml", "# caf\xe9\n");
  EXPECT_EQ(told("c.yaml"), "c.yaml:1:6: error: the file is not valid UTF-8; save it in that encoding");
  write("d.yaml", std::string("\xff\xfel\0i\0", 6));
  EXPECT_EQ(told("d.yaml"), "d.yaml:1:1: error: the file is not valid UTF-8; save it in that encoding");
  write("e.yaml", std::string(40, '[') + std::string(40, ']'));
  EXPECT_EQ(told("e.yaml"), "e.yaml:1:33: error: nested deeper than 32 levels");
}

}  // namespace
}  // namespace edgemux::config
