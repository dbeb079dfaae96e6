#include "admin/explain_action.h"

#include <algorithm>
#include <array>

#include "admin/status.h"
#include "config/values.h"
#include "core/http/status.h"
#include "listeners/close_reason.h"
#include "listeners/redirects.h"
#include "routing/table/cors.h"
#include "routing/table/rewrite.h"
#include "routing/table/rule.h"

namespace edgemux::admin {

namespace {

using routing::Rule;
using routing::ValueMatch;

constexpr std::size_t kMaxRules = 40;
constexpr std::size_t kMaxEndpoints = 64;

std::string path_of(const Rule& rule) {
  switch (rule.kind) {
    case Rule::Kind::exact:
      return "exact_path " + rule.path;
    case Rule::Kind::regex:
      return "regex_path " + rule.path;
    case Rule::Kind::prefix:
      break;
  }
  return "path " + rule.path;
}

std::string value_of(const ValueMatch& wanted) {
  return wanted.name + (wanted.pattern != nullptr ? " ~ " : ": ") + wanted.value;
}

std::string conditions_of(const Rule& rule) {
  std::string out;
  if (rule.priority != 0) out += ", priority " + std::to_string(rule.priority);
  if (rule.conditions == nullptr) return out;
  const auto& c = *rule.conditions;
  if (!c.methods.empty()) out += ", methods " + joined(c.methods);
  for (const auto& header : c.headers) out += ", header " + value_of(header);
  for (const auto& parameter : c.query) out += ", query " + value_of(parameter);
  return out;
}

// The first of several that, alone, does not hold.
std::string first_failing(const std::vector<ValueMatch>& wanted, bool header, const routing::RequestFacts& request) {
  for (const auto& one : wanted) {
    Rule probe;
    routing::Conditions alone;
    (header ? alone.headers : alone.query).push_back(one);
    probe.conditions = std::make_shared<const routing::Conditions>(std::move(alone));
    if (probe.test_conditions(request) == Rule::Verdict::match) continue;
    std::string has;
    if (header && request.fields != nullptr) {
      for (const auto& field : *request.fields) {
        if (field.name == one.name) has += (has.empty() ? "" : ", ") + std::string(field.value);
      }
    }
    if (!header) return value_of(one) + (request.query.empty() ? " (there is no query)" : "");
    return value_of(one) + (has.empty() ? " (there is none)" : " (it is " + has + ")");
  }
  return {};
}

std::string why_not(const Rule& rule, const routing::RequestFacts& request) {
  switch (rule.test(request)) {
    case Rule::Verdict::match:
      return "matches";
    case Rule::Verdict::path:
      return rule.kind == Rule::Kind::prefix && request.path.starts_with(rule.path)
                 ? "the path begins like it, but within an element"
                 : "another path";
    case Rule::Verdict::method:
      return "not for " + std::string(request.method_text);
    case Rule::Verdict::header:
      return "needs header " + first_failing(rule.conditions->headers, true, request);
    case Rule::Verdict::query:
      return "needs query " + first_failing(rule.conditions->query, false, request);
  }
  return {};
}

std::string header_changes(const routing::HeaderModifier& change) {
  std::string out;
  const auto add = [&](const char* what, const std::string& name) -> std::string& {
    return out.append(out.empty() ? "" : ", ").append(what).append(name);
  };
  for (const auto& [name, value] : change.set) add("set ", name).append(": ").append(value);
  for (const auto& [name, value] : change.add) add("add ", name).append(": ").append(value);
  for (const auto& name : change.remove) add("remove ", name);
  return out;
}

void add_step(Explanation& out, std::string topic, std::string text, const routing::Origin& at = {}) {
  out.steps.push_back({std::move(topic), std::move(text), at, {}});
}

// What the rule does besides its action, in the order in which a request meets it.
void explain_filters(Explanation& out, const Rule& rule, const ActionView& view) {
  if (rule.filters == nullptr) return;
  const auto& filters = *rule.filters;
  if (filters.rewrite) {
    std::string path;
    routing::rewrite_path(*filters.rewrite, view.request.path, rule.path, path);
    add_step(out, "rewrite",
             "the upstream gets " + path + (view.head.has_query ? "?" + std::string(view.head.query) : "") +
                 (filters.rewrite->host ? " with Host " + *filters.rewrite->host : ""),
             rule.origin);
  }
  if (!filters.request_headers.empty()) {
    add_step(out, "headers", "of the request: " + header_changes(filters.request_headers), rule.origin);
  }
  if (!filters.response_headers.empty()) {
    add_step(out, "headers", "of the answer: " + header_changes(filters.response_headers), rule.origin);
  }
  if (filters.cors) {
    const auto* origin = view.request.fields == nullptr ? nullptr : view.request.fields->find("origin");
    add_step(out, "cors",
             origin == nullptr
                 ? "the request has no Origin"
                 : std::string(origin->value) +
                       (routing::admits_origin(*filters.cors, origin->value) ? " is admitted" : " is not admitted"),
             rule.origin);
  }
  for (const auto& mirror : filters.mirrors) {
    if (mirror.upstream == nullptr) continue;
    add_step(out, "mirror",
             mirror.upstream->missing
                 ? "nothing is copied to upstream " + mirror.upstream->name + ", which is not defined"
                 : config::decimal_text(mirror.share) + "% are copied to upstream " + mirror.upstream->name,
             rule.origin);
  }
  std::string times;
  if (filters.request_timeout.count() != 0) times = "request " + std::to_string(filters.request_timeout.count()) + "ms";
  if (filters.try_timeout.count() != 0) {
    times += (times.empty() ? "" : ", ") + ("try " + std::to_string(filters.try_timeout.count())) + "ms";
  }
  if (filters.response_timeout && filters.response_timeout->count() != 0) {
    times += (times.empty() ? "" : ", ") + ("silence " + std::to_string(filters.response_timeout->count())) + "ms";
  }
  if (!times.empty()) add_step(out, "timeouts", times, rule.origin);
  if (filters.retry) {
    add_step(out, "retry", "up to " + std::to_string(filters.retry->attempts) + " more tries", rule.origin);
  }
}

void refuse(Explanation& out, int status, listeners::CloseReason reason, std::string summary) {
  out.action = "refuse";
  out.status = status;
  out.reason = listeners::close_reason_name(reason);
  out.summary = std::to_string(status) + ": " + std::move(summary);
}

void explain_split(Explanation& out, const Rule& rule, const routing::Split& split, const ActionView& view) {
  std::uint64_t sum = 0;
  std::uint64_t sent = 0;  // of it, to upstreams that there are
  std::string text;
  for (const auto& part : split.parts) {
    sum += part.weight;
    if (part.upstream != nullptr && !part.upstream->missing) sent += part.weight;
  }
  for (const auto& part : split.parts) {
    const auto tenths = sum == 0 ? 0 : part.weight * std::uint64_t{1000} / sum;
    text += (text.empty() ? "" : ", ") + std::to_string(tenths / 10) +
            (tenths % 10 == 0 ? "" : "." + std::to_string(tenths % 10)) + "% to " +
            (part.upstream == nullptr || part.upstream->missing ? "an upstream that is missing (500)"
                                                                : part.upstream->name);
  }
  add_step(out, "split", text, rule.origin);
  for (const auto& part : split.parts) {
    if (part.headers == nullptr || part.upstream == nullptr) continue;
    const auto say = [&](const char* whose, const routing::HeaderModifier& change) {
      if (change.empty()) return;
      add_step(out, "headers", whose + part.upstream->name + ": " + header_changes(change), rule.origin);
    };
    say("of requests to ", part.headers->request);
    say("of answers from ", part.headers->response);
  }
  if (sent == 0) {
    return refuse(out, 500, listeners::CloseReason::no_upstream,
                  sum == 0 ? "every weight of this rule's split is 0"
                           : "no upstream of this rule's split with a weight is defined");
  }
  std::uint64_t unreachable = 0;  // of `sent`
  for (const auto& part : split.parts) {
    if (part.upstream == nullptr || part.upstream->missing) continue;
    if (!add_upstream(out, *part.upstream, view.running).empty()) unreachable += part.weight;
  }
  if (unreachable == sum) {
    return refuse(out, 503, listeners::CloseReason::no_endpoint,
                  "no upstream of this rule's split with a weight has an endpoint that can be used");
  }
  out.action = "split";
  out.summary = "split: " + text;
}

}  // namespace

const Rule* explain_rules(Explanation& out, const routing::VirtualHost& host, const routing::RequestFacts& request) {
  const Rule* rule = host.match(request);
  Explanation::Step step;
  step.topic = "rule";
  step.text = rule == nullptr ? "none of " + std::to_string(host.rules.size()) + " matches"
                              : path_of(*rule) + conditions_of(*rule);
  if (rule != nullptr) step.at = rule->origin;
  std::size_t left_out = 0;
  bool passed = false;
  for (const auto& candidate : host.rules) {
    const bool chosen = &candidate == rule;
    // Of a long list only what stands near to the request is shown.
    if (!chosen && step.candidates.size() >= kMaxRules - 1 && !candidate.takes_path(request.path)) {
      ++left_out;
      continue;
    }
    if (!chosen && step.candidates.size() >= 4 * kMaxRules) {
      ++left_out;
      continue;
    }
    std::string why = why_not(candidate, request);
    if (!chosen && passed && why == "matches") why = "matches too, but comes later";
    step.candidates.push_back({path_of(candidate) + conditions_of(candidate) + ": " + why, candidate.origin, chosen});
    passed = passed || chosen;
  }
  if (left_out != 0)
    step.candidates.push_back({"and " + std::to_string(left_out) + " more that do not match", {}, false});
  out.steps.push_back(std::move(step));
  return rule;
}

bool is_preflight(const Rule& rule, const routing::RequestFacts& request) {
  return rule.filters != nullptr && rule.filters->cors && request.fields != nullptr &&
         !routing::preflight_method(request.method, *request.fields).empty();
}

void explain_action(Explanation& out, const Rule& rule, const ActionView& view) {
  const bool preflight = is_preflight(rule, view.request);
  explain_filters(out, rule, view);
  if (preflight) {
    out.action = "respond";
    out.status = 204;
    out.summary = "204: a CORS preflight, answered here";
    return;
  }
  if (const auto* forward = std::get_if<routing::Forward>(&rule.action)) {
    out.action = "forward";
    if (forward->upstream == nullptr || forward->upstream->missing) {
      return refuse(out, 500, listeners::CloseReason::no_upstream, "the rule's upstream is not defined");
    }
    out.upstream = forward->upstream->name;
    if (const auto why = add_upstream(out, *forward->upstream, view.running); !why.empty()) {
      return refuse(out, 503, listeners::CloseReason::no_endpoint, "upstream " + out.upstream + ": " + why);
    }
    out.summary = "forwarded to upstream " + out.upstream;
    return;
  }
  if (const auto* split = std::get_if<routing::Split>(&rule.action)) return explain_split(out, rule, *split, view);
  if (const auto* redirect = std::get_if<routing::Redirect>(&rule.action)) {
    out.action = "redirect";
    out.status = redirect->status;
    out.location = listeners::rule_redirect(*redirect, rule, view.by_https ? "https" : "http", view.head.host,
                                            view.head.port, view.request.path, view.head.has_query, view.head.query);
    out.summary = std::to_string(out.status) + " to " + out.location;
    return;
  }
  const auto& respond = std::get<routing::Respond>(rule.action);
  out.action = "respond";
  out.status = respond.status;
  out.summary = std::to_string(respond.status) + " " + std::string(core::reason_phrase(respond.status)) + ", " +
                std::to_string(respond.body.size()) + " bytes, answered here";
}

namespace {

routing::Origin place_of(const routing::EndpointSpec& endpoint, const routing::Upstream& upstream) {
  if (endpoint.line == 0) return upstream.origin;
  return {upstream.origin.file, endpoint.line, endpoint.column};
}

// What was resolved has the place of the name that it came from.
routing::Origin place_of(const routing::Endpoint& endpoint, const routing::Upstream& upstream) {
  const auto spec = std::find_if(upstream.endpoints.begin(), upstream.endpoints.end(), [&](const auto& one) {
    return one.host == endpoint.host && (one.service || one.port == 0 || one.port == endpoint.address.port());
  });
  return spec == upstream.endpoints.end() ? upstream.origin : place_of(*spec, upstream);
}

// Null: it may be dialled, as far as is known before it is resolved.
const char* refusal(const routing::EndpointSpec& endpoint, const routing::Upstream& upstream) {
  return endpoint.address && upstream.tenant != nullptr ? upstream.tenant->refuses(*endpoint.address) : nullptr;
}

constexpr const char* kNone = "it has no endpoint";
constexpr const char* kAllDrained = "every endpoint has weight 0";

std::string why_none(const routing::Upstream& upstream) {
  const auto& all = upstream.endpoints;
  if (all.empty()) return kNone;
  if (std::all_of(all.begin(), all.end(), [](const auto& one) { return one.weight == 0; })) return kAllDrained;
  for (const auto& endpoint : all) {
    if (endpoint.weight != 0 && refusal(endpoint, upstream) == nullptr) return {};
  }
  const auto& first = *std::find_if(all.begin(), all.end(), [](const auto& one) { return one.weight != 0; });
  return "tenant " + upstream.tenant->name + " may not use endpoint " + first.text + ", which " +
         refusal(first, upstream);
}

// As the balancer chooses.
std::string why_none(const routing::EndpointSet& set, const routing::Upstream& upstream) {
  const auto& all = set.endpoints;
  if (all.empty()) return set.problem.empty() ? kNone : set.problem;
  if (std::all_of(all.begin(), all.end(), [](const auto& one) { return one.weight == 0; })) return kAllDrained;
  const bool any = upstream.balance.panic_threshold != 0 || std::any_of(all.begin(), all.end(), [](const auto& one) {
                     return one.weight != 0 && (one.state == nullptr || one.state->usable());
                   });
  return any ? "" : "no endpoint is healthy";
}

}  // namespace

std::string add_upstream(Explanation& out, const routing::Upstream& upstream, bool running) {
  std::string none;
  Explanation::Step step;
  step.topic = "upstream";
  step.text = upstream.name;
  step.at = upstream.origin;
  if (!running) {
    for (const auto& endpoint : upstream.endpoints) {
      if (step.candidates.size() == kMaxEndpoints) break;
      std::string text = "endpoint " + endpoint.text;
      if (upstream.endpoints.size() > 1 && endpoint.weight != 1) text += ", weight " + std::to_string(endpoint.weight);
      if (!endpoint.address) text += ", resolved when edgemux runs";
      if (const char* why = refusal(endpoint, upstream)) {
        text += std::string(", which ") + why + ": tenant " + upstream.tenant->name + " may not use it";
      }
      step.candidates.push_back({std::move(text), place_of(endpoint, upstream), false});
    }
    none = why_none(upstream);
  } else {
    const auto set = upstream.state->published();
    none = why_none(*set, upstream);
    if (!set->problem.empty()) step.text += "; " + set->problem;
    for (const auto& endpoint : set->endpoints) {
      if (step.candidates.size() == kMaxEndpoints) break;
      const auto state = routing::state_name(endpoint);
      step.candidates.push_back({"endpoint " + endpoint.text + (state == "unchecked" ? "" : ", " + std::string(state)),
                                 place_of(endpoint, upstream), false});
    }
  }
  if (step.candidates.empty()) step.text += "; without endpoints (503)";
  out.steps.push_back(std::move(step));
  return none;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace edgemux::admin
