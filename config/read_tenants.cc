// Tenants, the files that are included for them, and certificates.
#include <algorithm>
#include <unordered_set>

#include "config/settings.h"

namespace edgemux::config {

std::string resolve_text(std::string_view text, Place place, const std::string& file, Problems& problems) {
  if (text.find('\0') == std::string_view::npos) return resolve_path(file, std::string(text));
  problems.error(place, "a path cannot hold a NUL");
  return {};
}

std::string read_path(const Node* node, std::string_view key, const std::string& path, Problems& problems) {
  if (node == nullptr || !node->is_scalar() || node->is_null()) return {};
  if (node->text.empty()) {
    problems.error(node->place, quote(key) + " is empty; it names a path");
    return {};
  }
  return resolve_text(node->text, node->place, path, problems);
}

std::vector<CertificateEntry> read_certificates(const Node& list, const std::string& path, Problems& problems) {
  std::vector<CertificateEntry> out;
  for (const Node* item = list.first; item != nullptr; item = item->next) {
    if (!item->is_map()) continue;
    const Node* cert = item->get("cert");
    const Node* key = item->get("key");
    const Node* directory = item->get("directory");
    if (directory != nullptr ? cert != nullptr || key != nullptr : cert == nullptr || key == nullptr) {
      problems.error(item->place, "a certificate needs 'cert' and 'key', or 'directory' alone");
      continue;
    }
    CertificateEntry entry;
    entry.place = item->place;
    entry.cert = read_path(cert, "cert", path, problems);
    entry.key = read_path(key, "key", path, problems);
    entry.directory = read_path(directory, "directory", path, problems);
    if (!entry.directory.empty() || (!entry.cert.empty() && !entry.key.empty())) out.push_back(std::move(entry));
  }
  return out;
}

namespace {

// It is a folder's name, a label of metrics and a field of the log.
bool tenant_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name.front() != '.' && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
                  c == '.';
         });
}

TenantSpec read_tenant(const Node& key, const Node& node, const std::string& path, Problems& problems) {
  TenantSpec tenant;
  tenant.name = {std::string(key.text), key.place};
  if (!tenant_name(key.text)) {
    problems.error(key.place, "bad tenant name " + quote(key.text) +
                                  ": use letters, digits, '-', '_' and '.', at most 64, a letter or digit first");
  }
  if (const Node* hosts = node.get("hosts"); hosts != nullptr && hosts->is_list()) {
    for (const Node* item = hosts->first; item != nullptr; item = item->next) {
      if (auto name = read_host(*item, problems)) tenant.hosts.push_back({std::move(*name), item->place});
    }
  }
  read_networks(node.get("networks"), tenant.networks, problems);
  if (const Node* list = node.get("certificates"); list != nullptr && list->is_list()) {
    tenant.certificates = read_certificates(*list, path, problems);
  }
  if (const Node* dir = node.get("tokens_dir")) {
    tenant.tokens_dir = {read_path(dir, "tokens_dir", path, problems), dir->place};
  }
  if (const Node* limits = node.get("limits"); limits != nullptr && limits->is_map()) {
    const auto small = [&](std::string_view name) {
      return static_cast<std::uint32_t>(number_or(limits->get(name), 0));
    };
    tenant.limits.connections = small("connections");
    tenant.limits.new_connections_per_second = small("new_connections_per_second");
    tenant.limits.requests_per_second = small("requests_per_second");
    tenant.limits.bandwidth = size_or(limits->get("bandwidth"), 0);
    tenant.limits.config_size = size_or(limits->get("config_size"), tenant.limits.config_size);
  }
  return tenant;
}

constexpr std::string_view by_folder = "{tenant}";

// Where "{tenant}" stands in the pattern, as a number from 1; 0: it stands there wrongly.
std::size_t tenant_component(std::string_view pattern) {
  std::size_t number = 0;
  std::size_t found = 0;
  for (std::size_t at = 0; at < pattern.size();) {
    const auto end = std::min(pattern.find('/', at), pattern.size());
    const auto part = pattern.substr(at, end - at);
    if (!part.empty()) ++number;
    if (part.find_first_of("{}") != std::string_view::npos) {
      // A whole folder's name, once, and not the file's.
      if (part != by_folder || found != 0 || end == pattern.size()) return 0;
      found = number;
    }
    at = end + 1;
  }
  return found;
}

}  // namespace

std::vector<TenantSpec> read_tenants(const Node& map, const std::string& path, Problems& problems) {
  std::vector<TenantSpec> out;
  out.reserve(map.size / 2);
  for (const Node* key = map.first; key != nullptr; key = key->next->next) {
    out.push_back(read_tenant(*key, *key->next, path, problems));
  }
  return out;
}

std::vector<IncludeEntry> read_includes(const Node& list, const std::string& path,
                                        const std::vector<TenantSpec>& tenants, Problems& problems) {
  std::vector<IncludeEntry> out;
  std::vector<std::string_view> names;
  names.reserve(tenants.size());
  for (const auto& tenant : tenants) names.push_back(tenant.name.text);
  const std::unordered_set<std::string_view> known(names.begin(), names.end());
  for (const Node* item = list.first; item != nullptr; item = item->next) {
    const Node* files = item->is_map() ? item->get("files") : item;
    if (files == nullptr) continue;
    IncludeEntry entry;
    entry.place = files->place;
    entry.text = std::string(files->text);
    entry.pattern = read_path(files, "include", path, problems);
    if (entry.pattern.empty()) continue;
    const Node* tenant = item->is_map() ? item->get("tenant") : nullptr;
    if (files->text.find_first_of("{}") != std::string_view::npos) {
      entry.tenant_component = tenant_component(entry.pattern);
      if (entry.tenant_component == 0) {
        problems.error(files->place,
                       "bad include " + quote(files->text) +
                           ": {tenant} stands once, as the whole name of a folder, like tenants.d/{tenant}/*.yaml");
        continue;
      }
      if (!item->is_map()) {
        problems.error(files->place, "bad include " + quote(files->text) + ": {tenant} needs 'files'",
                       "write { files: \"" + std::string(files->text) + "\" }");
      }
      if (tenant != nullptr) {
        problems.error(tenant->place, "the folder's name is the tenant's; leave out 'tenant' or {tenant}");
      }
      entry.pattern.replace(entry.pattern.find(by_folder), by_folder.size(), "*");
    } else if (tenant != nullptr && tenant->is_scalar() && !tenant->is_null()) {
      entry.tenant = std::string(tenant->text);
      if (known.count(entry.tenant) == 0) {
        problems.error(tenant->place, "unknown tenant " + quote(entry.tenant), did_you_mean(entry.tenant, names));
      }
    }
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace edgemux::config
