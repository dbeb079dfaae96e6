#include "config/reminders.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "config/linker.h"

namespace edgemux::config {
namespace {

constexpr std::size_t max_unused = 20;

std::string day_of(std::int64_t seconds) {
  const auto when = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&when, &parts);
  std::array<char, 32> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d", &parts)};
}

}  // namespace

bool remind_of_expiry(const core::CertifiedKey& pair, Place place, std::int64_t now, Problems& problems) {
  constexpr std::int64_t day = 24 * 3600;
  const std::int64_t left = pair.not_after - now;
  if (left < 0 || left > expiry_days * day) return false;
  const auto days = left / day;
  problems.warning(place,
                   pair.cert_file + ": the certificate for " + (pair.names.empty() ? "nobody" : pair.names.front()) +
                       " expires on " + day_of(pair.not_after) + ", in " +
                       (days == 0 ? "less than a day" : std::to_string(days) + (days == 1 ? " day" : " days")),
                   "renew it; a new file is taken up by itself");
  return true;
}

void remind_of_unreachable(const RouteSpec& spec, bool on_tls, bool on_http, Problems& problems) {
  if (on_tls) return;
  if (spec.target) {
    problems.warning(spec.place, "this route is on no tls listener: its " + quote(spec.key()) + " is never reached");
  } else if (spec.on_http != routing::OnHttp::serve) {
    problems.warning(spec.place, "this route is on no tls listener: its 'rules' are never reached",
                     on_http ? "'on_http: serve' would serve them over plain HTTP" : "");
  }
}

void remind_of_tunnels_only(const UpstreamSpec& spec, Problems& problems) {
  const std::string upstream = "upstream " + quote(spec.name.text) + ": ";
  if (spec.keepalive_place.line != 0) {
    problems.warning(spec.keepalive_place, upstream + "'keepalive' has no effect: only tunnels use it",
                     "leave it out; each tunnel has a connection of its own");
  }
  const auto& check = spec.value.health_check;
  const bool asked = check != nullptr && check->kind == routing::HealthCheck::Kind::http;
  if (spec.value.transport.version == routing::HttpVersion::http2 && !asked) {
    problems.warning(spec.protocol_place, upstream + "'protocol: h2' has no effect: only tunnels use it",
                     "leave it out; what is in a tunnel is passed on as it is");
  }
}

void remind_of_short_ttls(const UpstreamSpec& spec, Problems& problems) {
  constexpr routing::milliseconds shortest{1000};
  const auto counts_as_more = [&](routing::milliseconds bound) { return bound.count() != 0 && bound < shortest; };
  const auto& dns = spec.value.dns;
  if (!counts_as_more(dns.min_ttl) && !counts_as_more(dns.max_ttl)) return;
  problems.warning(spec.dns_place,
                   "upstream " + quote(spec.name.text) + ": what 'dns' says below 1s counts as 1s for a tenant",
                   "write 1s or more");
}

std::string name_to_serve(const std::string& host) {
  // No certificate names this very label.
  return host.front() == '*' ? "any-name-of-a-wildcard" + host.substr(1) : host;
}

void Linker::remind_of_unused(const FileSpec& file, Problems& problems) const {
  std::size_t found = 0;
  for (const auto& upstream : file.upstreams) {
    const auto at = named_.find(upstream.name.text);
    if (at == named_.end() || at->second.spec != &upstream) continue;
    if (at->second.made != nullptr) {
      if (!at->second.has_requests) remind_of_tunnels_only(upstream, problems);
      continue;
    }
    if (found++ < max_unused) {
      problems.warning(upstream.name.place, "no route uses the upstream " + quote(upstream.name.text));
    }
  }
  if (found > max_unused) {
    problems.more_warnings(found - max_unused, "upstreams that no route uses");
  }
}

}  // namespace edgemux::config
