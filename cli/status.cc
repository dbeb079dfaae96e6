#include "cli/status.h"

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "cli/admin_client.h"

namespace edgemux::cli {

namespace {

using Json = nlohmann::ordered_json;

Json parsed(const std::string& text) {
  auto json = Json::parse(text, nullptr, false);
  return json.is_object() ? json : Json();
}

std::string text_of(const Json& from, const char* key) {
  const auto at = from.find(key);
  return at != from.end() && at->is_string() ? at->get<std::string>() : "";
}

std::uint64_t number_of(const Json& from, const char* key) {
  const auto at = from.find(key);
  return at != from.end() && at->is_number() ? at->get<std::uint64_t>() : 0;
}

const Json& list_of(const Json& from, const char* key) {
  static const Json none = Json::array();
  const auto at = from.find(key);
  return at != from.end() && at->is_array() ? *at : none;
}

std::string span_of(std::uint64_t seconds) {
  std::string out;
  if (seconds >= 86'400) out += std::to_string(seconds / 86'400) + "d ";
  if (seconds >= 3600) out += std::to_string(seconds / 3600 % 24) + "h ";
  if (seconds >= 60) out += std::to_string(seconds / 60 % 60) + "m ";
  return out + std::to_string(seconds % 60) + "s";
}

std::string size_of(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < std::size(kUnits); ++unit) bytes /= 1024;
  std::ostringstream out;
  out << std::fixed << std::setprecision(unit == 0 ? 0 : 1) << bytes << kUnits[unit];
  return out.str();
}

// Columns as wide as their longest cell; the first to the left, the others to the right.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string blank(widths[i] - row[i].size(), ' ');
      if (i != 0) out += "  ";
      out += i == 0 ? row[i] + blank : blank + row[i];
    }
    while (out.ends_with(' ')) out.pop_back();
    out += '\n';
  }
  return out;
}

core::Result<std::string> ask(const StatusOptions& options) {
  std::string socket = options.socket;
  if (socket.empty()) {
    auto named = admin_socket_of(options.config);
    if (!named) return tl::unexpected(named.error());
    socket = std::move(*named);
  }
  auto answer = ask_admin(socket, "/status");
  if (!answer) return tl::unexpected(answer.error());
  if (answer->status != 200 || parsed(answer->body).is_null())
    return core::fail("what answers at " + socket + " is not edgemux");
  return std::move(answer->body);
}

std::string header(const Json& status) {
  std::string out = "edgemux " + text_of(status, "version") + ", pid " + std::to_string(number_of(status, "pid")) +
                    ", up " + span_of(number_of(status, "uptime_seconds")) + ", ";
  const auto not_ready = text_of(status, "not_ready");
  out += not_ready.empty() ? "ready" : not_ready;
  return out + "\ngeneration " + std::to_string(number_of(status, "generation")) + ", " +
         std::to_string(number_of(status, "hosts")) + " hosts, " + std::to_string(number_of(status, "connections")) +
         " connections\n";
}

std::string endpoints_of(const Json& upstream) {
  std::string out;
  for (const auto& endpoint : list_of(upstream, "endpoints")) {
    const auto state = text_of(endpoint, "state");
    out += (out.empty() ? "" : ", ") + text_of(endpoint, "endpoint");
    if (!state.empty() && state != "unchecked") out += " (" + state + ")";
  }
  const auto problem = text_of(upstream, "problem");
  if (!problem.empty()) out += (out.empty() ? "" : "; ") + problem;
  return out.empty() ? "none" : out;
}

// Rows of a list by name, so that two samples can be compared.
const Json* find(const Json& list, const std::string& name) {
  for (const auto& one : list) {
    if (text_of(one, "name") == name) return &one;
  }
  return nullptr;
}

double rate(const Json& before, const Json& after, const char* key, double seconds) {
  const auto was = number_of(before, key);
  const auto is = number_of(after, key);
  return is > was && seconds > 0 ? static_cast<double>(is - was) / seconds : 0;
}

