#include "listeners/redirects.h"

#include "routing/table/rewrite.h"

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
  const std::uint16_t kept = redirect.scheme ? std::uint16_t{0} : port;
  append_port(url, new_scheme, redirect.port.value_or(kept));
  if (redirect.path) {
    url += *redirect.path;
  } else if (redirect.prefix) {
    routing::replace_prefix(path, rule.path, *redirect.prefix, url);
  } else {
    url += path;
  }
  append_query(url, has_query, query);
  return url;
}

}  // namespace edgemux::listeners
