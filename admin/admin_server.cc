#include "admin/admin_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

#include "admin/admin_connection.h"
#include "admin/exposition.h"
#include "admin/unix_listener.h"
#include "core/base/log.h"
#include "core/io/listening_socket.h"
#include "core/io/spare_descriptors.h"

namespace edgemux::admin {

namespace {

constexpr std::size_t kMaxConnections = 64;
constexpr std::size_t kSpareDescriptors = 8;
constexpr std::string_view kUnixPrefix = "unix:";

// `first`: nobody may listen there yet.
core::Result<core::ListeningDescriptor> open_tcp(const std::string& text, bool first = true) {
  // Port 0 lets the kernel choose, for tests; the configuration never gets this far with it.
  const bool any_port = text.size() > 2 && text.substr(text.size() - 2) == ":0";
  const auto place = core::parse_host_port(any_port ? text.substr(0, text.size() - 1) + "1" : text, true);
  if (!place) return core::fail("admin.probes: " + place.error().message);
  core::ListenOptions options;
  options.backlog = 64;
  options.dual_stack = place->host.empty();
  const std::uint16_t port = any_port ? 0 : place->port;
  const auto address = core::SocketAddress::parse_ip(place->host.empty() ? "::" : place->host, port);
  if (!address) return core::fail("admin.probes: '" + place->host + "' is no IP address; write 127.0.0.1:9902");
  auto opened = core::ListeningDescriptor::open(*address, options, first);
  if (!opened) return core::fail("admin.probes: " + opened.error().message);
  return opened;
}

std::string_view port_of(std::string_view text) { return text.substr(text.rfind(':') + 1); }

core::Result<UnixListener> open_unix(const std::string& text) {
  if (text.rfind(kUnixPrefix, 0) != 0) {
    return core::fail("admin.bind: '" + text +
                      "' is an address for TCP, which needs a token and is not supported yet; write unix:/path");
  }
  return UnixListener::open(text.substr(kUnixPrefix.size()));
}

}  // namespace

struct AdminServer::Shared {
  // Something that is listened on; the acceptor goes first.
  template <class Socket>
  struct Door {
    std::string text;
    Socket socket;
    std::unique_ptr<core::Acceptor> acceptor;
  };

  Shared(core::EventLoop& on, AdminSources from) : loop(on), sources(std::move(from)) {
    owner.answer = [this](const AdminConnection& connection, std::string_view path, std::string_view query) {
      return answer(path, query, connection.trusted());
    };
    owner.gone = [this](AdminConnection& connection) { retire(connection); };
  }

  std::unique_ptr<core::Acceptor> accept_on(int fd, bool trusted) {
    return std::make_unique<core::Acceptor>(
        loop, fd, [this, trusted](int client, const core::SocketAddress&) { take(client, trusted); },
        [this](int) {
          if (spare.let_go()) return true;
          spare.refill();  // of what others give back, for the next time
          return false;
        });
  }

  void take(int client, bool trusted) {
    // Each door has its own: strangers at the probes' do not keep the operator out.
    const auto there = std::count_if(connections.begin(), connections.end(),
                                     [trusted](const auto& entry) { return entry.second->trusted() == trusted; });
    if (static_cast<std::size_t>(there) >= kMaxConnections) {
      core::log_limited(core::LogLevel::warn, trusted ? "admin" : "probes",
                        "{}: {} connections are open; one was closed", trusted ? "admin.bind" : "admin.probes", there);
      if (!make_room(trusted)) {
        ::close(client);
        return;
      }
    }
    auto connection = std::make_unique<AdminConnection>(loop, client, trusted, owner, ++number);
    if (!connection->start()) return;
    auto* key = connection.get();
    connections.emplace(key, std::move(connection));
  }

  // Who comes and asks at once is not kept out by those that say nothing: the oldest of them goes. False: all are being
  // answered.
  bool make_room(bool trusted) {
    AdminConnection* oldest = nullptr;
    for (const auto& [connection, owned] : connections) {
      if (connection->trusted() != trusted || connection->answering()) continue;
      if (oldest == nullptr || connection->number() < oldest->number()) oldest = connection;
    }
    if (oldest != nullptr) retire(*oldest);
    return oldest != nullptr;
  }

  void retire(AdminConnection& connection) {
    auto node = connections.extract(&connection);
    connection.close();
    spare.refill();
    loop.retire(std::move(node.mapped()));
  }

