// Upstreams: named ones, inline ones, and plain "host:port".
#include <algorithm>

#include "config/read_balance.h"
#include "config/spec.h"
#include "config/values.h"

namespace edgemux::config {
namespace {

std::optional<routing::EndpointSpec> read_unix_endpoint(const Node& node, Problems& problems) {
  constexpr std::size_t longest = 107;  // what the kernel takes
  const std::string_view path = node.text.substr(5);
  if (path.empty()) {
    problems.error(node.place, "bad endpoint: " + quote(node.text) + " has no path; write unix:/run/app.sock");
    return std::nullopt;
  }
  routing::EndpointSpec endpoint;
  endpoint.text = std::string(node.text);
  endpoint.host = resolve_text(path, node.place, problems.path(), problems);
  if (endpoint.host.empty()) return std::nullopt;
  if (endpoint.host.size() > longest) {
    problems.error(node.place, "bad endpoint: a Unix socket's path has at most " + std::to_string(longest) + " bytes");
    return std::nullopt;
  }
  endpoint.address = core::SocketAddress::unix_socket(endpoint.host);
  return endpoint;
}

std::optional<routing::EndpointSpec> read_service(const Node& node, std::string_view name, Problems& problems) {
  char buffer[256];
  const auto host = parse_host(name, buffer);
  if (host.empty() || host.front() == '*' || name.find(':') != std::string_view::npos) {
    problems.error(node.place, "bad endpoint: " + quote(name) + " is no name of a service",
                   "write it like srv:_http._tcp.app.svc; ports come with the answer");
    return std::nullopt;
  }
  routing::EndpointSpec endpoint;
  endpoint.text = std::string(node.text);
  endpoint.host = std::string(host);
  endpoint.service = true;
  return endpoint;
}

std::optional<routing::EndpointSpec> read_endpoint(const Node& node, Problems& problems) {
  const std::string_view text = node.text;
  if (text.starts_with("unix:")) return read_unix_endpoint(node, problems);
  if (text.starts_with("srv:")) return read_service(node, text.substr(4), problems);
  if (text.find("://") != std::string_view::npos) {
    problems.error(node.place, quote(text) + " is a URL; an endpoint is host:port");
    return std::nullopt;
  }
  if (const auto slash = text.find('/'); slash == 0) {
    problems.error(node.place, "bad endpoint: " + quote(text) + " is a path", "write unix:" + std::string(text));
    return std::nullopt;
  } else if (slash != std::string_view::npos) {
    problems.error(node.place, "bad endpoint: " + quote(text) + " has a path; an endpoint is host:port",
                   "a rule's 'rewrite: { prefix: " + std::string(text.substr(slash)) + " }' changes paths");
    return std::nullopt;
  }
  const auto parsed = core::parse_host_port(text);
  if (!parsed) {
    problems.error(node.place, "bad endpoint: " + parsed.error().message);
    return std::nullopt;
  }
  routing::EndpointSpec endpoint;
  endpoint.text = std::string(text);
  endpoint.port = parsed->port;
  endpoint.address = core::SocketAddress::parse_ip(parsed->host, parsed->port);
  if (endpoint.address) {
    endpoint.host = parsed->host;
    return endpoint;
  }
  char buffer[256];
  const auto host = parse_host(parsed->host, buffer);
  if (host.empty()) {
    problems.error(node.place, "bad endpoint: " + quote(parsed->host) + " is neither an address nor a host name");
    return std::nullopt;
  }
  endpoint.host = std::string(host);
  return endpoint;
}

void read_endpoints(const Node& node, routing::Upstream& upstream, Problems& problems) {
  if (!node.is_list()) return;
  for (const Node* item = node.first; item != nullptr; item = item->next) {
    const Node* address = item->is_map() ? item->get("address") : item;
    if (address == nullptr || !address->is_scalar() || address->is_null()) continue;
    auto endpoint = read_endpoint(*address, problems);
    if (!endpoint) continue;
    endpoint->weight = static_cast<std::uint32_t>(number_or(item->get("weight"), 1));
    endpoint->line = address->place.line;
    endpoint->column = address->place.column;
    const bool twice = std::any_of(upstream.endpoints.begin(), upstream.endpoints.end(), [&](const auto& other) {
      return other.host == endpoint->host && other.port == endpoint->port && other.service == endpoint->service;
    });
    if (twice) {
      problems.error(address->place, "endpoint " + quote(endpoint->text) + " stands in this list twice");
      continue;
    }
    if (upstream.endpoints.size() >= routing::kMaxEndpoints) {
      problems.error(address->place,
                     "an upstream has at most " + std::to_string(routing::kMaxEndpoints) + " endpoints");
      return;
    }
    upstream.endpoints.push_back(std::move(*endpoint));
  }
  const auto& all = upstream.endpoints;
  if (!all.empty() && std::all_of(all.begin(), all.end(), [](const auto& one) { return one.weight == 0; })) {
    problems.warning(node.place,
                     "every weight of these 'endpoints' is 0: requests are answered with 503, tunnels closed");
  }
}

}  // namespace

std::shared_ptr<UpstreamSpec> read_upstream(const Node& node, Name name, Problems& problems) {
  const Node* endpoints = node.get("endpoints");
  if (endpoints == nullptr) return nullptr;
  auto spec = std::make_shared<UpstreamSpec>();
  auto& upstream = spec->value;
  const auto before = problems.errors();
  read_endpoints(*endpoints, upstream, problems);
  if (problems.errors() != before || upstream.endpoints.empty()) return nullptr;
  spec->name = std::move(name);
  if (spec->name.text.empty()) {
    spec->name.text = upstream.endpoints.front().text;
    for (std::size_t i = 1; i < std::min<std::size_t>(upstream.endpoints.size(), 3); ++i) {
      spec->name.text += "," + upstream.endpoints[i].text;
    }
    if (upstream.endpoints.size() > 3) spec->name.text += ",...";
  }
  upstream.name = spec->name.text;
  read_balance(node, upstream, problems);
  if (const Node* dns = node.get("dns")) spec->dns_place = dns->place;
  if (const Node* keepalive = node.get("keepalive")) {
    spec->keepalive_place = keepalive->place;
    auto& k = upstream.keepalive;
    k.idle = duration_or(keepalive->get("idle"), k.idle);
    k.max_age = duration_or(keepalive->get("max_age"), k.max_age);
    k.max_requests = number_or(keepalive->get("max_requests"), k.max_requests);
    k.connections = static_cast<std::uint32_t>(number_or(keepalive->get("connections"), k.connections));
  }
  if (const Node* protocol = node.get("protocol")) {
    spec->protocol_place = protocol->place;
    upstream.transport.version = protocol->text == "h2"     ? routing::HttpVersion::http2
                                 : protocol->text == "auto" ? routing::HttpVersion::automatic
                                                            : routing::HttpVersion::http1;
  }
  read_transport(node, *spec, problems);
  if (upstream.transport.version == routing::HttpVersion::automatic && node.get("tls") == nullptr) {
    problems.warning(spec->protocol_place, "'protocol: auto' without 'tls' is always HTTP/1.1: TLS agrees on HTTP/2",
                     "write 'protocol: h2' where the endpoints speak it in the clear, or leave it out");
  }
  if (const Node* timeouts = node.get("timeouts"); timeouts != nullptr && timeouts->get("connect") != nullptr) {
    upstream.connect_timeout = duration_or(timeouts->get("connect"), routing::milliseconds(0));
  }
  return spec;
}

std::shared_ptr<UpstreamSpec> read_address(const Node& node, Problems& problems) {
  auto endpoint = read_endpoint(node, problems);
  if (!endpoint) return nullptr;
  auto spec = std::make_shared<UpstreamSpec>();
  spec->name = {endpoint->text, node.place};
  spec->value.name = endpoint->text;
  spec->value.endpoints.push_back(std::move(*endpoint));
  return spec;
}

TargetSpec read_target(const Node& node, Problems& problems) {
  TargetSpec target;
  target.name.place = node.place;
  if (node.is_map()) {
    target.inline_upstream = read_upstream(node, {"", node.place}, problems);
  } else if (node.is_scalar() && !node.is_null()) {
    if (node.text.find(':') != std::string_view::npos || node.text.find('/') != std::string_view::npos) {
      target.inline_upstream = read_address(node, problems);
    } else if (core::SocketAddress::parse_ip(node.text, 0)) {
      problems.error(node.place, "bad endpoint: " + quote(node.text) + " has no port; write host:port");
    } else {
      target.name.text = std::string(node.text);
    }
  }
  return target;
}

}  // namespace edgemux::config
