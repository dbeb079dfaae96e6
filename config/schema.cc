#include "config/schema.h"

#include "routing/table/action.h"

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
// What a rule puts into messages is held for every client that is slow to take it.
const Type bounded_path{.max = 8UL * 1024};
const Type bounded_host{.max = 512};
const Type bounded_body{.max = 1024UL * 1024};
const Type header_value{.max = 8UL * 1024};
const Type header_values{.kind = Kind::dictionary, .element = &header_value};

// ---- what others call it ----

const std::vector<Foreign> listener_protocols{{"https", "did you mean 'tls'?"},
                                              {"ssl", "did you mean 'tls'?"},
                                              {"h2", "did you mean 'tls'? HTTP/2 is agreed on there"},
                                              {"http2", "did you mean 'tls'? HTTP/2 is agreed on there"},
                                              {"grpc", "did you mean 'tls'?"}};
const std::vector<Foreign> upstream_protocols{{"http", "did you mean 'http1'?"},
                                              {"http/1.1", "did you mean 'http1'?"},
                                              {"http2", "did you mean 'h2'?"},
                                              {"http/2", "did you mean 'h2'?"},
                                              {"h2c", "did you mean 'h2'?"},
                                              {"grpc", "did you mean 'h2'?"},
                                              {"grpcs", "write 'protocol: h2' and 'tls: {}'"},
                                              {"https", "write 'tls: {}' beside 'endpoints'"},
                                              {"tls", "write 'tls: {}' beside 'endpoints'"}};
constexpr std::string_view no_reserve = "all usable endpoints share the traffic: there are none in reserve";
const std::vector<Foreign> endpoint_words{{"backup", no_reserve},
                                          {"priority", no_reserve},
                                          {"host", "write 'address: host:port'"},
                                          {"port", "write 'address: host:port'"}};
const std::vector<Foreign> tls_of_upstream_words{
    {"sni", "did you mean 'server_name'?"},
    {"ca_file", "did you mean 'ca'?"},
    {"cert_file", "did you mean 'cert'?"},
    {"key_file", "did you mean 'key'?"},
    {"verify", "certificates are verified, unless 'insecure_skip_verify: true' is said"},
    {"insecure", "did you mean 'insecure_skip_verify'?"},
    {"alpn", "'protocol' of the upstream says what is offered"}};
constexpr std::string_view pairs_by_name = "'certificates' names pairs; the names in them decide who gets them";
const std::vector<Foreign> tls_of_route_words{{"cert", pairs_by_name},
                                              {"key", pairs_by_name},
                                              {"certificate", pairs_by_name},
                                              {"ca", "did you mean 'client_ca'?"}};
const std::vector<Foreign> route_words{
    {"path", "it belongs into a rule: rules: [{ path: /, upstream: ... }]"},
    {"upstream", "it belongs into a rule: rules: [{ path: /, upstream: ... }]"},
    {"respond", "it belongs into a rule: rules: [{ path: /, respond: ... }]"},
    {"redirect", "it belongs into a rule: rules: [{ path: /, redirect: ... }]"},
    {"proxy_protocol", "it belongs to the upstream: { endpoints: [...], proxy_protocol: v2 }"},
    {"listener", "did you mean 'listeners'?"}};
const std::vector<Foreign> listener_words{
    {"proxy_protocol", "'accept_proxy_protocol' lists the networks that send PROXY headers"},
    {"address", "did you mean 'bind'?"},
    {"port", "write it into 'bind', like \":443\""},
    {"tls", "'protocol: tls' says it; 'tls' of the file and of routes says the rest"}};
const std::vector<Foreign> limits_words{
    {"requests_per_second", "did you mean 'requests_per_second_per_source'?"},
    {"new_connections_per_second", "did you mean 'new_connections_per_second_per_source'?"},
    {"bandwidth", "did you mean 'bandwidth_per_source'?"}};

// ---- tls ----

const Type tls_version{.kind = Kind::choice, .words = {{"1.2"}, {"1.3"}}};
const Type alpn_name{.kind = Kind::choice, .words = {{"http/1.1"}, {"h2"}}};
const Type alpn{.kind = Kind::list, .element = &alpn_name};
const Type alpn_of_route{.kind = Kind::list, .element = &text};
const Type client_auth{.kind = Kind::choice, .words = {{"require"}, {"optional"}}};
const Type ticket_keys{.kind = Kind::choice, .words = {{"auto"}}};

