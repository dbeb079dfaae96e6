// Rules of a terminated host.
#include "config/spec.h"
#include "core/http/path.h"

namespace edgemux::config {
namespace {

// A path that a rule can match or lead to: normalised, without query.
std::string read_path(const Node& node, Problems& problems) {
  const auto refuse = [&](const std::string& why) {
    problems.error(node.place, "bad path " + quote(node.text) + ": " + why);
    return std::string("/");
  };
  if (!node.is_scalar() || node.is_null()) return "/";
  if (node.text.empty() || node.text.front() != '/') return refuse("it must begin with '/'");
  if (node.text.find_first_of("?#") != std::string_view::npos) return refuse("'?' and '#' do not belong into a path");
  for (const char c : node.text) {
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
      return refuse("write spaces, controls and letters beyond ASCII as percent escapes");
    }
  }
  std::string scratch(node.text.size(), '\0');
  const auto normal = core::normalize_path(node.text, scratch);
  if (normal.error != nullptr) return refuse(normal.error);
  return std::string(normal.path);
}

bool token(std::string_view text) {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  for (const char c : text) {
    const bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!alnum && marks.find(c) == std::string_view::npos) return false;
  }
  return !text.empty();
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

routing::Respond read_respond(const Node& node, Problems& problems) {
  routing::Respond respond;
  respond.status = static_cast<std::uint16_t>(number_or(node.get("status"), 200));
  if (const Node* body = node.get("body"); body != nullptr && body->is_scalar()) respond.body = std::string(body->text);
  if (!respond.body.empty() && (respond.status == 204 || respond.status == 304)) {
    problems.error(node.get("body")->place, "an answer with status " + std::to_string(respond.status) + " has no body");
  }
  const Node* headers = node.get("headers");
  if (headers == nullptr || !headers->is_map()) return respond;
  for (const Node* key = headers->first; key != nullptr; key = key->next->next) {
    const std::string name = lower(key->text);
    if (!token(name)) {
      problems.error(key->place, quote(key->text) + " is no header name");
      continue;
    }
    for (const std::string_view managed :
         {"content-length", "transfer-encoding", "connection", "upgrade", "keep-alive", "trailer", "te"}) {
      if (name == managed) problems.error(key->place, "header " + quote(key->text) + " is set by edgemux itself");
    }
    const auto value = key->next->is_scalar() ? key->next->text : std::string_view{};
    for (const char c : value) {
      if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) {
        problems.error(key->next->place, "the value of header " + quote(key->text) + " holds a control character");
        break;
      }
    }
    respond.headers.emplace_back(name, std::string(value));
  }
  return respond;
}

routing::Redirect read_redirect(const Node& node, Problems& problems) {
  routing::Redirect redirect;
  const auto text = [&](std::string_view key) -> std::optional<std::string> {
    const Node* value = node.get(key);
    if (value == nullptr || !value->is_scalar() || value->is_null()) return std::nullopt;
    return std::string(value->text);
  };
  redirect.scheme = text("scheme");
  redirect.host = text("host");
  if (redirect.host) {
    for (const char c : *redirect.host) {
      const bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
                        c == '-' || c == '_' || c == '[' || c == ']' || c == ':';
      if (!good) {
        problems.error(node.get("host")->place, quote(*redirect.host) + " is no host name");
        break;
      }
    }
  }
  if (const Node* port = node.get("port")) redirect.port = static_cast<std::uint16_t>(number_or(port, 0));
  if (const Node* path = node.get("path")) redirect.path = read_path(*path, problems);
  if (const Node* prefix = node.get("prefix")) redirect.prefix = read_path(*prefix, problems);
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

}  // namespace

RuleSpec read_rule(const Node& node, Problems& problems) {
  RuleSpec rule;
  rule.place = node.place;
  const Node* path = nullptr;
  const auto take = [&](const Node& from, std::string_view key, routing::Rule::Kind kind) {
    const Node* found = from.get(key);
    if (found == nullptr) return;
    if (path != nullptr) {
      problems.error(found->place, "a rule matches one of 'path' and 'exact_path'");
      return;
    }
    path = found;
    rule.kind = kind;
    const auto before = problems.errors();
    rule.path = read_path(*found, problems);
    if (problems.errors() != before) rule.path_only = false;
  };
  take(node, "path", routing::Rule::Kind::prefix);
  take(node, "exact_path", routing::Rule::Kind::exact);
  if (const Node* match = node.get("match")) {
    take(*match, "path", routing::Rule::Kind::prefix);
    take(*match, "exact_path", routing::Rule::Kind::exact);
  }
  for (const std::string_view key : {"regex_path", "methods", "headers", "query"}) {
    const Node* match = node.get("match");
    if (node.get(key) != nullptr || (match != nullptr && match->get(key) != nullptr)) rule.path_only = false;
  }
  if (rule.kind == routing::Rule::Kind::prefix && rule.path.size() > 1 && rule.path.back() == '/') rule.path.pop_back();

  const Node* actions[] = {node.get("upstream"), node.get("respond"), node.get("redirect")};
  const Node* action = nullptr;
  for (const Node* candidate : actions) {
    if (candidate == nullptr) continue;
    if (action != nullptr) {
      problems.error(candidate->place, "a rule has exactly one of 'upstream', 'respond' and 'redirect'");
      return rule;
    }
    action = candidate;
  }
  if (action == nullptr) {
    if (node.get("split") == nullptr)
      problems.error(node.place, "a rule needs one of 'upstream', 'respond' and 'redirect'");
  } else if (action == actions[0]) {
    rule.action = read_target(*action, problems);
  } else if (action == actions[1]) {
    rule.action = read_respond(*action, problems);
  } else {
    rule.action = read_redirect(*action, problems);
  }
  return rule;
}

}  // namespace edgemux::config
