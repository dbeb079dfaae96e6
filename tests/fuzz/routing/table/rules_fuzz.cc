// Rules on arbitrary requests: the index answers as a scan does, and what a rule makes of a path is a path.
//
// Input: the target, then a header field per line, "name:value".

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/http/path.h"
#include "routing/table/cors.h"
#include "routing/table/rewrite.h"
#include "routing/table/rule_table.h"

namespace {

using namespace edgemux::routing;
using edgemux::core::FieldList;

void require(bool holds) {
  if (!holds) std::abort();
}

Rule rule(Rule::Kind kind, const char* path, std::uint32_t priority = 0) {
  Rule made;
  made.kind = kind;
  made.path = path;
  made.priority = priority;
  if (kind == Rule::Kind::regex) made.path_pattern = Pattern::compile(path, Pattern::Cover::whole).value();
  return made;
}

Rule with(Rule made, Conditions conditions) {
  made.conditions = std::make_shared<const Conditions>(std::move(conditions));
  return made;
}

std::vector<Rule> make_rules() {
  using Kind = Rule::Kind;
  const auto digits = Pattern::compile("^[0-9]+$", Pattern::Cover::anywhere).value();
  return {rule(Kind::prefix, "/"),
          rule(Kind::prefix, "/a"),
          rule(Kind::prefix, "/a/b"),
          rule(Kind::prefix, "/a/b/c/d"),
          rule(Kind::exact, "/a/b"),
          rule(Kind::exact, "/a/b/"),
          rule(Kind::exact, "/%2F"),
          rule(Kind::regex, "/v[0-9]+/.*"),
          rule(Kind::regex, "/a/.*/x"),
          with(rule(Kind::prefix, "/a"), {{}, {{"x-a", "1", nullptr}}, {}}),
          with(rule(Kind::prefix, "/a"), {{}, {{"x-a", "^[0-9]+$", digits}}, {}}),
          with(rule(Kind::prefix, "/a/b"), {{}, {}, {{"q", "a b", nullptr}}}),
          with(rule(Kind::exact, "/a/b"), {{}, {}, {{"q", "^[0-9]+$", digits}, {"r", "", nullptr}}}),
          with(rule(Kind::prefix, "/p", 3), {{"GET"}, {{"x-a", "2", nullptr}}, {}}),
          rule(Kind::exact, "/p/q", 2)};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const RuleTable table(make_rules());
  static const std::vector<Rule> in_order = [] {
    auto rules = make_rules();
    std::stable_sort(rules.begin(), rules.end(), goes_before);
    return rules;
  }();

  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto line = [&rest] {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view taken = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return taken;
  };
  const std::string_view target = line();
  const std::size_t mark = std::min(target.find('?'), target.size());
  std::vector<char> scratch(edgemux::core::path_room(target.substr(0, mark)));
  const auto path = edgemux::core::normalize_path(target.substr(0, mark), scratch);
  if (path.error != nullptr) return 0;
  FieldList fields;
  while (!rest.empty()) {
    const std::string_view field = line();
    const std::size_t colon = std::min(field.find(':'), field.size());
    fields.add({field.substr(0, colon), field.substr(std::min(colon + 1, field.size()))});
  }

  const RequestFacts request{
      .path = path.path, .fields = &fields, .query = target.substr(std::min(mark + 1, target.size()))};
  const Rule* found = table.match(request);
  const auto expected = std::find_if(in_order.begin(), in_order.end(),
                                     [&](const Rule& one) { return one.test(request) == Rule::Verdict::match; });
  require((found == nullptr) == (expected == in_order.end()));
  if (found == nullptr) return 0;
  require(found->kind == expected->kind && found->path == expected->path && found->priority == expected->priority);

  if (found->kind != Rule::Kind::regex) {
    for (const char* replacement : {"", "/", "/x", "/x/y/"}) {
      std::string out;
      replace_prefix(request.path, found->path, replacement, out);
      require(out.starts_with('/') && out.size() <= request.path.size() + 5);
    }
  }
  const std::size_t before = fields.size();
  Cors cors;
  cors.origins = {{"https://", ".b.example", true}, {"https://a.example", "", false}};
  const auto* origin = fields.find("origin");
  share_answer(cors, origin == nullptr ? std::string_view() : origin->value, fields);
  require(fields.size() >= before);
  return 0;
}