const Type tls_defaults{
    .kind = Kind::map,
    .fields = {
        {"min_version", &tls_version, "lowest version of TLS: \"1.2\" or \"1.3\"; default 1.2"},
        {"ciphers", &texts, "OpenSSL's names, of TLS 1.2 and 1.3 mixed, by preference; empty is the built-in list"},
        {"curves", &texts, "groups for the key exchange, by preference; empty is the built-in list, X25519 and P-256"},
        {"alpn", &alpn, "HTTP versions offered to clients, by preference; default h2, http/1.1"},
        {"ticket_keys", &ticket_keys, "keys of session tickets; auto makes and rotates them"}}};
const Type tls_of_route{
    .kind = Kind::map,
    .foreign = tls_of_route_words,
    .fields = {
        {"client_ca", &text,
         "bundle of the authorities whose client certificates are accepted; broken or missing, the host is refused"},
        {"client_auth", &client_auth, "whether a client must show a certificate or may"},
        {"min_version", &tls_version, "lowest version of TLS of these hosts"},
        {"ciphers", &texts, "OpenSSL's names, by preference; empty is the built-in list"},
        {"curves", &texts, "groups for the key exchange, by preference; empty is the built-in list"},
        {"alpn", &alpn_of_route,
         "protocols offered to clients, by preference: h2 and http/1.1 for rules; any name with terminate, by default "
         "none"}}};

// ---- upstreams ----

const Type weight{.kind = Kind::number, .min = 0, .max = 1'000'000};
const Type endpoint_map{.kind = Kind::map,
                        .foreign = endpoint_words,
                        .fields = {{.name = "address", .type = &text, .help = "host:port", .need = required},
                                   {"weight", &weight, "its share, beside the other endpoints' weights; default 1"}}};
const Type endpoint{.kind = Kind::either, .scalar = &text, .map = &endpoint_map};
const Type endpoints{.kind = Kind::list, .min = 1, .element = &endpoint};
const Type upstream_protocol{
    .kind = Kind::choice, .words = {{"http1"}, {"h2"}, {"auto"}}, .foreign = upstream_protocols};
const Type balance{.kind = Kind::choice,
                   .words = {{"round_robin"}, {"least_connections"}, {"random_two"}, {"source_hash"}}};
