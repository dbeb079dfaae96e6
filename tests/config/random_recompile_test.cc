// A compiler that goes on from what it knows comes to the same as one that begins with nothing, whatever happens to the
// files in between.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "config/watcher.h"
#include "tests/config/recompile_fixture.h"
#include "tests/support/test_certificates.h"

namespace edgemux::config {
namespace {

// What a file of the tenant may say; good, bad, in conflict with the tenant's other files or with other tenants.
class Writer {
 public:
  explicit Writer(unsigned seed) : random_(seed) {}

  int pick(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }
  bool once_in(int n) { return pick(n) == 0; }

  std::string file(int tenant) {
    if (once_in(12)) return "routes: [ { host: ";
    std::string out;
    if (once_in(2)) out += upstreams();
    out += "routes:\n";
    for (int n = pick(4); n >= 0; --n) out += "  - { " + route(tenant) + " }\n";
    return out;
  }

 private:
  std::string upstreams() {
    std::string out = "upstreams:\n";
    std::set<int> names{pick(3), pick(3)};
    for (const int name : names) {
      out += "  u" + std::to_string(name) + ": { endpoints: [\"10.1.0." + std::to_string(pick(3) + 1) + ":80\"]" +
             (once_in(6) ? ", tls: { ca: ca.pem }" : "") + " }\n";
    }
    return out;
  }
  std::string route(int tenant) {
    const auto t = "t" + std::to_string(once_in(20) ? pick(kTenants) : tenant) + ".example.com";
    const std::vector<std::string> special{t, "*." + t, "*.b." + t, "inner.t0.example.com", "*.other.example.org"};
    const auto host =
        once_in(4) ? special[static_cast<std::size_t>(pick(5))] : "a" + std::to_string(pick(kNames)) + "." + t;
    std::string out = "host: \"" + host + "\"";
    if (once_in(4)) out += once_in(2) ? ", listeners: [https]" : ", listeners: [kube, http]";
    switch (pick(7)) {
      case 6:
        return out + ", tls: { alpn: [mqtt] }, terminate: u" + std::to_string(pick(3));
      case 0:
        return out + ", passthrough: \"10.1.0." + std::to_string(pick(9)) + ":443\", acme_solver: backend";
      case 1:
        return out + ", passthrough: \"10.9.0.1:443\"";  // outside of its networks
      case 2:
        return out + ", tls: { client_ca: ca.pem }, rules: [ { path: /, respond: { status: 200 } } ]";
      case 3:
        return out + ", passtrough: x";
      default:
        return out + ", rules: [ { path: /, upstream: u" + std::to_string(pick(3)) + " } ]";
    }
  }

