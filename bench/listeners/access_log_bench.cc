// What a line costs the worker: formatting alone, and with the ring while a thread writes it to /dev/null.
#include "listeners/access_log.h"

#include <benchmark/benchmark.h>

#include "listeners/access_format.h"

namespace edgemux::listeners {
namespace {

AccessRecord typical(const core::SocketAddress& client) {
  AccessRecord r;
  r.status = 200;
  r.time_ms = 1'767'225'600'007;
  r.client = &client;
  r.listener = "https";
  r.sni = "shop.customer-a.example.com";
  r.alpn = "http/1.1";
  r.tls_version = "TLSv1.3";
  r.host = "shop.customer-a.example.com";
  r.method = "GET";
  r.path = "/catalogue/shoes?page=3&sort=price";
  r.protocol = "HTTP/1.1";
  r.route = "shop.customer-a.example.com";
  r.tenant = "customer-a";
  r.upstream = "shop";
  r.endpoint = "100.65.0.50:8080";
  r.attempts = 1;
  r.request_id = "0123456789abcdef0123456789abcdef";
  r.user_agent =
      "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
  r.referer = "https://shop.customer-a.example.com/catalogue";
  r.bytes_in = 812;
  r.bytes_out = 18'231;
  r.duration_us = 12'345;
  r.first_byte_us = 11'000;
  return r;
}

void format_line(benchmark::State& state, routing::AccessFormat format) {
  const auto client = *core::SocketAddress::parse_ip("192.0.2.1", 5555);
  routing::AccessLogSpec spec;
  spec.format = format;
  const AccessLayout layout(spec);
  const auto record = typical(client);
  AccessFormatter formatter;
  std::size_t bytes = 0;
  for (auto _ : state) bytes += formatter.format(layout, record, nullptr).size();
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}
BENCHMARK_CAPTURE(format_line, json, routing::AccessFormat::json);
BENCHMARK_CAPTURE(format_line, text, routing::AccessFormat::text);

void write_line(benchmark::State& state) {
  const auto client = *core::SocketAddress::parse_ip("192.0.2.1", 5555);
  AccessLog log(1);
  routing::AccessLogSpec spec;
  spec.path = "/dev/null";
  if (!log.configure(spec)) state.SkipWithError("cannot open /dev/null");
  const auto record = typical(client);
  for (auto _ : state) log.write(0, record);
  state.counters["dropped"] = static_cast<double>(log.dropped());
}
BENCHMARK(write_line);

}  // namespace
}  // namespace edgemux::listeners
