// What a head costs: edgemux' parser, llhttp with its byte gate before it, and writing the head again.
#include <benchmark/benchmark.h>
#include <llhttp.h>

#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "core/http/bytes.h"
#include "core/http/chunked.h"
#include "core/http/head_parser.h"
#include "core/http/head_writer.h"
#include "core/http/path.h"

namespace edgemux::core {
namespace {

constexpr std::string_view kSmall =
    "GET /index.html HTTP/1.1\r\nHost: test.example.dev\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";

constexpr std::string_view kBrowser =
    "GET /static/app/main.9f3c1a.js?v=20240131&lang=en HTTP/1.1\r\n"
    "Host: my-app.customer-a.example.com\r\n"
    "Connection: keep-alive\r\n"
    "sec-ch-ua: \"Chromium\";v=\"120\", \"Not?A_Brand\";v=\"8\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
    "Safari/537.36\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\n"
    "Accept: */*\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: no-cors\r\n"
    "Sec-Fetch-Dest: script\r\n"
    "Referer: https://my-app.customer-a.example.com/\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";

constexpr std::string_view kResponse =
    "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/plain\r\n"
    "Content-Length: 128\r\nConnection: keep-alive\r\n\r\n";

std::string_view message(const benchmark::State& state) { return state.range(0) == 0 ? kSmall : kBrowser; }

void BM_ParseRequest(benchmark::State& state) {
  std::array<char, 2048> buffer{};
  const std::string_view text = message(state);
  RequestHead head;
  for (auto _ : state) {
    std::memcpy(buffer.data(), text.data(), text.size());  // as a receive would leave it
    benchmark::DoNotOptimize(parse_request_head({buffer.data(), text.size()}, 65536, head));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
}
BENCHMARK(BM_ParseRequest)->Arg(0)->Arg(1);

void BM_ParseResponse(benchmark::State& state) {
  std::array<char, 2048> buffer{};
  ResponseHead head;
  for (auto _ : state) {
    std::memcpy(buffer.data(), kResponse.data(), kResponse.size());
    benchmark::DoNotOptimize(parse_response_head({buffer.data(), kResponse.size()}, 65536, Method::get, head));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_ParseResponse);

// The least that llhttp needs around it: a gate that looks at every byte and finds the end, and callbacks that keep
// views of the fields. No lower-casing, no classification.
struct LlhttpHead {
  std::array<std::string_view, 128> names, values;
  std::size_t size = 0;
  std::string_view target;
};

void BM_LlhttpWithGate(benchmark::State& state) {
  std::array<char, 2048> buffer{};
  const std::string_view text = message(state);
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  const auto head_of = [](llhttp_t* p) { return static_cast<LlhttpHead*>(p->data); };
  static const auto kHead = head_of;
  settings.on_url = [](llhttp_t* p, const char* at, std::size_t n) { return kHead(p)->target = {at, n}, 0; };
  settings.on_header_field = [](llhttp_t* p, const char* at, std::size_t n) {
    return kHead(p)->names[kHead(p)->size] = {at, n}, 0;
  };
  settings.on_header_value = [](llhttp_t* p, const char* at, std::size_t n) {
    return kHead(p)->values[kHead(p)->size++] = {at, n}, 0;
  };
  settings.on_message_complete = [](llhttp_t*) { return static_cast<int>(HPE_PAUSED); };
  LlhttpHead head;
  llhttp_t parser;
  llhttp_init(&parser, HTTP_REQUEST, &settings);
  for (auto _ : state) {
    std::memcpy(buffer.data(), text.data(), text.size());
    head.size = 0;
    HeadScanner scanner;
    benchmark::DoNotOptimize(scanner.feed({buffer.data(), text.size()}));
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = &head;
    benchmark::DoNotOptimize(llhttp_execute(&parser, buffer.data(), text.size()));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
}
BENCHMARK(BM_LlhttpWithGate)->Arg(0)->Arg(1);

void BM_RewriteRequest(benchmark::State& state) {
  std::string text(message(state));
  RequestHead head;
  parse_request_head(text, 65536, head);
  std::array<char, 4096> out{};
  for (auto _ : state) {
    HeadWriter writer(out.data(), out.size());
    writer.request_line(head.method_text, head.path, head.has_query, head.query);
    writer.field("host", head.authority);
    writer.fields(head.fields);
    writer.framing(head);
    writer.field("x-forwarded-for", "192.0.2.1");
    writer.field("x-forwarded-proto", "https");
    writer.end();
    benchmark::DoNotOptimize(writer.size());
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_RewriteRequest)->Arg(0)->Arg(1);

void BM_NormalizePath(benchmark::State& state) {
  const std::string_view path = state.range(0) == 0 ? "/static/app/main.9f3c1a.js" : "/static/./app/%6dain.js";
  std::array<char, 64> scratch{};
  for (auto _ : state) benchmark::DoNotOptimize(normalize_path(path, scratch));
}
BENCHMARK(BM_NormalizePath)->Arg(0)->Arg(1);

void BM_ChunkedBody(benchmark::State& state) {
  std::string body;
  for (int i = 0; i < 8; ++i) body += "400\r\n" + std::string(1024, 'x') + "\r\n";
  body += "0\r\n\r\n";
  for (auto _ : state) {
    BodyReader reader(Framing::chunked, 0);
    std::string_view rest = body;
    while (!reader.done()) {
      const BodyStep step = reader.next(rest);
      benchmark::DoNotOptimize(step.data.data());
      rest.remove_prefix(step.consumed);
    }
  }
}
BENCHMARK(BM_ChunkedBody);

}  // namespace
}  // namespace edgemux::core
