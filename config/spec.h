#pragma once
// FileSpec: what one file says about routes and upstreams, checked as far as the file alone can tell and turned into
// values. What it means together with the other files (upstreams' and listeners' names, hosts claimed twice) is the
// linker's to find. Immutable once read; files that did not change keep theirs between compiles.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "config/files.h"
#include "config/node.h"
#include "config/patterns.h"
#include "config/problems.h"
#include "routing/table/route.h"

namespace edgemux::config {

inline constexpr std::size_t max_listeners = 64;

struct Name {
  std::string text;
  Place place;
};

// `tls:` of an upstream.
struct UpstreamTlsSpec {
  Place place;
  std::string server_name;  // empty = the endpoint's host
  Name ca;                  // absolute paths; empty = none
  Name cert;
  Name key;
  std::vector<std::string> alpn;  // as the upstream's protocol asks
  bool verify = true;
};

struct UpstreamSpec {
  Name name;                                   // of an inline one: the text of its first endpoint
  routing::Upstream value;                     // without origin, identity, id and state
  std::shared_ptr<const UpstreamTlsSpec> tls;  // null = none; few have one
  Place source_place;                          // of value.transport.source_address
  Place keepalive_place;                       // line 0: not said
  Place dns_place;                             // the same
  Place protocol_place;                        // the same
};

// Where a route or a rule sends its traffic.
struct TargetSpec {
  Name name;  // an upstream's name; not used where `inline_upstream` is set
  std::shared_ptr<const UpstreamSpec> inline_upstream;
};

struct MirrorSpec {
  TargetSpec target;
  std::uint32_t share = routing::Mirror::kAll;
};

struct RuleSpec {
  // Without the upstreams: a Forward has one target, a Split one per part.
  routing::Rule value;  // of its patterns outlines only
  std::vector<TargetSpec> targets;
  std::vector<MirrorSpec> mirrors;  // value.filters is not null then
  std::vector<Place> patterns;      // where its regular expressions stand, in the order of routing::replace_patterns()
  Place place;
  bool sound = true;  // false: its conditions could not be read; reported already
};

struct TlsSpec {
  Place place;
  std::optional<core::TlsVersion> min_version;
  std::optional<std::vector<Name>> ciphers;
  std::optional<std::vector<Name>> curves;
  std::optional<std::vector<std::string>> alpn;
  bool opaque = false;  // of a route with `terminate`
  std::optional<core::ClientAuth> client_auth;
  Name client_ca;  // absolute path; empty = none
};

struct RouteSpec {
  enum class Kind : std::uint8_t { rules, passthrough, terminate };
  // "passthrough", "terminate": the key that says so.
  [[nodiscard]] std::string_view key() const {
    return kind == Kind::passthrough ? "passthrough" : kind == Kind::terminate ? "terminate" : "rules";
  }

  Place place;
  Name tenant;              // empty = not said
  std::vector<Name> hosts;  // normalised
  std::optional<std::vector<Name>> listeners;
  std::optional<TargetSpec> target;    // of passthrough and terminate
  std::vector<RuleSpec> rules;         // as they are listed
  std::shared_ptr<const TlsSpec> tls;  // null = none; few have one
  Kind kind = Kind::rules;
  routing::OnHttp on_http = routing::OnHttp::redirect;
  Place on_http_place;
  routing::AccessList access;
  std::uint64_t max_request_body = 0;
  std::optional<TargetSpec> solver;
  Place solver_place;
};

// Where a tcp listener of the main file sends its connections.
struct TcpListenerSpec {
  std::string listener;
  TargetSpec target;
};

struct FileSpec {
  Name tenant;                              // empty = not said
  std::vector<std::string> upstream_names;  // all, those with errors included
  std::vector<UpstreamSpec> upstreams;
  std::vector<RouteSpec> routes;
  std::vector<TcpListenerSpec> tcp_listeners;
};

// Reads the lists of routes and upstreams of a file whose schema was checked. `path` is absolute; paths in the file
// are relative to its folder.
FileSpec read_file_spec(const Node& root, const std::string& path, bool is_main, Problems& problems);

// A host name or wildcard, normalised. Nothing: a problem was reported.
std::optional<std::string> read_host(const Node& node, Problems& problems);
// Networks in CIDR form; those that are none are reported.
void read_networks(const Node* list, std::vector<core::Network>& out, Problems& problems);

// For the main file's own `tls:` as well as a route's.
TlsSpec read_tls(const Node& node, const std::string& path, Problems& problems);

// An upstream from a map with endpoints. Null: a problem was reported.
std::shared_ptr<UpstreamSpec> read_upstream(const Node& node, Name name, Problems& problems);
// tls, proxy_protocol and source_address of its map.
void read_transport(const Node& node, UpstreamSpec& spec, Problems& problems);
// "host:port" as an upstream of its own. Null: a problem was reported.
std::shared_ptr<UpstreamSpec> read_address(const Node& node, Problems& problems);

RuleSpec read_rule(const Node& node, Patterns& patterns, Problems& problems);
// Rules of one host that ask for the same twice, and those that can never match; too many regular expressions.
void check_rules(const std::vector<RuleSpec>& rules, Problems& problems);
// An upstream's name, "host:port", or a map with endpoints.
TargetSpec read_target(const Node& node, Problems& problems);

// The path `text`, absolute, as it stands at `place` of `file`. Empty: a problem was reported.
std::string resolve_text(std::string_view text, Place place, const std::string& file, Problems& problems);

// Values of nodes that the schema passed; for others the value that is given.
std::uint64_t number_or(const Node* node, std::uint64_t fallback);
std::uint64_t size_or(const Node* node, std::uint64_t fallback);
routing::milliseconds duration_or(const Node* node, routing::milliseconds fallback);  // "off" is 0
void read_networks(const Node* list, std::vector<core::Network>& out, Problems& problems);
std::vector<std::string> texts_of(const Node* node);
std::vector<std::string> texts_of(const std::vector<Name>& names);

}  // namespace edgemux::config
