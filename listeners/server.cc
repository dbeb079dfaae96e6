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
constexpr std::uint64_t kAskMs = 10;
constexpr std::uint64_t kLeaveMs = 3'000;  // a handshake takes no longer, or the client will begin anew

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

std::uint64_t file_limit() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  return files.rlim_cur;
}

// For admin, logs, listeners, pipes.
std::uint64_t reserve_of(std::uint64_t files) { return std::max<std::uint64_t>(64, files / 20); }
constexpr std::uint64_t kFewest = 16;  // where the reserve leaves none

// The listener that is asked for connections to `bind` now; null: none is.
const routing::ListenerSpec* heir_of(const routing::Bind& bind, const routing::Snapshot& snapshot) {
  for (const auto& listener : snapshot.listeners) {
    const auto& binds = listener->spec.binds;
    if (std::any_of(binds.begin(), binds.end(), [&](const auto& other) { return overlap(bind, other); })) {
      return &listener->spec;
    }
  }
  return nullptr;
}

}  // namespace

std::uint64_t idle_limit(unsigned workers) {
  const std::uint64_t files = file_limit();
  const std::uint64_t available = files > reserve_of(files) ? (files - reserve_of(files)) / 4 : kFewest;
  return std::max<std::uint64_t>(1, available / workers);
}

std::uint32_t connection_limit(const routing::Limits& limits) {
  const std::uint64_t files = file_limit();
  const std::uint64_t available = files > reserve_of(files) ? (files - reserve_of(files)) / 2 : kFewest;
  if (limits.connections == 0) return static_cast<std::uint32_t>(std::min<std::uint64_t>(available, UINT32_MAX));
  if (limits.connections > available) {
    core::log_warn("limits.connections is {}, but the limit of open files ({}) allows {}; raise LimitNOFILE",
                   limits.connections, files, available);
  }
  return limits.connections;
}

Server::Server(core::EventLoop& control, core::Metrics& metrics, AccessLog& access_log)
    : control_(control),
      metrics_(metrics),
      shared_{metrics,
              access_log,
              admission_,
              sources_,
              std::make_shared<core::TicketKeys>(),
              idle_limit(metrics.workers()),
              [this] { ask_for_descriptors(); }},
      leave_tick_([](void* self) { static_cast<Server*>(self)->end_leaving(); }, this),
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
      const auto goes = [&](const Leaving& leaving) { return overlap(leaving.socket.bind, bind); };
      const bool alone = std::none_of(sockets_.begin(), sockets_.end(), ours) &&
                         std::none_of(opened.begin(), opened.end(), ours) &&
                         std::none_of(leaving_.begin(), leaving_.end(), goes);
      Socket socket;
      socket.bind = bind;
      for (unsigned i = 0; i < metrics_.workers(); ++i) {
        auto descriptor = core::ListeningDescriptor::open(bind.address, options, alone && i == 0);
        if (!descriptor) return core::fail("listener " + listener->spec.name + ": " + descriptor.error().message);
        socket.descriptors.push_back(std::make_shared<core::ListeningDescriptor>(std::move(*descriptor)));
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
  for (const auto& listener : snapshot->listeners) {
    for (const auto& bind : listener->spec.binds) {
      const auto options = options_of(listener->spec, bind);
      for (const auto& descriptor : sockets_.at(key_of(bind)).descriptors) {
        core::apply_tcp_options(descriptor->fd(), options.tcp);
        listen(descriptor->fd(), options.backlog);  // an open socket takes a new backlog
      }
    }
  }
  snapshot_ = snapshot;
  give_up_sockets();
  auto finish = std::make_shared<std::function<void()>>([this, done = std::move(done)] {
    metrics_.generation.store(snapshot_->generation, std::memory_order_relaxed);
    metrics_.hosts.store(snapshot_->host_count, std::memory_order_relaxed);
    done();
  });
  auto left = std::make_shared<std::size_t>(workers_.size());
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    Worker* worker = workers_[i].get();
    worker->post([this, worker, snapshot, own = sockets_of(i), left, finish] {
      auto before = worker->adopt(snapshot, own);
      // The old table dies on the control thread, if this was its last holder.
      control_.post([before = std::move(before), left, finish]() mutable {
        before.reset();
        if (--*left == 0) (*finish)();
      });
    });
  }
}

std::vector<WorkerSocket> Server::sockets_of(std::size_t worker) const {
  std::vector<WorkerSocket> own;
  for (const auto& listener : snapshot_->listeners) {
    for (const auto& bind : listener->spec.binds) {
      own.push_back({listener->spec.name, sockets_.at(key_of(bind)).descriptors[worker]});
    }
  }
  for (const auto& [socket, until] : leaving_) {
    own.push_back({heir_of(socket.bind, *snapshot_)->name, socket.descriptors[worker]});
  }
  return own;
}

void Server::give_up_sockets() {
  std::erase_if(leaving_, [&](const Leaving& one) { return heir_of(one.socket.bind, *snapshot_) == nullptr; });
  // What is in neither list is its workers' alone, and each closes its own.
  std::erase_if(sockets_, [&](const auto& entry) {
    const Socket& socket = entry.second;
    const auto has_it = [&](const auto& listener) {
      const auto& binds = listener->spec.binds;
      return std::any_of(binds.begin(), binds.end(), [&](const auto& bind) { return key_of(bind) == entry.first; });
    };
    if (std::any_of(snapshot_->listeners.begin(), snapshot_->listeners.end(), has_it)) return false;
    if (heir_of(socket.bind, *snapshot_) == nullptr) return true;
    for (const auto& descriptor : socket.descriptors) descriptor->hide();
    leaving_.push_back({socket, control_.now() + kLeaveMs});
    return true;
  });
  if (!leaving_.empty()) control_.timers().arm(leave_tick_, leaving_.front().until);
}

void Server::end_leaving() {
  std::erase_if(leaving_, [this](const Leaving& one) { return one.until <= control_.now(); });
  if (!leaving_.empty()) control_.timers().arm(leave_tick_, leaving_.front().until);
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->post([worker = workers_[i].get(), own = sockets_of(i)] { worker->keep_only(own); });
  }
}

void Server::drain(std::function<void(bool clean)> done) {
  drained_ = std::move(done);
  drain_until_ = control_.now() + static_cast<std::uint64_t>(snapshot_->timeouts.drain.count());
  // Each worker closes its sockets when it has accepted what is queued: new clients are refused, not left waiting.
  sockets_.clear();
  leaving_.clear();
  leave_tick_.cancel();
  for (auto& worker : workers_) {
    worker->post([w = worker.get()] { w->drain(); });
  }
  control_.timers().arm(drain_tick_, control_.now() + kDrainCheckMs);
}

void Server::ask_for_descriptors() {
  const std::uint64_t now = core::log_clock();
  std::uint64_t last = asked_at_.load(std::memory_order_relaxed);
  if (now - last < kAskMs || !asked_at_.compare_exchange_strong(last, now, std::memory_order_relaxed)) return;
  for (auto& worker : workers_) {
    worker->post([w = worker.get()] { w->give_away(); });
  }
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
