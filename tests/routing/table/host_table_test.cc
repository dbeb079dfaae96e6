#include "routing/table/host_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace edgemux::routing {
namespace {

RoutePtr route(const std::string& name) {
  auto made = std::make_shared<Route>();
  made->name = name;
  return made;
}

std::string normalised(std::string_view text, bool wildcard = false) {
  char buffer[256];
  return std::string(normalise_host(text, buffer, wildcard));
}

// The name of the route that is found, "-" for none.
std::string found(const HostTable& table, std::string_view name) {
  const RoutePtr* hit = table.find(name);
  return hit == nullptr ? "-" : (*hit)->name;
}

HostTable table_of(const std::vector<std::string>& attached, const std::vector<std::string>& detached = {}) {
  std::vector<HostTable::Entry> entries;
  for (const auto& name : attached) entries.push_back({name, route(name)});
  for (const auto& name : detached) entries.push_back({name, nullptr});
  return HostTable(std::move(entries));
}

TEST(NormaliseHost, LowersAndDropsPortAndTrailingDot) {
  EXPECT_EQ(normalised("Example.COM"), "example.com");
  EXPECT_EQ(normalised("example.com."), "example.com");
  EXPECT_EQ(normalised("example.com:443"), "example.com");
  EXPECT_EQ(normalised("example.com.:65535"), "example.com");
  EXPECT_EQ(normalised("example.com:"), "example.com");  // RFC 3986 3.2.3: the port may be empty
  EXPECT_EQ(normalised("localhost"), "localhost");
  EXPECT_EQ(normalised("_acme.a-b.example"), "_acme.a-b.example");
  EXPECT_EQ(normalised("9.example"), "9.example");
}

TEST(NormaliseHost, RefusesWhatNoRouteCanHave) {
  for (const char* text : {"",
                           ".",
                           "..",
                           ".example.com",
                           "a..b",
                           "example.com..",
                           "a b",
                           "a/b",
                           "a@b",
                           "a%2eb",
                           "example.com:80:80",
                           "example.com:65536",
                           "example.com:http",
                           "example.com:80.",
                           ":80",
                           "caf\xc3\xa9.example",
                           "*.example.com",
                           "10.0.0.1",
                           "10.0.0.1:80",
                           "127.1",
                           "2130706433",
                           "[::1]",
                           "[::1]:80",
                           "::1"}) {
    EXPECT_EQ(normalised(text), "") << text;
  }
  EXPECT_EQ(normalised(std::string_view("a\0b", 3)), "");
}

TEST(NormaliseHost, TakesTheStarOnlyWhereAsked) {
  EXPECT_EQ(normalised("*.Example.com.", true), "*.example.com");
  for (const char* text :
       {"*", "*.", "*.*.example.com", "a.*.example.com", "*a.example.com", "**.example.com", "*..com", "*.1"}) {
    EXPECT_EQ(normalised(text, true), "") << text;
  }
}

TEST(NormaliseHost, TakesUpTo253Bytes) {
  std::string longest;
  while (longest.size() < 250) longest += "a.";
  longest += "bcd";
  ASSERT_EQ(longest.size(), 253U);
  EXPECT_EQ(normalised(longest), longest);
  EXPECT_EQ(normalised(longest + ".:443"), longest);
  EXPECT_EQ(normalised(longest + "e"), "");
  EXPECT_EQ(normalised(std::string(100'000, 'a')), "");
}

std::set<std::string> names_of(const HostTable& table) {
  std::set<std::string> names;
  for (const auto& entry : table.entries()) names.insert(entry.name + (entry.route ? "" : " detached"));
  return names;
}

TEST(HostTable, AChangedTableLeavesTheOldOneAsItWas) {
  const auto old = table_of({"a.example", "b.example", "*.w.example"}, {"c.example"});
  std::vector<HostTable::Entry> changes;
  changes.push_back({"b.example", route("new b")});
  changes.push_back({"c.example", route("c.example")});
  changes.push_back({"*.x.y.example", route("*.x.y.example")});
  const auto fresh = old.with(std::move(changes), {"a.example", "*.w.example", "never.there"});
  EXPECT_EQ(names_of(fresh), (std::set<std::string>{"b.example", "c.example", "*.x.y.example"}));
  EXPECT_EQ(fresh.size(), 3U);
  EXPECT_EQ(found(fresh, "b.example"), "new b");
  EXPECT_EQ(found(fresh, "c.example"), "c.example");
  EXPECT_EQ(found(fresh, "a.x.y.example"), "*.x.y.example");
  EXPECT_EQ(found(fresh, "a.w.example"), "-");
  EXPECT_EQ(found(old, "b.example"), "b.example");
  EXPECT_EQ(found(old, "a.w.example"), "*.w.example");
  EXPECT_EQ(found(old, "a.x.y.example"), "-");
  EXPECT_EQ(old.size(), 4U);
  EXPECT_EQ(fresh.lost_since(old).size(), 2U);
  auto lost = old.lost_since(fresh);
  std::sort(lost.begin(), lost.end());
  EXPECT_EQ(lost, (std::vector<std::string>{"*.x.y.example", "c.example"}));
  EXPECT_EQ(HostTable().lost_since(old).size(), 3U) << "detached names were not served";
  EXPECT_TRUE(old.serves("*.w.example") && !old.serves("a.w.example") && !old.serves("c.example"));
}

// Random histories of changes against a map.
TEST(HostTable, AgreesWithAMapOverManyChanges) {
  std::mt19937 random(7);
  std::map<std::string, std::string> truth;
  HostTable table;
  int generation = 0;
  const auto name = [&] {
    const auto number = std::to_string(random() % 3000);
    return random() % 4 == 0 ? "*.n" + number + ".example"
                             : "n" + number + ".d" + std::to_string(random() % 3) + ".example";
  };
  for (int round = 0; round < 60; ++round) {
    // Grows far, then shrinks far, so that it is spread anew both ways.
    const std::size_t adds = round < 30 ? random() % 400 : random() % 20;
    const std::size_t removals = round < 30 ? random() % 60 : 400;
    std::map<std::string, RoutePtr> changes;
    std::set<std::string> removed;
    for (std::size_t i = 0; i < adds; ++i) changes[name()] = route(std::to_string(++generation));
    for (std::size_t i = 0; i < removals; ++i) {
      auto gone = name();
      if (round >= 30 && !truth.empty())
        gone = std::next(truth.begin(), static_cast<long>(random() % truth.size()))->first;
      if (changes.count(gone) == 0) removed.insert(gone);
    }
    std::vector<HostTable::Entry> entries;
    for (const auto& [key, value] : changes) {
      entries.push_back({key, value});
      truth[key] = value->name;
    }
    for (const auto& key : removed) truth.erase(key);
    table = table.with(std::move(entries), {removed.begin(), removed.end()});
    ASSERT_EQ(table.size(), truth.size());
    for (const auto& entry : table.entries()) ASSERT_EQ(truth.at(entry.name), entry.route->name);
    for (const auto& [key, value] : truth) {
      ASSERT_EQ(found(table, key.front() == '*' ? "x" + key.substr(1) : key), value) << key;
    }
    for (const auto& key : removed) {
      ASSERT_EQ(found(table, key.front() == '*' ? "x" + key.substr(1) : key), "-");
    }
  }
}

TEST(HostTable, EmptyKnowsNobody) {
  EXPECT_EQ(HostTable().find("a.example"), nullptr);
  EXPECT_EQ(HostTable(std::vector<HostTable::Entry>{}).find("a.example"), nullptr);
  EXPECT_EQ(HostTable().size(), 0U);
  EXPECT_TRUE(HostTable().entries().empty());
}

TEST(HostTable, ExactBeatsWildcardAndLongerBeatsShorter) {
  const auto table = table_of({"*.example.com", "*.b.example.com", "a.b.example.com"});
  EXPECT_EQ(found(table, "a.b.example.com"), "a.b.example.com");
  EXPECT_EQ(found(table, "x.b.example.com"), "*.b.example.com");
  EXPECT_EQ(found(table, "x.y.b.example.com"), "*.b.example.com");
  EXPECT_EQ(found(table, "x.a.b.example.com"), "*.b.example.com");
  EXPECT_EQ(found(table, "b.example.com"), "*.example.com");
  EXPECT_EQ(found(table, "x.y.z.example.com"), "*.example.com");
}

TEST(HostTable, WildcardNeverCoversItsApexNorOtherNames) {
  const auto table = table_of({"*.example.com"});
  for (const char* name : {"example.com", "xexample.com", "com", "example.com.evil", "", ".example.com", "*"}) {
    EXPECT_EQ(found(table, name), "-") << name;
  }
}

TEST(HostTable, DetachedStopsTheSearch) {
  const auto table = table_of({"*.example.com", "*.com"}, {"a.example.com", "*.b.example.com"});
  EXPECT_EQ(found(table, "a.example.com"), "-");
  EXPECT_EQ(found(table, "x.b.example.com"), "-");
  EXPECT_EQ(found(table, "b.example.com"), "*.example.com");
  EXPECT_EQ(found(table, "x.a.example.com"), "*.example.com");
  EXPECT_EQ(found(table, "example.com"), "*.com");
  EXPECT_EQ(table.size(), 4U);
}

TEST(HostTable, TellsTheCandidatesInTheirOrder) {
  const HostTable table({{"*.example.com", route("wide")},
                         {"*.a.example.com", nullptr},
                         {"b.a.example.com", route("exact")},
                         {"example.com", route("apex")}});
  const auto names = [&](const char* asked) {
    std::string out;
    for (const auto& entry : table.candidates(asked)) out += entry.name + (entry.route == nullptr ? "(-) " : " ");
    return out;
  };
  EXPECT_EQ(names("b.a.example.com"), "b.a.example.com *.a.example.com(-) *.example.com ");
  EXPECT_EQ(names("c.a.example.com"), "*.a.example.com(-) *.example.com ");
  EXPECT_EQ(names("example.com"), "example.com ");
  EXPECT_EQ(names("example.org"), "");
  EXPECT_EQ(HostTable().candidates("example.org").size(), 0U);
}

TEST(HostTable, TakesNamesOfTheMostLabels) {
  std::string deep = "a";
  while (deep.size() < 253) deep += ".a";
  ASSERT_EQ(deep.size(), 253U);
  EXPECT_EQ(found(table_of({"*.a"}), deep), "*.a");
  EXPECT_EQ(found(table_of({deep}), deep), deep);
  const std::string wildcard = "*." + deep.substr(2);
  EXPECT_EQ(found(table_of({wildcard, "*.a"}), deep), wildcard);
  EXPECT_EQ(found(table_of({deep}), std::string(254, 'a')), "-");
}

TEST(HostTable, KeepsPointersWhenMovedAndGivesEntriesBack) {
  auto table = table_of({"a.example", "*.b.example"}, {"c.example"});
  const RoutePtr* before = table.find("a.example");
  const HostTable moved = std::move(table);
  EXPECT_EQ(moved.find("a.example"), before);
  EXPECT_EQ(names_of(moved), (std::set<std::string>{"a.example", "*.b.example", "c.example detached"}));
}

TEST(HostTable, LetsGoOfItsRoutes) {
  const auto shared = route("a.example");
  {
    const HostTable table(
        {{"a.example", shared}, {"a-much-longer-name-than-that.of.example", shared}, {"*.example", shared}});
    EXPECT_EQ(shared.use_count(), 4);
  }
  EXPECT_EQ(shared.use_count(), 1);
}

TEST(HostTable, HoldsAHostInFewBytes) {
  std::vector<HostTable::Entry> entries;
  const auto one = route("r");
  for (int i = 0; i < 20'000; ++i) entries.push_back({"my-app-" + std::to_string(i) + ".customer-a.example.com", one});
  const HostTable table(std::move(entries));
  EXPECT_LE(table.memory() / table.size(), 100U);
}

// The rules of the header, word for word, over a map.
class Model {
 public:
  void add(const std::string& name, RoutePtr target) { names_[name] = std::move(target); }
  [[nodiscard]] std::string find(const std::string& name) const {
    if (const auto exact = names_.find(name); exact != names_.end()) return show(exact->second);
    for (auto dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
      if (const auto hit = names_.find("*" + name.substr(dot)); hit != names_.end()) return show(hit->second);
    }
    return "-";
  }
  [[nodiscard]] HostTable table() const {
    std::vector<HostTable::Entry> entries;
    for (const auto& [name, target] : names_) entries.push_back({name, target});
    return HostTable(std::move(entries));
  }

 private:
  static std::string show(const RoutePtr& target) { return target == nullptr ? "-" : target->name; }
  std::map<std::string, RoutePtr> names_;
};

TEST(HostTable, AgreesWithTheModelOnRandomTables) {
  std::mt19937 random(7);
  const auto below = [&random](unsigned n) { return static_cast<unsigned>(random() % n); };
  const std::vector<std::string> labels{"a", "b", "cc", "ddd-1", "a-rather-long-label-of-some-30b"};
  const auto name = [&](unsigned most) {
    std::string made = labels[below(5)];
    for (unsigned n = below(most); n > 0; --n) made = labels[below(5)] + "." + made;
    return made;
  };
  std::size_t hits = 0;
  for (int round = 0; round < 300; ++round) {
    Model model;
    for (unsigned n = below(60); n > 0; --n) {
      const std::string key = (below(3) == 0 ? "*." : "") + name(4);
      model.add(key, below(4) == 0 ? nullptr : route(key));
    }
    const HostTable table = model.table();
    for (int query = 0; query < 200; ++query) {
      const std::string asked = name(6);
      ASSERT_EQ(found(table, asked), model.find(asked)) << asked;
      // The first candidate is the one that decides.
      const auto candidates = table.candidates(asked);
      const RoutePtr* hit = table.find(asked);
      ASSERT_EQ(candidates.empty() || candidates[0].route == nullptr, hit == nullptr) << asked;
      if (hit != nullptr) {
        ASSERT_EQ(candidates[0].route, *hit) << asked;
      }
      hits += model.find(asked) != "-" ? 1 : 0;
    }
  }
  EXPECT_GT(hits, 10'000U);
}

TEST(HostTable, FindsEveryNameOfALargeTable) {
  std::vector<HostTable::Entry> entries;
  const auto one = route("r");
  for (int i = 0; i < 100'000; ++i) entries.push_back({"h" + std::to_string(i) + ".example.com", one});
  const HostTable table(std::move(entries));
  for (int i = 0; i < 100'000; ++i) {
    ASSERT_NE(table.find("h" + std::to_string(i) + ".example.com"), nullptr);
    ASSERT_EQ(table.find("g" + std::to_string(i) + ".example.com"), nullptr);
  }
}

// Which names are compared byte by byte is a matter of their hashes: of so many tables each pair meets in some.
TEST(HostTable, TellsNamesOfEveryLengthApartByAnyByte) {
  const auto one = route("r");
  std::mt19937 random(11);
  const auto letter = [&random] { return static_cast<char>('a' + random() % 26); };
  std::size_t asked = 0;
  for (std::size_t length = 1; length <= 60; ++length) {
    for (int round = 0; round < 20; ++round) {
      std::string name;
      while (name.size() < length) name += letter();
      const HostTable table(std::vector<HostTable::Entry>{{name, one}});
      ASSERT_NE(table.find(name), nullptr) << name;
      for (std::size_t at = 0; at < length; ++at) {
        std::string other = name;
        for (char to = 'a'; to <= 'z'; ++to) {
          other[at] = to;
          ASSERT_EQ(table.find(other) == nullptr, other != name) << name << " and " << other;
          ++asked;
        }
      }
    }
  }
  EXPECT_GT(asked, 900'000U);
}

TEST(HostTable, IsTheSameMemoryUntilItChanges) {
  const auto some = route("some");
  const HostTable table(std::vector<HostTable::Entry>{{"a.example.com", some}, {"b.example.com", some}});
  const HostTable twin = table.with({}, {});
  EXPECT_TRUE(twin.same_as(table));
  EXPECT_EQ(some.use_count(), 3);
  const HostTable other = twin.with({{"c.example.com", some}}, {});
  EXPECT_FALSE(other.same_as(table));
  EXPECT_TRUE(other.with({}, {"d.example.com"}).with({}, {}).size() == 3);
  EXPECT_EQ(found(table, "c.example.com"), "-");
  EXPECT_EQ(found(other, "c.example.com"), "some");
}

// A name stands in its line or behind all of them; two that differ in their first or last byte alone are two names.
TEST(HostTable, TellsNamesOfEveryLengthApart) {
  std::vector<HostTable::Entry> entries;
  const auto name = [](std::size_t length, char first, char last) {
    std::string made(length, 'n');
    for (std::size_t at = 30; at + 1 < length; at += 30) made[at] = '.';
    made.front() = first;
    made.back() = last;
    return made;
  };
  for (std::size_t length = 2; length <= 253; ++length) {
    for (const char first : {'a', 'b'}) {
      for (const char last : {'y', 'z'})
        entries.push_back({name(length, first, last), route(std::to_string(length) + first + last)});
    }
  }
  const HostTable table(entries);
  ASSERT_EQ(table.size(), entries.size());
  for (const auto& entry : entries) {
    EXPECT_EQ(found(table, entry.name), entry.route->name);
    EXPECT_EQ(found(table, entry.name.substr(0, entry.name.size() - 1) + 'x'), "-");
  }
}

// Names for which a byte could make up for the length, where a hash reads some bytes twice: without care they all share
// a place whatever the seed, and a table takes many more places until they stand near enough, or none is enough.
TEST(HostTable, NamesOfOtherLengthsDoNotShareAPlace) {
  std::size_t bytes = 0;
  std::size_t names = 0;
  for (int round = 0; round < 20; ++round) {
    std::vector<HostTable::Entry> entries;
    const auto one = route("r");
    for (std::size_t length = 33; length <= 48; ++length) {
      const auto byte = static_cast<char>(0x40U ^ length);
      entries.push_back({std::string("evil.co.") + byte + "xxxxxxx" + std::string(length - 16, 'c'), one});
    }
    for (int i = 0; i < 20; ++i) entries.push_back({"n" + std::to_string(round * 20 + i), one});
    const HostTable table(entries);
    for (const auto& entry : entries) ASSERT_EQ(found(table, entry.name), "r") << entry.name;
    bytes += table.memory();
    names += table.size();
  }
  EXPECT_LE(bytes / names, 130U);
}

TEST(HostTable, GrowsFromOneNameToMany) {
  const auto one = route("r");
  std::vector<HostTable::Entry> entries;
  for (int i = 0; i < 50'000; ++i) entries.push_back({"h" + std::to_string(i) + ".example.com", one});
  const auto table = table_of({"first.example.com"}).with(entries, {});
  EXPECT_EQ(table.size(), 50'001U);
  EXPECT_LE(table.memory() / table.size(), 100U);
  for (const auto& entry : entries) ASSERT_EQ(found(table, entry.name), "r");
  EXPECT_EQ(found(table, "first.example.com"), "first.example.com");
}

// The longest names, in a table that lies in huge pages and then grows out of them.
TEST(HostTable, FindsWildcardsBehindADotThatStandsAnywhere) {
  const auto covered = route("covered");
  std::vector<HostTable::Entry> entries;
  for (std::size_t n = 1; n <= 250; ++n) entries.push_back({"*." + std::string(n, 'b'), covered});
  const HostTable table(std::move(entries));
  for (std::size_t size = 3; size <= 253; ++size) {
    for (std::size_t dot = 1; dot < size - 1; ++dot) {
      std::string name(size, 'b');
      name[dot] = '.';
      ASSERT_EQ(found(table, name), size - dot - 1 <= 250 ? "covered" : "-") << size << " " << dot;
      name[dot] = dot % 2 == 0 ? '/' : '-';  // the characters next to it
      ASSERT_EQ(found(table, name), "-") << size << " " << dot;
    }
  }
}

TEST(HostTable, FindsTheLongestWildcardOfNamesThatAreMostlyDots) {
  std::vector<HostTable::Entry> entries;
  std::string suffix = "b";
  for (std::size_t labels = 1; labels <= 126; ++labels, suffix = "b." + suffix) {
    if (labels % 5 == 0) entries.push_back({"*." + suffix, route(std::to_string(labels))});
  }
  HostTable table(entries);
  const auto name = [](std::size_t labels) {
    std::string text = "b";
    for (std::size_t i = 1; i < labels; ++i) text += ".b";
    return text;
  };
  for (std::size_t labels = 1; labels <= 127; ++labels) {
    const std::size_t longest = (labels - 1) / 5 * 5;
    EXPECT_EQ(found(table, name(labels)), longest == 0 ? "-" : std::to_string(longest)) << labels;
  }
  // Exact names that come, and go again.
  table = table.with({{name(7), route("exact")}, {name(127), route("exact")}}, {});
  EXPECT_EQ(found(table, name(7)), "exact");
  EXPECT_EQ(found(table, name(8)), "5");
  EXPECT_EQ(found(table, name(127)), "exact");
  table = table.with({}, {name(7)});
  EXPECT_EQ(found(table, name(7)), "5");
  EXPECT_EQ(found(table, name(127)), "exact");
}

TEST(HostTable, HoldsTheLongestNamesAndLetsGoOfThem) {
  const auto one = route("old");
  const auto two = route("new");
  const auto name = [](int i) {
    const std::string label(63, 'a');
    const std::string number = std::to_string(1'000'000 + i);
    return number + label.substr(7) + "." + label + "." + label + "." + label.substr(2);
  };
  constexpr int kFirst = 20'000;
  constexpr int kAll = 45'000;
  ASSERT_EQ(name(0).size(), 253U);
  {
    std::vector<HostTable::Entry> entries;
    for (int i = 0; i < kFirst; ++i) entries.push_back({name(i), one});
    HostTable table(std::move(entries));
    for (int from = 0; from < kAll; from += 5'000) {
      entries.clear();
      for (int i = from; i < from + 5'000; ++i) entries.push_back({name(i), two});
      table = table.with(entries, {});
      ASSERT_EQ(found(table, name(from)), "new");
      ASSERT_EQ(found(table, name(from + 5'000)), from + 5'000 < kFirst ? "old" : "-");
    }
    entries.clear();
    EXPECT_EQ(table.size(), std::size_t{kAll});
    EXPECT_EQ(one.use_count(), 1);
    EXPECT_EQ(two.use_count(), 1 + kAll);
    for (int i = 0; i < kAll; ++i) ASSERT_EQ(found(table, name(i)), "new");
  }
  EXPECT_EQ(two.use_count(), 1);
}

}  // namespace
}  // namespace edgemux::routing
