// Routes, and what a file as a whole says.
#include <algorithm>
#include <array>

#include "config/spec.h"
#include "config/values.h"

namespace edgemux::config {

std::uint64_t number_or(const Node* node, std::uint64_t fallback) {
  if (node == nullptr || !node->is_scalar()) return fallback;
  return parse_number(node->text).value_or(fallback);
}

std::uint64_t size_or(const Node* node, std::uint64_t fallback) {
  if (node == nullptr || !node->is_scalar()) return fallback;
  return parse_size(node->text).value_or(fallback);
}

routing::milliseconds duration_or(const Node* node, routing::milliseconds fallback) {
  if (node == nullptr || !node->is_scalar()) return fallback;
  if (node->text == "off") return routing::milliseconds(0);
  return parse_duration(node->text).value_or(fallback);
}

std::vector<std::string> texts_of(const Node* node) {
  std::vector<std::string> out;
  if (node == nullptr || !node->is_list()) return out;
  for (const Node* item = node->first; item != nullptr; item = item->next) {
    if (item->is_scalar()) out.emplace_back(item->text);
  }
  return out;
}

namespace {

std::vector<Name> names_of(const Node& list) {
  std::vector<Name> out;
  if (!list.is_list()) return out;
  for (const Node* item = list.first; item != nullptr; item = item->next) {
    if (item->is_scalar()) out.push_back({std::string(item->text), item->place});
  }
  return out;
}

}  // namespace

std::vector<std::string> texts_of(const std::vector<Name>& names) {
  std::vector<std::string> out;
  out.reserve(names.size());
  for (const Name& name : names) out.push_back(name.text);
  return out;
}

TlsSpec read_tls(const Node& node, const std::string& path, Problems& problems) {
  TlsSpec tls;
  tls.place = node.place;
  if (const Node* v = node.get("min_version"))
    tls.min_version = v->text == "1.3" ? core::TlsVersion::tls1_3 : core::TlsVersion::tls1_2;
  if (const Node* v = node.get("ciphers")) tls.ciphers = names_of(*v);
  if (const Node* v = node.get("curves")) tls.curves = names_of(*v);
  if (const Node* v = node.get("alpn")) tls.alpn = texts_of(v);
  if (const Node* v = node.get("client_ca"); v != nullptr && v->is_scalar() && !v->is_null()) {
    if (v->text.empty()) {
      problems.error(v->place, "'client_ca' is empty; it names a file");
    } else {
      tls.client_ca = {resolve_text(v->text, v->place, path, problems), v->place};
    }
  }
  if (const Node* v = node.get("client_auth")) {
    tls.client_auth = v->text == "optional" ? core::ClientAuth::optional : core::ClientAuth::require;
    if (node.get("client_ca") == nullptr) {
      problems.error(v->place, "'client_auth' needs a 'client_ca' to check the certificates against");
    }
  }
  return tls;
}

std::optional<std::string> read_host(const Node& node, Problems& problems) {
  if (!node.is_scalar() || node.is_null()) return std::nullopt;
  const auto refuse = [&](const std::string& why) {
    problems.error(node.place, "bad host " + quote(node.text) + ": " + why);
    return std::nullopt;
  };
  const std::string_view text = node.text;
  const auto star = text.find('*');
  if (star != std::string_view::npos &&
      (star != 0 || text.size() < 3 || text[1] != '.' || text.find('*', 1) != std::string_view::npos)) {
    return refuse("a wildcard stands alone in front, like *.example.com");
  }
  if (text.find("://") != std::string_view::npos || text.find('/') != std::string_view::npos) {
    return refuse("write the name alone, without scheme and path");
  }
  if (text.starts_with('[') || core::SocketAddress::parse_ip(text, 0))
    return refuse("a route is for names, not for addresses");
  if (text.find(':') != std::string_view::npos)
    return refuse("write the name without a port; 'listeners' chooses the ports");
  if (std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; })) {
    return refuse("write letters beyond ASCII as DNS has them, like xn--bcher-kva.example");
  }
  char buffer[256];
  const auto name = parse_host(text, buffer, true);
  if (name.empty()) {
    return refuse(
        "a name has labels of 1 to 63 letters, digits, '-' and '_' between dots, at most 253 characters, and no number "
        "as its last label");
  }
  return std::string(name);
}

