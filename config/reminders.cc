#include "config/reminders.h"

#include <algorithm>
#include <array>
#include <bit>
#include <ctime>

#include "config/linker.h"
#include "core/http/bytes.h"

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

std::string out_of_date(const core::CertifiedKey& pair, std::int64_t now) {
  if (pair.not_after < now) return pair.cert_file + ": expired on " + day_of(pair.not_after);
  if (pair.not_before > now) return pair.cert_file + ": not valid before " + day_of(pair.not_before);
  return {};
}

bool remind_of_expiry(const core::CertifiedKey& pair, Place place, std::int64_t now, Problems& problems) {
  constexpr std::int64_t day = 24 * 3600;
  if (const std::string why = out_of_date(pair, now); !why.empty()) {
    problems.warning(place, why);
    return true;
  }
  const std::int64_t left = pair.not_after - now;
  if (left > expiry_days * day) return false;
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

void remind_of_circles(const RouteSpec& spec, bool on_tls, bool on_http, Problems& problems) {
  const bool plain = on_http && spec.on_http == routing::OnHttp::serve;
  const bool back = on_http && spec.on_http == routing::OnHttp::redirect;
  const auto own = [&](const std::string& host) {
    return std::any_of(spec.hosts.begin(), spec.hosts.end(),
                       [&](const Name& name) { return core::equal_ignoring_case(name.text, host); });
  };
  for (const auto& rule : spec.rules) {
    const auto* redirect = std::get_if<routing::Redirect>(&rule.value.action);
    if (redirect == nullptr || !rule.sound || rule.value.conditions != nullptr) continue;
    if (redirect->path || redirect->prefix || redirect->port) continue;
    if (redirect->host ? !own(*redirect->host) : !redirect->scheme) continue;
    const std::string_view where = redirect->host ? std::string_view(*redirect->host) : spec.key();
    if (!redirect->scheme) {
      problems.warning(
          rule.place,
          "this redirect leads to where the request already is: " + quote(where) + " is a host of this route",
          "give the hosts that are to be redirected a route of their own");
    } else if (spec.listeners) {
      // the scheme's own port may be another listener's
    } else if (*redirect->scheme == "https" && on_tls) {
      problems.warning(rule.place, "over TLS this redirect leads to where the request already is",
                       "redirect in a route with 'listeners' that names http listeners alone, or leave it to on_http");
    } else if (*redirect->scheme == "http" && (plain || (back && on_tls))) {
      problems.warning(rule.place, plain ? "over plain HTTP this redirect leads to where the request already is"
                                         : "this redirect goes in circles: 'on_http: redirect' leads back to https");
    }
  }
}

void remind_of_on_http(const RouteSpec& spec, bool on_tls, bool on_http, Problems& problems) {
  const bool serves = spec.on_http == routing::OnHttp::serve;
  if (!on_http && serves) {
    problems.warning(spec.on_http_place, "'on_http: serve' has no effect: this route is on no http listener",
                     "leave it out, or add an http listener");
  } else if (!on_http && spec.on_http == routing::OnHttp::redirect && spec.on_http_place.line != 0) {
    problems.warning(spec.on_http_place, "'on_http: redirect' has no effect: this route is on no http listener",
                     "name one in 'listeners', too");
  } else if (serves && on_tls && spec.tls != nullptr && !spec.tls->client_ca.text.empty() &&
             spec.tls->client_auth != core::ClientAuth::optional && spec.access.allow.empty()) {
    problems.warning(spec.on_http_place,
                     "'on_http: serve' serves who comes over plain HTTP, where no client certificate is asked for",
                     "leave it out, or say with 'allow' who may come in");
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

void remind_of_unwritable(const Settings& settings, Files& files, Problems& problems) {
  const auto look = [&](const char* what, const std::string& path, bool append, Place place) {
    if (place.line == 0 || path.empty()) return;
    // systemd makes them for the unit, when it starts.
    if (path.starts_with("/run/edgemux/") || path.starts_with("/var/log/edgemux/")) return;
    const auto why = files.unwritable(path, append);
    if (why.empty()) return;
    problems.warning(place, std::string(what) + " " + path + " cannot be written: " + why,
                     "a start would fail here; check as the service's user, and make the folder");
  };
  const auto& log = settings.log.access;
  if (log.format != routing::AccessFormat::off && log.path.starts_with('/')) {
    look("the access log", log.path, true, settings.log_place);
  }
  constexpr std::string_view scheme = "unix:";
  if (const std::string_view bind = settings.admin.bind; bind.starts_with(scheme)) {
    look("the admin socket", std::string(bind.substr(scheme.size())), false, settings.admin_place);
  }
}

std::string name_to_serve(const std::string& host) {
  // No certificate names this very label.
  return host.front() == '*' ? "any-name-of-a-wildcard" + host.substr(1) : host;
}

// Of the http listener at `from`: the tls listeners on the port that it redirects to.
std::uint64_t Linker::redirected_to(std::size_t from) const {
  const auto& listeners = shared_.settings.listeners;
  std::uint64_t mask = 0;
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    if (listeners[i].protocol != routing::Protocol::tls) continue;
    const auto& binds = listeners[i].binds;
    const bool there = std::any_of(binds.begin(), binds.end(), [&](const routing::Bind& bind) {
      return bind.address.port() == listeners[from].redirect_port;
    });
    if (there) mask |= 1ULL << i;
  }
  return mask;
}

// By a route, or perhaps by a wildcard's.
bool Linker::served_on(std::string_view host, std::uint64_t listeners) const {
  const auto anywhere = [&](std::string_view name) {
    const auto* found = made_.find(name);
    if (found == nullptr) return false;
    for (const auto* claim = made_.claim_of(*found); claim != nullptr; claim = made_.after(*claim)) {
      if ((claim->listeners & listeners) != 0) return true;
    }
    return false;
  };
  if (anywhere(host)) return true;
  for (auto dot = host.find('.'); dot != std::string_view::npos; dot = host.find('.', dot + 1)) {
    if (anywhere("*" + std::string(host.substr(dot)))) return true;
  }
  return false;
}

void Linker::remind_of_redirects(const FileSpec& file, Problems& problems) const {
  if (shared_.platform != nullptr) return;  // a tenant's file does not tell what the platform's wildcards cover
  const auto& listeners = shared_.settings.listeners;
  for (const auto& route : file.routes) {
    if (!route.listeners || route.hosts.empty() || route.on_http != routing::OnHttp::redirect) continue;
    const std::uint64_t mask = mask_of(route);
    if ((mask & tls_mask_) == 0) continue;  // said already
    const std::string& host = route.hosts.front().text;
    // What the main file writes of a tenant's host is not all.
    if (shared_.tenancy.claims().owner(host) != nullptr) continue;
    for (std::size_t i = 0; i < listeners.size(); ++i) {
      if ((mask & http_mask_ & 1ULL << i) == 0) continue;
      if (!listeners[i].trusted_proxies.empty()) continue;  // their port is another machine's
      const std::uint64_t to = redirected_to(i);
      if (to == 0 || (mask & to) != 0 || served_on(host, to)) continue;
      const auto& missed = listeners[static_cast<std::size_t>(std::countr_zero(to))].name;
      problems.warning(route.on_http_place.line != 0 ? route.on_http_place : route.listeners->front().place,
                       "requests on listener " + quote(listeners[i].name) + " are redirected to port " +
                           std::to_string(listeners[i].redirect_port) + ", where " + quote(host) + " is unknown",
                       "add " + quote(missed) + " to 'listeners', or write 'on_http: off'");
      break;
    }
  }
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
