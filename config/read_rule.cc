// Rules of a terminated host: one entry, and its action.
#include "config/read_rule.h"

#include <algorithm>
#include <array>

#include "config/values.h"
#include "core/http/bytes.h"
#include "core/http/field.h"

namespace edgemux::config {
namespace {

std::size_t size_of(const routing::NamedValues& headers) {
  std::size_t size = 0;
  for (const auto& [name, value] : headers) size += name.size() + value.size();
  return size;
}

std::size_t size_of(const routing::HeaderModifier& change) { return size_of(change.set) + size_of(change.add); }

std::size_t size_of(const routing::Filters& filters) {
  std::size_t size = size_of(filters.request_headers) + size_of(filters.response_headers);
  if (filters.cors) size += filters.cors->methods.size() + filters.cors->headers.size() + filters.cors->expose.size();
  return size;
}

// What the rule can write into heads; of its split all parts together.
std::size_t size_of_headers(const routing::Rule& rule) {
  std::size_t size = rule.filters != nullptr ? size_of(*rule.filters) : 0;
  if (const auto* respond = std::get_if<routing::Respond>(&rule.action)) size += size_of(respond->headers);
  if (const auto* split = std::get_if<routing::Split>(&rule.action)) {
    for (const auto& part : split->parts) {
      if (part.headers != nullptr) size += size_of(part.headers->request) + size_of(part.headers->response);
    }
  }
  return size;
}

}  // namespace

void too_many_changes(Place place, Problems& problems) {
  problems.error(place,
                 "at most " + std::to_string(max_changed_headers) + " headers can be set and added in one place");
}

namespace {

constexpr std::array<std::string_view, 8> kVariables{"host",        "uri",         "request_uri", "scheme",
                                                     "remote_addr", "server_name", "args",        "query_string"};

// What other proxies would put something else for: the first in `text`; empty: none. Other dollars are meant.
std::string_view variable_in(std::string_view text, Groups groups) {
  const auto word = [](char c) { return core::is_digit(c) || core::is_alpha(c) || c == '_'; };
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    const char next = text[i + 1];
    const char after = i + 2 < text.size() ? text[i + 2] : ' ';
    const bool group = groups == Groups::meant && core::is_digit(next) && next != '0' && !word(after);
    if (text[i] == '$' && next == '{') return text.substr(i, text.find('}', i) - i + 1);
    if (text[i] == '%' && next == '[') return text.substr(i, text.find(']', i) - i + 1);
    if (text[i] != '$') continue;
    if (group) return text.substr(i, 2);
    const auto rest = text.substr(i + 1);
    const auto name =
        rest.substr(0, static_cast<std::size_t>(std::find_if_not(rest.begin(), rest.end(), word) - rest.begin()));
    if (name.starts_with("http_") || std::find(kVariables.begin(), kVariables.end(), name) != kVariables.end()) {
      return text.substr(i, name.size() + 1);
    }
  }
  return {};
}

}  // namespace

void warn_of_variables(const Node& node, Groups groups, Problems& problems) {
  if (!node.is_scalar()) return;
  const auto found = variable_in(node.text, groups);
  if (found.empty()) return;
  problems.warning(
      node.place,
      quote(found) + " is taken as it stands: there are no variables here, and no groups of a 'regex_path'");
}

routing::Respond read_respond(const Node& node, Problems& problems) {
  routing::Respond respond;
  respond.status = static_cast<std::uint16_t>(number_or(node.get("status"), 200));
  if (const Node* body = node.get("body"); body != nullptr && body->is_scalar()) respond.body = std::string(body->text);
  if (!respond.body.empty() && (respond.status == 204 || respond.status == 205 || respond.status == 304)) {
    problems.error(node.get("body")->place, "an answer with status " + std::to_string(respond.status) + " has no body");
  }
  const Node* headers = node.get("headers");
  if (headers == nullptr || !headers->is_map()) return respond;
  for (const Node* key = headers->first; key != nullptr; key = key->next->next) {
    if (respond.headers.size() == max_changed_headers) return too_many_changes(key->place, problems), respond;
    check_header(*key, *key->next, problems);
    warn_of_variables(*key->next, Groups::text, problems);
    const std::string name = lower_case(key->text);
    for (const std::string_view managed :
         {"content-length", "transfer-encoding", "connection", "upgrade", "keep-alive", "trailer", "te", "date"}) {
      if (name == managed) problems.error(key->place, "header " + quote(key->text) + " is set by edgemux itself");
    }
    const bool twice =
        std::any_of(respond.headers.begin(), respond.headers.end(), [&](const auto& one) { return one.first == name; });
    if (twice) problems.error(key->place, "header " + quote(key->text) + " stands here twice");
    const auto value = key->next->is_scalar() ? key->next->text : std::string_view{};
    respond.headers.emplace_back(name, std::string(value));
  }
  return respond;
}

