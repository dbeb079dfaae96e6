#include "core/io/listening_socket.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "core/base/shortage.h"

namespace edgemux::core {

namespace {

std::string explain_bind(const SocketAddress& address, int error) {
  const std::string where = "cannot listen on " + address.to_string() + ": ";
  switch (error) {
    case EADDRINUSE:
      return where +
             "the port is in use by another process; stop it or choose another port (ss -ltnp shows who has it)";
    case EACCES:
      return where +
             "ports below 1024 need the capability CAP_NET_BIND_SERVICE; run under the systemd unit, give the binary "
             "the "
             "capability with setcap cap_net_bind_service=+ep, or choose a port from 1024 on";
    case EADDRNOTAVAIL:
      return where + "this machine has no such address";
    default:
      return where + std::strerror(error);
  }
}

int open_socket(const SocketAddress& address, const ListenOptions& options, bool reuse_port, int& error) {
  const int fd = socket(address.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    error = errno;
    return -1;
  }
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (address.is_v6()) {
    const int only = options.dual_stack ? 0 : 1;
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  }
  if (bind(fd, address.data(), address.size()) != 0) {
    error = errno;
    close(fd);
    return -1;
  }
  return fd;
}

}  // namespace

Result<ListeningDescriptor> ListeningDescriptor::open(const SocketAddress& wanted, const ListenOptions& options,
                                                      bool first) {
  SocketAddress address = wanted;
  int error = 0;
  if (first) {
    int probe = open_socket(address, options, false, error);
    if (probe >= 0) {
      if (listen(probe, 1) != 0) error = errno;
      close(probe);
    }
    if (error == EADDRINUSE || error == EACCES) return fail(explain_bind(address, error));
  }
  error = 0;
  int fd = open_socket(address, options, true, error);
  if (fd < 0 && options.dual_stack && (error == EAFNOSUPPORT || error == EADDRNOTAVAIL)) {
    // No IPv6 on this machine: ":80" is then every IPv4 address.
    address = *SocketAddress::parse_ip("0.0.0.0", wanted.port());
    fd = open_socket(address, options, true, error);
  }
  if (fd < 0) return fail(explain_bind(address, error));
  apply_tcp_options(fd, options.tcp);
  if (listen(fd, options.backlog) != 0) {
    error = errno;
    close(fd);
    return fail(explain_bind(address, error));
  }
  return ListeningDescriptor(fd);
}

ListeningDescriptor& ListeningDescriptor::operator=(ListeningDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

void ListeningDescriptor::hide() const {
  hidden_.store(true, std::memory_order_relaxed);
  // The kernel looks for the listener of a SYN by its device, and for that of a handshake's end by the handshake.
  const int none = INT_MAX;
  setsockopt(fd_, SOL_SOCKET, SO_BINDTOIFINDEX, &none, sizeof none);
}

ListeningDescriptor::~ListeningDescriptor() {
  if (fd_ >= 0) close(fd_);
}

Acceptor::Acceptor(EventLoop& loop, int fd, OnAccept on_accept, OnShortage on_shortage)
    : loop_(loop),
      fd_(fd),
      on_accept_(std::move(on_accept)),
      on_shortage_(std::move(on_shortage)),
      retry_([](void* self) { static_cast<Acceptor*>(self)->resume(); }, this) {
  resume();
}

Acceptor::~Acceptor() { stop(); }

void Acceptor::stop() {
  stopped_ = true;
  pause();
  retry_.cancel();
}

void Acceptor::pause() {
  if (!active_) return;
  active_ = false;
  loop_.unwatch(fd_, *this);
}

void Acceptor::resume() {
  if (active_ || stopped_) return;
  active_ = loop_.watch(fd_, *this, Trigger::level, kReadable).has_value();
  // Another acceptor may be about to let the socket go (it moves from one listener to another).
  if (!active_) loop_.timers().arm(retry_, loop_.now() + kRetryMs);
}

void Acceptor::accept_queued() {
  constexpr int kMost = 65536;
  if (active_) (void)accept_batch(kMost, false);
}

void Acceptor::on_io(std::uint32_t) {
  // A lone client costs one accept; a rush makes the batches grow, so that it costs few turns.
  batch_ = accept_batch(batch_, true) ? std::min(batch_ * 2, kBatch) : 1;
}

bool Acceptor::accept_batch(int most, bool patient) {
  for (int i = 0; i < most && active_; ++i) {
    sockaddr_storage storage;
    socklen_t size = sizeof storage;
    const int fd = accept4(fd_, reinterpret_cast<sockaddr*>(&storage), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      on_accept_(fd, SocketAddress::from(reinterpret_cast<const sockaddr*>(&storage), size));
      continue;
    }
    if (errno == ECONNABORTED || errno == EINTR) continue;
    // Without a descriptor the kernel says so where no client is, too.
    if (patient && is_shortage(errno)) {
      if (on_shortage_ && on_shortage_(errno)) continue;
      // Level-triggered readiness would spin here. Clients wait in the kernel's queue meanwhile.
      pause();
      loop_.timers().arm(retry_, loop_.now() + kRetryMs);
    }
    return false;
  }
  return true;
}

}  // namespace edgemux::core
