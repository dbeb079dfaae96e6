// A compiler that goes on from what it knows comes to the same as one that begins with nothing, whatever happens to the
// files in between.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "config/compiler.h"
#include "config/watcher.h"
#include "tests/config/disk_fixture.h"
#include "tests/support/test_certificates.h"

namespace edgemux::config {
namespace {

constexpr int kTenants = 5;
constexpr int kFiles = 3;  // of each
constexpr int kNames = 6;  // of each

// The disk, with a clock that is ahead: stamps made during a load count as older than it, so that the tests need not
// wait for the clock's tick between two changes. Counts what is read.
class CountingFiles final : public Files {
 public:
  void begin() override { disk_->begin(); }
  bool settled() override { return disk_->settled(); }
  core::Result<std::string> read(const std::string& path, const std::string& folder) override {
    read_.push_back(path);
    if (path == exhausting_) throw std::bad_alloc();
    if (!closed_.empty() && path.starts_with(closed_ + "/")) return core::fail("permission denied");
    return disk_->read(path, folder);
  }
  bool leads_inside(const std::string& folder, const std::string& path) override {
    return disk_->leads_inside(folder, path);
  }
  bool exists(const std::string& path) override { return disk_->exists(path); }
  Globbed glob(const std::string& pattern) override {
    auto out = disk_->glob(pattern);
    if (closed_.empty()) return out;
    std::erase_if(out.paths, [this](const std::string& path) { return path.starts_with(closed_ + "/"); });
    out.closed.push_back({closed_, "user nobody may not read it (permission denied)"});
    return out;
  }
  std::vector<std::string> folders(const std::string& path) override { return disk_->folders(path); }
  core::Result<std::vector<core::PairFiles>> list_pairs(const std::string& directory) override {
    return disk_->list_pairs(directory);
  }
  core::Result<core::LoadedPair> load_pair(const std::string& cert, const std::string& key) override {
    return disk_->load_pair(cert, key);
  }
  std::string signature(const std::string& path) override { return disk_->signature(path); }
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

  std::vector<std::string> take_read() { return std::exchange(read_, {}); }
  void run_ahead(time_t seconds) { ahead_ = seconds; }
  // It is larger when it is read than when it was looked at.
  void let_grow(std::string path) { growing_ = std::move(path); }
  // There is no memory for it.
  void let_exhaust(std::string path) { exhausting_ = std::move(path); }
  // Root may read everything, so that permissions are played. Empty: all are open.
  void close_folder(std::string folder) { closed_ = std::move(folder); }

 private:
  std::shared_ptr<Files> disk_ = disk_files();
  std::vector<std::string> read_;
  time_t ahead_ = 10;
  std::string closed_;
  std::string growing_;
  std::string exhausting_;
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
    o.machine_addresses = [this] { return machine_; };
    return o;
  }
  static core::SocketAddress address(const std::string& ip) { return *core::SocketAddress::parse_ip(ip, 0); }