bool is_told(const Json& from, const char* key) {
  const auto at = from.find(key);
  return at != from.end() && !at->is_null();
}

std::string figure_of(const Json& from, const char* key) {
  return is_told(from, key) ? std::to_string(number_of(from, key)) : "-";
}

constexpr std::size_t kShown = 20;  // a table may name thousands

// The first ones by `busy`, the others as they stand.
template <class Busy>
std::vector<Json> busiest(const Json& list, Busy busy) {
  using Key = decltype(busy(list));
  std::vector<std::pair<Key, const Json*>> all;
  for (const auto& one : list) all.emplace_back(busy(one), &one);
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Json> first;
  for (std::size_t i = 0; i < std::min(all.size(), kShown); ++i) first.push_back(*all[i].second);
  return first;
}

std::string left_out(const Json& list) {
  return list.size() <= kShown ? "" : "and " + std::to_string(list.size() - kShown) + " more\n";
}

std::string per_second(double value) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(value < 10 && value > 0 ? 1 : 0) << value;
  return out.str();
}

}  // namespace

std::string status_page(const std::string& text) {
  const auto status = parsed(text);
  if (status.is_null()) return {};
  std::string out = header(status);
  const auto expire = text_of(status, "certificates_expire");
  if (!expire.empty()) out += "the first certificate expires " + expire + "\n";
  const auto access_log = status.find("access_log");
  const std::uint64_t dropped = access_log == status.end() ? 0 : number_of(*access_log, "dropped");
  if (dropped != 0) out += "the access log has lost " + std::to_string(dropped) + " lines\n";

  std::vector<std::vector<std::string>> rows{{"LISTENER", "PROTOCOL", "BIND", "HOSTS", "CONNECTIONS", "REQUESTS"}};
  for (const auto& listener : list_of(status, "listeners")) {
    std::string binds;
    for (const auto& bind : list_of(listener, "bind")) binds += (binds.empty() ? "" : ",") + bind.get<std::string>();
    rows.push_back({text_of(listener, "name"), text_of(listener, "protocol"), binds, figure_of(listener, "hosts"),
                    figure_of(listener, "connections_active"), figure_of(listener, "requests_total")});
  }
  out += "\n" + table(rows);

  const auto& upstreams = list_of(status, "upstreams");
  if (!upstreams.empty()) {
    out += "\nUPSTREAMS (" + std::to_string(number_of(status, "upstreams_total")) + ")\n";
    for (const auto& upstream : upstreams) {
      out += "  " + text_of(upstream, "name") + ": " + endpoints_of(upstream) + "  (" + text_of(upstream, "origin") +
             ")\n";
    }
  }
  const auto& aside = list_of(status, "set_aside");
  if (!aside.empty()) out += "\nSET ASIDE: their last good bytes serve, or nothing\n";
  for (const auto& path : aside) out += "  " + path.get<std::string>() + "\n";
  const auto& diagnostics = list_of(status, "diagnostics");
  if (!diagnostics.empty()) {
    out += "\nPROBLEMS (" + std::to_string(number_of(status, "diagnostics_total")) + ")\n";
    for (const auto& diagnostic : diagnostics) out += text_of(diagnostic, "text") + "\n";
  }
  return out;
}

