#include "listeners/listener.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/base/log.h"
#include "core/base/shortage.h"
#include "listeners/forwarding.h"
#include "listeners/http_session.h"
#include "listeners/passthrough_session.h"
#include "listeners/proxied_session.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

Listener::Listener(Worker& worker, std::shared_ptr<const routing::Listener> table)
    : worker_(worker),
      name_(table->spec.name),
      table_(std::move(table)),
      metrics_(worker.metrics().listeners[worker.shared().metrics.listener_slot(name_)]) {}

Listener::~Listener() = default;

void Listener::update(std::shared_ptr<const routing::Listener> table, const std::vector<WorkerSocket>& sockets) {
  table_ = std::move(table);
  removed_ = false;
  keep_only(sockets);
  for (const auto& [listener, descriptor] : sockets) {
    const auto has_it = [&wanted = descriptor](const Socket& socket) { return socket.descriptor == wanted; };
    if (listener != name_ || std::any_of(sockets_.begin(), sockets_.end(), has_it)) continue;
    auto on_accept = [this, on = descriptor.get()](int accepted, const core::SocketAddress& client) {
      on->hidden() ? worker_.accept_by_address(accepted, client) : accept(accepted, client);
    };
    auto on_shortage = [this](int error) {
      this->on_shortage(error);
      return false;
    };
    sockets_.push_back({descriptor, std::make_unique<core::Acceptor>(worker_.loop(), descriptor->fd(),
                                                                     std::move(on_accept), std::move(on_shortage))});
  }
}

void Listener::keep_only(const std::vector<WorkerSocket>& sockets) {
  std::erase_if(sockets_, [&](Socket& socket) {
    const auto next = std::find_if(sockets.begin(), sockets.end(),
                                   [&](const WorkerSocket& other) { return other.descriptor == socket.descriptor; });
    if (next != sockets.end() && next->listener == name_) return false;
    if (next == sockets.end()) socket.acceptor->accept_queued();
    socket.acceptor->stop();
    worker_.loop().retire(std::move(socket.acceptor));
    return true;  // and with it the descriptor
  });
}

void Listener::remove(const std::vector<WorkerSocket>& sockets) {
  keep_only(sockets);
  removed_ = true;
  removed_at_ = worker_.loop().now();
}

void Listener::forget_table() {
  if (std::exchange(forgotten_, true)) return;
  auto empty = std::make_shared<routing::Listener>();
  empty->spec = table_->spec;
  table_ = std::move(empty);
}

bool Listener::leaves() const { return removed_ || worker_.draining(); }

void Listener::on_shortage(int error) {
  worker_.metrics().accept_failures.add();
  worker_.relieve(kAcceptedAtOnce);
  core::log_limited(core::LogLevel::error, "accept", "listener {}: no client can be accepted: {}; {}", name_,
                    std::strerror(error), core::shortage_remedy(error));
}

void Listener::accept(int fd, const core::SocketAddress& client) {
  metrics_.accepted.add();
  const bool proxied = contains(spec().accept_proxy_protocol, client);
  const core::SocketAddress counted = proxied ? core::SocketAddress() : client;  // who it is will be said
  const bool by_source = worker_.counts_sources();
  if (!worker_.shared().admission.admit(counted, worker_.now(), by_source)) {
    close(fd);
    worker_.metrics().closes[static_cast<std::size_t>(CloseReason::too_many_connections)].add();
    core::log_limited(
        core::LogLevel::warn, "too_many_connections",
        "listener {}: a connection from {} was closed: a limit on client connections is reached ({} open)", name_,
        client.ip(), worker_.shared().admission.connections());
    return;
  }
  auto stream = core::TcpStream::adopt(worker_.loop(), fd);
  if (!stream) {
    worker_.shared().admission.leave(counted, by_source);
    worker_.metrics().closes[static_cast<std::size_t>(CloseReason::out_of_resources)].add();
    core::log_limited(core::LogLevel::error, "adopt", "listener {}: {}", name_, stream.error().message);
    return;
  }
  metrics_.active.add();
  if (proxied) {
    ProxiedSession::begin(*this, client, std::move(*stream));
  } else {
    begin(client, {}, std::move(*stream));
  }
}

void Listener::begin(const core::SocketAddress& client, const core::SocketAddress& destination,
                     std::unique_ptr<core::TcpStream> stream) {
  switch (spec().protocol) {
    case routing::Protocol::tls:
      return PassthroughSession::begin(*this, client, destination, std::move(stream));
    case routing::Protocol::tcp:
      return PassthroughSession::begin_tcp(*this, client, destination, std::move(stream));
    case routing::Protocol::http:
      return HttpSession::begin_plain(*this, client, destination, std::move(stream));
  }
}

}  // namespace edgemux::listeners
