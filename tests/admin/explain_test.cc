#include "admin/explain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/compiler.h"

namespace edgemux::admin {
namespace {

constexpr const char* kMain = R"(listeners:
  - { name: http, bind: [":80"], protocol: http }
  - { name: https, bind: [":443"], protocol: tls }
  - { name: kube-api, bind: [":6443"], protocol: tls, unknown_host: alert }
  - { name: db, bind: [":5432"], protocol: tcp, upstream: "10.0.0.11:5432" }
upstreams:
  shop: { endpoints: ["10.0.0.7:8080", "shop.svc:8080"] }
include: ["routes.d/*.yaml"]
routes:
  - host: shop.example.com
    rules:
      - { path: /, upstream: shop }
      - { path: /old, redirect: { prefix: /new, status: 301 } }
      - { exact_path: /ping, respond: { status: 200, body: "pong\n" } }
  - { host: "*.example.com", passthrough: "10.0.0.9:443", acme_solver: "10.0.0.9:80" }
  - { host: k8s.example.com, listeners: [kube-api], passthrough: "10.0.0.10:6443" }
  - host: inner.example.org
    allow: [10.0.0.0/8]
    on_http: serve
    max_request_body: 1KiB
    rules: [{ path: /app, upstream: shop }]
  - { host: off.example.org, on_http: off, rules: [{ path: /, upstream: shop }] }
  - { host: mqtt.example.org, allow: [10.0.0.0/8], terminate: "10.0.0.12:1883" }
  - { host: own.example.org, tls: { alpn: [mqtt] }, terminate: shop }
)";

core::CertifiedKeyPtr pair_for(const std::string& name) {
  auto pair = std::make_shared<core::CertifiedKey>();
  pair->cert_file = "certs/" + name + ".pem";
  pair->names = {name};
  pair->ecdsa = true;
  pair->not_after = 4'102'444'800;  // 2100-01-01
  return pair;
}

class ExplainTest : public testing::Test {
 protected:
  void compile(std::map<std::string, std::string> includes = {}) {
    std::map<std::string, std::string> files{{"/e/edgemux.yaml", kMain}};
    for (auto& [name, bytes] : includes) files["/e/routes.d/" + name] = std::move(bytes);
    compile_files(std::move(files));
  }
  void compile_files(std::map<std::string, std::string> files) {
    config::CompilerOptions options;
    options.state_dir = "";
    options.files = config::memory_files(std::move(files));
    options.auto_workers = [] { return 1U; };
    compiled_ = config::Compiler("/e/edgemux.yaml", std::move(options)).compile();
    ASSERT_NE(compiled_.snapshot, nullptr);
    compiled_.snapshot->certificates = std::make_shared<const core::CertificateStore>(
        std::vector<core::CertifiedKeyPtr>{pair_for("shop.example.com"), pair_for("*.example.org")});
  }

  Explanation ask(const Asked& asked) {
    if (compiled_.snapshot == nullptr) compile();
    const auto question = question_of(asked);
    EXPECT_TRUE(question);
    return explain({*compiled_.snapshot, compiled_.diagnostics, compiled_.set_aside_named, running_}, *question);
  }
  std::string text(const Asked& asked) {
    auto out = to_text(ask(asked));
    for (auto at = out.find("/e/"); at != std::string::npos; at = out.find("/e/", at)) out.erase(at, 3);
    return out;
  }
  std::string summary(const Asked& asked) { return ask(asked).summary; }