routing::Redirect read_redirect(const Node& node, routing::Rule::Kind kind, Problems& problems) {
  routing::Redirect redirect;
  if (!node.is_map()) return redirect;
  const auto text = [&](std::string_view key) -> std::optional<std::string> {
    const Node* value = node.get(key);
    if (value == nullptr || !value->is_scalar() || value->is_null()) return std::nullopt;
    return std::string(value->text);
  };
  redirect.scheme = text("scheme");
  redirect.host = text("host");
  if (redirect.host) {
    if (const auto port = check_authority(*node.get("host"), problems); port != 0) {
      const std::string bare = redirect.host->substr(0, redirect.host->rfind(':'));
      problems.error(node.get("host")->place, "a redirect's host has no port",
                     "write 'host: " + bare + ", port: " + std::to_string(port) + "'");
    }
  }
  if (const Node* port = node.get("port")) redirect.port = static_cast<std::uint16_t>(number_or(port, 0));
  if (const Node* path = node.get("path")) {
    redirect.path = read_path(*path, problems);
    warn_of_variables(*path, Groups::meant, problems);
  }
  if (const Node* prefix = node.get("prefix")) redirect.prefix = read_prefix(*prefix, kind, problems);
  if (redirect.path && redirect.prefix) {
    problems.error(node.get("prefix")->place, "a redirect has either 'path' or 'prefix'");
  }
  redirect.status = static_cast<std::uint16_t>(number_or(node.get("status"), 302));
  if (!redirect.scheme && !redirect.host && !redirect.port && !redirect.path && !redirect.prefix) {
    problems.error(node.place,
                   "this redirect leads to where the request already is; give it a scheme, host, port, path or prefix");
  }
  return redirect;
}

routing::Split read_split(const Node& node, std::vector<TargetSpec>& targets, Problems& problems) {
  routing::Split split;
  if (!node.is_list()) return split;
  std::uint64_t total = 0;
  for (const Node* item = node.first; item != nullptr; item = item->next) {
    const Node* upstream = item->get("upstream");
    if (upstream == nullptr) continue;
    const auto weight = static_cast<std::uint32_t>(number_or(item->get("weight"), 1));
    total += weight;
    routing::Split::Headers headers;
    if (const Node* n = item->get("request_headers")) headers.request = read_headers(*n, true, problems);
    if (const Node* n = item->get("response_headers")) headers.response = read_headers(*n, false, problems);
    split.parts.push_back({nullptr, weight, nullptr});
    if (!headers.request.empty() || !headers.response.empty()) {
      split.parts.back().headers = std::make_shared<const routing::Split::Headers>(std::move(headers));
    }
    targets.push_back(read_target(*upstream, problems));
  }
  if (total == 0 && !split.parts.empty()) {
    problems.warning(node.place, "every weight of this 'split' is 0: its requests are answered with 500");
  }
  return split;
}

RuleSpec read_rule(const Node& node, Patterns& patterns, Problems& problems) {
  RuleSpec spec;
  spec.place = node.place;
  read_match(node, spec, patterns, problems);

  constexpr std::array<std::string_view, 4> keys{"upstream", "split", "redirect", "respond"};
  const Node* action = nullptr;
  std::string_view chosen;
  for (const std::string_view key : keys) {
    const Node* candidate = node.get(key);
    if (candidate == nullptr) continue;
    if (action != nullptr) {
      problems.error(candidate->place, "a rule has exactly one of 'upstream', 'split', 'redirect' and 'respond'");
      continue;
    }
    action = candidate;
    chosen = key;
  }
  if (action == nullptr) {
    problems.error(node.place, "a rule needs one of 'upstream', 'split', 'redirect' and 'respond'");
  } else if (chosen == "upstream") {
    spec.value.action = routing::Forward{};
    spec.targets.push_back(read_target(*action, problems));
  } else if (chosen == "split") {
    spec.value.action = read_split(*action, spec.targets, problems);
  } else if (chosen == "redirect") {
    spec.value.action = read_redirect(*action, spec.value.kind, problems);
  } else {
    spec.value.action = read_respond(*action, problems);
  }
  spec.value.filters = read_filters(node, spec, problems);
  if (size_of_headers(spec.value) > max_rule_headers) {
    problems.error(node.place, "the headers of a rule may have at most " + size_text(max_rule_headers) + " together");
  }
  return spec;
}

}  // namespace edgemux::config
