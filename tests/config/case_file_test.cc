// The table of good and bad configurations: what `check` says of each, to the column.
//
// Case files: tests/config/cases/*.txt, each a row of configurations with the exact output of `check` beside them.
//
//   === name of the case
//   --- edgemux.yaml              the main file; further files likewise
//   --- routes.d/a.yaml escaped   \xHH stands for a byte, \t for a tab
//   --- expect
//   edgemux.yaml:1:1: error: ...

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "config/compiler.h"

namespace edgemux::config {
namespace {

struct Case {
  std::string name;
  std::map<std::string, std::string> files;
  std::string expected;
};

std::string unescape(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == 't') {
      out += '\t';
      ++i;
    } else if (text[i] == '\\' && i + 3 < text.size() && text[i + 1] == 'x') {
      out += static_cast<char>(std::stoi(text.substr(i + 2, 2), nullptr, 16));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::vector<std::string> case_files() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(EDGEMUX_SOURCE_DIR "/tests/config/cases")) {
    if (entry.path().extension() == ".txt") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<Case> read_cases(const std::string& path) {
  std::ifstream in(path);
  std::vector<Case> out;
  std::string* section = nullptr;
  bool escaped = false;
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("=== ", 0) == 0) {
      out.push_back({line.substr(4), {}, {}});
      section = nullptr;
    } else if (line.rfind("--- ", 0) == 0) {
      std::istringstream words(line.substr(4));
      std::string name;
      std::string mode;
      words >> name >> mode;
      escaped = mode == "escaped";
      section = name == "expect" ? &out.back().expected : &out.back().files[name];
    } else if (section != nullptr) {
      *section += (escaped ? unescape(line) : line) + "\n";
    }
  }
  return out;
}

// The output of the compiler, as `check` prints it, for files in memory; names are relative to the main file.
std::string check_output(const std::map<std::string, std::string>& files) {
  const std::string folder = "/e/";
  std::map<std::string, std::string> contents;
  for (const auto& [name, bytes] : files) contents[folder + name] = bytes;
  CompilerOptions options;
  options.state_dir = "";
  options.files = memory_files(std::move(contents));
  options.auto_workers = [] { return 2U; };
  const auto compiled = Compiler(folder + "edgemux.yaml", std::move(options)).compile();
  std::string out;
  for (const auto& diagnostic : compiled.diagnostics) out += diagnostic.render() + "\n";
  if (compiled.errors() == 0 && compiled.snapshot != nullptr) {
    const auto& s = *compiled.snapshot;
    out += "OK: " + std::to_string(s.listeners.size()) + " listeners, " + std::to_string(s.host_count) + " hosts, " +
           std::to_string(s.upstreams.size()) + " upstreams\n";
  }
  if (!compiled.main_ok) out += "no snapshot\n";
  for (const auto& path : compiled.set_aside) out += "set aside: " + path + "\n";
  for (auto at = out.find(folder); at != std::string::npos; at = out.find(folder, at)) out.erase(at, folder.size());
  return out;
}

TEST(CaseFiles, EachConfigurationGetsExactlyItsDiagnostics) {
  std::size_t seen = 0;
  std::set<std::string> names;
  for (const auto& path : case_files()) {
    for (const auto& one : read_cases(path)) {
      ++seen;
      EXPECT_TRUE(names.insert(one.name).second) << "two cases named " << one.name;
      EXPECT_EQ(check_output(one.files), one.expected) << "case: " << one.name << " in " << path;
    }
  }
  EXPECT_GE(seen, 98U);
}

// Whatever is cut off, the compiler answers: with a snapshot, or with a reason that has a place.
TEST(CaseFiles, TruncatedAnywhereGivesASnapshotOrAReason) {
  for (const auto& one : read_cases(EDGEMUX_SOURCE_DIR "/tests/config/cases/good.txt")) {
    const auto& whole = one.files.at("edgemux.yaml");
    for (std::size_t length = 0; length < whole.size(); ++length) {
      CompilerOptions options;
      options.state_dir = "";
      options.files = memory_files({{"/e/edgemux.yaml", whole.substr(0, length)}});
      const auto compiled = Compiler("/e/edgemux.yaml", std::move(options)).compile();
      EXPECT_EQ(compiled.main_ok, compiled.snapshot != nullptr);
      if (!compiled.main_ok) {
        EXPECT_GE(compiled.errors(), 1U) << one.name << " cut at " << length;
      }
    }
  }
}

}  // namespace
}  // namespace edgemux::config
