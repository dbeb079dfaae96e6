#include "cli/diff.h"

#include <nlohmann/json.hpp>
#include <ostream>

#include "config/compiler.h"
#include "routing/table/difference.h"

namespace edgemux::cli {

namespace {

using Json = nlohmann::ordered_json;
using routing::Difference;

std::shared_ptr<const routing::Snapshot> compile(const std::string& path, std::ostream& err) {
  config::CompilerOptions options;
  options.state_dir = "";
  const auto compiled = config::Compiler(path, std::move(options)).compile();
  if (compiled.snapshot == nullptr) {
    for (const auto& diagnostic : compiled.diagnostics) err << diagnostic.render() << "\n";
    err << "edgemux diff: " << path << " has errors\n";
  } else if (!compiled.set_aside.empty()) {
    err << "edgemux diff: " << path << ": " << compiled.set_aside.size()
        << " included file(s) with errors are left out; see `edgemux check`\n";
  }
  return compiled.snapshot;
}

std::string shown(const std::string& text) { return text.empty() ? "none" : text; }

std::string place(const routing::Origin& at) { return at.file == nullptr ? "" : at.to_string(); }

std::string describe(const Difference::Host& host) {
  return host.kind + (host.upstream.empty() ? "" : " to " + host.upstream) +
         (host.wildcard.empty() ? "" : " by " + host.wildcard) +
         (host.tenant.empty() ? "" : ", tenant " + host.tenant) + ", on " + host.listeners + "  (" + place(host.at) +
         ")";
}

std::string places(const Difference::Change& change) {
  const auto before = place(change.at_before);
  const auto after = place(change.at_after);
  return "  (" + (before.empty() || after.empty() ? before + after : before + " -> " + after) + ")";
}

void print_text(const Difference& d, std::ostream& out) {
  for (const auto& change : d.listeners) {
    const char mark = change.what == "appears" ? '+' : change.what == "vanishes" ? '-' : '~';
    out << mark << " listener " << change.name << ": ";
    if (mark == '~') out << change.what << " " << shown(change.before) << " -> ";
    out << shown(mark == '-' ? change.before : change.after) << places(change) << "\n";
  }
  for (const auto& host : d.appear) out << "+ " << host.name << ": " << describe(host) << "\n";
  for (const auto& host : d.vanish) out << "- " << host.name << ": " << describe(host) << "\n";
  for (const auto& change : d.change) {
    out << "~ " << change.name << (change.listeners.empty() ? "" : " on " + change.listeners) << ": " << change.what
        << " " << shown(change.before) << " -> " << shown(change.after) << places(change) << "\n";
  }
  if (d.none()) {
    out << "no listener differs, and no host in its owner, kind, listeners and upstreams\n";
  } else {
    std::size_t changed = 0;
    for (std::size_t i = 0; i < d.change.size(); ++i) changed += i == 0 || d.change[i].name != d.change[i - 1].name;
    out << "hosts: " << d.appear.size() << " appear, " << d.vanish.size() << " vanish, " << changed << " change\n";
  }
}

Json json_of(const routing::Origin& at) {
  if (at.file == nullptr) return nullptr;
  return {{"file", *at.file}, {"line", at.line}, {"column", at.column}};
}

Json json_of(const std::vector<Difference::Host>& hosts) {
  Json out = Json::array();
  for (const auto& host : hosts) {
    out.push_back({{"host", host.name},
                   {"listeners", host.listeners},
                   {"tenant", host.tenant},
                   {"kind", host.kind},
                   {"upstream", host.upstream},
                   {"wildcard", host.wildcard},
                   {"at", json_of(host.at)}});
  }
  return out;
}

Json json_of(const Difference::Change& change, const char* key) {
  return {{key, change.name},
          {"what", change.what},
          {"before", change.before},
          {"after", change.after},
          {"at_before", json_of(change.at_before)},
          {"at_after", json_of(change.at_after)}};
}

Json json_of_hosts(const std::vector<Difference::Change>& changes) {
  Json out = Json::array();
  for (const auto& change : changes) {
    out.push_back(json_of(change, "host"));
    out.back()["listeners"] = change.listeners;
  }
  return out;
}

Json json_of_listeners(const std::vector<Difference::Change>& changes) {
  Json out = Json::array();
  for (const auto& change : changes) out.push_back(json_of(change, "listener"));
  return out;
}

}  // namespace

int diff(const DiffOptions& options, std::ostream& out, std::ostream& err) {
  const auto before = compile(options.before, err);
  const auto after = compile(options.after, err);
  if (before == nullptr || after == nullptr) return 2;
  const auto d = routing::compare(*before, *after);
  if (options.json) {
    const Json whole{{"same", d.none()},
                     {"appear", json_of(d.appear)},
                     {"vanish", json_of(d.vanish)},
                     {"change", json_of_hosts(d.change)},
                     {"listeners", json_of_listeners(d.listeners)}};
    out << whole.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    print_text(d, out);
  }
  return d.none() ? 0 : 1;
}

}  // namespace edgemux::cli
