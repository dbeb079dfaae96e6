#pragma once
// Two tenants on a real disk, with a folder each.
#include "tests/config/compiler_fixture.h"

namespace edgemux::config {

inline constexpr const char* kTwoTenants =
    "tenants:\n"
    "  a: { hosts: [a.example, \"*.a.example\"], networks: [10.1.0.0/16] }\n"
    "  b: { hosts: [b.example, \"*.b.a.example\"], networks: [10.2.0.0/16] }\n"
    "include:\n"
    "  - \"platform.d/*.yaml\"\n"
    "  - { files: \"tenants.d/{tenant}/*.yaml\" }\n";

class TenantsTest : public CompilingTest {
 protected:
  static inline const std::string kMain = std::string(kHttpAndHttps) + kTwoTenants;

  TenantsTest() {
    for (const char* name : {"platform.d", "tenants.d/a", "tenants.d/b"}) folder(name);
    write("edgemux.yaml", kMain);
  }
  Compiled compile() const { return compiler()->compile(); }
  // With files as the configuration names them.
  std::string text(const Compiled& c) const {
    std::string out = CompilingTest::text(c);
    const std::string top = root_.string() + "/";
    for (auto at = out.find(top); at != std::string::npos; at = out.find(top, at)) out.erase(at, top.size());
    return out;
  }
  static routing::RoutePtr route(const Compiled& c, const std::string& host, std::size_t listener = 1) {
    const auto* found = c.snapshot->listeners[listener]->hosts.find(host);
    return found == nullptr ? nullptr : *found;
  }
  // What the upstream of the host's first rule has of TLS.
  static const routing::UpstreamTransport& transport(const Compiled& c, const std::string& host) {
    const auto& rules = std::get<routing::VirtualHost>(route(c, host)->action).rules;
    return std::get<routing::Forward>(rules[0].action).upstream->transport;
  }
  // "tenant: first host of the route", or empty.
  static std::string owner(const Compiled& c, const std::string& host, std::size_t listener = 1) {
    const auto found = route(c, host, listener);
    return found == nullptr ? "" : std::string(found->tenant) + ": " + found->name;
  }
  static const routing::Upstream& upstream(const Compiled& c, const std::string& host) {
    return *std::get<routing::Passthrough>(route(c, host)->action).upstream;
  }
  void pair(const std::string& stem, const std::vector<std::string>& names) const {
    CompilingTest::pair(stem + ".pem", stem + ".key", names);
  }
};

}  // namespace edgemux::config
