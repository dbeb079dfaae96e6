#include "config/settings.h"

#include <utility>

#include "config/values.h"
#include "routing/table/access_fields.h"

namespace edgemux::config {
namespace {

routing::Timeouts read_timeouts(const Node& node) {
  routing::Timeouts t;
  t.client_hello = duration_or(node.get("client_hello"), t.client_hello);
  t.tls_handshake = duration_or(node.get("tls_handshake"), t.tls_handshake);
  t.request_head = duration_or(node.get("request_head"), t.request_head);
  t.request_body_rate = size_or(node.get("request_body_rate"), t.request_body_rate);
  t.idle = duration_or(node.get("idle"), t.idle);
  t.connect = duration_or(node.get("connect"), t.connect);
  t.response = duration_or(node.get("response"), t.response);
  t.tunnel_idle = duration_or(node.get("tunnel_idle"), t.tunnel_idle);
  t.half_closed = duration_or(node.get("half_closed"), t.half_closed);
  t.drain = duration_or(node.get("drain"), t.drain);
  return t;
}

routing::Limits read_limits(const Node& node) {
  routing::Limits l;
  const auto small = [](std::uint64_t n) { return static_cast<std::uint32_t>(n); };
  l.connections = small(number_or(node.get("connections"), 0));  // "auto" is 0
  l.request_head = small(size_or(node.get("request_head"), l.request_head));
  l.client_hello = small(size_or(node.get("client_hello"), l.client_hello));
  l.inspect_memory = size_or(node.get("inspect_memory"), l.inspect_memory);
  l.connections_per_source = small(number_or(node.get("connections_per_source"), 0));
  l.new_connections_per_second_per_source = small(number_or(node.get("new_connections_per_second_per_source"), 0));
  l.requests_per_second_per_source = small(number_or(node.get("requests_per_second_per_source"), 0));
  l.bandwidth_per_source = size_or(node.get("bandwidth_per_source"), 0);
  return l;
}

void read_access_fields(const Node* list, routing::AccessLogSpec& access, Problems& problems) {
  if (list == nullptr || !list->is_list()) return;
  for (const Node* item = list->first; item != nullptr; item = item->next) {
    if (!item->is_scalar()) continue;
    if (!routing::find_access_field(item->text)) {
      problems.error(item->place, "unknown access log field " + quote(item->text),
                     did_you_mean(item->text, {routing::kAccessFields.begin(), routing::kAccessFields.end()}));
    }
    access.fields.emplace_back(item->text);
  }
}

routing::LogSpec read_log(const Node& node, const std::string& file, Problems& problems) {
  routing::LogSpec log;
  if (const Node* level = node.get("level")) {
    constexpr std::string_view names[] = {"trace", "debug", "info", "warn", "error"};
    for (std::size_t i = 0; i < std::size(names); ++i) {
      if (level->text == names[i]) log.level = static_cast<routing::LogLevel>(i);
    }
  }
  const Node* access = node.get("access");
  if (access == nullptr) return log;
  if (const Node* path = access->get("path"); path != nullptr && path->is_scalar()) {
    log.access.path = path->text == "stdout" || path->text == "stderr" ? std::string(path->text)
                                                                       : read_path(path, "path", file, problems);
  }
  if (const Node* format = access->get("format")) {
    log.access.format = format->text == "text"  ? routing::AccessFormat::text
                        : format->text == "off" ? routing::AccessFormat::off
                                                : routing::AccessFormat::json;
  }
  read_access_fields(access->get("fields"), log.access, problems);
  log.access.sample = static_cast<std::uint32_t>(number_or(access->get("sample"), 1));
  return log;
}

bool off(const Node& node) { return node.text.empty() || node.text == "off"; }

// "unix:/path", or nothing: over TCP anybody on the machine could ask.
std::string read_admin_bind(const Node& node, const std::string& file, Problems& problems) {
  if (!node.is_scalar() || node.is_null() || off(node)) return {};
  constexpr std::string_view scheme = "unix:";
  if (node.text.substr(0, scheme.size()) != scheme) {
    problems.error(node.place, "the admin API over TCP is not supported yet; write unix:/path or off");
    return {};
  }
  const auto path = node.text.substr(scheme.size());
  if (path.empty()) {
    problems.error(node.place, "'unix:' lacks the path of the socket");
    return {};
  }
  const auto absolute = resolve_text(path, node.place, file, problems);
  if (absolute.size() > 107) problems.error(node.place, "the path of a socket has at most 107 characters");
  return std::string(scheme) + absolute;
}

std::string read_probes(const Node& node, Problems& problems) {
  if (!node.is_scalar() || node.is_null() || off(node)) return {};
  const auto parsed = core::parse_host_port(node.text, true);
  if (port_alone(node.text)) {
    const std::string port(node.text);
    problems.error(node.place, "bad probes address: " + quote(port) + " is a port alone",
                   "write 127.0.0.1:" + port + ", or :" + port + " for every address");
  } else if (!parsed) {
    problems.error(node.place, "bad probes address: " + parsed.error().message);
  } else if (!parsed->host.empty() && !core::SocketAddress::parse_ip(parsed->host, parsed->port)) {
    problems.error(node.place, "bad probes address: " + quote(parsed->host) + " is no IP address");
  }
  return std::string(node.text);
}

}  // namespace

Settings read_settings(const Node& root, const std::string& path, Problems& problems) {
  Settings settings;
  if (const Node* list = root.get("listeners"); list != nullptr && list->is_list()) {
    settings.listeners = read_listeners(*list, problems);
  }
  if (const Node* workers = root.get("workers"); workers != nullptr && workers->text != "auto") {
    settings.workers = static_cast<unsigned>(number_or(workers, 1));
  }
  if (const Node* dir = root.get("state_dir"))
    settings.state_dir = {read_path(dir, "state_dir", path, problems), dir->place};
  if (const Node* list = root.get("certificates"); list != nullptr && list->is_list()) {
    settings.certificates = read_certificates(*list, path, problems);
  }
  if (const Node* map = root.get("tenants"); map != nullptr && map->is_map()) {
    settings.tenants = read_tenants(*map, path, problems);
  }
  if (const Node* list = root.get("include"); list != nullptr && list->is_list()) {
    settings.includes = read_includes(*list, path, settings.tenants, problems);
  }
  if (const Node* tls = root.get("tls"); tls != nullptr && tls->is_map()) settings.tls = read_tls(*tls, path, problems);
  if (const Node* acme = root.get("acme")) {
    if (const Node* dir = acme->get("tokens_dir")) {
      settings.tokens_dir = {read_path(dir, "tokens_dir", path, problems), dir->place};
      settings.tokens_place = problems.origin(dir->place);
    }
  }
  if (const Node* timeouts = root.get("timeouts")) settings.timeouts = read_timeouts(*timeouts);
  if (const Node* limits = root.get("limits")) settings.limits = read_limits(*limits);
  if (const Node* reload = root.get("reload")) {
    settings.settle = duration_or(reload->get("settle"), settings.settle);
    if (const Node* share = reload->get("max_removed")) {
      settings.max_removed = parse_percent(share->text).value_or(100);  // "off"
    }
  }
  if (const Node* log = root.get("log"); log != nullptr && log->is_map()) {
    settings.log = read_log(*log, path, problems);
    const Node* access = log->get("access");
    if (const Node* file = access == nullptr ? nullptr : access->get("path")) settings.log_place = file->place;
  }
  if (const Node* admin = root.get("admin"); admin != nullptr && admin->is_map()) {
    if (const Node* bind = admin->get("bind")) {
      // The default's folder is made by systemd, when the service starts.
      const auto usual = std::exchange(settings.admin.bind, read_admin_bind(*bind, path, problems));
      if (settings.admin.bind != usual) settings.admin_place = bind->place;
    }
    if (const Node* probes = admin->get("probes")) settings.admin.probes = read_probes(*probes, problems);
  }
  return settings;
}

}  // namespace edgemux::config