  config::Compiled compiled_;
  bool running_ = false;
};

TEST_F(ExplainTest, TellsATerminatedRequestFromListenerToRule) {
  EXPECT_EQ(text({.url = "https://shop.example.com/old/shoes?x=1"}),
            R"(GET https://shop.example.com/old/shoes?x=1

  listener     https: tls on :443  (edgemux.yaml:3:5)
               - kube-api (tls on :6443) is on another port  (edgemux.yaml:4:5)
  host         shop.example.com, an exact name  (edgemux.yaml:10:5)
               > shop.example.com  (edgemux.yaml:10:5)
               - *.example.com loses: an exact name beats a wildcard  (edgemux.yaml:15:5)
  tenant       none: a route of the platform  (edgemux.yaml:10:5)
  certificate  ECDSA certs/shop.example.com.pem, for shop.example.com, until 2100-01-01
  tls          TLS 1.2 or later, ALPN h2  (edgemux.yaml:10:5)
  rule         path /old  (edgemux.yaml:13:9)
               - exact_path /ping: another path  (edgemux.yaml:14:9)
               > path /old: matches  (edgemux.yaml:13:9)
               - path /: matches too, but comes later  (edgemux.yaml:12:9)

=> 301 to https://shop.example.com/new/shoes?x=1
)");
}

TEST_F(ExplainTest, TellsAForwardWithItsEndpoints) {
  const auto out = text({.url = "https://shop.example.com/cart"});
  EXPECT_NE(out.find(R"(
  upstream     shop  (edgemux.yaml:7:3)
               - endpoint 10.0.0.7:8080  (edgemux.yaml:7:23)
               - endpoint shop.svc:8080, resolved when edgemux runs  (edgemux.yaml:7:40)

=> forwarded to upstream shop
)"),
            std::string::npos)
      << out;
}

TEST_F(ExplainTest, TellsAPassthroughByWildcard) {
  EXPECT_EQ(text({.sni = "a.b.EXAMPLE.com."}), R"(a TLS connection to 'a.b.EXAMPLE.com.'

  listener     https: tls on :443  (edgemux.yaml:3:5)
               - kube-api (tls on :6443) is on another port  (edgemux.yaml:4:5)
  host         *.example.com, a wildcard that covers 'a.b.example.com'  (edgemux.yaml:15:5)
               > *.example.com  (edgemux.yaml:15:5)
  tenant       none: a route of the platform  (edgemux.yaml:15:5)
  tls          passed through untouched; certificate, ALPN and paths are the backend's  (edgemux.yaml:15:5)
  upstream     10.0.0.9:443  (edgemux.yaml:15:43)
               - endpoint 10.0.0.9:443  (edgemux.yaml:15:43)

=> passed through to upstream 10.0.0.9:443
)");
}

TEST_F(ExplainTest, TellsWhereTheBytesOfATerminatedConnectionGo) {
  EXPECT_EQ(text({.sni = "mqtt.example.org", .from = "10.1.1.1"}), R"(a TLS connection to 'mqtt.example.org'

  listener     https: tls on :443  (edgemux.yaml:3:5)
               - kube-api (tls on :6443) is on another port  (edgemux.yaml:4:5)
  host         mqtt.example.org, an exact name  (edgemux.yaml:23:5)
               > mqtt.example.org  (edgemux.yaml:23:5)
  tenant       none: a route of the platform  (edgemux.yaml:23:5)
  access       10.1.1.1 may come in  (edgemux.yaml:23:5)
               - allow 10.0.0.0/8  (edgemux.yaml:23:5)
  certificate  ECDSA certs/*.example.org.pem, for *.example.org, until 2100-01-01
  tls          TLS 1.2 or later, no ALPN  (edgemux.yaml:23:5)
  upstream     10.0.0.12:1883  (edgemux.yaml:23:63)
               - endpoint 10.0.0.12:1883  (edgemux.yaml:23:63)

=> TLS ends here, the bytes inside go as they are to upstream 10.0.0.12:1883
)");
  const auto e = ask({.sni = "mqtt.example.org"});
  EXPECT_EQ(e.action, "terminate");
  EXPECT_EQ(e.upstream, "10.0.0.12:1883");
  EXPECT_EQ(e.certificate, "certs/*.example.org.pem");
  EXPECT_EQ(ask({.sni = "mqtt.example.org", .from = "192.0.2.1"}).reason, "access_denied");
  // A request makes no difference, but where it came for another host.
  EXPECT_EQ(summary({.url = "https://mqtt.example.org/path"}), e.summary);
  EXPECT_EQ(ask({.url = "https://mqtt.example.org/", .sni = "shop.example.com"}).reason, "misdirected");
  EXPECT_EQ(summary({.url = "http://mqtt.example.org/x"}), "301 to https://mqtt.example.org/x");
  // Its own protocols; a client of whom nothing is said fits.
  EXPECT_NE(text({.sni = "own.example.org"}).find("TLS 1.2 or later, ALPN mqtt  ("), std::string::npos);
  EXPECT_EQ(ask({.sni = "own.example.org", .alpn = "h2,mqtt"}).action, "terminate");
  EXPECT_EQ(ask({.sni = "own.example.org", .alpn = "h2"}).reason, "handshake_failed");
  compiled_.snapshot->certificates = std::make_shared<const core::CertificateStore>();
  EXPECT_EQ(ask({.sni = "mqtt.example.org"}).reason, "no_certificate");
}

TEST_F(ExplainTest, ANameOfAnotherListenerNeverFallsToAWildcard) {
  EXPECT_EQ(text({.url = "https://k8s.example.com/"}), R"(GET https://k8s.example.com/

  listener     https: tls on :443  (edgemux.yaml:3:5)
               - kube-api (tls on :6443) is on another port  (edgemux.yaml:4:5)
  host         'k8s.example.com' is owned, but not attached to this listener; it never falls to another's wildcard
               - k8s.example.com is not attached to 'https', but to 'kube-api'  (edgemux.yaml:16:5)
               - *.example.com loses: an exact name beats a wildcard  (edgemux.yaml:15:5)

=> nobody owns the server name here: the connection is closed
)");
  EXPECT_EQ(ask({.url = "https://k8s.example.com/"}).reason, "unknown_host");
  EXPECT_EQ(summary({.listener = "kube-api", .sni = "k8s.example.com"}), "passed through to upstream 10.0.0.10:6443");
  EXPECT_EQ(summary({.listener = "kube-api", .sni = "nobody.example"}),
            "nobody owns the server name here: the connection is closed with an alert");
}

TEST_F(ExplainTest, PlainHttpAsksForAChallengeFirst) {
  const auto solver = ask({.url = "http://a.example.com/.well-known/acme-challenge/token"});
  EXPECT_EQ(solver.action, "challenge");
  EXPECT_EQ(solver.summary, "forwarded to the solver 10.0.0.9:80");
  EXPECT_EQ(summary({.url = "http://shop.example.com/.well-known/acme-challenge/token"}), "404: no such challenge");
  EXPECT_EQ(summary({.url = "http://shop.example.com/.well-known/acme-challenge/a.b"}), "404: no such challenge");
  EXPECT_EQ(summary({.url = "http://shop.example.com/x?y", .method = "POST"}), "308 to https://shop.example.com/x?y");
  EXPECT_EQ(summary({.url = "http://off.example.org/"}), "404: this host is not served over http");
  EXPECT_EQ(summary({.url = "http://nobody.example/"}), "404: nobody owns this host here");
}

TEST_F(ExplainTest, ClientsBodiesAndRulesAreWeighed) {
  EXPECT_EQ(summary({.url = "http://inner.example.org/app", .from = "10.1.1.1"}), "forwarded to upstream shop");
  EXPECT_EQ(summary({.url = "http://inner.example.org/app", .from = "192.0.2.1"}),
            "403: the client's network is not admitted");
  EXPECT_EQ(summary({.url = "http://inner.example.org/apple"}), "404: no rule of this host matches");
  EXPECT_NE(text({.url = "http://inner.example.org/apple"}).find("begins like it, but within an element"),
            std::string::npos);
  EXPECT_EQ(summary({.url = "http://inner.example.org/app", .method = "PUT", .headers = {"content-length: 2000"}}),
            "413: the body is larger than this host takes");
}

TEST_F(ExplainTest, WhatTheHttpRulesRefuseIsSaidAsTheProxyWould) {
  EXPECT_EQ(ask({.url = "https://shop.example.com/%00"}).status, 400);
  EXPECT_EQ(ask({.url = "https://shop.example.com/../../etc"}).status, 400);
  EXPECT_EQ(ask({.url = "https://shop.example.com/a b"}).status, 400);
  EXPECT_EQ(ask({.url = "https://shop.example.com/", .headers = {"content-length: x"}}).status, 400);
  EXPECT_EQ(ask({.url = "https://shop.example.com/", .headers = {"transfer-encoding: gzip"}}).status, 400);
  EXPECT_EQ(ask({.url = "https://shop.example.com/", .method = "CONNECT"}).action, "refuse");
  const auto escaped = text({.url = "https://shop.example.com/%6fld//x"});
  EXPECT_NE(escaped.find("  path         /old/x, normalised"), std::string::npos) << escaped;
}

TEST_F(ExplainTest, ListenersAreFoundByPortOrName) {
  EXPECT_EQ(summary({.url = "https://shop.example.com:8443/"}),
            "no tls listener is bound to port 8443; name one with --listener");
  EXPECT_EQ(summary({.url = "https://shop.example.com:8443/ping", .listener = "https"}),
            "200 OK, 5 bytes, answered here");
  EXPECT_EQ(summary({.listener = "kube-apy", .sni = "a.example"}),
            "there is no listener 'kube-apy'; did you mean 'kube-api'?");
  EXPECT_EQ(summary({.url = "https://shop.example.com/", .listener = "http"}),
            "the listener 'http' does not speak TLS");
}

TEST_F(ExplainTest, ATcpListenerHasOneUpstream) {
  const auto e = ask({.listener = "db", .sni = "whoever"});
  EXPECT_EQ(e.action, "passthrough");
  EXPECT_EQ(e.upstream, "10.0.0.11:5432");
}

TEST_F(ExplainTest, ATcpListenerTakesWhateverIsSpokenOnItsPort) {
  for (const char* url : {"http://whoever.example:5432/", "https://whoever.example:5432/"}) {
    const auto e = ask({.url = url});
    EXPECT_EQ(e.listener, "db") << url;
    EXPECT_EQ(e.summary, "passed through to upstream 10.0.0.11:5432") << url;
  }
}

TEST_F(ExplainTest, NothingIsForwardedWhereNoEndpointCanBeUsed) {
  compile_files({{"/e/edgemux.yaml", R"(listeners:
  - { name: http, bind: [":80"], protocol: http }
  - { name: https, bind: [":443"], protocol: tls }
tenants: { t: { hosts: ["*.t.example"], networks: [10.9.0.0/16] } }
include: [{ files: "{tenant}/*.yaml" }]
)"},
                 {"/e/t/r.yaml", R"(upstreams:
  out: { endpoints: ["192.0.2.1:80", "192.0.2.2:80"] }
  some: { endpoints: ["192.0.2.1:80", "10.9.0.1:80"] }
  drained: { endpoints: [{ address: "10.9.0.1:80", weight: 0 }] }
routes:
  - host: a.t.example
    on_http: serve
    rules:
      - { path: /out, upstream: out }
      - { path: /some, upstream: some }
      - { path: /drained, upstream: drained }
      - { path: /split, split: [{ upstream: out }, { upstream: some, weight: 0 }] }
      - { path: /half, split: [{ upstream: out }, { upstream: some }] }
  - { host: b.t.example, passthrough: out }
)"}});
  const auto out = ask({.url = "http://a.t.example/out"});
  EXPECT_EQ(out.action, "refuse");
  EXPECT_EQ(out.status, 503);
  EXPECT_EQ(out.reason, "no_endpoint");
  EXPECT_EQ(out.summary,
            "503: upstream out: tenant t may not use endpoint 192.0.2.1:80, which is outside its networks");
  const auto some = text({.url = "http://a.t.example/some"});
  EXPECT_NE(some.find("- endpoint 192.0.2.1:80, which is outside its networks: tenant t may not use it  (t/r.yaml:3:"),
            std::string::npos)
      << some;
  EXPECT_NE(some.find("=> forwarded to upstream some\n"), std::string::npos) << some;
  EXPECT_EQ(summary({.url = "http://a.t.example/drained"}), "503: upstream drained: every endpoint has weight 0");
  EXPECT_EQ(ask({.url = "http://a.t.example/split"}).status, 503);
  EXPECT_EQ(ask({.url = "http://a.t.example/half"}).action, "split");
  const auto passed = ask({.sni = "b.t.example"});
  EXPECT_EQ(passed.action, "close");
  EXPECT_EQ(passed.reason, "no_endpoint");
}

TEST_F(ExplainTest, NothingIsForwardedWhereNoEndpointOfTheProcessIsThere) {
  compile();
  running_ = true;
  const auto route = compiled_.snapshot->listeners[1]->hosts.candidates("shop.example.com").front().route;
  const auto& upstream =
      std::get<routing::Forward>(std::get<routing::VirtualHost>(route->action).rules[2].action).upstream;
  upstream->state->publish(
      std::make_shared<routing::EndpointSet>(routing::EndpointSet{{}, "shop.svc does not resolve: no such name"}));
  const auto e = ask({.url = "https://shop.example.com/cart"});
  EXPECT_EQ(e.status, 503);
  EXPECT_EQ(e.reason, "no_endpoint");
  EXPECT_EQ(e.summary, "503: upstream shop: shop.svc does not resolve: no such name");
}

TEST_F(ExplainTest, HandshakesThatFailAreTold) {
  compile();
  EXPECT_EQ(summary({.url = "https://[::1]/"}),
            "a TLS connection without a server name is nobody's: the connection is closed");
  EXPECT_EQ(ask({.url = "https://shop.example.com/", .alpn = "spdy/3"}).reason, "handshake_failed");
  compiled_.snapshot->certificates = std::make_shared<const core::CertificateStore>();
  EXPECT_EQ(ask({.url = "https://shop.example.com/"}).reason, "no_certificate");
}

TEST_F(ExplainTest, AConnectionForAnotherRoutesHostIsMisdirected) {
  const auto e = ask({.url = "https://inner.example.org/app", .sni = "shop.example.com"});
  EXPECT_EQ(e.status, 421);
  EXPECT_EQ(e.reason, "misdirected");
}

TEST_F(ExplainTest, ATenantIsNamedWithTheClaimThatDecides) {
  compile_files({{"/e/edgemux.yaml", R"(listeners:
  - { name: http, bind: [":80"], protocol: http }
  - { name: https, bind: [":443"], protocol: tls }
tenants:
  a: { hosts: ["*.a.example"], networks: [100.65.0.0/24], tokens_dir: tenants.d/a/tokens }
include: [{ files: "tenants.d/{tenant}/*.yaml" }]
)"},
                 {"/e/tenants.d/a/r.yaml", "routes: [{ host: x.a.example, passthrough: \"100.65.0.5:443\" }]\n"}});
  const auto e = ask({.sni = "x.a.example"});
  EXPECT_EQ(e.tenant, "a");
  EXPECT_EQ(e.summary, "passed through to upstream 100.65.0.5:443");
  const auto out = text({.url = "https://x.a.example/"});
  EXPECT_NE(out.find("  tenant       a, by its claim on *.a.example  (edgemux.yaml:5:"), std::string::npos) << out;
  const auto challenge = text({.url = "http://y.a.example/.well-known/acme-challenge/token"});
  EXPECT_NE(challenge.find("no such token in tenants.d/a/tokens of tenant a"), std::string::npos) << challenge;
}

TEST_F(ExplainTest, AClaimWithoutARouteIsNamed) {
  compile_files({{"/e/edgemux.yaml", R"(listeners: [{ name: https, bind: [":443"], protocol: tls }]
tenants: { t: { hosts: [x.w.example], networks: [10.0.0.0/8] } }
routes: [{ host: "*.w.example", passthrough: "10.0.0.1:443" }]
)"}});
  const auto out = text({.sni = "x.w.example"});
  EXPECT_NE(
      out.find("  host         'x.w.example' is claimed by tenant t, which has no route for it; it never falls to "
               "another's wildcard  (edgemux.yaml:2:25)\n"),
      std::string::npos)
      << out;
  EXPECT_EQ(ask({.sni = "x.w.example"}).tenant, "t");
}

// What sets a file aside is told, not what costs a part of it only.
TEST_F(ExplainTest, TheErrorThatSetAFileAsideIsNamed) {
  compile_files({{"/e/edgemux.yaml", R"(listeners: [{ name: https, bind: [":443"], protocol: tls }]
tenants:
  a: { hosts: ["*.a.example"], networks: [10.0.0.0/8] }
  b: { hosts: ["*.b.example"], networks: [10.0.0.0/8] }
include: [{ files: "{tenant}/*.yaml" }]
)"},
                 {"/e/a/r.yaml", "routes: [{ hosts: [x.a.example, y.b.example], passthrough: \"10.0.0.1:443\" }]\n"}});
  auto& told = compiled_.diagnostics;
  const auto foreign = std::find_if(told.begin(), told.end(), [](const auto& one) {
    return one.severity == config::Severity::error && one.message.find("y.b.example") != std::string::npos;
  });
  ASSERT_NE(foreign, told.end());
  config::Diagnostic broken;
  broken.origin = foreign->origin;
  broken.message = "bad path 'x'";
  told.push_back(broken);
  compiled_.set_aside_named = {*broken.origin.file};
  const auto out = text({.sni = "x.a.example"});
  EXPECT_NE(out.find("which is set aside: bad path 'x'"), std::string::npos) << out;
}

TEST_F(ExplainTest, AFileThatIsSetAsideIsNamed) {
  compile({{"b.yaml", "routes: [{ host: new.example.net, passthrough: \"10.0.0.1:443\", colour: red }]\n"}});
  const auto out = text({.url = "https://new.example.net/"});
  EXPECT_NE(out.find(R"(  quarantine   these files have errors and are left out here
               - routes.d/b.yaml
)"),
            std::string::npos)
      << out;
}

TEST_F(ExplainTest, AFileIsNotTakenForAnotherOfItsName) {
  compile_files(
      {{"/e/edgemux.yaml", R"(listeners: [{ name: http, bind: [":80"], protocol: http }]
tenants: { t: { hosts: [t.example], networks: [10.0.0.0/8] } }
include: [a.yaml, "routes.d/*.yaml"]
)"},
       {"/e/a.yaml", "routes: [{ hosts: [p.example, t.example], on_http: serve, rules: [{ respond: {} }] }]\n"},
       {"/e/routes.d/a.yaml", "routes: 7\n"}});
  EXPECT_EQ(compiled_.set_aside, std::vector<std::string>{"/e/routes.d/a.yaml"});
  const auto out = text({.url = "http://p.example/"});
  EXPECT_EQ(out.find("quarantine"), std::string::npos) << out;
}

TEST_F(ExplainTest, NothingGoesToAnUpstreamThatIsMissing) {
  compile_files({{"/e/edgemux.yaml", R"(listeners: [{ name: http, bind: [":80"], protocol: http }]
upstreams: { here: { endpoints: ["10.0.0.7:80"] } }
include: ["routes.d/*.yaml"]
routes:
  - host: a.example
    on_http: serve
    rules:
      - { path: /none, split: [{ upstream: gone }, { upstream: here, weight: 0 }] }
      - { path: /half, split: [{ upstream: gone }, { upstream: here }] }
      - { path: /copied, upstream: here, mirror: { upstream: gone } }
)"},
                 {"/e/routes.d/b.yaml", "upstreams: { gone: { endpoints: [\"10.0.0.8:80\"], colour: red } }\n"}});
  const auto none = ask({.url = "http://a.example/none"});
  EXPECT_EQ(none.status, 500);
  EXPECT_EQ(none.summary, "500: no upstream of this rule's split with a weight is defined");
  const auto half = text({.url = "http://a.example/half"});
  EXPECT_NE(half.find("=> split: 50% to an upstream that is missing (500), 50% to here\n"), std::string::npos) << half;
  EXPECT_EQ(half.find("without endpoints (503)"), std::string::npos) << half;
  const auto copied = text({.url = "http://a.example/copied"});
  EXPECT_NE(copied.find("nothing is copied to upstream gone, which is not defined"), std::string::npos) << copied;
}

TEST_F(ExplainTest, WhoIsBehindATrustedProxyIsBelieved) {
  compile_files({{"/e/edgemux.yaml", R"(listeners:
  - { name: http, bind: [":80"], protocol: http, trusted_proxies: [10.0.0.0/8] }
routes:
  - host: a.example
    on_http: serve
    deny: [203.0.113.9]
    rules:
      - { match: { headers: { x-forwarded-proto: http } }, redirect: { scheme: https } }
      - { path: /, respond: { body: secure } }
)"}});
  const auto asked = [](const char* from, std::vector<std::string> headers) {
    return Asked{.url = "http://a.example/", .headers = std::move(headers), .from = from};
  };
  EXPECT_EQ(summary(asked("10.0.0.1", {"x-forwarded-proto: http"})), "302 to https://a.example/");
  EXPECT_EQ(summary(asked("10.0.0.1", {"x-forwarded-proto: https"})), "200 OK, 6 bytes, answered here");
  EXPECT_EQ(summary(asked("192.0.2.1", {"x-forwarded-proto: http"})), "200 OK, 6 bytes, answered here")
      << "it is not trusted";
  EXPECT_EQ(ask(asked("10.0.0.1", {"x-forwarded-for: 203.0.113.9"})).status, 403);
  EXPECT_EQ(ask(asked("10.0.0.1", {"x-forwarded-for: 203.0.113.9, 203.0.113.8"})).status, 200);
  EXPECT_EQ(ask(asked("192.0.2.1", {"x-forwarded-for: 203.0.113.9"})).status, 200);
  const auto out = text(asked("10.0.0.1", {"x-forwarded-for: 203.0.113.8"}));
  EXPECT_NE(out.find("10.0.0.1 is one of trusted_proxies; the client is 203.0.113.8  (edgemux.yaml:2:"),
            std::string::npos)
      << out;
}

TEST_F(ExplainTest, TheSchemeIsTheOneThatATrustedProxyWasAskedBy) {
  compile_files({{"/e/edgemux.yaml", R"(listeners:
  - { name: http, bind: [":80"], protocol: http, trusted_proxies: [10.0.0.0/8] }
routes:
  - { host: a.example, rules: [{ path: /, redirect: { path: /new } }] }
)"}});
  const auto asked = [](const char* from, const char* scheme) {
    return Asked{.url = "http://a.example/x", .headers = {std::string("x-forwarded-proto: ") + scheme}, .from = from};
  };
  EXPECT_EQ(summary(asked("10.0.0.1", "https")), "302 to https://a.example/new");
  EXPECT_EQ(summary(asked("10.0.0.1", "http")), "301 to https://a.example/x");
  EXPECT_EQ(summary(asked("192.0.2.1", "https")), "301 to https://a.example/x");
  const auto out = text(asked("10.0.0.1", "https"));
  EXPECT_NE(out.find("the proxy says that it was asked by https  (edgemux.yaml:2:"), std::string::npos) << out;
  EXPECT_NE(out.find("redirect, but the trusted proxy was asked by https: the rules hold"), std::string::npos) << out;
}

TEST_F(ExplainTest, EndpointsOfARunningProcessHaveTheirState) {
  compile();
  running_ = true;
  const auto route = compiled_.snapshot->listeners[1]->hosts.candidates("shop.example.com").front().route;
  const auto& rule = std::get<routing::VirtualHost>(route->action).rules[2];
  const auto& upstream = std::get<routing::Forward>(rule.action).upstream;
  upstream->state->endpoints()->endpoints.front().state->health = routing::Health::unhealthy;
  const auto out = text({.url = "https://shop.example.com/"});
  EXPECT_NE(out.find("- endpoint 10.0.0.7:8080, unhealthy  (edgemux.yaml:7:23)\n"), std::string::npos) << out;
}

TEST_F(ExplainTest, JsonHasTheResultAndEveryStep) {
  const auto got = nlohmann::json::parse(to_json(ask({.url = "https://shop.example.com/old/"})));
  EXPECT_EQ(got["result"], nlohmann::json({{"action", "redirect"},
                                           {"status", 301},
                                           {"location", "https://shop.example.com/new/"},
                                           {"listener", "https"},
                                           {"host", "shop.example.com"},
                                           {"certificate", "certs/shop.example.com.pem"}}));
  EXPECT_EQ(got["steps"][0]["at"], nlohmann::json({{"file", "/e/edgemux.yaml"}, {"line", 3}, {"column", 5}}));
  EXPECT_EQ(got["steps"][5]["topic"], "rule");
  EXPECT_EQ(got["steps"][5]["candidates"][1]["chosen"], true);
}

TEST_F(ExplainTest, EveryStepSaysWhereItIsWritten) {
  compile_files({{"/e/edgemux.yaml", R"(listeners:
  - { name: http, bind: [":80"], protocol: http }
  - { name: https, bind: [":443"], protocol: tls }
acme: { tokens_dir: /e/tokens }
tenants:
  a: { hosts: ["*.a.example"], networks: [10.0.0.0/8], tokens_dir: /e/tokens-of-a }
include: [{ files: "a.d/*.yaml", tenant: a }]
upstreams:
  shop:
    endpoints:
      - 10.0.0.7:8080
      - { address: "shop.svc:8080", weight: 3 }
routes:
  - host: s.example
    allow: [10.0.0.0/8]
    deny: [10.1.0.0/16]
    on_http: serve
    acme_solver: "10.0.0.6:80"
    rules:
      - path: /
        split: [{ upstream: shop, request_headers: { set: { x-a: b } } }, { upstream: "10.0.0.9:80", weight: 2 }]
        rewrite: { prefix: /new }
        response_headers: { remove: [server] }
        cors: { origins: ["*"] }
        mirror: { upstream: shop, percent: 0.25 }
        timeouts: { request: 1s }
        retry: { on: [reset] }
      - { path: /old, redirect: { path: /new } }
)"},
                 {"/e/a.d/x.yaml", "routes: [{ host: x.a.example, passthrough: \"10.0.0.1:443\" }]\n"}});
  compiled_.snapshot->certificates =
      std::make_shared<const core::CertificateStore>(std::vector<core::CertifiedKeyPtr>{pair_for("s.example")});
  compiled_.snapshot->pair_places = std::make_shared<const std::vector<routing::Origin>>(
      std::vector<routing::Origin>{{compiled_.snapshot->listeners[0]->spec.origin.file, 99, 5}});
  EXPECT_NE(text({.url = "https://s.example/x"}).find("0.25% are copied to upstream shop"), std::string::npos);
  std::string places;
  for (const Asked& asked : std::initializer_list<Asked>{{.url = "https://s.example/x?y=1"},
                                                         {.url = "https://s.example/old"},
                                                         {.url = "http://s.example/x"},
                                                         {.url = "http://s.example/.well-known/acme-challenge/abc"},
                                                         {.url = "http://x.a.example/.well-known/acme-challenge/abc"},
                                                         {.sni = "x.a.example"}}) {
    const auto e = ask(asked);
    for (const auto& step : e.steps) {
      EXPECT_NE(step.at.file, nullptr) << step.topic << ": " << step.text << "\n" << to_text(e);
      for (const auto& candidate : step.candidates) {
        EXPECT_NE(candidate.at.file, nullptr) << step.topic << ": " << candidate.text << "\n" << to_text(e);
        if (candidate.text.starts_with("endpoint")) places += std::to_string(candidate.at.line) + " ";
      }
      if (step.topic == "certificate" || step.topic == "tokens")
        places += step.topic + " " + std::to_string(step.at.line) + " ";
    }
  }
  EXPECT_EQ(places, "certificate 99 11 12 21 certificate 99 11 12 21 tokens 4 18 tokens 6 1 ");
}

TEST_F(ExplainTest, TerminalsAreNotSteered) {
  const auto out = text({.url = "https://shop.example.com/\x1b[31m"});
  EXPECT_EQ(out.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace edgemux::admin
