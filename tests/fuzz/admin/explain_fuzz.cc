// Any bytes as the query of GET /explain: an explanation that ends in something, or an error in words. What is shown
// holds nothing that steers a terminal, and survives the way back through a query string.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "admin/explain.h"
#include "config/compiler.h"

namespace {

using namespace edgemux;

const config::Compiled& table() {
  static const config::Compiled compiled = [] {
    config::CompilerOptions options;
    options.state_dir = "";
    options.auto_workers = [] { return 1U; };
    options.files = config::memory_files({{"/e/edgemux.yaml", R"(listeners:
  - { name: http, bind: [":80"], protocol: http }
  - { name: https, bind: [":443"], protocol: tls }
  - { name: db, bind: [":5432"], protocol: tcp, upstream: "10.0.0.11:5432" }
routes:
  - { host: "*.example.com", passthrough: "10.0.0.9:443", acme_solver: "10.0.0.9:80" }
  - host: a.example.com
    on_http: serve
    deny: [10.0.0.0/8]
    rules:
      - { path: /, upstream: "10.0.0.1:80", rewrite: { prefix: /x } }
      - { regex_path: "/v[0-9]+/.*", redirect: { scheme: https, path: /new } }
      - { match: { path: /a, methods: [POST], headers: { x-a: { regex: "^1" } }, query: { q: "2" } }, respond: {} }
      - { path: /s, split: [{ upstream: "10.0.0.1:80", weight: 3 }, { upstream: "10.0.0.2:80" }] }
      - { path: /c, cors: { origins: ["https://*.example"] }, redirect: { prefix: /d } }
)"}});
    return config::Compiler("/e/edgemux.yaml", std::move(options)).compile();
  }();
  return compiled;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view query(reinterpret_cast<const char*>(data), size);
  const auto asked = admin::asked_of(query);
  if (!asked) {
    if (asked.error().message.empty()) std::abort();
    return 0;
  }
  const auto again = admin::asked_of(admin::query_of(*asked));
  if (!again || again->url != asked->url || again->headers != asked->headers) std::abort();
  const auto question = admin::question_of(*asked);
  if (!question) {
    if (question.error().message.empty()) std::abort();
    return 0;
  }
  const auto told = admin::explain({*table().snapshot, table().diagnostics, table().set_aside}, *question);
  if (told.action.empty() || told.summary.empty() || told.steps.empty()) std::abort();
  for (const char c : admin::to_text(told)) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n') std::abort();
  }
  if (admin::to_json(told).empty()) std::abort();
  return 0;
}
