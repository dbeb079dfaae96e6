#pragma once
// Some tenants with a few files each on a real disk, whose reads are counted, beside routes of the platform.
#include <gtest/gtest.h>

#include <memory>
#include <new>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/compiler.h"
#include "tests/config/disk_fixture.h"

namespace edgemux::config {

inline constexpr int kTenants = 5;
inline constexpr int kFiles = 3;  // of each
inline constexpr int kNames = 6;  // of each

// The disk, with a clock that is ahead: stamps made during a load count as older than it, so that the tests need not
// wait for the clock's tick between two changes. Counts what is read.
class CountingFiles final : public Files {
 public:
  void begin() override {
    Files::begin();
    disk_->begin();
  }
  std::vector<std::string> moved() override { return disk_->moved(); }
  core::Result<std::string> read(const std::string& path, const std::string& folder) override {
    read_.push_back(path);
    if (path == exhausting_) throw std::bad_alloc();
    if (path == failing_) {
      note_failure(path);
      return core::fail("Too many open files");
    }
    if (!closed_.empty() && path.starts_with(closed_ + "/")) return core::fail("permission denied");
    return disk_->read(path, folder);
  }
  bool exists(const std::string& path) override { return disk_->exists(path); }
  std::string unwritable(const std::string& path, bool append) override { return disk_->unwritable(path, append); }
  Globbed glob(const std::string& pattern, std::size_t bounded) override {
    auto out = disk_->glob(pattern, bounded);
    if (closed_.empty()) return out;
    std::erase_if(out.paths, [this](const std::string& path) { return path.starts_with(closed_ + "/"); });
    out.closed.push_back({closed_, "user nobody may not read it (permission denied)", false});
    return out;
  }
  std::vector<std::string> folders(const std::string& path) override { return disk_->folders(path); }
  core::Result<std::vector<core::PairFiles>> list_pairs(const std::string& directory, std::size_t most) override {
    return disk_->list_pairs(directory, most);
  }
  core::Result<core::PairText> read_pair(const core::PairFiles& names, const core::PairFiles& folders) override {
    ++loads_;
    return disk_->read_pair(names, folders);
  }
  Stamp stamp(const std::string& path) override {
    Stamp stamp = disk_->stamp(path);
    if (path == growing_) stamp.parts[2] = 1;
    return stamp;
  }
  std::vector<std::string> names(const std::string& folder) override {
    return folder == closed_ ? std::vector<std::string>() : disk_->names(folder);
  }
  bool met_volume() const override { return disk_->met_volume(); }
  timespec now() const override {
    auto time = disk_->now();
    time.tv_sec += ahead_;
    return time;
  }

  int take_loads() { return std::exchange(loads_, 0); }  // of certificate pairs
  std::vector<std::string> take_read() { return std::exchange(read_, {}); }
  void run_ahead(time_t seconds) { ahead_ = seconds; }
  // It is larger when it is read than when it was looked at.
  void let_grow(std::string path) { growing_ = std::move(path); }
  // There is no memory for it.
  void let_exhaust(std::string path) { exhausting_ = std::move(path); }
  // No descriptor is free when it is read, which nothing about it tells. Empty: there is one again.
  void let_fail(std::string path) { failing_ = std::move(path); }
  // Root may read everything, so that permissions are played. Empty: all are open.
  void close_folder(std::string folder) { closed_ = std::move(folder); }

 private:
  std::shared_ptr<Files> disk_ = disk_files();
  std::vector<std::string> read_;
  int loads_ = 0;
  time_t ahead_ = 10;
  std::string closed_;
  std::string growing_;
  std::string exhausting_;
  std::string failing_;
};

class RecompileTest : public DiskTest {
 protected:
  RecompileTest() {
    for (int t = 0; t < kTenants; ++t) folder(folder_of(t));
    folder("certs");
    write("certs/a.pem", "");
    std::string main =
        "listeners:\n"
        "  - { name: http, bind: [\":80\"], protocol: http }\n"
        "  - { name: https, bind: [\":443\"], protocol: tls }\n"
        "  - { name: kube, bind: [\"127.0.0.1:6443\"], protocol: tls }\n"
        "include: [ \"routes.d/*.yaml\", { files: \"tenants.d/{tenant}/*.yaml\" } ]\n"
        "upstreams: { shared: { endpoints: [\"10.0.0.1:80\"] } }\n"
        "routes:\n"
        "  - { host: \"*.example.com\", passthrough: \"10.0.0.2:443\" }\n"
        // On another listener than the tenant's files may have it.
        "  - { host: a0.t0.example.com, tenant: t0, listeners: [kube], passthrough: \"10.1.0.9:443\" }\n"
        "tenants:\n";
    for (int t = 0; t < kTenants; ++t) {
      const auto name = "t" + std::to_string(t);
      main += "  " + name + ": { hosts: [" + name + ".example.com, \"*." + name + ".example.com\"" +
              (t == 1 ? ", inner.t0.example.com, \"*.other.example.org\"" : "") + "], networks: [10.1.0.0/16]" +
              (t > 2 ? ", limits: { config_size: 500 }" : "") + " }\n";
    }
    main += "  t9: { hosts: [x.other.example.org, deep.t0.example.com] }\n";
    write("edgemux.yaml", main);
    main_ = std::move(main);
  }
  // Without the route that the main file has for t0: where it serves no tenant's host, they stand while it changes.
  void keep_the_main_file_apart() {
    const auto line = main_.find("  - { host: a0.t0");
    main_.erase(line, main_.find('\n', line) + 1 - line);
    write("edgemux.yaml", main_);
  }
  static std::string folder_of(int tenant) { return "tenants.d/t" + std::to_string(tenant); }
  static std::string file_of(int tenant, int file) { return folder_of(tenant) + "/" + std::to_string(file) + ".yaml"; }

