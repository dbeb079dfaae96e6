#include "listeners/server.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/tls/ticket_keys.h"
#include "routing/table/binds.h"

namespace edgemux::listeners {

namespace {

constexpr std::uint64_t kDrainCheckMs = 20;

core::ListenOptions options_of(const routing::ListenerSpec& spec, const routing::Bind& bind) {
  core::ListenOptions options;
  options.backlog = spec.backlog;
  options.dual_stack = bind.dual_stack;
  options.tcp.keepalive_seconds = static_cast<int>(spec.tcp_keepalive.count());
  options.tcp.user_timeout_ms = static_cast<unsigned>(spec.tcp_user_timeout.count());
  return options;
}

std::string key_of(const routing::Bind& bind) { return bind.address.to_string() + (bind.dual_stack ? "+" : ""); }

// Whether both would be asked for the same connections.
bool overlap(const routing::Bind& a, const routing::Bind& b) {
  return a.address.port() == b.address.port() && (routing::covers(a, b) || routing::covers(b, a));
}

}  // namespace

std::uint32_t connection_limit(const routing::Limits& limits) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  const std::uint64_t reserve = std::max<std::uint64_t>(64, files.rlim_cur / 20);  // for admin, logs, listeners, pipes
  const std::uint64_t available = files.rlim_cur > reserve ? (files.rlim_cur - reserve) / 2 : 16;
  if (limits.connections == 0) return static_cast<std::uint32_t>(std::min<std::uint64_t>(available, UINT32_MAX));
  if (limits.connections > available) {
    core::log_warn("limits.connections is {}, but the limit of open files ({}) allows {}; raise LimitNOFILE",
                   limits.connections, files.rlim_cur, available);
  }
  return limits.connections;
}

Server::Server(core::EventLoop& control, core::Metrics& metrics, AccessLog& access_log)
    : control_(control),
      metrics_(metrics),
      shared_{metrics, access_log, admission_, sources_, std::make_shared<core::TicketKeys>()},
      drain_tick_([](void* self) { static_cast<Server*>(self)->check_drained(); }, this) {}

Server::~Server() {
  for (auto& worker : workers_) worker->stop_and_join();
}

core::Result<Server::Sockets> Server::open_missing(const routing::Snapshot& snapshot) {
  Sockets opened;
  for (const auto& listener : snapshot.listeners) {
    for (const auto& bind : listener->spec.binds) {
      const std::string key = key_of(bind);
      if (sockets_.contains(key)) continue;
      const auto options = options_of(listener->spec, bind);
      // Beside a wildcard address we may be in our own way, which is none: the more exact one gets the client.
      const auto ours = [&](const auto& entry) { return overlap(entry.second.bind, bind); };
      const bool alone =
          std::none_of(sockets_.begin(), sockets_.end(), ours) && std::none_of(opened.begin(), opened.end(), ours);
      Socket socket;
      socket.bind = bind;
      for (unsigned i = 0; i < metrics_.workers(); ++i) {
        auto descriptor = core::ListeningDescriptor::open(bind.address, options, alone && i == 0);
        if (!descriptor) return core::fail("listener " + listener->spec.name + ": " + descriptor.error().message);
        socket.descriptors.push_back(std::move(*descriptor));
      }
      opened.emplace(key, std::move(socket));
    }
  }
  return opened;
}

core::Result<void> Server::start(const routing::SnapshotPtr& snapshot, std::function<void()> done) {
  auto opened = open_missing(*snapshot);
  if (!opened) return tl::unexpected(opened.error());
  for (unsigned i = 0; i < metrics_.workers(); ++i) {
    workers_.push_back(std::make_unique<Worker>(i, shared_));
    if (auto started = workers_.back()->start(); !started) return started;
  }
  adopt(snapshot, std::move(*opened), std::move(done));
  return {};
}

core::Result<void> Server::publish(const routing::SnapshotPtr& snapshot, std::function<void()> done) {
  auto opened = open_missing(*snapshot);
  if (!opened) return tl::unexpected(opened.error());
  adopt(snapshot, std::move(*opened), std::move(done));
  return {};
}

void Server::adopt(const routing::SnapshotPtr& snapshot, Sockets opened, std::function<void()> done) {
  sockets_.merge(opened);
  admission_.configure(snapshot->limits, connection_limit(snapshot->limits));
  sources_.configure(snapshot->limits);
  for (const auto& tenant : snapshot->tenants) tenant->state->configure(tenant->limits);
  std::vector<std::string> wanted;
  for (const auto& listener : snapshot->listeners) {
    for (const auto& bind : listener->spec.binds) {
      wanted.push_back(key_of(bind));
      const auto options = options_of(listener->spec, bind);
      for (const auto& descriptor : sockets_.at(wanted.back()).descriptors) {
        core::apply_tcp_options(descriptor.fd(), options.tcp);
        listen(descriptor.fd(), options.backlog);  // an open socket takes a new backlog
      }
    }
  }
  snapshot_ = snapshot;
  // What is no longer wanted is closed when no worker accepts on it any more.
  auto finish = std::make_shared<std::function<void()>>([this, wanted = std::move(wanted), done = std::move(done)] {
    std::erase_if(sockets_, [&](const auto& entry) {
      return std::find(wanted.begin(), wanted.end(), entry.first) == wanted.end();
    });
    metrics_.generation.store(snapshot_->generation, std::memory_order_relaxed);
    metrics_.hosts.store(snapshot_->host_count, std::memory_order_relaxed);
    done();
  });
  auto left = std::make_shared<std::size_t>(workers_.size());
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    std::vector<WorkerSocket> own;
    for (const auto& listener : snapshot->listeners) {
      for (const auto& bind : listener->spec.binds) {
        own.push_back({listener->spec.name, sockets_.at(key_of(bind)).descriptors[i].fd()});
      }
    }
    Worker* worker = workers_[i].get();
    worker->post([this, worker, snapshot, own = std::move(own), left, finish] {
      auto before = worker->adopt(snapshot, own);
      // The old table dies on the control thread, if this was its last holder.
      control_.post([before = std::move(before), left, finish]() mutable {
        before.reset();
        if (--*left == 0) (*finish)();
      });
    });
  }
}

void Server::drain(std::function<void(bool clean)> done) {
  drained_ = std::move(done);
  drain_until_ = control_.now() + static_cast<std::uint64_t>(snapshot_->timeouts.drain.count());
  // When no worker accepts any more, the sockets are closed: new clients are refused, not left waiting.
  auto left = std::make_shared<std::size_t>(workers_.size());
  for (auto& worker : workers_) {
    worker->post([this, left, w = worker.get()] {
      w->drain();
      control_.post([this, left] {
        if (--*left == 0) sockets_.clear();
      });
    });
  }
  control_.timers().arm(drain_tick_, control_.now() + kDrainCheckMs);
}

void Server::cut_short() { drain_until_ = 0; }

std::size_t Server::sessions() const {
  std::size_t count = 0;
  for (const auto& worker : workers_) count += worker->session_count();
  return count;
}

void Server::check_drained() {
  if (sessions() > 0 && control_.now() < drain_until_) {
    control_.timers().arm(drain_tick_, control_.now() + kDrainCheckMs);
    return;
  }
  const bool clean = sessions() == 0;
  if (!clean) core::log_warn("{} connections were still open at the end of the drain", sessions());
  drained_(clean);
}

}  // namespace edgemux::listeners
