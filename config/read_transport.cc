// How an upstream is connected to: tls, proxy_protocol, source_address.
#include <algorithm>

#include "config/spec.h"
#include "config/values.h"

namespace edgemux::config {
namespace {

Name read_file_name(const Node* node, Problems& problems) {
  if (node == nullptr || !node->is_scalar() || node->is_null()) return {};
  return {resolve_text(node->text, node->place, problems.path(), problems), node->place};
}

std::string read_server_name(const Node& node, Problems& problems) {
  if (!node.is_scalar() || node.is_null()) return {};
  if (core::SocketAddress::parse_ip(node.text, 0)) return std::string(node.text);
  char buffer[256];
  const auto name = parse_host(node.text, buffer);
  if (name.empty()) {
    problems.error(node.place, "bad server_name: " + quote(node.text) + " is neither a host name nor an address");
  }
  return std::string(name);
}

UpstreamTlsSpec read_upstream_tls(const Node& upstream, const Node& node, Problems& problems) {
  UpstreamTlsSpec tls;
  tls.place = node.place;
  if (const Node* name = node.get("server_name")) tls.server_name = read_server_name(*name, problems);
  tls.ca = read_file_name(node.get("ca"), problems);
  tls.cert = read_file_name(node.get("cert"), problems);
  tls.key = read_file_name(node.get("key"), problems);
  if (tls.cert.text.empty() != tls.key.text.empty()) {
    const Name& there = tls.cert.text.empty() ? tls.key : tls.cert;
    problems.error(there.place, "'cert' and 'key' need each other");
  }
  if (const Node* skip = node.get("insecure_skip_verify")) tls.verify = skip->text != "true";
  const Node* protocol = upstream.get("protocol");
  const std::string_view version = protocol != nullptr ? protocol->text : "http1";
  if (version != "http1") tls.alpn.emplace_back("h2");
  if (version != "h2") tls.alpn.emplace_back("http/1.1");
  return tls;
}

void read_source(const Node& node, UpstreamSpec& spec, Problems& problems) {
  if (!node.is_scalar() || node.is_null()) return;
  const auto source = core::SocketAddress::parse_ip(node.text, 0);
  if (!source) {
    problems.error(node.place, "bad source_address: " + quote(node.text) + " is no IP address");
    return;
  }
  for (const auto& endpoint : spec.value.endpoints) {
    if (!endpoint.address || endpoint.address->is_unix() || endpoint.address->is_v4() == source->is_v4()) continue;
    problems.error(node.place, "source_address " + quote(node.text) + " cannot reach endpoint " + quote(endpoint.text) +
                                   ", which is of the other family");
    return;
  }
  spec.value.transport.source_address = *source;
  spec.source_place = node.place;
}

}  // namespace

void read_transport(const Node& node, UpstreamSpec& spec, Problems& problems) {
  if (const Node* version = node.get("proxy_protocol")) {
    spec.value.transport.proxy_protocol = version->text == "v1"   ? core::ProxyVersion::v1
                                          : version->text == "v2" ? core::ProxyVersion::v2
                                                                  : core::ProxyVersion::off;
  }
  if (const Node* source = node.get("source_address")) read_source(*source, spec, problems);
  const Node* tls = node.get("tls");
  if (tls == nullptr || !tls->is_map()) return;
  spec.tls = std::make_shared<const UpstreamTlsSpec>(read_upstream_tls(node, *tls, problems));
  const auto& endpoints = spec.value.endpoints;
  const bool nameless =
      std::any_of(endpoints.begin(), endpoints.end(), [](const auto& e) { return e.address && e.address->is_unix(); });
  if (nameless && spec.tls->server_name.empty()) {
    problems.error(tls->place, "'server_name' is needed here: a Unix socket has no name to look for in a certificate");
  }
}

}  // namespace edgemux::config
