#include "config/schema.h"

namespace edgemux::config {
namespace {

using Kind = Type::Kind;
constexpr auto required = Field::Need::required;

// ---- the building blocks ----

const Type text{};
const Type duration{.kind = Kind::duration, .min = 1, .max = 365ULL * 24 * 3'600'000};
const Type duration_or_zero{.kind = Kind::duration, .min = 0, .max = 365ULL * 24 * 3'600'000};
const Type duration_or_off{.kind = Kind::duration, .min = 0, .max = 24ULL * 3'600'000, .words = {{"off"}}};
const Type size_value{.kind = Kind::size, .max = 1ULL << 50};
const Type count{.kind = Kind::number, .max = 0xFFFFFFFF};
const Type positive{.kind = Kind::number, .min = 1, .max = 0xFFFFFFFF};
const Type port{.kind = Kind::number, .min = 1, .max = 65535};
const Type texts{.kind = Kind::list, .element = &text};
const Type texts_one{.kind = Kind::list, .min = 1, .element = &text};
const Type text_dictionary{.kind = Kind::dictionary, .element = &text};

// A key that is described in full by the issue that fills it.
constexpr Field later(std::string_view name, std::string_view fallback = {}) {
  return {.name = name, .type = nullptr, .supported = false, .fallback = fallback};
}

// ---- tls ----

const Type tls_version{.kind = Kind::choice, .words = {{"1.2"}, {"1.3"}}};
const Type alpn_name{.kind = Kind::choice, .words = {{"http/1.1"}, {"h2"}}};
const Type alpn{.kind = Kind::list, .element = &alpn_name};
const Type client_auth{.kind = Kind::choice, .words = {{"require"}, {"optional"}}};
const Type ticket_keys{.kind = Kind::choice, .words = {{"auto"}}};

const Type tls_defaults{.kind = Kind::map,
                        .fields = {{"min_version", &tls_version},
                                   {"ciphers", &texts},
                                   {"curves", &texts},
                                   {"alpn", &alpn},
                                   {"ticket_keys", &ticket_keys}}};
const Type tls_of_route{.kind = Kind::map,
                        .fields = {{"client_ca", &text},
                                   {"client_auth", &client_auth},
                                   {"min_version", &tls_version},
                                   {"ciphers", &texts},
                                   {"curves", &texts},
                                   {"alpn", &alpn}}};

// ---- upstreams ----

const Type weight{.kind = Kind::number, .min = 0, .max = 1'000'000};
const Type endpoint_map{.kind = Kind::map,
                        .fields = {{.name = "address", .type = &text, .need = required}, {"weight", &weight}}};
const Type endpoint{.kind = Kind::either, .scalar = &text, .map = &endpoint_map};
const Type endpoints{.kind = Kind::list, .min = 1, .element = &endpoint};
const Type upstream_protocol{.kind = Kind::choice, .words = {{"http1"}, {"h2", false}, {"auto", false}}};
const Type balance{.kind = Kind::choice,
                   .words = {{"round_robin"}, {"least_connections"}, {"random_two"}, {"source_hash"}}};
const Type share{.kind = Kind::percent};
const Type proxy_protocol{.kind = Kind::choice, .words = {{"off"}, {"v1", false}, {"v2", false}}};
const Type upstream_limits{.kind = Kind::map,
                           .fields = {{"connections", &count}, later("pending"), {"requests", &count}}};
const Type keepalive{
    .kind = Kind::map,
    .fields = {{"idle", &duration}, {"max_age", &duration_or_zero}, {"max_requests", &count}, {"connections", &count}}};
const Type upstream_timeouts{.kind = Kind::map, .fields = {{"connect", &duration}, later("pending")}};
const Type upstream{.kind = Kind::map,
                    .fields = {{.name = "endpoints", .type = &endpoints, .need = required},
                               {"protocol", &upstream_protocol},
                               later("tls"),
                               {"balance", &balance},
                               {"slow_start", &duration_or_zero},
                               {"panic_threshold", &share},
                               {"proxy_protocol", &proxy_protocol},
                               later("source_address"),
                               later("health_check"),
                               later("outlier"),
                               {"limits", &upstream_limits},
                               {"keepalive", &keepalive},
                               {"timeouts", &upstream_timeouts},
                               later("dns")}};
const Type upstreams{.kind = Kind::dictionary, .element = &upstream};
const Type target{.kind = Kind::either, .scalar = &text, .map = &upstream};

// ---- routes ----

const Type on_http{.kind = Kind::choice, .words = {{"redirect"}, {"serve"}, {"off"}}};
const Type status{.kind = Kind::number, .min = 200, .max = 599};
const Type redirect_status{.kind = Kind::choice, .words = {{"301"}, {"302"}, {"303"}, {"307"}, {"308"}}};
const Type scheme{.kind = Kind::choice, .words = {{"https"}, {"http"}}};
const Type respond{.kind = Kind::map, .fields = {{"status", &status}, {"body", &text}, {"headers", &text_dictionary}}};
const Type redirect{.kind = Kind::map,
                    .fields = {{"scheme", &scheme},
                               {"host", &text},
                               {"port", &port},
                               {"path", &text},
                               {"prefix", &text},
                               {"status", &redirect_status}}};
const Type match{.kind = Kind::map,
                 .fields = {{"path", &text},
                            {"exact_path", &text},
                            later("regex_path"),
                            later("methods"),
                            later("headers"),
                            later("query")}};
const Type rule{.kind = Kind::map,
                .fields = {{"path", &text},
                           {"exact_path", &text},
                           later("regex_path"),
                           {"match", &match},
                           {"upstream", &target},
                           {"respond", &respond},
                           {"redirect", &redirect},
                           later("rewrite"),
                           later("priority", "0"),
                           later("split"),
                           later("mirror"),
                           later("cors"),
                           later("request_headers"),
                           later("response_headers"),
                           later("timeouts"),
                           later("retry")}};
const Type rules{.kind = Kind::list, .min = 1, .element = &rule};
const Type route{.kind = Kind::map,
                 .fields = {{"host", &text},
                            {"hosts", &texts_one},
                            later("tenant"),
                            {"listeners", &texts_one},
                            {"passthrough", &target},
                            {"acme_solver", &text},
                            {"tls", &tls_of_route},
                            {"on_http", &on_http},
                            {"allow", &texts},
                            {"deny", &texts},
                            {"max_request_body", &size_value},
                            {"rules", &rules}}};
const Type routes{.kind = Kind::list, .element = &route};

// ---- the rest of the main file ----

const Type version{.kind = Kind::choice, .words = {{"1"}}};
const Type listener_protocol{.kind = Kind::choice, .words = {{"http"}, {"tls"}, {"tcp", false}}};
const Type tcp{.kind = Kind::map, .fields = {{"keepalive", &duration_or_off}, {"user_timeout", &duration_or_off}}};
const Type unknown_host{.kind = Kind::choice, .words = {{"close"}, {"alert"}}};
const Type backlog{.kind = Kind::number, .min = 1, .max = 65535};
const Type listener{.kind = Kind::map,
                    .fields = {{.name = "name", .type = &text, .need = required},
                               {.name = "bind", .type = &texts_one, .need = required},
                               {.name = "protocol", .type = &listener_protocol, .need = required},
                               later("accept_proxy_protocol"),
                               later("trusted_proxies"),
                               {"unknown_host", &unknown_host},
                               {"redirect_port", &port},
                               {"backlog", &backlog},
                               {"tcp", &tcp},
                               later("upstream")}};
const Type listeners{.kind = Kind::list, .min = 1, .element = &listener};
const Type workers{.kind = Kind::number, .min = 1, .max = 1024, .words = {{"auto"}}};
const Type certificate{.kind = Kind::map, .fields = {{"cert", &text}, {"key", &text}, {"directory", &text}}};
const Type certificates{.kind = Kind::list, .element = &certificate};
const Type acme{.kind = Kind::map, .fields = {{"tokens_dir", &text}}};
const Type include_map{.kind = Kind::map,
                       .fields = {{.name = "files", .type = &text, .need = required}, later("tenant")}};
const Type include_entry{.kind = Kind::either, .scalar = &text, .map = &include_map};
const Type include{.kind = Kind::list, .element = &include_entry};
const Type timeouts{.kind = Kind::map,
                    .fields = {{"client_hello", &duration},
                               {"tls_handshake", &duration},
                               {"request_head", &duration},
                               {"request_body_rate", &size_value},
                               {"idle", &duration},
                               {"connect", &duration},
                               {"response", &duration},
                               {"tunnel_idle", &duration},
                               {"half_closed", &duration},
                               {"drain", &duration}}};
const Type connections{.kind = Kind::number, .min = 1, .max = 100'000'000, .words = {{"auto"}}};
const Type request_head{.kind = Kind::size, .min = 1024, .max = 1ULL << 20};
const Type client_hello{.kind = Kind::size, .min = 2048, .max = 1ULL << 20};
const Type inspect_memory{.kind = Kind::size, .min = 64ULL << 10, .max = 1ULL << 40};
const Type limits{.kind = Kind::map,
                  .fields = {{"connections", &connections},
                             {"request_head", &request_head},
                             {"client_hello", &client_hello},
                             {"inspect_memory", &inspect_memory},
                             {"connections_per_source", &count},
                             {"new_connections_per_second_per_source", &count}}};
const Type settle{.kind = Kind::duration, .min = 0, .max = 60'000};
const Type reload{.kind = Kind::map, .fields = {{"settle", &settle}, later("max_removed", "off")}};
const Type level{.kind = Kind::choice, .words = {{"trace"}, {"debug"}, {"info"}, {"warn"}, {"error"}}};
const Type access_format{.kind = Kind::choice, .words = {{"json"}, {"text"}, {"off"}}};
const Type access{.kind = Kind::map,
                  .fields = {{"path", &text}, {"format", &access_format}, {"fields", &texts}, {"sample", &positive}}};
const Type log{.kind = Kind::map, .fields = {{"level", &level}, {"access", &access}}};
const Type admin_place{.kind = Kind::text, .words = {{""}, {"off"}}};
const Type admin{.kind = Kind::map, .fields = {{"bind", &admin_place}, {"probes", &admin_place}}};

const Type configuration{.kind = Kind::map,
                         .fields = {{"version", &version},
                                    {.name = "listeners", .type = &listeners, .need = required, .main_only = true},
                                    {.name = "workers", .type = &workers, .main_only = true},
                                    {.name = "state_dir", .type = &text, .main_only = true},
                                    {.name = "certificates", .type = &certificates, .main_only = true},
                                    {.name = "tls", .type = &tls_defaults, .main_only = true},
                                    {.name = "acme", .type = &acme, .main_only = true},
                                    {"upstreams", &upstreams},
                                    {.name = "tenants", .supported = false, .main_only = true},
                                    {.name = "include", .type = &include, .main_only = true},
                                    {"routes", &routes},
                                    later("tenant"),
                                    {.name = "timeouts", .type = &timeouts, .main_only = true},
                                    {.name = "limits", .type = &limits, .main_only = true},
                                    {.name = "reload", .type = &reload, .main_only = true},
                                    {.name = "log", .type = &log, .main_only = true},
                                    {.name = "admin", .type = &admin, .main_only = true}}};

}  // namespace

const Type& configuration_type() { return configuration; }

}  // namespace edgemux::config
