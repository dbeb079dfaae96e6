// `listeners:` of the main file.
#include <algorithm>

#include "config/settings.h"
#include "config/values.h"
#include "routing/table/binds.h"

namespace edgemux::config {
namespace {

std::optional<routing::Bind> read_bind(const Node& node, Problems& problems) {
  if (!node.is_scalar() || node.is_null()) return std::nullopt;
  const auto parsed = core::parse_host_port(node.text, true);
  if (!parsed) {
    if (port_alone(node.text)) {
      problems.error(node.place, "bad bind address: " + quote(node.text) + " is a port alone",
                     "write :" + std::string(node.text) + " for every address");
    } else {
      problems.error(node.place, "bad bind address: " + parsed.error().message);
    }
    return std::nullopt;
  }
  routing::Bind bind;
  bind.text = std::string(node.text);
  bind.dual_stack = parsed->host.empty();
  const auto address = core::SocketAddress::parse_ip(bind.dual_stack ? "::" : parsed->host, parsed->port);
  if (!address) {
    problems.error(node.place, "bad bind address: " + quote(parsed->host) + " is no IP address",
                   "write :" + std::to_string(parsed->port) + " for every address");
    return std::nullopt;
  }
  bind.address = *address;
  return bind;
}

// Whether two sockets would ask for the same connections.
bool collide(const routing::Bind& a, const routing::Bind& b) {
  if (a.address.port() != b.address.port()) return false;
  if (a == b || a.address == b.address) return true;
  return routing::every_address(a.address) && routing::every_address(b.address) && (a.dual_stack || b.dual_stack);
}

routing::ListenerSpec read_listener(const Node& node, Problems& problems) {
  routing::ListenerSpec spec;
  spec.origin = problems.origin(node.place);
  if (const Node* name = node.get("name"); name != nullptr && name->is_scalar()) spec.name = std::string(name->text);
  if (const Node* protocol = node.get("protocol")) {
    spec.protocol = protocol->text == "http"  ? routing::Protocol::http
                    : protocol->text == "tcp" ? routing::Protocol::tcp
                                              : routing::Protocol::tls;
  }
  if (const Node* unknown = node.get("unknown_host")) {
    spec.unknown_host = unknown->text == "alert" ? routing::UnknownHost::alert : routing::UnknownHost::close;
    if (spec.protocol == routing::Protocol::tcp) {
      problems.error(unknown->place, "'unknown_host' is for tls listeners; a tcp listener knows no hosts");
    } else if (spec.protocol == routing::Protocol::http) {
      problems.error(unknown->place,
                     "'unknown_host' is for tls listeners; an unknown host on an http listener gets 404");
    }
  }
  const bool tcp_listener = spec.protocol == routing::Protocol::tcp;
  for (const char* key : {"redirect_port", "trusted_proxies"}) {
    if (const Node* value = node.get(key); value != nullptr && tcp_listener) {
      problems.error(value->place, quote(key) + " is about HTTP; a tcp listener passes bytes on");
    }
  }
  const Node* upstream = node.get("upstream");
  if (tcp_listener && upstream == nullptr) problems.error(node.place, "a tcp listener needs an 'upstream'");
  if (!tcp_listener && upstream != nullptr) {
    problems.error(upstream->place, "'upstream' is for tcp listeners; here the routes say where a request goes");
  }
  const Node* port = node.get("redirect_port");
  const auto number = number_or(port, 0);
  const bool is_port = number > 0 && number <= UINT16_MAX;  // else it is an error already
  if (spec.protocol == routing::Protocol::tls && is_port) {
    problems.warning(port->place, "'redirect_port' has no effect: nothing is redirected on a tls listener",
                     "say it at the http listener that redirects to this one");
  }
  read_networks(node.get("accept_proxy_protocol"), spec.accept_proxy_protocol, problems);
  read_networks(node.get("trusted_proxies"), spec.trusted_proxies, problems);
  spec.redirect_port = static_cast<std::uint16_t>(number_or(node.get("redirect_port"), spec.redirect_port));
  spec.backlog = static_cast<int>(number_or(node.get("backlog"), static_cast<std::uint64_t>(spec.backlog)));
  if (const Node* tcp = node.get("tcp")) {
    const auto keepalive = duration_or(tcp->get("keepalive"), spec.tcp_keepalive);
    spec.tcp_keepalive = std::chrono::duration_cast<std::chrono::seconds>(keepalive);
    if (keepalive.count() % 1000 != 0)
      problems.error(tcp->get("keepalive")->place, "'keepalive' counts in whole seconds");
    spec.tcp_user_timeout = duration_or(tcp->get("user_timeout"), spec.tcp_user_timeout);
  }
  return spec;
}

}  // namespace

std::vector<routing::ListenerSpec> read_listeners(const Node& list, Problems& problems) {
  std::vector<routing::ListenerSpec> out;
  struct Taken {
    routing::Bind bind;
    std::string listener;
    Place place;
  };
  std::vector<Taken> taken;
  for (const Node* item = list.first; item != nullptr; item = item->next) {
    if (!item->is_map()) continue;
    auto spec = read_listener(*item, problems);
    if (const Node* name = item->get("name"); name != nullptr && name->is_scalar() && !name->is_null()) {
      if (spec.name.empty()) problems.error(name->place, "a listener's name must not be empty");
      const auto same =
          std::find_if(out.begin(), out.end(), [&](const auto& other) { return other.name == spec.name; });
      if (same != out.end()) {
        problems.error(name->place,
                       "a second listener " + quote(spec.name) + "; the first stands at " + same->origin.to_string());
      }
    }
    if (const Node* binds = item->get("bind"); binds != nullptr && binds->is_list()) {
      for (const Node* text = binds->first; text != nullptr; text = text->next) {
        auto bind = read_bind(*text, problems);
        if (!bind) continue;
        const auto other =
            std::find_if(taken.begin(), taken.end(), [&](const Taken& t) { return collide(t.bind, *bind); });
        if (other != taken.end()) {
          problems.error(text->place, quote(bind->text) + " is bound by listener " + quote(other->listener) +
                                          " already, at " + problems.origin(other->place).to_string());
          continue;
        }
        taken.push_back({*bind, spec.name, text->place});
        spec.binds.push_back(std::move(*bind));
      }
    }
    if (out.size() == max_listeners) {
      problems.error(item->place, "there can be at most " + std::to_string(max_listeners) + " listeners");
      break;
    }
    out.push_back(std::move(spec));
  }
  return out;
}

}  // namespace edgemux::config