namespace {

void add_host(const Node& node, RouteSpec& route, Problems& problems) {
  auto name = read_host(node, problems);
  if (!name) return;
  if (*name == "_") {
    problems.warning(node.place, "'_' is a name like any other here: no client asks for it",
                     "what no route names is unknown; 'unknown_host' of a tls listener says what it gets");
  }
  route.hosts.push_back({std::move(*name), node.place});
}

void read_hosts(const Node& node, RouteSpec& route, Problems& problems) {
  const Node* host = node.get("host");
  const Node* hosts = node.get("hosts");
  if (host != nullptr && hosts != nullptr) problems.error(hosts->place, "a route has either 'host' or 'hosts'");
  if (host == nullptr && hosts == nullptr) problems.error(node.place, "a route needs 'host' or 'hosts'");
  if (host != nullptr) add_host(*host, route, problems);
  if (hosts != nullptr && hosts->is_list()) {
    for (const Node* item = hosts->first; item != nullptr; item = item->next) add_host(*item, route, problems);
  }
}

void refuse_serving(const Node& node, const char* message, Problems& problems) {
  const Node* on_http = node.get("on_http");
  if (on_http != nullptr && on_http->text == "serve") problems.error(on_http->place, message);
}

void read_passthrough(const Node& node, const Node& passthrough, RouteSpec& route, Problems& problems) {
  route.kind = RouteSpec::Kind::passthrough;
  route.target = read_target(passthrough, problems);
  if (const Node* terminate = node.get("terminate")) {
    problems.error(terminate->place,
                   "'passthrough' leaves TLS to the backend, 'terminate' ends it here; a route has one of them");
  }
  for (const std::string_view key : {"rules", "tls", "max_request_body"}) {
    if (const Node* value = node.get(key)) {
      problems.error(value->place,
                     "'passthrough' leaves TLS to the backend; " + quote(key) + " needs a terminated host");
    }
  }
  refuse_serving(node, "'on_http: serve' needs a terminated host; a passthrough route can redirect or be off",
                 problems);
}

void read_terminate(const Node& node, const Node& terminate, RouteSpec& route, Problems& problems) {
  route.kind = RouteSpec::Kind::terminate;
  route.target = read_target(terminate, problems);
  for (const std::string_view key : {"rules", "max_request_body"}) {
    if (const Node* value = node.get(key)) {
      problems.error(value->place, "'terminate' passes bytes on as they are; " + quote(key) + " is for HTTP requests");
    }
  }
  refuse_serving(node, "'on_http: serve' needs 'rules'; a route with 'terminate' can redirect or be off", problems);
}

void check_alpn(const Node& tls, Problems& problems) {
  const Node* alpn = tls.get("alpn");
  if (alpn == nullptr || !alpn->is_list()) return;
  for (const Node* item = alpn->first; item != nullptr; item = item->next) {
    if (!item->is_scalar() || item->is_null() || item->text == "http/1.1" || item->text == "h2") continue;
    auto hint = did_you_mean(item->text, {"http/1.1", "h2"});
    if (hint.empty()) hint = "a route with 'terminate' may name others";
    problems.error(item->place, "an entry of 'alpn' must be one of http/1.1, h2, not " + quote(item->text), hint);
  }
}

// Of a route. HTTP is what rules are for; what the upstream of `terminate` speaks is not ours to know.
std::shared_ptr<const TlsSpec> read_route_tls(const Node* node, const std::string& path, bool opaque,
                                              Problems& problems) {
  const bool written = node != nullptr && node->is_map();
  if (!opaque) {
    if (!written) return nullptr;
    check_alpn(*node, problems);
    return std::make_shared<const TlsSpec>(read_tls(*node, path, problems));
  }
  TlsSpec tls;
  if (written) tls = read_tls(*node, path, problems);
  tls.opaque = true;
  if (!tls.alpn) tls.alpn.emplace();
  if (written) return std::make_shared<const TlsSpec>(std::move(tls));
  static const auto plain = std::make_shared<const TlsSpec>(std::move(tls));
  return plain;
}

void read_solver(const Node& node, RouteSpec& route, Problems& problems) {
  route.solver_place = node.place;
  if (!node.is_scalar() || node.is_null()) return;
  if (node.text != "backend") {
    if (node.text.find(':') == std::string_view::npos) {
      problems.error(node.place, "bad acme_solver: " + quote(node.text) + " has no port; write host:port or backend");
      return;
    }
    TargetSpec target;
    target.name.place = node.place;
    target.inline_upstream = read_address(node, problems);
    if (target.inline_upstream != nullptr) route.solver = std::move(target);
    return;
  }
  if (route.kind != RouteSpec::Kind::passthrough) {
    problems.error(node.place, "'acme_solver: backend' needs 'passthrough'; write the solver's host:port");
    return;
  }
  TargetSpec target;  // no name, no upstream: port 80 of the passthrough's endpoints
  target.name.place = node.place;
  route.solver = std::move(target);
}

// A key that was hardly meant for a route tells what was; the schema has said so.
bool has_misspelt_kind(const Node& node) {
  constexpr std::array<std::string_view, 9> of_rules{"path",  "exact_path", "regex_path", "match",  "upstream",
                                                     "split", "redirect",   "respond",    "rewrite"};
  for (const Node* key = node.first; key != nullptr; key = key->next->next) {
    if (std::find(of_rules.begin(), of_rules.end(), key->text) != of_rules.end()) return true;
    if (!nearest(key->text, {"passthrough", "terminate", "rules"}).empty()) return true;
  }
  return false;
}

RouteSpec read_route(const Node& node, const std::string& path, Patterns& patterns, Problems& problems) {
  RouteSpec route;
  route.place = node.place;
  read_hosts(node, route, problems);
  if (const Node* tenant = node.get("tenant"); tenant != nullptr && tenant->is_scalar()) {
    route.tenant = {std::string(tenant->text), tenant->place};
  }
  if (const Node* list = node.get("listeners"); list != nullptr && list->is_list()) {
    route.listeners.emplace();
    for (const Node* item = list->first; item != nullptr; item = item->next) {
      if (!item->is_scalar() || item->is_null()) continue;
      if (route.listeners->size() == max_listeners) {
        problems.error(item->place, "there can be at most " + std::to_string(max_listeners) + " listeners");
        break;
      }
      for (const auto& other : *route.listeners) {
        if (other.text == item->text)
          problems.error(item->place, "listener " + quote(item->text) + " stands in this list twice");
      }
      route.listeners->push_back({std::string(item->text), item->place});
    }
  }
  const Node* passthrough = node.get("passthrough");
  const Node* terminate = node.get("terminate");
  const Node* rules = node.get("rules");
  if (passthrough != nullptr) {
    read_passthrough(node, *passthrough, route, problems);
  } else if (terminate != nullptr) {
    read_terminate(node, *terminate, route, problems);
  } else if (rules == nullptr) {
    if (!has_misspelt_kind(node)) problems.error(node.place, "a route needs 'passthrough', 'terminate' or 'rules'");
  } else if (rules->is_list()) {
    for (const Node* item = rules->first; item != nullptr; item = item->next) {
      if (item->is_map()) route.rules.push_back(read_rule(*item, patterns, problems));
    }
    check_rules(route.rules, problems);
    for (auto& rule : route.rules) {
      routing::replace_patterns(rule.value, [](const auto& pattern) { return pattern->outline(); });
    }
  }
  route.tls = read_route_tls(node.get("tls"), path, route.kind == RouteSpec::Kind::terminate, problems);
  if (const Node* on_http = node.get("on_http")) {
    route.on_http_place = on_http->place;
    route.on_http = on_http->text == "serve" ? routing::OnHttp::serve
                    : on_http->text == "off" ? routing::OnHttp::off
                                             : routing::OnHttp::redirect;
  }
  read_networks(node.get("allow"), route.access.allow, problems);
  read_networks(node.get("deny"), route.access.deny, problems);
  if (const Node* allow = node.get("allow"); allow != nullptr && allow->is_list() && allow->size == 0) {
    problems.error(allow->place, "an empty 'allow' would admit everybody; leave it out, or write who may come in");
  }
  route.max_request_body = size_or(node.get("max_request_body"), 0);
  if (const Node* solver = node.get("acme_solver")) read_solver(*solver, route, problems);
  return route;
}

bool upstream_name(std::string_view name) {
  return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.';
  });
}

