#pragma once
// A compiler on a real disk: what every test of whole configurations begins with.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "config/compiler.h"
#include "tests/config/disk_fixture.h"
#include "tests/support/test_certificates.h"

namespace edgemux::config {

class CompilingTest : public DiskTest {
 protected:
  // The first and the second of every configuration here.
  static constexpr const char* kHttpAndHttps =
      "listeners:\n"
      "  - { name: http, bind: [\":80\"], protocol: http }\n"
      "  - { name: https, bind: [\":443\"], protocol: tls }\n";

  [[nodiscard]] CompilerOptions options() const {
    CompilerOptions o;
    o.state_dir = path("state");
    o.auto_workers = [] { return 3U; };
    return o;
  }
  [[nodiscard]] std::unique_ptr<Compiler> compiler() const {
    return std::make_unique<Compiler>(path("edgemux.yaml"), options());
  }
  [[nodiscard]] static std::string text(const Compiled& c) {
    std::string out;
    for (const auto& d : c.diagnostics) out += d.headline() + "\n";
    return out;
  }
  void pair(const std::string& cert, const std::string& key, const std::vector<std::string>& names) const {
    const auto made = edgemux::test::make_certificate({.names = names});
    write(cert, made.cert_pem());
    write(key, made.key_pem());
    ::chmod(path(key).c_str(), 0600);
  }
};

// With three listeners.
class CompilerTest : public CompilingTest {
 protected:
  void main_file(const std::string& rest) const { write("edgemux.yaml", kListeners + rest); }
  static inline const std::string kListeners =
      std::string(kHttpAndHttps) + "  - { name: kube, bind: [\"127.0.0.1:6443\"], protocol: tls }\n";

  // Empty: unknown there.
  static std::string route_of(const Compiled& c, std::size_t listener, const std::string& host) {
    const auto* route = c.snapshot->listeners[listener]->hosts.find(host);
    return route == nullptr || *route == nullptr ? "" : (*route)->name;
  }
};

}  // namespace edgemux::config