std::string top_page(const std::string& before_text, const std::string& after_text, double seconds) {
  const auto before = parsed(before_text);
  const auto after = parsed(after_text);
  if (before.is_null() || after.is_null()) return {};
  const Json none = Json::object();
  std::string out = header(after);
  std::vector<std::vector<std::string>> rows{
      {"LISTENER", "CONNECTIONS", "NEW/S", "REQUESTS/S", "5XX/S", "IN/S", "OUT/S"}};
  for (const auto& listener : list_of(after, "listeners")) {
    const auto* found = find(list_of(before, "listeners"), text_of(listener, "name"));
    const Json& was = found == nullptr ? listener : *found;
    if (!is_told(listener, "connections_active")) {
      rows.push_back({text_of(listener, "name"), "-", "-", "-", "-", "-", "-"});
      continue;
    }
    rows.push_back({text_of(listener, "name"), std::to_string(number_of(listener, "connections_active")),
                    per_second(rate(was, listener, "connections_total", seconds)),
                    per_second(rate(was, listener, "requests_total", seconds)),
                    per_second(rate(was, listener, "errors_total", seconds)),
                    size_of(rate(was, listener, "bytes_in_total", seconds)),
                    size_of(rate(was, listener, "bytes_out_total", seconds))});
  }
  out += "\n" + table(rows);

  const auto upstreams = busiest(list_of(after, "upstreams"), [](const Json& one) {
    return std::tuple(number_of(one, "requests") + number_of(one, "connections"));
  });
  rows = {{"UPSTREAM", "CONNECTIONS", "IN FLIGHT", "USABLE"}};
  for (const auto& upstream : upstreams) {
    const auto& endpoints = list_of(upstream, "endpoints");
    const auto usable = std::count_if(endpoints.begin(), endpoints.end(), [](const Json& endpoint) {
      const auto state = text_of(endpoint, "state");
      return state == "unchecked" || state == "healthy";
    });
    const auto tenant = text_of(upstream, "tenant");
    rows.push_back({(tenant.empty() ? "" : tenant + "/") + text_of(upstream, "name"),
                    std::to_string(number_of(upstream, "connections")),
                    upstream.contains("requests") ? std::to_string(number_of(upstream, "requests")) : "-",
                    std::to_string(usable) + "/" + std::to_string(endpoints.size())});
  }
  if (rows.size() > 1) out += "\n" + table(rows) + left_out(list_of(after, "upstreams"));
  std::map<std::string, const Json*> tenants_before;
  for (const auto& tenant : list_of(before, "tenants")) tenants_before[text_of(tenant, "name")] = &tenant;

  const auto earlier = [&](const Json& tenant) -> const Json& {
    const auto found = tenants_before.find(text_of(tenant, "name"));
    return found == tenants_before.end() ? tenant : *found->second;
  };
  const auto tenants = busiest(list_of(after, "tenants"), [&](const Json& one) {
    return std::tuple(rate(earlier(one), one, "bytes_total", seconds),
                      rate(earlier(one), one, "requests_total", seconds), number_of(one, "connections_active"));
  });
  rows = {{"TENANT", "CONNECTIONS", "NEW/S", "REQUESTS/S", "BYTES/S"}};
  for (const auto& tenant : tenants) {
    const Json& was = earlier(tenant);
    rows.push_back({text_of(tenant, "name"), std::to_string(number_of(tenant, "connections_active")),
                    per_second(rate(was, tenant, "connections_total", seconds)),
                    per_second(rate(was, tenant, "requests_total", seconds)),
                    size_of(rate(was, tenant, "bytes_total", seconds))});
  }
  if (rows.size() > 1) out += "\n" + table(rows) + left_out(list_of(after, "tenants"));
  return out;
}

int status(const StatusOptions& options, std::ostream& out, std::ostream& err) {
  const auto answer = ask(options);
  if (!answer) {
    err << "edgemux status: " << answer.error().message << "\n";
    return 1;
  }
  out << (options.json ? *answer : status_page(*answer));
  return 0;
}

int top(const StatusOptions& options, std::ostream& out, std::ostream& err) {
  using Clock = std::chrono::steady_clock;
  auto before = ask(options);
  auto since = Clock::now();
  for (;;) {
    if (before) std::this_thread::sleep_for(std::chrono::seconds(options.interval));
    auto after = before ? ask(options) : before;
    if (!after) {
      err << "edgemux top: " << after.error().message << "\n";
      return 1;
    }
    const auto now = Clock::now();
    const auto page = top_page(*before, *after, std::chrono::duration<double>(now - since).count());
    if (!options.once) out << "\x1b[H\x1b[2J";  // home, clear
    out << page << std::flush;
    if (options.once || !out) return 0;
    before = std::move(after);
    since = now;
  }
}

}  // namespace edgemux::cli
