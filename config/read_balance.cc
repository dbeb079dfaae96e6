// Upstreams: how their traffic is spread and held back, and how their endpoints are judged.
#include "config/read_balance.h"

#include <algorithm>

#include "config/spec.h"
#include "config/values.h"
#include "core/http/head_parser.h"

namespace edgemux::config {
namespace {

std::uint32_t percent_or(const Node* node, std::uint32_t fallback) {
  if (node == nullptr) return fallback;
  return parse_percent(node->text).value_or(fallback);
}

std::uint32_t count_or(const Node* node, std::uint32_t fallback) {
  return static_cast<std::uint32_t>(number_or(node, fallback));
}

void read_limits(const Node& node, routing::Upstream& upstream) {
  upstream.max_connections = count_or(node.get("connections"), 0);
  upstream.max_requests = count_or(node.get("requests"), 0);
  upstream.max_pending = count_or(node.get("pending"), 0);
}

// 'pending' of `limits` or `timeouts`: only who finds no place waits for one.
void remind_of_pending(const Node* pending, const routing::Upstream& upstream, Problems& problems) {
  if (pending == nullptr || upstream.max_connections != 0) return;
  problems.warning(pending->place, "'pending' has no effect without 'connections' in 'limits': nobody waits",
                   "say how many connections there may be, or leave it out");
}

bool is_true(const Node* node) { return node != nullptr && node->text == "true"; }

bool is_visible(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

std::shared_ptr<const routing::HealthCheck> read_health_check(const Node& node, Problems& problems) {
  using CheckKind = routing::HealthCheck::Kind;
  auto check = std::make_shared<routing::HealthCheck>();
  const Node* http = node.get("http");
  const int kinds = (http != nullptr ? 1 : 0) + (is_true(node.get("tcp")) ? 1 : 0) + (is_true(node.get("tls")) ? 1 : 0);
  if (kinds != 1) {
    problems.error(node.place, "'health_check' has exactly one of 'http: /path', 'tcp: true' and 'tls: true'");
    return nullptr;
  }
  check->kind = http != nullptr ? CheckKind::http : is_true(node.get("tls")) ? CheckKind::tls : CheckKind::tcp;
  if (http != nullptr) {
    check->path = std::string(http->text);
    if (check->path.empty() || check->path.front() != '/' || !is_visible(check->path)) {
      problems.error(http->place, "'http' must be a path that begins with '/', with escapes where it needs them");
    }
  }
  if (const Node* host = node.get("host"); host != nullptr) {
    check->host = std::string(host->text);
    std::string_view name;
    std::uint16_t port = 0;
    if (!core::parse_authority(check->host, name, port)) {
      problems.error(host->place, quote(check->host) + " is not a host name");
    } else if (check->kind == CheckKind::tcp) {
      problems.error(host->place, "'host' has no effect on a check of TCP");
    }
  }
  for (const auto* key : {"expect", "expect_body"}) {
    const Node* found = node.get(key);
    if (found != nullptr && http == nullptr) problems.error(found->place, quote(key) + " needs 'http'");
  }
  if (const Node* expect = node.get("expect"); expect != nullptr && expect->is_list()) {
    check->expect.clear();
    for (const Node* item = expect->first; item != nullptr; item = item->next) {
      check->expect.push_back(static_cast<std::uint16_t>(number_or(item, 200)));
    }
  }
  if (const Node* body = node.get("expect_body")) check->expect_body = std::string(body->text);
  check->interval = duration_or(node.get("interval"), check->interval);
  check->timeout = duration_or(node.get("timeout"), check->timeout);
  check->unhealthy_after = count_or(node.get("unhealthy_after"), check->unhealthy_after);
  check->healthy_after = count_or(node.get("healthy_after"), check->healthy_after);
  return check;
}

void read_outlier(const Node& node, routing::OutlierPolicy& outlier) {
  constexpr std::uint32_t kUsual = 5;
  outlier.consecutive_failures = count_or(node.get("consecutive_failures"), kUsual);
  outlier.eject_for = duration_or(node.get("eject_for"), outlier.eject_for);
  outlier.max_ejected = percent_or(node.get("max_ejected"), outlier.max_ejected);
}

}  // namespace

void read_balance(const Node& node, routing::Upstream& upstream, Problems& problems) {
  auto& balance = upstream.balance;
  if (const Node* kind = node.get("balance"); kind != nullptr) {
    using Balance = routing::Balance;
    for (const auto& [word, value] :
         {std::pair{"round_robin", Balance::round_robin}, std::pair{"least_connections", Balance::least_connections},
          std::pair{"random_two", Balance::random_two}, std::pair{"source_hash", Balance::source_hash}}) {
      if (kind->text == word) balance.kind = value;
    }
  }
  balance.slow_start = duration_or(node.get("slow_start"), balance.slow_start);
  balance.panic_threshold = percent_or(node.get("panic_threshold"), balance.panic_threshold);
  if (const Node* check = node.get("health_check"); check != nullptr && check->is_map()) {
    upstream.health_check = read_health_check(*check, problems);
  }
  if (const Node* outlier = node.get("outlier"); outlier != nullptr && outlier->is_map()) {
    read_outlier(*outlier, upstream.outlier);
  }
  if (const Node* limits = node.get("limits")) {
    read_limits(*limits, upstream);
    remind_of_pending(limits->get("pending"), upstream, problems);
  }
  if (const Node* dns = node.get("dns"); dns != nullptr && dns->is_map()) {
    upstream.dns.min_ttl = duration_or(dns->get("min_ttl"), upstream.dns.min_ttl);
    upstream.dns.max_ttl = duration_or(dns->get("max_ttl"), upstream.dns.max_ttl);
    if (upstream.dns.max_ttl.count() != 0 && upstream.dns.min_ttl > upstream.dns.max_ttl) {
      problems.error(dns->get("min_ttl")->place, "'min_ttl' is longer than 'max_ttl'");
    }
  }
  if (const Node* timeouts = node.get("timeouts")) {
    upstream.pending_timeout = duration_or(timeouts->get("pending"), upstream.pending_timeout);
    remind_of_pending(timeouts->get("pending"), upstream, problems);
  }
}

}  // namespace edgemux::config
