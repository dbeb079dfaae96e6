#include "listeners/listener.h"

#include <unistd.h>

#include <algorithm>

#include "core/base/log.h"
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

void Listener::update(std::shared_ptr<const routing::Listener> table, const std::vector<int>& sockets) {
  table_ = std::move(table);
  removed_ = false;
  keep_only(sockets);
  for (const int fd : sockets) {
    if (std::any_of(sockets_.begin(), sockets_.end(), [fd](const Socket& socket) { return socket.fd == fd; })) continue;
    auto on_accept = [this](int accepted, const core::SocketAddress& client) { accept(accepted, client); };
    sockets_.push_back({fd, std::make_unique<core::Acceptor>(worker_.loop(), fd, std::move(on_accept))});
  }
}

void Listener::keep_only(const std::vector<int>& sockets) {
  for (auto& socket : sockets_) {
    if (std::find(sockets.begin(), sockets.end(), socket.fd) == sockets.end()) {
      socket.acceptor->stop();
      worker_.loop().retire(std::move(socket.acceptor));
    }
  }
  std::erase_if(sockets_, [](const Socket& socket) { return socket.acceptor == nullptr; });
}

void Listener::stop_accepting() {
  for (auto& socket : sockets_) {
    socket.acceptor->accept_queued();
    socket.acceptor->stop();
    worker_.loop().retire(std::move(socket.acceptor));
  }
  sockets_.clear();
}

void Listener::remove() {
  stop_accepting();
  removed_ = true;
  removed_at_ = worker_.loop().now();
}

void Listener::forget_table() {
  if (std::exchange(forgotten_, true)) return;
  auto empty = std::make_shared<routing::Listener>();
  empty->spec = table_->spec;
  table_ = std::move(empty);
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
