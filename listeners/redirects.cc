#include "listeners/redirects.h"

namespace edgemux::listeners {

namespace {

void append_port(std::string& url, std::string_view scheme, std::uint16_t port) {
  const std::uint16_t usual = scheme == "https" ? 443 : 80;
  if (port != 0 && port != usual) url += ":" + std::to_string(port);
}

void append_query(std::string& url, bool has_query, std::string_view query) {
  if (!has_query) return;
  url += '?';
  url += query;
}

}  // namespace

HttpsRedirect https_redirect(const core::RequestHead& head, std::string_view host, std::uint16_t port) {
  const bool repeatable = head.method == core::Method::get || head.method == core::Method::head;
  HttpsRedirect out{repeatable ? std::uint16_t{301} : std::uint16_t{308}, "https://"};
  out.location += host;
  append_port(out.location, "https", port);
  out.location += head.path == "*" ? std::string_view("/") : head.path;
  append_query(out.location, head.has_query, head.query);
  return out;
}

std::string rule_redirect(const routing::Redirect& redirect, const routing::Rule& rule, std::string_view scheme,
                          std::string_view host, std::uint16_t port, std::string_view path, bool has_query,
                          std::string_view query) {
  const std::string_view new_scheme = redirect.scheme ? std::string_view(*redirect.scheme) : scheme;
  std::string url(new_scheme);
  url += "://";
  url += redirect.host ? std::string_view(*redirect.host) : host;
  // Another scheme brings its own port along, unless one is named.
  const bool same_scheme = new_scheme == scheme;
  append_port(url, new_scheme, redirect.port ? *redirect.port : (same_scheme ? port : std::uint16_t{0}));
  if (redirect.path) {
    url += *redirect.path;
  } else if (redirect.prefix) {
    // What the rule matched is replaced; what follows begins with '/' or is empty.
    std::string_view rest = rule.path == "/" ? path : path.substr(std::min(rule.path.size(), path.size()));
    std::string_view prefix = *redirect.prefix;
    while (!prefix.empty() && prefix.back() == '/') prefix.remove_suffix(1);
    if (rest == "/" && !prefix.empty() && redirect.prefix->back() != '/') rest = {};
    url += prefix;
    if (rest.empty() && prefix.empty()) {
      url += '/';
    } else {
      url += rest;
    }
  } else {
    url += path;
  }
  append_query(url, has_query, query);
  return url;
}

}  // namespace edgemux::listeners