const Type share{.kind = Kind::percent};
const Type proxy_protocol{.kind = Kind::choice, .words = {{"off"}, {"v1"}, {"v2"}}};
const Type yes_or_no{.kind = Kind::choice, .words = {{"true"}, {"false"}}};
const Type any_status{.kind = Kind::number, .min = 100, .max = 999};
const Type statuses{.kind = Kind::list, .min = 1, .element = &any_status};
const Type check_interval{.kind = Kind::duration, .min = 100, .max = 24ULL * 3'600'000};
const Type check_timeout{.kind = Kind::duration, .min = 10, .max = 600'000};
const Type in_a_row{.kind = Kind::number, .min = 1, .max = 1000};
const Type health_check{
    .kind = Kind::map,
    .fields = {{"http", &text, "ask for this path"},
               {"tcp", &yes_or_no, "only connect"},
               {"tls", &yes_or_no, "only shake hands"},
               {"host", &text, "the Host to ask for, or the server name; default is the endpoint as it is written"},
               {"expect", &statuses, "the statuses that are good; default 200"},
               {"expect_body", &text, "a text that the body must contain"},
               {"interval", &check_interval, "from one check to the next, give or take a tenth"},
               {"timeout", &check_timeout, "for a whole check"},
               {"unhealthy_after", &in_a_row, "failed checks in a row that take a healthy endpoint out"},
               {"healthy_after", &in_a_row, "good checks in a row that bring an unhealthy one back"}}};
const Type outlier{
    .kind = Kind::map,
    .fields = {{"consecutive_failures", &in_a_row, "attempts in a row without an answer that eject an endpoint"},
               {"eject_for", &duration, "the first time; longer when it fails again soon"},
               {"max_ejected", &share, "the part of the endpoints that may be out at one time, rounded down"}}};
const Type upstream_limits{
    .kind = Kind::map,
    .fields = {{"connections", &count, "connections of the whole process at one time; 0 is no limit"},
               {"pending", &count, "requests that wait for a connection when all are in use; 0: none waits"},
               {"requests", &count, "requests in flight, of the whole process; 0 is no limit"}}};
const Type keepalive{
    .kind = Kind::map,
    .fields = {{"idle", &duration, "an idle connection is closed after this time"},
               {"max_age", &duration_or_zero, "a connection takes no more requests after this time; 0s is no limit"},
               {"max_requests", &count, "requests that one connection carries; 0 is no limit"},
               {"connections", &count, "idle connections kept, per worker"}}};
const Type upstream_timeouts{
    .kind = Kind::map,
    .fields = {
        {"connect", &duration, "until a connection to one endpoint stands; default timeouts.connect of the main file"},
        {"pending", &duration, "how long a request waits for a connection when all are in use"}}};
const Type tls_of_upstream{
    .kind = Kind::map,
    .foreign = tls_of_upstream_words,
    .fields = {{"server_name", &text,
                "the name that is asked for and must stand in the certificate; default the endpoint's host"},
               {"ca", &text, "bundle of the authorities that are trusted; default the system's"},
               {"cert", &text, "PEM file of the certificate that is shown to the upstream"},
               {"key", &text, "PEM file of its key"},
               {"insecure_skip_verify", &yes_or_no, "true takes whoever answers for the upstream"}}};
const Type dns{.kind = Kind::map,
               .fields = {{"min_ttl", &duration, "no sooner, and SRV records after this time; default 1s"},
                          {"max_ttl", &duration, "no later; default 5m"}}};
const Type upstream{
    .kind = Kind::map,
    .fields = {{.name = "endpoints",
                .type = &endpoints,
                .help = "where it is: host:port, by address or by name, or unix:/path",
                .need = required},
               {"protocol", &upstream_protocol,
                "the version of HTTP spoken to it: h2 without asking first, or by ALPN over TLS; auto is h2 where ALPN "
                "agrees on it"},
               {"tls", &tls_of_upstream, "TLS to the upstream; without it connections are plain"},
               {"balance", &balance, "which endpoint is taken next; default round_robin"},
               {"slow_start", &duration_or_zero, "a new or recovered endpoint reaches its full share after this time"},
               {"panic_threshold", &share, "when a smaller part of the endpoints is usable, all are used; default 50%"},
               {"proxy_protocol", &proxy_protocol, "the PROXY header that begins each connection to it"},
               {"source_address", &text, "the local address that connections come from"},
               {"health_check", &health_check, "how endpoints are checked, whether or not there is traffic"},
               {"outlier", &outlier, "how endpoints that fail requests and tunnels are left out for a while"},
               {"limits", &upstream_limits, "bounds on what it is given at one time"},
               {"keepalive", &keepalive, "connections that are kept for the next request"},
               {"timeouts", &upstream_timeouts, "deadlines of this upstream"},
               {"dns", &dns, "how often names are resolved again"}}};
const Type upstreams{.kind = Kind::dictionary, .element = &upstream};
const Type target{.kind = Kind::either, .scalar = &text, .map = &upstream};

// ---- routes ----

const Type on_http{.kind = Kind::choice, .words = {{"redirect"}, {"serve"}, {"off"}}};
const Type status{.kind = Kind::number, .min = 200, .max = 599};
const Type redirect_status{.kind = Kind::choice, .words = {{"301"}, {"302"}, {"303"}, {"307"}, {"308"}}};
const Type scheme{.kind = Kind::choice, .words = {{"https"}, {"http"}}};
const Type respond{.kind = Kind::map,
                   .example = "write it like { status: 404 }",
                   .fields = {{"status", &status, "status of the answer; default 200"},
                              {"body", &bounded_body, "text of the answer; at most 1MiB"},
                              {"headers", &header_values, "header fields of the answer"}}};
const Type redirect{
    .kind = Kind::map,
    .example = "write it like { scheme: https, host: a.example, path: /new }",
    .fields = {
        {"scheme", &scheme, "scheme of the new address; absent: the request's"},
        {"host", &bounded_host, "host of the new address; absent: the request's"},
        {"port", &port, "port of the new address; absent: that of the scheme, if one is named, else the request's"},
        {"path", &bounded_path, "replaces the whole path"},
        {"prefix", &bounded_path, "replaces the part of the path that the rule matched"},
        {"status", &redirect_status, "status of the answer; default 302"}}};
const Type value_pattern{
    .kind = Kind::map,
    .fields = {{.name = "regex",
                .type = &text,
                .help = "regular expression (RE2); matches anywhere in the value, unless it says ^ and $",
                .need = required}}};
const Type value_match{.kind = Kind::either, .scalar = &text, .map = &value_pattern};
const Type value_matches{.kind = Kind::dictionary, .element = &value_match};
const Type match{.kind = Kind::map,
                 .fields = {{"path", &text, "prefix by path element: /a covers /a and /a/b, not /ab"},
                            {"exact_path", &text, "this path and no other"},
                            {"regex_path", &text, "regular expression (RE2) for the whole path"},
                            {"methods", &texts_one, "one of these methods"},
                            {"headers", &value_matches, "each of these header fields, by value or { regex: ... }"},
                            {"query", &value_matches, "each of these query parameters, by value or { regex: ... }"}}};
const Type priority{.kind = Kind::number, .max = 1'000'000};
const Type header_changes{.kind = Kind::map,
                          .fields = {{"set", &header_values, "replaces every field of these names"},
                                     {"add", &header_values, "one more field each"},
                                     {"remove", &texts, "takes every field of these names away"}}};
const Type split_part{
    .kind = Kind::map,
    .fields = {{.name = "upstream",
                .type = &target,
                .help = "a name of upstreams, host:port, or an upstream written here",
                .need = required},
               {"weight", &weight, "its share of the requests; default 1, 0 is none"},
               {"request_headers", &header_changes, "of this part's requests, after those of the rule"},
               {"response_headers", &header_changes, "of this part's answers, before those of the rule"}}};
const Type split{.kind = Kind::list, .min = 1, .element = &split_part};
const Type rewrite{.kind = Kind::map,
                   .fields = {{"prefix", &bounded_path, "replaces the part of the path that the rule matched"},
                              {"path", &bounded_path, "replaces the whole path"},
                              {"host", &bounded_host, "what the upstream gets as Host"}}};
const Type percent{.kind = Kind::decimal, .max = routing::Mirror::kAll};
const Type mirror_map{
    .kind = Kind::map,
    .fields = {{.name = "upstream",
                .type = &target,
                .help = "gets the copies; a name of upstreams, host:port, or an upstream written here",
                .need = required},
               {"percent", &percent, "of the requests, down to 0.001; default 100"}}};
const Type mirror_list{.kind = Kind::list, .min = 1, .max = 4, .element = &mirror_map};
const Type mirror{.kind = Kind::either, .map = &mirror_map, .list = &mirror_list};
const Type cors{.kind = Kind::map,
                .fields = {{.name = "origins",
                            .type = &texts_one,
                            .help = "who may ask: https://a.example, https://*.a.example, or *",
                            .need = required},
                           {"methods", &texts, "what they may use; * is any"},
                           {"headers", &texts, "header fields that they may send; * is any"},
                           {"expose", &texts, "header fields of the answer that their scripts may read"},
                           {"credentials", &yes_or_no, "cookies and the like may go along; default false"},
                           {"max_age", &duration_or_zero, "how long a browser may remember the answer; default 5s"}}};
const Type rule_timeouts{
    .kind = Kind::map,
    .fields = {{"request", &duration_or_zero, "until the answer is complete, tries and pauses included; 0s is none"},
               {"try", &duration_or_zero, "one try, until the answer begins; 0s is none"},
               {"response", &duration_or_zero,
                "how long the upstream may be silent; 0s is for ever, and the default beside 'request'; "
                "else timeouts.response or 'try', whichever is longer"}}};
const Type retry_attempts{.kind = Kind::number, .min = 1, .max = 10};
const Type retry_backoff{.kind = Kind::duration, .max = 60'000};
const Type retry{.kind = Kind::map,
                 .fields = {{"attempts", &retry_attempts, "tries after the first; default 1"},
                            {"on", &texts_one,
                             "connect; reset and timeout, of methods that may be repeated; statuses from 400 to 599, "
                             "of every method; default "
                             "connect and reset"},
                            {"backoff", &retry_backoff,
                             "pause before the first of them, doubled for each that follows; default 25ms"}}};
const Type rule{
    .kind = Kind::map,
    .fields = {{"path", &text, "prefix by path element: /a covers /a and /a/b, not /ab"},
               {"exact_path", &text, "this path and no other"},
               {"regex_path", &text, "regular expression (RE2) for the whole path"},
               {"match", &match, "the conditions, all of which a request must meet"},
               {"priority", &priority, "a higher one is tried first, before specificity; default 0"},
               {"upstream", &target, "forwards: a name of upstreams, host:port, or an upstream written here"},
               {"split", &split, "forwards to one of several upstreams, by weight"},
               {"respond", &respond, "answers by itself"},
               {"redirect", &redirect, "sends the client to another address"},
               {"rewrite", &rewrite, "changes path and Host on the way to the upstream"},
               {"mirror", &mirror, "sends copies of requests to another upstream, whose answers are dropped"},
               {"cors", &cors, "answers CORS preflights, and says who may read the answers"},
               {"request_headers", &header_changes, "changes header fields on the way to the upstream"},
               {"response_headers", &header_changes, "changes header fields on the way to the client"},
               {"timeouts", &rule_timeouts, "how long a request of this rule may take"},
               {"retry", &retry, "when a request that failed is sent again"}}};
const Type rules{.kind = Kind::list, .min = 1, .element = &rule};
const Type route{
    .kind = Kind::map,
    .foreign = route_words,
    .fields = {
        {"host", &text, "a name, or a wildcard like *.example.com, which covers one or more labels and never the apex"},
        {"hosts", &texts_one, "several names"},
        {"tenant", &text, "whose the hosts are: in the main file only; in an included file it may only agree"},
        {"listeners", &texts_one, "where these hosts are served; absent: on every listener"},
        {"passthrough", &target,
         "TLS goes untouched to this upstream: a name of upstreams, host:port, or an upstream written here"},
        {"terminate", &target,
         "TLS ends here, and what is inside goes as it is to this upstream, which need not speak HTTP; written like "
         "passthrough"},
        {"acme_solver", &text,
         "ACME HTTP-01 challenges of these hosts go to this host:port; backend is port 80 of the endpoints"},
        {"tls", &tls_of_route, "what these hosts demand of TLS, on top of the main file's tls"},
        {"on_http", &on_http, "what an http listener does for these hosts; default redirect"},
        {"allow", &texts, "client networks that may come in; absent: all"},
        {"deny", &texts, "client networks that may not come in; beats allow"},
        {"max_request_body", &size_value, "a larger request body is refused with 413; 0 is no limit"},
        {"rules", &rules, "TLS ends here; the most specific rule that matches a request decides"}}};
const Type routes{.kind = Kind::list, .element = &route};

// ---- the rest of the main file ----

const Type version{.kind = Kind::choice, .words = {{"1"}}};
const Type listener_protocol{
    .kind = Kind::choice, .words = {{"http"}, {"tls"}, {"tcp"}}, .foreign = listener_protocols};
const Type tcp{.kind = Kind::map,
               .fields = {{"keepalive", &duration_or_off, "idle time before TCP keep-alive probes; off is none"},
                          {"user_timeout", &duration_or_off,
                           "unacknowledged data closes the connection after this time; off is the kernel's own"}}};
const Type unknown_host{.kind = Kind::choice, .words = {{"close"}, {"alert"}}};
const Type backlog{.kind = Kind::number, .min = 1, .max = 65535};
const Type listener{
    .kind = Kind::map,
    .foreign = listener_words,
    .fields = {
        {.name = "name", .type = &text, .help = "how routes, logs and metrics call it", .need = required},
        {.name = "bind",
         .type = &texts_one,
         .help = "addresses with a port; :443 is every address, IPv4 and IPv6",
         .need = required},
        {.name = "protocol",
         .type = &listener_protocol,
         .help =
             "tls: each server name is passed through or terminated; http: ACME challenges, redirects, plain hosts; "
             "tcp: to the upstream, as it is",
         .need = required},
        {"accept_proxy_protocol", &texts_one,
         "networks whose connections begin with a PROXY header, v1 or v2; from anybody else it is an error"},
        {"trusted_proxies", &texts_one, "networks whose X-Forwarded-* and Forwarded are believed and appended to"},
        {"unknown_host", &unknown_host,
         "what a TLS name that nobody owns gets: a plain close, which is the default, or an alert"},
        {"redirect_port", &port, "the port put into redirects to https; default 443"},
        {"backlog", &backlog, "connections that may wait to be accepted"},
        {"tcp", &tcp, "options of the clients' sockets"},
        {"upstream", &target, "where a tcp listener's connections go"}}};
const Type listeners{.kind = Kind::list, .min = 1, .element = &listener};
const Type workers{.kind = Kind::number, .min = 1, .max = 1024, .words = {{"auto"}}};
const Type certificate{
    .kind = Kind::map,
    .fields = {
        {"cert", &text, "PEM file of a certificate and its chain"},
        {"key", &text, "PEM file of its key"},
        {"directory", &text,
         "folder of pairs: NAME.pem with NAME.key, NAME/tls.crt with tls.key, NAME/fullchain.pem with privkey.pem"}}};
const Type certificates{.kind = Kind::list, .element = &certificate};
const Type acme{.kind = Kind::map,
                .fields = {{"tokens_dir", &text, "folder with a file per HTTP-01 token, where ACME clients write"}}};
const Type include_map{
    .kind = Kind::map,
    .fields = {
        {.name = "files",
         .type = &text,
         .help = "a path or a pattern like routes.d/*.yaml; {tenant} stands for a folder that is named like a tenant",
         .need = required},
        {"tenant", &text, "the files are that tenant's"}}};
const Type include_entry{.kind = Kind::either, .scalar = &text, .map = &include_map};
const Type include{.kind = Kind::list, .element = &include_entry};
const Type bandwidth{.kind = Kind::size, .max = 1ULL << 40};
const Type config_size{.kind = Kind::size, .max = 1ULL << 40};
const Type tenant_limits{
    .kind = Kind::map,
    .fields = {
        {"connections", &count, "open client connections; 0 is no limit"},
        {"new_connections_per_second", &count, "of clients; 0 is no limit"},
        {"requests_per_second", &count, "one more is answered with 429; 0 is no limit"},
        {"bandwidth", &bandwidth, "bytes per second, both directions together; 0 is no limit"},
        {"config_size", &config_size, "the tenant's configuration files together; default 16MiB, 0 is no limit"}}};
const Type tenant{
    .kind = Kind::map,
    .fields = {{.name = "hosts",
                .type = &texts_one,
                .help = "its claims: names and wildcards that only its routes may serve",
                .need = required},
               {"networks", &texts_one, "where its endpoints may be, checked after every resolution"},
               {"certificates", &certificates, "pairs that serve this tenant's hosts only"},
               {"tokens_dir", &text, "folder with a file per HTTP-01 token, for this tenant's hosts only"},
               {"limits", &tenant_limits, "of the whole process"}}};
const Type tenants{.kind = Kind::dictionary, .element = &tenant};
const Type timeouts{
    .kind = Kind::map,
    .fields = {{"client_hello", &duration, "until the ClientHello is whole"},
               {"tls_handshake", &duration, "until the TLS handshake is over"},
               {"request_head", &duration, "from the first byte of a request to the end of its head"},
               {"request_body_rate", &size_value,
                "bytes per second that a request body must make on average until its answer begins; 0 is off"},
               {"idle", &duration, "between a client's requests"},
               {"connect", &duration, "until a connection to an upstream's endpoint stands"},
               {"response", &duration, "an upstream's silence while an answer is due"},
               {"tunnel_idle", &duration,
                "a tunnel in which no byte moves is closed after this time; so is a request that is not whole though "
                "its answer has begun"},
               {"half_closed", &duration, "a tunnel that one side has closed ends after this time"},
               {"drain", &duration, "what is open after SIGTERM is closed after this time"}}};
const Type connections{.kind = Kind::number, .min = 1, .max = 100'000'000, .words = {{"auto"}}};
const Type request_head{.kind = Kind::size, .min = 1024, .max = 1ULL << 20};
const Type client_hello{.kind = Kind::size, .min = 2048, .max = 1ULL << 16};
const Type inspect_memory{.kind = Kind::size, .min = 64ULL << 10, .max = 1ULL << 40};
const Type limits{
    .kind = Kind::map,
    .foreign = limits_words,
    .fields = {
        {"connections", &connections, "client connections of the whole process; auto follows the limit of open files"},
        {"request_head", &request_head, "a request head is refused beyond this size"},
        {"client_hello", &client_hello, "a ClientHello is refused beyond this size"},
        {"inspect_memory", &inspect_memory, "all unfinished ClientHellos together"},
        {"connections_per_source", &count, "connections at one time per IPv4 address or IPv6 /64; 0 is off"},
        {"new_connections_per_second_per_source", &count,
         "new connections per second per IPv4 address or IPv6 /64; 0 is off"},
        {"requests_per_second_per_source", &count,
         "requests per second per IPv4 address or IPv6 /64, one more is answered with 429; 0 is off"},
        {"bandwidth_per_source", &bandwidth,
         "bytes per second per IPv4 address or IPv6 /64, both directions together; 0 is off"}}};
const Type settle{.kind = Kind::duration, .min = 0, .max = 60'000};
const Type share_or_off{.kind = Kind::percent, .words = {{"off"}}};
const Type reload{.kind = Kind::map,
                  .fields = {{"settle", &settle, "quiet time after a change before it is read"},
                             {"max_removed", &share_or_off,
                              "a new table that lost a larger share of its hosts is refused, like 20%; off is the "
                              "default, but leaving the key out later does not lift what is in force"}}};
const Type level{.kind = Kind::choice, .words = {{"trace"}, {"debug"}, {"info"}, {"warn"}, {"error"}}};
const Type access_format{.kind = Kind::choice, .words = {{"json"}, {"text"}, {"off"}}};
const Type access{.kind = Kind::map,
                  .fields = {{"path", &text, "stdout, stderr or a file"},
                             {"format", &access_format, "json, text or off"},
                             {"fields", &texts, "names of the fields to write; empty is all"},
                             {"sample", &positive, "one of so many successful lines is written"}}};
const Type log{.kind = Kind::map,
               .fields = {{"level", &level, "the least level that is written; default info"},
                          {"access", &access, "the access log"}}};
const Type admin_place{.kind = Kind::text, .words = {{""}, {"off"}}};
const Type admin{
    .kind = Kind::map,
    .fields = {{"bind", &admin_place, "unix:/path of the admin socket; empty or off is none"},
               {"probes", &admin_place, "address:port of /healthz, /readyz and /metrics; empty or off is none"}}};

const Type configuration{
    .kind = Kind::map,
    .fields = {
        {"version", &version, "of this format; 1"},
        {.name = "listeners",
         .type = &listeners,
         .help = "sockets that clients connect to",
         .need = required,
         .main_only = true},
        {.name = "workers",
         .type = &workers,
         .help = "threads; auto follows the processors and the cgroup's quota",
         .main_only = true},
        {.name = "state_dir",
         .type = &text,
         .help = "where last good bytes of included files are kept",
         .main_only = true},
        {.name = "certificates",
         .type = &certificates,
         .help = "pairs; their names decide which hosts they serve. Watched",
         .main_only = true},
        {.name = "tls", .type = &tls_defaults, .help = "defaults of every host", .main_only = true},
        {.name = "acme", .type = &acme, .help = "HTTP-01 challenges", .main_only = true},
        {"upstreams", &upstreams, "named, for routes to share"},
        {.name = "tenants", .type = &tenants, .help = "who may serve which hosts, from where", .main_only = true},
        {.name = "include", .type = &include, .help = "more files with routes and upstreams", .main_only = true},
        {"routes", &routes, "hosts, and what they get"},
        {.name = "tenant",
         .type = &text,
         .help = "of an included file; may only agree with its include entry",
         .include_only = true},
        {.name = "timeouts", .type = &timeouts, .help = "deadlines", .main_only = true},
        {.name = "limits",
         .type = &limits,
         .help = "bounds for everything that a stranger can send",
         .main_only = true},
        {.name = "reload", .type = &reload, .help = "how changes are taken up", .main_only = true},
        {.name = "log", .type = &log, .help = "process log and access log", .main_only = true},
        {.name = "admin", .type = &admin, .help = "the admin socket and the probes", .main_only = true}}};

}  // namespace

const Type& configuration_type() { return configuration; }

}  // namespace edgemux::config