void read_tcp_listeners(const Node& root, FileSpec& spec, Problems& problems) {
  const Node* listeners = root.get("listeners");
  if (listeners == nullptr || !listeners->is_list()) return;
  for (const Node* item = listeners->first; item != nullptr; item = item->next) {
    const Node* name = item->get("name");
    const Node* protocol = item->get("protocol");
    const Node* upstream = item->get("upstream");
    if (name == nullptr || protocol == nullptr || upstream == nullptr || protocol->text != "tcp") continue;
    spec.tcp_listeners.push_back({std::string(name->text), read_target(*upstream, problems)});
  }
}

}  // namespace

void read_networks(const Node* node, std::vector<core::Network>& out, Problems& problems) {
  if (node == nullptr || !node->is_list()) return;
  for (const Node* item = node->first; item != nullptr; item = item->next) {
    if (!item->is_scalar() || item->is_null()) continue;
    auto network = core::Network::parse(item->text);
    if (network) {
      out.push_back(*network);
    } else {
      problems.error(item->place, network.error().message);
    }
  }
}

FileSpec read_file_spec(const Node& root, const std::string& path, bool is_main, Problems& problems) {
  FileSpec spec;
  Patterns patterns(is_main ? Patterns::kNoLimit : Patterns::kMost);
  if (const Node* tenant = root.get("tenant"); tenant != nullptr && tenant->is_scalar()) {
    spec.tenant = {std::string(tenant->text), tenant->place};
  }
  if (const Node* upstreams = root.get("upstreams"); upstreams != nullptr && upstreams->is_map()) {
    for (const Node* key = upstreams->first; key != nullptr; key = key->next->next) {
      spec.upstream_names.emplace_back(key->text);
      if (!upstream_name(key->text) || core::SocketAddress::parse_ip(key->text, 0)) {
        problems.error(key->place, "bad upstream name " + quote(key->text) + ": use letters, digits, '-', '_' and '.'");
      } else if (auto upstream = read_upstream(*key->next, {std::string(key->text), key->place}, problems)) {
        spec.upstreams.push_back(std::move(*upstream));
      }
    }
  }
  read_tcp_listeners(root, spec, problems);
  if (const Node* routes = root.get("routes"); routes != nullptr && routes->is_list()) {
    spec.routes.reserve(routes->size);
    for (const Node* item = routes->first; item != nullptr; item = item->next) {
      if (item->is_map()) spec.routes.push_back(read_route(*item, path, patterns, problems));
    }
  }
  return spec;
}

}  // namespace edgemux::config
