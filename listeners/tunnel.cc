#include "listeners/tunnel.h"

#include <algorithm>
#include <cstring>

#include "listeners/worker.h"

namespace edgemux::listeners {

using core::Relay;

Tunnel::Tunnel(Worker& worker, Observer& observer, core::Stream& client, core::Stream& upstream)
    : worker_(worker),
      observer_(observer),
      client_(client),
      upstream_(upstream),
      up_(worker.relay_scratch()),
      down_(worker.relay_scratch()),
      deadline_([](void* self) { static_cast<Tunnel*>(self)->timed_out(); }, this),
      again_(
          worker.loop(), [](void* self) { static_cast<Tunnel*>(self)->pump(); }, this) {}

Tunnel::Tunnel(Worker& worker, Observer& observer, core::TcpStream& client, core::TcpStream& upstream)
    : Tunnel(worker, observer, static_cast<core::Stream&>(client), static_cast<core::Stream&>(upstream)) {
  tcp_client_ = &client;
}

Tunnel::~Tunnel() {
  client_.set_observer(nullptr);
  upstream_.set_observer(nullptr);
}

void Tunnel::start() {
  client_.set_observer(this);
  upstream_.set_observer(this);
  again_.request();
}

void Tunnel::opened(core::ListenerMetrics& metrics) const {
  metrics.tunnels.add();
  metrics.tunnels_active.add();
}

void Tunnel::closed(core::ListenerMetrics& metrics, std::uint64_t own) const {
  metrics.tunnels_active.sub();
  metrics.client_received.add(up_.bytes() - std::min(own, up_.bytes()));
  metrics.upstream_sent.add(up_.bytes());
  metrics.client_sent.add(down_.bytes());
  metrics.upstream_received.add(down_.bytes());
  if (tenant_ == nullptr) return;
  auto& figures = tenant_->figures(worker_.index());
  figures.received.fetch_add(up_.bytes() - std::min(own, up_.bytes()), std::memory_order_relaxed);
  figures.sent.fetch_add(down_.bytes(), std::memory_order_relaxed);
}

bool Tunnel::half_closed() const { return up_.state() == Relay::State::done || down_.state() == Relay::State::done; }

void Tunnel::on_ready(core::Stream&) { pump(); }

bool Tunnel::may_move(const Payers& payers) {
  const std::uint64_t wait = allowance_.wait(payers, worker_.now());
  if (wait == 0) return true;
  await_bytes();
  if (pause_ == nullptr) {
    pause_ = std::make_unique<core::Timer>([](void* self) { static_cast<Tunnel*>(self)->pump(); }, this);
  }
  if (!pause_->armed()) worker_.loop().timers().arm(*pause_, worker_.now() + wait);
  return false;
}

void Tunnel::pump() {
  if (stopped_) return;
  const Payers payers{worker_.shared().sources, *source_, tenant_};
  if (!may_move(payers)) return;
  const std::size_t budget = std::min(allowance_.left(payers), core::Relay::kBudget);
  const std::uint64_t before = up_.bytes() + down_.bytes();
  bool again = false;
  Relay::State up = Relay::State::open;
  Relay::State down = Relay::State::open;
  if (tcp_client_ != nullptr) {
    if (up_.state() == Relay::State::done) down_.close_follows();
    if (down_.state() == Relay::State::done) up_.close_follows();
    auto& tcp_upstream = static_cast<core::TcpStream&>(upstream_);
    up = up_.pump(*tcp_client_, tcp_upstream, again, budget);
    down = down_.pump(tcp_upstream, *tcp_client_, again, budget);
  } else {
    up = up_.pump(client_, upstream_, again, budget);
    down = down_.pump(upstream_, client_, again, std::min(budget, observer_.tunnel_read_limit()));
  }
  allowance_.spend(payers, up_.bytes() + down_.bytes() - before);
  const auto lost = [](Relay::State state) {
    return state == Relay::State::source_lost || state == Relay::State::sink_lost;
  };
  if (lost(up) || lost(down)) {
    stop();
    // A reset is passed on as one: the other side must not take what it got for the whole.
    const bool client_lost = up == Relay::State::source_lost || down == Relay::State::sink_lost;
    (client_lost ? upstream_ : client_).abort();
    const int error = lost(up) ? up_.error() : down_.error();
    observer_.on_tunnel_closed(client_lost ? CloseReason::client_reset : CloseReason::upstream_reset,
                               std::strerror(error));
    return;
  }
  if (up == Relay::State::done && down == Relay::State::done) {
    if (client_.unsent() == 0 && upstream_.unsent() == 0) {
      stop();
      observer_.on_tunnel_closed(CloseReason::done, "");
      return;
    }
  }
  await_bytes();
  if (again) again_.request();
}

void Tunnel::await_bytes() {
  const auto& timeouts = worker_.snapshot().timeouts;
  const auto silence = half_closed() ? timeouts.half_closed : timeouts.tunnel_idle;
  worker_.loop().timers().arm(deadline_, worker_.now() + static_cast<std::uint64_t>(silence.count()));
}

void Tunnel::stop() {
  if (!stopped_ && source_ != nullptr)
    allowance_.give_back({worker_.shared().sources, *source_, tenant_}, worker_.now());
  stopped_ = true;
  again_.cancel();
  deadline_.cancel();
  if (pause_ != nullptr) pause_->cancel();
}

void Tunnel::timed_out() {
  stop();
  observer_.on_tunnel_closed(half_closed() ? CloseReason::half_closed_timeout : CloseReason::tunnel_idle, "");
}

}  // namespace edgemux::listeners
