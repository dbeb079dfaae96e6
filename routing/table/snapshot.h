#pragma once
// Snapshot: one compiled configuration. Immutable; published to every worker as shared_ptr<const Snapshot>. The worker
// holds it; a session holds at most the Route of its own host.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/address.h"
#include "core/tls/certificate_store.h"
#include "routing/table/claims.h"
#include "routing/table/host_table.h"
#include "routing/table/route.h"
#include "routing/table/upstream_list.h"

namespace edgemux::routing {

enum class Protocol : std::uint8_t { http, tls, tcp };
constexpr std::string_view protocol_name(Protocol protocol) {
  return protocol == Protocol::http ? "http" : protocol == Protocol::tls ? "tls" : "tcp";
}
enum class UnknownHost : std::uint8_t { close, alert };

struct Bind {
  core::SocketAddress address;  // ":80" is [::]:80 with dual_stack
  bool dual_stack = false;      // also takes IPv4; falls back to 0.0.0.0 where the machine has no IPv6
  std::string text;             // as written
  friend bool operator==(const Bind& a, const Bind& b) {
    return a.address == b.address && a.dual_stack == b.dual_stack;
  }
};

struct ListenerSpec {
  std::string name;
  std::vector<Bind> binds;
  Protocol protocol = Protocol::tls;
  UnknownHost unknown_host = UnknownHost::close;
  std::uint16_t redirect_port = 443;
  int backlog = 4096;
  std::chrono::seconds tcp_keepalive{60};              // 0 = off
  std::chrono::milliseconds tcp_user_timeout{30'000};  // 0 = the kernel's
  std::vector<core::Network> accept_proxy_protocol;    // who must send a PROXY header; from others it is an error
  std::vector<core::Network> trusted_proxies;          // whose X-Forwarded-* and Forwarded are believed
  Origin origin;
};

struct Listener {
  ListenerSpec spec;
  UpstreamPtr upstream;  // of a tcp listener
  // For a tls listener: the hosts attached to it. For an http listener: every host that answers on port 80, with the
  // Route that says how.
  HostTable hosts;
};

// All in milliseconds; zero never means "none" here.
struct Timeouts {
  milliseconds client_hello{5'000};  // until the ClientHello is whole
  milliseconds tls_handshake{10'000};
  milliseconds request_head{15'000};  // from the first byte of a request to the end of its head
  std::uint64_t request_body_rate =
      1024;                   // bytes per second a body must make on average, after a grace of 10 s; 0 = off
  milliseconds idle{75'000};  // between a client's requests
  milliseconds connect{3'000};
  milliseconds response{60'000};  // the upstream's silence while an answer is due
  milliseconds tunnel_idle{3'600'000};
  milliseconds half_closed{60'000};
  milliseconds drain{30'000};
};

struct Limits {
  std::uint32_t connections = 0;  // client connections of the whole process; 0 = auto (from RLIMIT_NOFILE)
  std::uint32_t request_head = 64 * 1024;
  std::uint32_t client_hello = 32 * 1024;
  std::uint64_t inspect_memory = 64 * 1024 * 1024;  // all unfinished ClientHellos together
  // Of an IPv4 address or an IPv6 /64; 0 = off.
  std::uint32_t connections_per_source = 0;
  std::uint32_t new_connections_per_second_per_source = 0;
  std::uint32_t requests_per_second_per_source = 0;
  std::uint64_t bandwidth_per_source = 0;  // bytes per second, both directions together
};

enum class LogLevel : std::uint8_t { trace, debug, info, warn, error };
enum class AccessFormat : std::uint8_t { json, text, off };

struct AccessLogSpec {
  std::string path = "stdout";  // "stdout", "stderr" or a file
  AccessFormat format = AccessFormat::json;
  std::vector<std::string> fields;  // empty = all
  std::uint32_t sample = 1;         // one of N successful lines
};

struct LogSpec {
  LogLevel level = LogLevel::info;
  AccessLogSpec access;
};

struct AdminSpec {
  std::string bind;    // "unix:/path" or "address:port"; empty = none
  std::string probes;  // "address:port"; empty = none
};

struct Snapshot {
  std::uint64_t generation = 0;  // 1 for the first; rises by one with every published table
  std::vector<std::shared_ptr<const Listener>> listeners;
  std::shared_ptr<const core::CertificateStore> certificates;  // never null
  std::shared_ptr<const std::vector<Origin>> pair_places;      // of each of its pairs; null in a table without files
  UpstreamList upstreams;                                      // every one that a route uses, for discovery
  std::shared_ptr<const ClaimTable> claims = none_claimed();   // which tenant a name belongs to; never null
  std::vector<TenantPtr> tenants;                              // in the order of the main file
  std::vector<Origin> tenant_places;                           // of each of them, there
  Listened listened;                                           // by its listeners, of a table that has tenants
  std::shared_ptr<OwnAddresses> own;                           // of all its tenants; null = there are none
  std::string tokens_dir;                                      // of hosts of no tenant; absolute; empty = none
  Origin tokens_place;                                         // where that is written
  Timeouts timeouts;
  Limits limits;
  LogSpec log;
  AdminSpec admin;
  unsigned workers = 0;  // resolved, at least 1
  std::chrono::milliseconds settle{50};
  std::optional<std::uint32_t> max_removed;  // percent of the hosts before; 100 = off; nothing = not said
  std::size_t host_count = 0;

  // It comes into force, or is in force again: tenants' endpoints are judged by its listeners.
  void judge_by_its_listeners() const {
    if (own != nullptr) own->set_listeners(listened);
  }
};

using SnapshotPtr = std::shared_ptr<const Snapshot>;

}  // namespace edgemux::routing