  static Answer verdict(std::string why_not, std::string_view yes) {
    if (why_not.empty()) return {200, {}, std::string(yes)};
    return {503, {}, std::move(why_not) + "\n"};
  }

  Answer explained(std::string_view query) {
    constexpr std::string_view kText = "format=text&";
    const bool text = query.substr(0, kText.size()) == kText;
    const auto asked = asked_of(text ? query.substr(kText.size()) : query);
    if (!asked) return {400, {}, asked.error().message + "\n"};
    auto told = sources.explain(*asked, text);
    if (!told) return {400, {}, told.error().message + "\n"};
    return {200, text ? Answer{}.type : std::string_view("application/json"), std::move(*told)};
  }

  std::string metrics() {
    (void)spare.let_go();  // for what is read of the process
    std::string text = sources.metrics();
    spare.refill();
    return text;
  }

  Answer answer(std::string_view path, std::string_view query, bool trusted) {
    if (path == "/healthz") return verdict(sources.unhealthy(), "ok\n");
    if (path == "/readyz") return verdict(sources.not_ready(), "ready\n");
    if (path == "/metrics") return {200, kMetricsType, metrics()};
    if (path == "/status" && trusted) return {200, "application/json", sources.status()};
    if (path == "/explain" && trusted) return explained(query);
    if (path == "/status" || path == "/explain") {
      return {404, {}, "the " + std::string(path.substr(1)) + " is told on the admin socket (admin.bind) only\n"};
    }
    return {404, {}, "there are /healthz, /readyz and /metrics, and on the admin socket /status and /explain\n"};
  }

  core::EventLoop& loop;
  AdminSources sources;
  AdminConnection::Owner owner;
  core::SpareDescriptors spare{kSpareDescriptors};  // so that clients are answered when the process has no other left
  std::uint64_t number = 0;                         // of the latest connection
  std::optional<Door<UnixListener>> api;
  std::optional<Door<core::ListeningDescriptor>> probes;
  std::unordered_map<AdminConnection*, std::unique_ptr<AdminConnection>> connections;
};

AdminServer::AdminServer(core::EventLoop& loop, AdminSources sources, std::uint64_t deadline_ms)
    : shared_(std::make_unique<Shared>(loop, std::move(sources))) {
  shared_->owner.deadline_ms = deadline_ms;
}

AdminServer::~AdminServer() = default;

core::Result<void> AdminServer::listen(const routing::AdminSpec& spec) {
  Shared& s = *shared_;
  const bool same_api = s.api ? s.api->text == spec.bind && s.api->socket.in_place() : spec.bind.empty();
  const bool same_probes = s.probes ? s.probes->text == spec.probes : spec.probes.empty();
  // Open everything before anything is closed: an error leaves what there was.
  std::optional<UnixListener> api;
  std::optional<core::ListeningDescriptor> probes;
  if (!same_api && !spec.bind.empty()) {
    auto opened = open_unix(spec.bind);
    if (!opened) return tl::unexpected(opened.error());
    api.emplace(std::move(*opened));
  }
  if (!same_probes && !spec.probes.empty()) {
    auto opened = open_tcp(spec.probes);
    // Who listens there may be we, at another address of the port: both do for a moment.
    if (!opened && s.probes && port_of(s.probes->text) == port_of(spec.probes)) opened = open_tcp(spec.probes, false);
    if (!opened) return tl::unexpected(opened.error());
    probes.emplace(std::move(*opened));
  }
  if (!same_api) s.api.reset();
  if (!same_probes) {
    if (s.probes) s.probes->acceptor->accept_queued();  // who has come in meanwhile is answered
    s.probes.reset();
  }
  if (api) {
    const int fd = api->fd();
    s.api.emplace(Shared::Door<UnixListener>{spec.bind, std::move(*api), s.accept_on(fd, true)});
  }
  if (probes) {
    const int fd = probes->fd();
    s.probes.emplace(Shared::Door<core::ListeningDescriptor>{spec.probes, std::move(*probes), s.accept_on(fd, false)});
  }
  return {};  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): the doors own what they listen on
}

std::uint16_t AdminServer::probes_port() const {
  if (!shared_->probes) return 0;
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(shared_->probes->socket.fd(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return 0;
  return core::SocketAddress::from(reinterpret_cast<sockaddr*>(&storage), size).port();
}

std::size_t AdminServer::connections() const { return shared_->connections.size(); }

}  // namespace edgemux::admin
