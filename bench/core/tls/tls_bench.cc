// What TLS costs apart from the cryptography: looking into a hello, loading pairs, finding one, an idle connection's
// memory.

#include <benchmark/benchmark.h>
#include <malloc.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "core/tls/certificate_store.h"
#include "core/tls/client_hello.h"
#include "core/tls/context.h"
#include "tests/support/memory_stream.h"
#include "tests/support/test_certificates.h"
#include "tests/support/tls_client.h"

namespace {

using namespace edgemux::core;
namespace fs = std::filesystem;
using edgemux::test::Identity;
using edgemux::test::make_certificate;
using edgemux::test::MemoryLink;
using edgemux::test::TlsClient;

std::string real_hello() {
  MemoryLink link;
  TlsClient client(std::move(link.b), {});
  client.step();
  return link.a_end->arrived;
}

void parse_hello(benchmark::State& state) {
  std::string wire = real_hello();
  if (state.range(0) > 0) {  // cut into records of that size
    std::string cut;
    const std::string message = wire.substr(5);
    for (std::size_t at = 0; at < message.size(); at += static_cast<std::size_t>(state.range(0))) {
      const std::string part = message.substr(at, static_cast<std::size_t>(state.range(0)));
      cut += std::string("\x16\x03\x01\x00", 4) + static_cast<char>(part.size()) + part;
    }
    wire = cut;
  }
  std::vector<char> scratch(wire.size());
  for (auto _ : state) benchmark::DoNotOptimize(parse_client_hello(wire, scratch));
}
BENCHMARK(parse_hello)->Arg(0)->Arg(100)->Arg(1);

// Pairs on disk for as long as the benchmark runs.
struct Folder {
  Folder(const Identity& identity, int count) {
    std::string pattern = (fs::temp_directory_path() / "edgemux-bench-XXXXXX").string();
    path = mkdtemp(pattern.data());
    for (int i = 0; i < count; ++i) {
      std::ofstream(path / (std::to_string(i) + ".pem")) << identity.cert_pem();
      std::ofstream(path / (std::to_string(i) + ".key")) << identity.key_pem();
    }
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

void load_pairs(benchmark::State& state) {
  const bool rsa = state.range(1) != 0;
  const Folder folder(make_certificate({.key = rsa ? edgemux::test::rsa_key() : nullptr}),
                      static_cast<int>(state.range(0)));
  for (auto _ : state) {
    std::vector<CertifiedKeyPtr> pairs;
    const auto listed = list_pairs(folder.path.string());
    for (const PairFiles& files : *listed) {
      pairs.push_back(load_pair(files.cert, files.key).value().pair);
    }
    benchmark::DoNotOptimize(CertificateStore(std::move(pairs)));
  }
  state.SetLabel(rsa ? "RSA" : "ECDSA");
}
BENCHMARK(load_pairs)->Args({5000, 0})->Args({5000, 1})->Iterations(1)->Unit(benchmark::kMillisecond);

void find_pair(benchmark::State& state) {
  std::vector<CertifiedKeyPtr> pairs;
  for (int i = 0; i < 100000; ++i) {
    auto pair = std::make_shared<CertifiedKey>();
    pair->names = {(i % 2 == 0 ? "host" : "*.host") + std::to_string(i) + ".example.com"};
    pairs.push_back(std::move(pair));
  }
  const CertificateStore store(std::move(pairs));
  int i = 0;
  for (auto _ : state) {
    i = (i + 7919) % 100000;
    benchmark::DoNotOptimize(store.find((i % 2 == 0 ? "host" : "x.host") + std::to_string(i) + ".example.com"));
  }
}
BENCHMARK(find_pair);

struct Server {
  Server() {
    worker = TlsWorker::create({}).value();
    policy = seal(TlsPolicy{}).value();
    const Identity identity = make_certificate({});
    const Folder folder(identity, 1);
    store =
        CertificateStore({load_pair((folder.path / "0.pem").string(), (folder.path / "0.key").string()).value().pair});
  }
  std::unique_ptr<TlsWorker> worker;
  TlsPolicyPtr policy;
  CertificateStore store;
};

// A handshake and one exchange of 128 bytes; returns the server's stream.
std::unique_ptr<TlsStream> serve_one(Server& server, MemoryLink& link, TlsClient& client) {
  auto stream = server.worker->accept(std::move(link.a), {}, server.policy, server.store, "example.com").value();
  for (int i = 0; i < 4 && !client.ready(); ++i) {
    client.step();
    stream->handshake();
  }
  client.step();
  stream->handshake();
  client.write(std::string(128, 'q'));
  std::array<char, 16384> buffer{};
  stream->read(buffer);
  std::string answer(128, 'a');
  const iovec piece{answer.data(), answer.size()};
  stream->write({&piece, 1});
  client.step();
  if (client.received.size() != 128) std::abort();
  return stream;
}

void full_handshake_both_sides(benchmark::State& state) {
  Server server;
  for (auto _ : state) {
    MemoryLink link;
    TlsClient client(std::move(link.b), {});
    benchmark::DoNotOptimize(serve_one(server, link, client));
  }
}
BENCHMARK(full_handshake_both_sides)->Unit(benchmark::kMicrosecond);

long pss_kib() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  std::string word;
  while (rollup >> word) {
    if (word == "Pss:") {
      long value = 0;
      rollup >> value;
      return value;
    }
  }
  return 0;
}

// Memory of 1,000 idle connections after a handshake and an exchange each. The clients are gone before it is measured;
// what remains is the server's side, with the in-memory stream under it.
void idle_connections(benchmark::State& state) {
  constexpr std::size_t kCount = 1000;
  Server server;
  std::vector<std::unique_ptr<TlsStream>> streams;
  streams.reserve(kCount);
  const auto make = [&] {
    MemoryLink link;
    TlsClient client(std::move(link.b), {});
    auto stream = serve_one(server, link, client);
    for (const auto& end : {link.a_end, link.b_end}) end->arrived = std::string();  // no part of what is measured
    return stream;
  };
  for (auto _ : state) {
    streams.clear();
    for (int i = 0; i < 10; ++i) make();  // warm: tables, first uses
    malloc_trim(0);
    const long before = pss_kib();
    const std::size_t used = mallinfo2().uordblks;
    for (std::size_t i = 0; i < kCount; ++i) streams.push_back(make());
    state.counters["heap_KiB_each"] = static_cast<double>(mallinfo2().uordblks - used) / 1024.0 / kCount;
    state.counters["pss_KiB_each"] = static_cast<double>(pss_kib() - before) / kCount;
    malloc_trim(0);
    state.counters["pss_KiB_each_trimmed"] = static_cast<double>(pss_kib() - before) / kCount;
  }
}
BENCHMARK(idle_connections)->Iterations(1)->Unit(benchmark::kMillisecond);

void bulk_write(benchmark::State& state) {
  Server server;
  MemoryLink link;
  auto near_end = link.b_end;
  TlsClient client(std::move(link.b), {});
  auto stream = serve_one(server, link, client);
  std::string data(static_cast<std::size_t>(state.range(0)), 'x');
  const iovec piece{data.data(), data.size()};
  for (auto _ : state) {
    benchmark::DoNotOptimize(stream->write({&piece, 1}));
    near_end->arrived.clear();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(static_cast<std::size_t>(state.iterations()) * data.size()));
}
BENCHMARK(bulk_write)->Arg(128)->Arg(16384)->Arg(65536);

}  // namespace