  std::shared_ptr<CountingFiles> files_ = std::make_shared<CountingFiles>();
  std::vector<core::SocketAddress> machine_;
  std::string main_;
};

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

void describe(std::string& out, const routing::UpstreamPtr& upstream) {
  if (upstream == nullptr) return;
  out += " -> " + upstream->name + " " + upstream->identity + " " + upstream->origin.to_string() + " of " +
         (upstream->tenant == nullptr ? "-" : upstream->tenant->name);
  if (upstream->missing) out += " '" + upstream->state->published()->problem + "'";
  for (const auto& endpoint : upstream->endpoints) {  // as discovery judges what is published
    const char* why = upstream->tenant == nullptr ? nullptr : upstream->tenant->refuses(*endpoint.address);
    if (why != nullptr) out += " " + endpoint.text + " " + why;
  }
}

std::string describe(const routing::RoutePtr* route) {
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
std::string describe(const Compiled& compiled) {
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
        write("edgemux.yaml",
              std::string(static_cast<std::size_t>(writer.pick(3)), '\n') + main_ + more_of_main(writer));
        return "wrote the main file";
      case 6:
        machine_ = {address("192.0.2.1"), address("10.1.0." + std::to_string(writer.pick(9)))};
        return "another address of the machine: " + machine_.back().to_string();
      default:
        replace(file, writer.file(tenant));
        return "wrote " + file;
    }
  }
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

TEST_F(RecompileTest, ReadsTheChangedFileAloneAndSharesTheRest) {
  for (int t = 0; t < kTenants; ++t) {
    const auto host = ".t" + std::to_string(t) + ".example.com";
    write(file_of(t, 0), "routes: [ { host: a" + host + ", passthrough: \"10.1.0.1:443\" } ]\n");
  }
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  replace(file_of(2, 0), "routes: [ { host: a.t2.example.com, passthrough: \"10.1.0.2:443\" } ]\n");
  files_->take_read();
  const Compiled second = compiler.compile();
  EXPECT_THAT(files_->take_read(), ::testing::ElementsAre(path(file_of(2, 0))));
  const auto route = [](const Compiled& compiled, const std::string& host) {
    return compiled.snapshot->listeners[1]->hosts.find(host)->get();
  };
  EXPECT_NE(route(first, "a.t2.example.com"), route(second, "a.t2.example.com"));
  EXPECT_EQ(route(first, "a.t3.example.com"), route(second, "a.t3.example.com"));
  EXPECT_EQ(first.snapshot->upstreams.parts()[4], second.snapshot->upstreams.parts()[4]);

  compiler.forget();
  compiler.compile();
  EXPECT_EQ(files_->take_read().size(), 1U + kTenants);
}

TEST_F(RecompileTest, ACompileThatFailedIsFollowedByOneOfEverything) {
  const auto route = [](const std::string& name) {
    return "routes: [ { host: " + name + ".t0.example.com, passthrough: \"10.1.0.1:443\" } ]\n";
  };
  write(file_of(0, 0), route("a1"));
  Compiler it(path("edgemux.yaml"), options("state"));
  it.compile();
  write(file_of(0, 0), route("a2-of-another-length"));
  files_->let_exhaust(path(file_of(0, 0)));
  EXPECT_THROW(it.compile(), std::bad_alloc);
  files_->let_exhaust("");
  EXPECT_THAT(describe(it.compile()), ::testing::HasSubstr("a2-of-another-length.t0.example.com at"));
}

TEST_F(RecompileTest, AFileThatGrowsBehindItsBoundIsNotRead) {
  write(file_of(0, 0), "routes: [ { host: a1.t0.example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  files_->let_grow(path(file_of(0, 0)));
  Compiler it(path("edgemux.yaml"), options("state"));
  const auto c = it.compile();
  EXPECT_THAT(describe(c), ::testing::HasSubstr("0.yaml: it is larger than its size was when it was looked at"));
  files_->let_grow("");
  EXPECT_THAT(describe(it.compile()), ::testing::Not(::testing::HasSubstr("larger than")));
}

TEST_F(RecompileTest, AFolderThatMayNotBeReadKeepsItsLastGoodFiles) {
  const auto says = [&](int tenant, const std::string& address) {
    replace(file_of(tenant, 0), "routes: [ { host: a.t" + std::to_string(tenant) + ".example.com, passthrough: \"" +
                                    address + ":443\" } ]\n");
  };
  const auto knows = [](const Compiled& compiled, int tenant) {
    return compiled.snapshot->listeners[1]->hosts.find("a.t" + std::to_string(tenant) + ".example.com") != nullptr;
  };
  const auto told = [](const Compiled& compiled) {
    std::string out;
    for (const auto& diagnostic : compiled.diagnostics) out += diagnostic.headline() + "\n";
    return out;
  };
  for (int t = 0; t < 3; ++t) says(t, "10.1.0.1");
  auto compiler = std::make_unique<Compiler>(path("edgemux.yaml"), options("state"));
  compiler->compile();
  files_->close_folder(path(folder_of(1)));
  fs::last_write_time(path(folder_of(1)), fs::file_time_type::clock::now());  // as chmod makes its stamp another
  for (const bool restarted : {false, true}) {
    if (restarted) compiler = std::make_unique<Compiler>(path("edgemux.yaml"), options("state"));
    says(2, restarted ? "10.1.0.3" : "10.1.0.2");
    const auto c = compiler->compile();
    EXPECT_THAT(told(c), ::testing::ContainsRegex("edgemux.yaml:[0-9]+:[0-9]+: error: cannot list .*" + folder_of(1) +
                                                  ": user nobody may not read it"));
    EXPECT_THAT(c.set_aside, ::testing::ElementsAre(path(file_of(1, 0))));
    for (int t = 0; t < 3; ++t) EXPECT_TRUE(knows(c, t)) << t;
  }
  files_->close_folder("");
  const auto c = compiler->compile();
  EXPECT_THAT(told(c), ::testing::Not(::testing::HasSubstr("cannot")));
  EXPECT_TRUE(knows(c, 1));
}

TEST_F(RecompileTest, TheFirstCompileLeavesTheKeepingForLater) {
  const auto host = [](const std::string& name) {
    return "routes: [ { host: " + name + ".t1.example.com, passthrough: \"10.1.0.1:443\" } ]\n";
  };
  for (int t = 0; t < kTenants; ++t) write(file_of(t, 0), "routes: []\n");
  write(file_of(1, 0), host("good"));
  auto later = options("state");
  later.keep_later = true;
  const auto kept = [&] {
    std::error_code error;
    return std::distance(fs::directory_iterator(path("state/last-good"), error), fs::directory_iterator());
  };
  Compiler compiler(path("edgemux.yaml"), later);
  compiler.compile();
  EXPECT_EQ(kept(), 0);
  // Broken before its turn came: what is kept is what was good.
  replace(file_of(1, 0), "routes: [\n");
  compiler.compile();
  while (compiler.keep() == Kept::some) {
  }
  EXPECT_EQ(kept(), kTenants);
  EXPECT_EQ(compiler.keep(), Kept::all);
  Compiler restarted(path("edgemux.yaml"), later);
  EXPECT_NE(restarted.compile().snapshot->listeners[1]->hosts.find("good.t1.example.com"), nullptr);
}

TEST_F(RecompileTest, WhatCannotBeKeptIsToldByTheNextCompile) {
  write(file_of(0, 0), "routes: []\n");
  write("state", "no folder");
  auto later = options("state");
  later.keep_later = true;
  Compiler compiler(path("edgemux.yaml"), later);
  const auto before = compiler.compile().warnings();
  EXPECT_EQ(compiler.keep(), Kept::failed);
  EXPECT_EQ(compiler.keep(), Kept::all) << "once is enough";
  const auto c = compiler.compile();
  EXPECT_EQ(c.warnings(), before + 1);
  EXPECT_THAT(c.diagnostics.back().message, ::testing::HasSubstr("state/last-good"));
}

TEST_F(RecompileTest, LooksOnlyAtWhatWasTouched) {
  for (int t = 0; t < 2; ++t) {
    write(file_of(t, 0),
          "routes: [ { host: a.t" + std::to_string(t) + ".example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  }
  Compiler compiler(path("edgemux.yaml"), options("state"));
  compiler.compile();
  for (int t = 0; t < 2; ++t) {
    replace(file_of(t, 0),
            "routes: [ { host: b.t" + std::to_string(t) + ".example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  }
  files_->take_read();
  Touched touched;
  touched.add(path(file_of(1, 0)));
  const auto hosts = [](const Compiled& compiled, const std::string& host) {
    return compiled.snapshot->listeners[1]->hosts.serves(host);
  };
  const Compiled second = compiler.compile(touched);
  EXPECT_THAT(files_->take_read(), ::testing::ElementsAre(path(file_of(1, 0))));
  EXPECT_TRUE(hosts(second, "b.t1.example.com") && hosts(second, "a.t0.example.com"));
  const Compiled third = compiler.compile();
  EXPECT_THAT(files_->take_read(), ::testing::ElementsAre(path(file_of(0, 0))));
  EXPECT_TRUE(hosts(third, "b.t1.example.com") && hosts(third, "b.t0.example.com"));
}

TEST_F(RecompileTest, MovedLinesOfTheMainFileLinkOnlyWhoHasAProblem) {
  keep_the_main_file_apart();
  for (int t = 0; t < kTenants; ++t) {
    write(file_of(t, 0),
          "routes: [ { host: a.t" + std::to_string(t) + ".example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  }
  write(file_of(3, 0), "routes: [ { host: a.t0.example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  write("edgemux.yaml", "# moved\n" + main_);
  const Compiled second = compiler.compile();
  const auto& before = first.snapshot->upstreams.parts();
  const auto& after = second.snapshot->upstreams.parts();
  ASSERT_EQ(before.size(), 5U) << "the platform's, and those of the tenants whose host is their own";
  for (std::size_t i = 1; i < before.size(); ++i) EXPECT_EQ(before[i], after[i]);
  const auto place = [](const Compiled& compiled) { return compiled.snapshot->tenant_places[2].line; };
  EXPECT_EQ(place(first) + 1, place(second));
  const auto told = [](const Compiled& compiled) {
    std::string all;
    for (const auto& diagnostic : compiled.diagnostics) all += diagnostic.headline() + "\n";
    return all;
  };
  const auto line = [&](const Compiled& compiled) {
    return "belongs to tenant 't0', which claims '*.t0.example.com' at " +
           compiled.snapshot->claims->find("a.t0.example.com")->origin.to_string();
  };
  EXPECT_NE(line(first), line(second));
  EXPECT_THAT(told(first), ::testing::HasSubstr(line(first)));
  EXPECT_THAT(told(second), ::testing::HasSubstr(line(second)));
}

TEST_F(RecompileTest, AnotherTenantOfTheMainFileConcernsWhoseNamesItClaims) {
  keep_the_main_file_apart();
  for (int t = 0; t < kTenants; ++t) {
    const auto host = ".t" + std::to_string(t) + ".example.com";
    write(file_of(t, 0), "routes: [ { hosts: [a" + host + ", b.a" + host + "], passthrough: \"10.1.0.1:443\" } ]\n");
  }
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  write("edgemux.yaml", main_ + "  t8: { hosts: [\"*.a.t2.example.com\"], networks: [10.1.0.0/16] }\n");
  const Compiled second = compiler.compile();
  const auto& before = first.snapshot->upstreams.parts();
  const auto& after = second.snapshot->upstreams.parts();
  ASSERT_EQ(before.size(), 6U);
  for (std::size_t t = 0; t < kTenants; ++t) EXPECT_EQ(before[t + 1] == after[t + 1], t != 2) << t;
  EXPECT_EQ(second.snapshot->listeners[1]->hosts.find("b.a.t2.example.com"), nullptr);
  EXPECT_NE(second.snapshot->listeners[1]->hosts.find("a.t2.example.com"), nullptr);
  // A tenant's limits are its own affair.
  write("edgemux.yaml",
        main_ + "  t8: { hosts: [\"*.a.t2.example.com\"], networks: [10.1.0.0/16], limits: { connections: 7 } }\n");
  EXPECT_EQ(compiler.compile().snapshot->upstreams.parts()[3], after[3]);
  write("edgemux.yaml", main_);
  EXPECT_NE(compiler.compile().snapshot->listeners[1]->hosts.find("b.a.t2.example.com"), nullptr);
}

TEST_F(RecompileTest, AnAddressOfTheMachineConcernsWhoHasItAlone) {
  for (int t = 0; t < kTenants; ++t) {
    write(file_of(t, 0), "routes: [ { host: a.t" + std::to_string(t) + ".example.com, passthrough: \"10.1.0." +
                             std::to_string(t + 1) + ":443\" } ]\n");
  }
  write(file_of(4, 0), "routes: [ { host: a.t4.example.com, passthrough: \"10.1.0.2:8443\" } ]\n");
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  const auto problems = first.diagnostics.size();
  files_->take_read();
  machine_ = {address("10.1.0.2"), address("192.0.2.7")};
  const Compiled second = compiler.compile();
  EXPECT_THAT(files_->take_read(), ::testing::IsEmpty());
  ASSERT_EQ(second.diagnostics.size(), problems + 1);
  EXPECT_THAT(second.diagnostics.back().headline(),
              ::testing::HasSubstr("endpoint '10.1.0.2:443' is a listener of edgemux itself, so tenant 't1' may not"));
  for (std::size_t t = 0; t < kTenants; ++t) {
    const auto& parts = second.snapshot->upstreams.parts();
    EXPECT_EQ(parts[t + 1] == first.snapshot->upstreams.parts()[t + 1], t != 1) << t;
  }
  EXPECT_NE(second.snapshot->tenants[0]->refuses(*core::SocketAddress::parse_ip("10.1.0.2", 443)), nullptr)
      << "names that resolve to it are refused by everybody";
  machine_.clear();
  EXPECT_EQ(compiler.compile().diagnostics.size(), problems);
}

// Whoever writes twice within one tick of the file system's clock, and to the same size, leaves the same stamp.
TEST_F(RecompileTest, WhatWasWrittenWithinTheClocksTickIsReadAgain) {
  files_->run_ahead(0);
  const auto say = [this](const std::string& last) {
    std::ofstream(path(file_of(0, 0))) << "routes: [ { host: a.t0.example.com, passthrough: \"10.1.0." + last +
                                              ":443\" } ]\n";
  };
  say("1");
  Compiler compiler(path("edgemux.yaml"), options("state"));
  compiler.compile();
  for (int n = 2; n < 10; ++n) {
    say(std::to_string(n));
    const Compiled compiled = compiler.compile();
    const auto& route = **compiled.snapshot->listeners[1]->hosts.find("a.t0.example.com");
    EXPECT_EQ(std::get<routing::Passthrough>(route.action).upstream->name, "10.1.0." + std::to_string(n) + ":443");
  }
}

TEST_F(RecompileTest, TheMainFilesOwnRoutesForATenantHold) {
  write(file_of(0, 0), "routes: [ { host: a0.t0.example.com, listeners: [https], passthrough: \"10.1.0.1:443\" } ]\n");
  Compiler compiler(path("edgemux.yaml"), options("state"));
  const Compiled first = compiler.compile();
  const auto hosts = first.snapshot->host_count;
  write(file_of(0, 0), "routes: [ { host: a0.t0.example.com, passthrough: \"10.1.0.1:443\" } ]\n");
  const Compiled second = compiler.compile();
  EXPECT_THAT(second.set_aside, ::testing::ElementsAre(path(file_of(0, 0))));
  ASSERT_FALSE(second.diagnostics.empty());
  EXPECT_THAT(second.diagnostics.back().headline(), ::testing::HasSubstr("stands on listener 'kube' already, at"));
  EXPECT_EQ(second.snapshot->host_count, hosts);
  fs::remove(path(file_of(0, 0)));
  const Compiled third = compiler.compile();
  EXPECT_EQ(third.snapshot->listeners[1]->hosts.find("a0.t0.example.com"), nullptr);
  EXPECT_NE(third.snapshot->listeners[2]->hosts.find("a0.t0.example.com"), nullptr);
}

}  // namespace
}  // namespace edgemux::config
