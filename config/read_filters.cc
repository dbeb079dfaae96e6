// What a rule does besides its action: changes on the way, CORS, mirrors, timeouts and retries.
#include <algorithm>
#include <array>

#include "config/read_rule.h"
#include "config/values.h"
#include "core/http/bytes.h"
#include "core/http/head_parser.h"
#include "routing/table/rewrite.h"

namespace edgemux::config {
namespace {

using routing::Filters;

routing::Rewrite read_rewrite(const Node& node, routing::Rule::Kind kind, Problems& problems) {
  routing::Rewrite rewrite;
  if (const Node* path = node.get("path")) {
    rewrite.path = read_path(*path, problems);
    warn_of_variables(*path, Groups::meant, problems);
  }
  if (const Node* prefix = node.get("prefix")) rewrite.prefix = read_prefix(*prefix, kind, problems);
  if (rewrite.path && rewrite.prefix) {
    problems.error(node.get("prefix")->place, "a rewrite has either 'path' or 'prefix'");
  }
  if (const Node* host = node.get("host"); host != nullptr && host->is_scalar() && !host->is_null()) {
    check_authority(*host, problems);
    rewrite.host = std::string(host->text);
  }
  if (!rewrite.path && !rewrite.prefix && !rewrite.host) {
    problems.error(node.place, "this rewrite changes nothing; give it a prefix, path or host");
  }
  return rewrite;
}

bool check_modified(const Node& name, bool request, Problems& problems) {
  if (!check_header_name(name, problems)) return false;
  const std::string lower = lower_case(name.text);
  if (request ? routing::may_modify_request_field(lower) : routing::may_modify_answer_field(lower)) return true;
  const bool host = request && lower == "host";
  problems.error(name.place, "header " + quote(name.text) + " is edgemux's own to write",
                 host ? "'rewrite: { host: ... }' says what the upstream gets" : "");
  return false;
}

// `room`: how many more there may be.
void read_named_values(const Node* node, bool request, std::size_t& room, routing::NamedValues& out,
                       Problems& problems) {
  if (node == nullptr || !node->is_map()) return;
  for (const Node* key = node->first; key != nullptr; key = key->next->next) {
    if (!check_modified(*key, request, problems) || !check_header(*key, *key->next, problems)) continue;
    warn_of_variables(*key->next, Groups::text, problems);
    if (room == 0) return too_many_changes(key->place, problems);
    --room;
    std::string name = lower_case(key->text);
    const bool twice = std::any_of(out.begin(), out.end(), [&](const auto& other) { return other.first == name; });
    if (twice) problems.error(key->place, "header " + quote(key->text) + " stands here twice");
    out.emplace_back(std::move(name), std::string(core::trim_ows(key->next->text)));
  }
}

bool has_underscore(const routing::HeaderModifier& change) {
  const auto has = [](std::string_view name) { return name.find('_') != std::string_view::npos; };
  return std::any_of(change.set.begin(), change.set.end(), [&](const auto& one) { return has(one.first); }) ||
         std::any_of(change.remove.begin(), change.remove.end(), has);
}

// Browsers leave it out (RFC 6454 6.2).
std::string_view without_default_port(std::string_view origin, std::string_view scheme) {
  for (const auto& [of, port] : {std::pair{"http", ":80"}, std::pair{"https", ":443"}}) {
    if (core::equal_ignoring_case(scheme, of) && origin.ends_with(port)) {
      origin.remove_suffix(std::string_view(port).size());
    }
  }
  return origin;
}

void read_origin(const Node& node, routing::Cors& cors, Problems& problems) {
  if (!node.is_scalar()) return;
  const std::string_view text = node.text;
  if (text == "*") {
    cors.any_origin = true;
    return;
  }
  const auto refuse = [&](const std::string& why) {
    problems.error(node.place, "bad origin " + quote(text) + ": " + why);
  };
  const auto scheme = text.find("://");
  if (scheme == std::string_view::npos || scheme == 0) return refuse("write scheme and host, like https://a.example");
  const std::string_view host = text.substr(scheme + 3);
  if (host.empty() || host.find_first_of("/?#@ ") != std::string_view::npos) {
    return refuse("an origin is scheme, host and port, without a path");
  }
  const auto star = text.find('*');
  const std::string_view origin = without_default_port(text, text.substr(0, scheme));
  if (star == std::string_view::npos) {
    cors.origins.push_back({std::string(origin), {}, false});
  } else if (star != scheme + 3 || !host.starts_with("*.") || host.find('*', 1) != std::string_view::npos) {
    refuse("a wildcard stands alone in front of the host, like https://*.a.example");
  } else {
    cors.origins.push_back({std::string(origin.substr(0, star)), std::string(origin.substr(star + 1)), true});
  }
}

// "GET, PUT"; `any` where one of them is '*', which stands among them.
std::string joined(const Node* node, bool& any, Problems& problems) {
  std::string out;
  if (node == nullptr || !node->is_list()) return out;
  for (const Node* item = node->first; item != nullptr; item = item->next) {
    if (!item->is_scalar()) continue;
    if (!core::is_token(item->text)) {
      problems.error(item->place, quote(item->text) + " cannot stand here; write one name per entry");
      continue;
    }
    any = any || item->text == "*";
    out += (out.empty() ? "" : ", ") + std::string(item->text);
  }
  return out;
}

routing::Cors read_cors(const Node& node, Problems& problems) {
  routing::Cors cors;
  if (const Node* origins = node.get("origins"); origins != nullptr && origins->is_list()) {
    for (const Node* item = origins->first; item != nullptr; item = item->next) read_origin(*item, cors, problems);
  }
  cors.methods = joined(node.get("methods"), cors.any_method, problems);
  cors.headers = joined(node.get("headers"), cors.any_header, problems);
  bool expose_any = false;
  cors.expose = joined(node.get("expose"), expose_any, problems);
  if (const Node* credentials = node.get("credentials")) cors.credentials = credentials->text == "true";
  if (cors.credentials && cors.any_origin) {
    problems.warning(node.get("origins")->place, "with 'credentials', any site may act here as the user who visits it");
  }
  if (cors.credentials && expose_any) {
    problems.warning(node.get("expose")->place,
                     "with 'credentials', browsers take this '*' for a name; list the names");
  }
  const auto max_age = duration_or(node.get("max_age"), routing::milliseconds(5'000));
  if (max_age.count() % 1000 != 0) problems.error(node.get("max_age")->place, "'max_age' counts in whole seconds");
  cors.max_age = std::to_string(max_age.count() / 1000);
  return cors;
}

void read_mirror(const Node& node, RuleSpec& spec, Problems& problems) {
  const Node* upstream = node.get("upstream");
  if (upstream == nullptr) return;
  MirrorSpec mirror{read_target(*upstream, problems)};
  const Node* percent = node.get("percent");
  if (percent != nullptr && percent->is_scalar()) {
    mirror.share = static_cast<std::uint32_t>(parse_decimal(percent->text).value_or(mirror.share));
  }
  spec.mirrors.push_back(std::move(mirror));
}

void read_condition(const Node& node, routing::Retry& retry, Problems& problems) {
  if (!node.is_scalar() || node.is_null()) return;
  if (node.text == "connect") {
    retry.on_connect = true;
  } else if (node.text == "reset") {
    retry.on_reset = true;
  } else if (node.text == "timeout") {
    retry.on_timeout = true;
  } else if (const auto status = parse_number(node.text); status && *status >= 400 && *status <= 599) {
    retry.on_status.push_back(static_cast<std::uint16_t>(*status));
  } else {
    problems.error(node.place,
                   "'on' lists connect, reset, timeout and statuses from 400 to 599, not " + quote(node.text),
                   did_you_mean(node.text, {"connect", "reset", "timeout"}));
  }
}

routing::Retry read_retry(const Node& node, Problems& problems) {
  routing::Retry retry;
  retry.attempts = static_cast<std::uint32_t>(number_or(node.get("attempts"), retry.attempts));
  retry.backoff = duration_or(node.get("backoff"), retry.backoff);
  const Node* on = node.get("on");
  if (on == nullptr || !on->is_list()) {
    retry.on_connect = retry.on_reset = true;
    return retry;
  }
  for (const Node* item = on->first; item != nullptr; item = item->next) read_condition(*item, retry, problems);
  return retry;
}

void read_timeouts(const Node& node, Filters& filters, Problems& problems) {
  filters.request_timeout = duration_or(node.get("request"), filters.request_timeout);
  filters.try_timeout = duration_or(node.get("try"), filters.try_timeout);
  if (filters.request_timeout.count() != 0 && filters.try_timeout > filters.request_timeout) {
    problems.error(node.get("try")->place, "a try cannot take longer than the whole request ('request: " +
                                               duration_text(filters.request_timeout) + "')");
  }
  if (const Node* silence = node.get("response")) {
    filters.response_timeout = duration_or(silence, routing::milliseconds(0));
  } else if (node.get("request") != nullptr || (node.get("try") != nullptr && filters.try_timeout.count() == 0)) {
    // Who says how long a request may take, or that it has all the time, means it: silence alone does not end it.
    filters.response_timeout = routing::milliseconds(0);
  }
}

}  // namespace

std::uint16_t check_authority(const Node& node, Problems& problems) {
  if (!node.is_scalar()) return 0;
  std::string_view host;
  std::uint16_t port = 0;
  const bool good = core::parse_authority(node.text, host, port) &&
                    (host.front() == '[' || std::all_of(host.begin(), host.end(), [](char c) {
                       return core::is_digit(c) || core::is_alpha(c) || c == '.' || c == '-' || c == '_';
                     }));
  if (!good) problems.error(node.place, quote(node.text) + " is no host name");
  return good ? port : std::uint16_t{0};
}

std::string read_prefix(const Node& node, routing::Rule::Kind kind, Problems& problems) {
  if (kind == routing::Rule::Kind::regex) {
    problems.error(node.place, "'prefix' replaces what 'path' matched; a rule with 'regex_path' has no such part");
  }
  if (node.is_scalar() && !node.is_null() && node.text.empty()) return "/";
  warn_of_variables(node, Groups::meant, problems);
  return read_path(node, problems);
}

routing::HeaderModifier read_headers(const Node& node, bool request, Problems& problems) {
  routing::HeaderModifier change;
  std::size_t room = max_changed_headers;
  read_named_values(node.get("set"), request, room, change.set, problems);
  read_named_values(node.get("add"), request, room, change.add, problems);
  const Node* remove = node.get("remove");
  for (const Node* item = remove != nullptr && remove->is_list() ? remove->first : nullptr; item != nullptr;
       item = item->next) {
    if (item->is_scalar() && check_modified(*item, request, problems)) change.remove.push_back(lower_case(item->text));
  }
  change.underscored = has_underscore(change);
  return change;
}

std::shared_ptr<const Filters> read_filters(const Node& rule, RuleSpec& spec, Problems& problems) {
  const auto is = [&](const char* key) { return rule.get(key) != nullptr; };
  // Without any action, which is reported already, it is not known whether it was to forward.
  const bool answers = (is("redirect") || is("respond")) && !is("upstream") && !is("split");
  auto filters = std::make_shared<Filters>();
  bool any = false;
  const auto take = [&](const char* key, bool needs_upstream, auto&& read) {
    const Node* node = rule.get(key);
    if (node == nullptr || (!node->is_map() && !node->is_list())) return;
    any = true;
    if (needs_upstream && answers) {
      problems.error(node->place, quote(key) + " needs an 'upstream' or a 'split'; this rule forwards nothing");
    }
    read(*node);
  };
  take("rewrite", true, [&](const Node& n) { filters->rewrite = read_rewrite(n, spec.value.kind, problems); });
  take("request_headers", true, [&](const Node& n) { filters->request_headers = read_headers(n, true, problems); });
  take("response_headers", false, [&](const Node& n) { filters->response_headers = read_headers(n, false, problems); });
  take("cors", false, [&](const Node& n) { filters->cors = read_cors(n, problems); });
  take("mirror", true, [&](const Node& n) {
    if (n.is_map()) return read_mirror(n, spec, problems);
    for (const Node* item = n.first; item != nullptr; item = item->next) read_mirror(*item, spec, problems);
  });
  take("timeouts", true, [&](const Node& n) { read_timeouts(n, *filters, problems); });
  take("retry", true, [&](const Node& n) { filters->retry = read_retry(n, problems); });
  if (!any) return nullptr;
  return filters;
}

}  // namespace edgemux::config
