// The small pieces of config: values, suggestions, rendering, caps of the YAML reader, workers, last good bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "config/diagnostic.h"
#include "config/files.h"
#include "config/last_good.h"
#include "config/values.h"
#include "config/workers.h"
#include "config/yaml.h"
#include "tests/config/disk_fixture.h"

namespace edgemux::config {
namespace {

using ::testing::HasSubstr;

TEST(Values, Durations) {
  const auto ms = [](const char* text) { return parse_duration(text).value().count(); };
  EXPECT_EQ(ms("50ms"), 50);
  EXPECT_EQ(ms("5s"), 5000);
  EXPECT_EQ(ms("2m"), 120'000);
  EXPECT_EQ(ms("1h"), 3'600'000);
  EXPECT_EQ(ms("0"), 0);
  for (const char* bad : {"", "s", "5", "-5s", "5d", "5 S", "1.5s", "99999999999999999999s", "9999999999999h", "5s5"}) {
    EXPECT_FALSE(parse_duration(bad)) << bad;
  }
  const auto meant = [](const char* text) { return parse_duration(text).error().message; };
  EXPECT_THAT(meant("1m30s"), HasSubstr("write one whole number with one unit, like 90s"));
  EXPECT_THAT(meant("2d"), HasSubstr("like 48h"));
  EXPECT_THAT(meant("0.5s"), HasSubstr("like 500ms"));
  EXPECT_THAT(meant("1h 30m"), HasSubstr("like 90m"));
  for (const char* none : {"0.0001ms", "3 seconds", "1m30", "99999999999999999999w", "5000000w", "1.2.3s"}) {
    EXPECT_THAT(meant(none), testing::Not(HasSubstr("one whole number"))) << none;
  }
  EXPECT_THAT(parse_duration("5").error().message, HasSubstr("write 5s for seconds or 5ms"));
}

TEST(Values, Sizes) {
  EXPECT_EQ(parse_size("4096").value(), 4096U);
  EXPECT_EQ(parse_size("64KiB").value(), 65536U);
  EXPECT_EQ(parse_size("100MiB").value(), 104857600U);
  EXPECT_EQ(parse_size("2GiB").value(), 2147483648U);
  for (const std::uint64_t size : {0U, 1U, 4097U, 65536U, 104857600U}) {
    const auto text = size_text(size);
    EXPECT_EQ(parse_size(text.substr(0, text.find(" bytes"))).value(), size) << text;
  }
  for (const char* bad : {"", "KiB", "64KB", "64k", "-1", "18446744073709551615", "99999999999GiB"}) {
    EXPECT_FALSE(parse_size(bad)) << bad;
  }
}

TEST(Values, Decimals) {
  for (const auto& [text, thousandths] : std::map<const char*, std::uint64_t>{{"0", 0},
                                                                              {"0.001", 1},
                                                                              {"0.57", 570},
                                                                              {"0.5", 500},
                                                                              {"12.25", 12'250},
                                                                              {"99.999", 99'999},
                                                                              {"100", 100'000}}) {
    EXPECT_EQ(parse_decimal(text).value(), thousandths) << text;
    EXPECT_EQ(decimal_text(thousandths), text);
  }
  EXPECT_EQ(parse_decimal("100.000").value(), 100'000U);
  for (const char* bad : {"", ".", ".5", "5.", "-1", "+1", "nan", "NaN", ".inf", "1e1", "0x1", "1,5", "1.5.1", "1.5 ",
                          "5%", "0.-1", "18446744073709551615", "99999999999999999999"}) {
    EXPECT_FALSE(parse_decimal(bad)) << bad;
  }
  EXPECT_EQ(parse_decimal("NaN").error().message, "'NaN' is not a number like 5 or 0.25");
  EXPECT_THAT(parse_decimal("0.0005").error().message, HasSubstr("three digits behind the point"));
  EXPECT_THAT(parse_decimal("0.5000").error().message, HasSubstr("three digits behind the point"));
}

TEST(Suggestions, OnlyWhatIsNear) {
  EXPECT_EQ(did_you_mean("pasthrough", {"passthrough", "rules"}), "did you mean 'passthrough'?");
  EXPECT_EQ(did_you_mean("hots", {"host", "hosts"}), "did you mean 'host'?");
  EXPECT_EQ(did_you_mean("telemetry", {"timeouts", "tenants"}), "");
  EXPECT_EQ(did_you_mean("xy", {"ab"}), "");
}

TEST(Rendering, LongLinesAreCutAroundTheCaret) {
  Diagnostic d;
  d.origin = {std::make_shared<const std::string>("a.yaml"), 1, 301};
  d.message = "x";
  d.show(std::string(300, 'a') + "B" + std::string(300, 'c'));
  const auto text = d.render();
  const auto second = text.find('\n') + 1;
  const auto third = text.find('\n', second) + 1;
  EXPECT_LE(third - second, 130U);
  EXPECT_EQ(text[second + (text.find('^') - third)], 'B');
}

TEST(Rendering, TheCaretCountsCharactersNotBytes) {
  Diagnostic d;
  d.origin = {std::make_shared<const std::string>("a.yaml"), 1, 3};
  d.show("\xc3\xbc\tx");
  EXPECT_EQ(d.render(), "a.yaml:1:3: error: \n    \xc3\xbc x\n      ^");
}

TEST(Rendering, NothingTurnsTheDirectionOrEndsTheLine) {
  Diagnostic d;
  d.origin = {std::make_shared<const std::string>("a.yaml"), 1, 2};
  d.message = "a\n\x1b[31m\xe2\x80\xae z \xe2\x81\xa6\xc2\x85\xe2\x80\xa8 \xc3\xbc \xe2\x82\xac";
  d.show("b\xe2\x80\xaeq");
  EXPECT_EQ(d.render(), "a.yaml:1:2: error: a??[31m? z ??? \xc3\xbc \xe2\x82\xac\n    b?q\n     ^");
}

TEST(Rendering, AProblemKeepsLittleOfALongLine) {
  // Two hundred of them, each with a line of 64 MiB, would be more memory than there is.
  for (const char* part : {"{ host: q q }, ", "\x80"}) {
    std::string text = "routes: [";
    while (text.size() < 1'000'000) text += part;
    Problems problems(std::make_shared<const std::string>("f"), std::make_shared<const std::string>(text));
    for (std::uint32_t column : {1U, 100U, 500'000U, 2'000'000U}) problems.error({1, column}, "x");
    for (const auto& told : problems.take()) {
      EXPECT_LE(told.source_line.size(), 130U);
      EXPECT_LE(told.source_column, 131U);
    }
  }
}

std::vector<Diagnostic> yaml_problems(const std::string& text) {
  const auto bytes = std::make_shared<const std::string>(text);
  Problems problems(std::make_shared<const std::string>("f"), bytes);
  const auto document = parse_yaml(bytes, problems);
  EXPECT_TRUE(document != nullptr || problems.errors() != 0);
  return problems.take();
}

TEST(Yaml, ScalarsOfEveryStyle) {
  std::string block = "b: |\n";
  std::string lines;
  for (int i = 0; i < 100; ++i) {
    block += "  line\n";
    lines += "line\n";
  }
  const auto bytes = std::make_shared<const std::string>("a: \"x\\ty\\u00fcz\\n\"\n" + block +
                                                         "c: >-\n  folded\n  text\n\n  more\n"
                                                         "d: 'it''s'\n"
                                                         "e: plain\n  over lines\n"
                                                         "f: \"a\n  b\"\n"
                                                         "g: \"\"\n"
                                                         "h:\n"
                                                         "i: 'single'   # a comment\n");
  Problems problems(std::make_shared<const std::string>("f"), bytes);
  const auto document = parse_yaml(bytes, problems);
  ASSERT_NE(document, nullptr);
  const auto text = [&](const char* key) { return document->root()->get(key)->text; };
  EXPECT_EQ(text("a"), "x\ty\xc3\xbcz\n");
  EXPECT_EQ(text("b"), lines);
  EXPECT_EQ(text("c"), "folded text\nmore");
  EXPECT_EQ(text("d"), "it's");
  EXPECT_EQ(text("e"), "plain over lines");
  EXPECT_EQ(text("f"), "a b");
  EXPECT_EQ(text("g"), "");
  EXPECT_FALSE(document->root()->get("g")->is_null());
  EXPECT_TRUE(document->root()->get("h")->is_null());
  EXPECT_EQ(text("i"), "single");
}

TEST(Yaml, AliasesAreCounted) {
  std::string text = "a: &a 1\nb: [";
  for (std::size_t i = 0; i < max_yaml_aliases; ++i) text += "*a,";
  EXPECT_TRUE(yaml_problems(text + "1]\n").empty());
  const auto over = yaml_problems(text + "*a]\n");
  ASSERT_EQ(over.size(), 1U);
  EXPECT_EQ(over[0].message, "more than 1000 aliases in one file");
}

TEST(Yaml, DepthIsCapped) {
  const auto nested = [](std::size_t depth) {
    return "a: " + std::string(depth, '[') + std::string(depth, ']') + "\n";
  };
  EXPECT_TRUE(yaml_problems(nested(max_yaml_depth - 1)).empty());
  EXPECT_EQ(yaml_problems(nested(max_yaml_depth)).size(), 1U);
  EXPECT_EQ(yaml_problems(nested(100'000)).size(), 1U);
}

TEST(Yaml, DuplicatesAreFoundInLargeMapsToo) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "k" + std::to_string(i) + ": 1\n";
  EXPECT_TRUE(yaml_problems(text).empty());
  const auto found = yaml_problems(text + "k7: 2\n");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].headline(), "f:5001:1: error: duplicate key 'k7', which stands at f:8:1 already");
}

TEST(Yaml, ManyErrorsAreCountedNotListed) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "k: 1\n";
  const auto found = yaml_problems(text);
  EXPECT_EQ(found.size(), Problems::max_reported + 1);
  EXPECT_THAT(found.back().message, HasSubstr("more errors in this file"));
}

unsigned workers(unsigned processors, std::map<std::string, std::string> files) {
  return auto_workers(processors, [&](const std::string& path) -> std::optional<std::string> {
    const auto found = files.find(path);
    return found == files.end() ? std::nullopt : std::optional(found->second);
  });
}

TEST(Workers, AreTheLeastOfProcessorsAndQuotas) {
  EXPECT_EQ(workers(8, {}), 8U);
  EXPECT_EQ(workers(0, {}), 1U);
  const std::string unified = "0::/system.slice/edgemux.service\n";
  EXPECT_EQ(workers(8, {{"/proc/self/cgroup", unified},
                        {"/sys/fs/cgroup/system.slice/edgemux.service/cpu.max", "max 100000\n"}}),
            8U);
  EXPECT_EQ(workers(8, {{"/proc/self/cgroup", unified},
                        {"/sys/fs/cgroup/system.slice/edgemux.service/cpu.max", "250000 100000\n"}}),
            3U);
  EXPECT_EQ(workers(8, {{"/proc/self/cgroup", unified}, {"/sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n"}}),
            1U);
  EXPECT_EQ(workers(2, {{"/proc/self/cgroup", unified}, {"/sys/fs/cgroup/cpu.max", "800000 100000\n"}}), 2U);
  const std::string old = "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n";
  EXPECT_EQ(workers(8, {{"/proc/self/cgroup", old},
                        {"/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "200000\n"},
                        {"/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n"}}),
            2U);
  EXPECT_EQ(workers(8, {{"/proc/self/cgroup", old},
                        {"/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "-1\n"},
                        {"/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n"}}),
            8U);
  EXPECT_GE(auto_workers(), 1U);
}

TEST(Paths, AreResolvedFromTheFile) {
  EXPECT_EQ(resolve_path("/etc/e/main.yaml", "certs/../a.pem"), "/etc/e/a.pem");
  EXPECT_EQ(resolve_path("/etc/e/main.yaml", "/x//y/"), "/x/y");
  EXPECT_EQ(resolve_path("/main.yaml", "../a"), "/a");
}

using LastGoodTest = DiskTest;

TEST_F(LastGoodTest, IsWrittenOnlyWhenItHasChanged) {
  LastGood first;
  first.set_directory(path("state"));
  EXPECT_FALSE(first.load("/x/a.yaml"));
  EXPECT_TRUE(first.save("/x/a.yaml", "one\n", true).value());
  EXPECT_FALSE(first.save("/x/a.yaml", "one\n", true).value());
  LastGood second;
  second.set_directory(path("state"));
  EXPECT_FALSE(second.save("/x/a.yaml", "one\n", true).value());
  EXPECT_TRUE(second.save("/x/a.yaml", "two\n", true).value());
  EXPECT_TRUE(second.save("/y/a.yaml", "three\n", true).value());
  EXPECT_EQ(first.load("/x/a.yaml")->bytes, "two\n");
  EXPECT_EQ(first.load("/y/a.yaml")->bytes, "three\n");
  EXPECT_TRUE(first.load("/y/a.yaml")->in_force);
  EXPECT_TRUE(second.save("/y/a.yaml", "three\n", false).value());
  EXPECT_EQ(first.load("/y/a.yaml")->bytes, "three\n");
  EXPECT_FALSE(first.load("/y/a.yaml")->in_force);
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(path("state/last-good"))) files += entry.is_regular_file() ? 1 : 0;
  EXPECT_EQ(files, 2U);  // nothing half written lies about
}

TEST_F(LastGoodTest, PruneForgetsOnlyWhatIsGone) {
  write("there.yaml", "");
  LastGood it;
  it.set_directory(path("state"));
  for (const char* name : {"there.yaml", "kept.yaml", "gone.yaml"}) ASSERT_TRUE(it.save(path(name), "x\n", true));
  it.prune({path("kept.yaml")});
  EXPECT_TRUE(it.load(path("there.yaml")));
  EXPECT_TRUE(it.load(path("kept.yaml")));
  EXPECT_FALSE(it.load(path("gone.yaml")));
}

TEST_F(LastGoodTest, BytesOfAnotherPathAreNotTaken) {
  LastGood it;
  it.set_directory(path("state"));
  ASSERT_TRUE(it.save("/x/a.yaml", "one\n", true));
  for (const auto& entry : fs::directory_iterator(path("state/last-good"))) {
    write("state/last-good/" + entry.path().filename().string(), "# last good bytes of /x/b.yaml\none\n");
  }
  EXPECT_FALSE(it.load("/x/a.yaml"));
}

}  // namespace
}  // namespace edgemux::config