  std::minstd_rand random_;
};

// By a seed, and whether a watcher tells what was touched.
class RandomRecompileTest : public RecompileTest, public ::testing::WithParamInterface<std::pair<unsigned, bool>> {
 protected:
  // Another tenant, with claims inside of others'.
  static std::string more_of_main(Writer& writer) {
    const auto t = [&] { return "t" + std::to_string(writer.pick(kTenants)) + ".example.com"; };
    if (writer.once_in(3)) return "";
    return "  t8: { hosts: [\"*.b." + t() + "\", a1." + t() +
           "], networks: [10.1.0.0/16], limits: { connections: " + std::to_string(writer.pick(3)) + " } }\n" +
           (writer.once_in(2)
                ? ""
                : "  t7: { hosts: [\"*." + std::string(writer.once_in(2) ? "other" : "new") + ".example.org\"] }\n");
  }
  // Some hold for upstreams or for hosts that end TLS, and some of the latter are at odds with what routes say.
  static std::string defaults(Writer& writer) {
    const auto alpn = writer.once_in(2) ? "[h2]" : "[h2, http/1.1]";
    return (writer.once_in(3) ? "timeouts: { connect: " + std::to_string(1 + writer.pick(3)) + "s }\n" : "") +
           (writer.once_in(3) ? std::string("tls: { min_version: \"1.3\", alpn: ") + alpn + " }\n" : "");
  }
  // The main file with other listeners: moved, one more, or in another order. Chosen apart from all else.
  std::string main_with_listeners() {
    Writer& writer = listeners_;
    std::string main = main_;
    if (writer.once_in(3)) {
      const auto port = main.find(":6443");
      main.replace(port, 5, writer.once_in(2) ? ":6444" : ":444");
    }
    const auto end = main.find("include:");
    if (writer.once_in(3)) {
      main.insert(end, "  - { name: more, bind: [\"10.1.0." + std::to_string(writer.pick(9)) +
                           ":443\"], protocol: " + (writer.once_in(4) ? "http" : "tls") + " }\n");
    } else if (writer.once_in(6)) {
      main.insert(end, "  - { name: bytes, bind: [\":999\"], protocol: tcp, upstream: shared }\n");
    } else if (writer.once_in(6)) {
      main.insert(main.find("  - { name: kube"), "  - { name: first, bind: [\":998\"], protocol: tls }\n");
    }
    return main;
  }
  // One random change. Returns what it was.
  std::string change(Writer& writer) {
    const int tenant = writer.pick(kTenants);
    const auto file = file_of(tenant, writer.pick(kFiles));
    switch (writer.pick(14)) {
      case 0:
        fs::remove(path(file));
        return "removed " + file;
      case 1:
        write(folder_of(tenant) + "/ca.pem", writer.once_in(2) ? "no certificate" : authority_.cert_pem());
        return "CA of " + folder_of(tenant);
      case 2:
        fs::remove(path(folder_of(tenant) + "/ca.pem"));
        return "no CA in " + folder_of(tenant);
      case 3:
        if (!fs::exists(path(file))) return "nothing";
        fs::permissions(path(file), fs::perms::others_write, fs::perm_options::add);
        return "everybody may write " + file;
      case 4:
        write(folder_of(tenant) + "/note~", "x");
        return "another file in " + folder_of(tenant);
      case 5:
        if (!writer.once_in(2)) return "nothing";
        write("edgemux.yaml", std::string(static_cast<std::size_t>(writer.pick(3)), '\n') + defaults(writer) +
                                  main_with_listeners() + more_of_main(writer));
        return "wrote the main file";
      case 6:
        machine_ = {address("192.0.2.1"), address("10.1.0." + std::to_string(writer.pick(9)))};
        return "another address of the machine: " + machine_.back().to_string();
      default:
        replace(file, writer.file(tenant));
        return "wrote " + file;
    }
  }
  Writer listeners_{GetParam().first};
  edgemux::test::Identity authority_ = edgemux::test::make_certificate({{"ca.example.com"}});
};

TEST_P(RandomRecompileTest, ComesToWhatAFreshOneComesTo) {
  const auto [seed, watched] = GetParam();
  if (seed % 2 == 1) keep_the_main_file_apart();
  Writer writer(seed);
  Watcher watcher;
  Compiler going_on(path("edgemux.yaml"), options("state"));
  Compiler anew(path("edgemux.yaml"), options("state-anew"));
  std::vector<Compiled> held;  // as sessions hold old tables
  std::map<std::string, std::uint32_t> ids;
  std::string story;
  std::size_t spared = 0;
  std::size_t too_large = 0;
  for (int step = 0; step < 60; ++step) {
    for (int n = writer.pick(3); n >= 0; --n) story += change(writer) + "\n";
    // Tables that are refused, two in a row as well: the next one makes up for them.
    for (int n = step % 4; n >= 2; --n) {
      watcher.drain();
      const Compiled refused = going_on.compile(watched ? watcher.take() : Touched::everything(),
                                                [](const Compiled&) { return "not this one"; });
      watcher.set(refused.files, refused.directories);
      story += "refused\n" + change(writer) + "\n";
    }
    files_->take_read();
    const bool asked = writer.once_in(8);
    if (asked) going_on.reread();
    watcher.drain();
    Compiled one = going_on.compile(watched ? watcher.take() : Touched::everything());
    watcher.set(one.files, one.directories);
    const auto read = files_->take_read().size();
    // This one keeps last good versions as well, and reads and links everything all the same.
    anew.forget();
    const Compiled other = anew.compile();
    spared += asked || read < files_->take_read().size() ? 1 : 0;
    ASSERT_TRUE(one.main_ok);
    one.snapshot->judge_by_its_listeners();
    other.snapshot->judge_by_its_listeners();
    const auto seen_of_it = describe(one);
    ASSERT_EQ(seen_of_it, describe(other)) << "step " << step << ":\n" << story;
    too_large += seen_of_it.find("take more than 500 bytes together") != std::string::npos ? 1 : 0;
    // Equal identities share id and state.
    std::map<std::string, const routing::UpstreamPtr*> seen;
    for (const auto& upstream : one.snapshot->upstreams) {
      EXPECT_TRUE(seen.emplace(upstream->identity, &upstream).second) << upstream->identity << " stands there twice";
      const auto [at, fresh] = ids.emplace(upstream->identity, upstream->id);
      EXPECT_EQ(at->second, upstream->id) << "while the tables that had it live, an identity keeps its id";
    }
    held.push_back(std::move(one));
  }
  EXPECT_GT(spared, 40U) << "most changes are those of some tenants alone";
  EXPECT_GT(too_large, 0U);
}

std::vector<std::pair<unsigned, bool>> seeds() {
  std::vector<std::pair<unsigned, bool>> all;
  for (unsigned seed = 1; seed < 9; ++seed) all.insert(all.end(), {{seed, false}, {seed, true}});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomRecompileTest, ::testing::ValuesIn(seeds()));

}  // namespace
}  // namespace edgemux::config