  CompilerOptions options(const std::string& state) const {
    CompilerOptions o;
    o.state_dir = path(state);
    o.files = files_;
    o.auto_workers = [] { return 1U; };
    o.machine_addresses = [this]() -> core::Result<std::vector<core::SocketAddress>> {
      if (!machine_problem_.empty()) return core::fail(machine_problem_);
      return machine_;
    };
    return o;
  }
  static core::SocketAddress address(const std::string& ip) { return *core::SocketAddress::parse_ip(ip, 0); }

  std::shared_ptr<CountingFiles> files_ = std::make_shared<CountingFiles>();
  std::vector<core::SocketAddress> machine_;
  std::string machine_problem_;  // it does not tell its addresses
  std::string main_;
};

inline void describe(std::string& out, const routing::UpstreamPtr& upstream) {
  if (upstream == nullptr) return;
  out += " -> " + upstream->name + " " + upstream->identity + " " + upstream->origin.to_string() + " of " +
         (upstream->tenant == nullptr ? "-" : upstream->tenant->name);
  if (upstream->missing) out += " '" + upstream->state->published()->problem + "'";
  for (const auto& endpoint : upstream->endpoints) {  // as discovery judges what is published
    const char* why = upstream->tenant == nullptr ? nullptr : upstream->tenant->refuses(*endpoint.address);
    if (why != nullptr) out += " " + endpoint.text + " " + why;
  }
}

inline std::string describe(const routing::RoutePtr* route) {
  if (route == nullptr) return "unknown";
  std::string out = (*route)->name + " at " + (*route)->origin.to_string() + " of " + std::string((*route)->tenant) +
                    " " + (*route)->refused;
  if (const auto* upstream = routing::upstream_of_bytes(**route)) describe(out, *upstream);
  if (const auto* terminate = std::get_if<routing::Terminate>(&(*route)->action)) out += terminate->tls->identity;
  if (const auto* host = std::get_if<routing::VirtualHost>(&(*route)->action)) {
    for (const auto& rule : host->rules) {
      routing::for_each_upstream(rule, [&](const routing::UpstreamPtr& upstream) { describe(out, upstream); });
    }
  }
  describe(out, (*route)->acme_solver);
  out += " at " + (*route)->solver_origin.to_string();
  return out;
}

// Everything that can be seen of it.
inline std::string describe(const Compiled& compiled) {
  std::string out = "fingerprint " + compiled.fingerprint + "\n";
  for (const auto& diagnostic : compiled.diagnostics) out += diagnostic.render() + " [" + diagnostic.tenant + "]\n";
  for (const auto& file : compiled.set_aside) out += "set aside " + file + "\n";
  for (const auto& file : compiled.files) out += "file " + file + "\n";
  for (const auto& folder : compiled.directories) out += "folder " + folder + "\n";
  const auto& snapshot = *compiled.snapshot;
  out += std::to_string(snapshot.host_count) + " hosts\n";
  std::set<std::string> names;
  for (const auto& listener : snapshot.listeners) {
    for (const auto& entry : listener->hosts.entries()) names.insert(entry.name);
  }
  for (const auto& listener : snapshot.listeners) {
    out += listener->spec.name + ": " + std::to_string(listener->hosts.size()) + "\n";
    for (const auto& name : names) {
      const auto asked = name.front() == '*' ? "some" + name.substr(1) : name;
      out += "  " + name + ": " + describe(listener->hosts.find(asked)) + "\n";
    }
  }
  std::multiset<std::string> upstreams;
  for (const auto& upstream : snapshot.upstreams) upstreams.insert(upstream->identity + " " + upstream->name);
  for (const auto& upstream : upstreams) out += upstream + "\n";
  for (const auto& tenant : snapshot.tenants) {
    out += tenant->name + ": " + std::to_string(tenant->state->files_set_aside) + " set aside\n";
  }
  return out;
}

}  // namespace edgemux::config
