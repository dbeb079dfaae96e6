#include "listeners/tunnel.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "listeners/worker.h"

namespace edgemux::listeners {

using core::Relay;

namespace {

constexpr std::uint64_t kLookMs = 1'000;
// What a listener's tcp.keepalive is by default.
constexpr int kUpstreamKeepaliveSeconds = 60;

}  // namespace

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
  both_tcp_ = true;
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

void Tunnel::opened(First up, First down, bool of_stream) {
  own_ = static_cast<std::uint16_t>(up.own);  // a PROXY header is that small
  of_stream_ = of_stream;
  counted_up_ = up.known;
  counted_down_ = down.known;
  auto& metrics = observer_.tunnel_metrics();
  metrics.upstream_sent.add(up.known);
  if (!of_stream) metrics.client_sent.add(down.known);
  if (tenant_ != nullptr) {
    auto& figures = tenant_->figures(worker_.index());
    figures.received.fetch_add(up.known - up.own, std::memory_order_relaxed);
    figures.sent.fetch_add(down.known - down.own, std::memory_order_relaxed);
  }
  metrics.tunnels.add();
  metrics.tunnels_active.add();
}

void Tunnel::closed() {
  count();
  observer_.tunnel_metrics().tunnels_active.sub();
}

void Tunnel::count() {
  const std::uint64_t received = beyond(up_.bytes(), counted_up_);
  const std::uint64_t sent = beyond(down_.bytes(), counted_down_);
  counted_up_ += received;
  counted_down_ += sent;
  auto& metrics = observer_.tunnel_metrics();
  if (!of_stream_) {
    metrics.client_received.add(received);
    metrics.client_sent.add(sent);
  }
  metrics.upstream_sent.add(received);
  metrics.upstream_received.add(sent);
  if (tenant_ == nullptr) return;
  auto& figures = tenant_->figures(worker_.index());
  figures.received.fetch_add(received, std::memory_order_relaxed);
  figures.sent.fetch_add(sent, std::memory_order_relaxed);
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
  if (both_tcp_) {
    if (up_.state() == Relay::State::done) down_.close_follows();
    if (down_.state() == Relay::State::done) up_.close_follows();
    auto& tcp_client = static_cast<core::TcpStream&>(client_);
    auto& tcp_upstream = static_cast<core::TcpStream&>(upstream_);
    up = up_.pump(tcp_client, tcp_upstream, again, budget);
    down = down_.pump(tcp_upstream, tcp_client, again, budget);
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
      // With the rest of it on its way, a client that is gone has not got it.
      const bool gone = rest_waited_ && client_.broken();
      observer_.on_tunnel_closed(gone ? CloseReason::client_reset : CloseReason::done, "");
      return;
    }
    rest_waited_ = true;
  }
  // Nothing is read of a client while the upstream takes nothing, so nothing else would find out. (One that was told
  // the end may have hung up in good order.)
  if (client_.broken() && !again && up == Relay::State::open && down == Relay::State::open) {
    stop();
    upstream_.abort();
    observer_.on_tunnel_closed(CloseReason::client_reset, "while the upstream took nothing");
    return;
  }
  await_bytes();
  if (again) again_.request();
}

void Tunnel::await_bytes() {
  const auto& timeouts = worker_.snapshot().timeouts;
  const auto silence = half_closed() ? timeouts.half_closed : timeouts.tunnel_idle;
  silent_at_ = worker_.now() + static_cast<std::uint64_t>(silence.count());
  std::uint64_t next = silent_at_;
  if (!lasts_ || counted_up_ != up_.bytes() || counted_down_ != down_.bytes()) {
    next = std::min(next, look_due_ ? deadline_.deadline() : worker_.now() + kLookMs);
    look_due_ = true;
  }
  worker_.loop().timers().arm(deadline_, next);
}

void Tunnel::look() {
  count();
  if (!std::exchange(lasts_, true)) upstream_.keep_alive(kUpstreamKeepaliveSeconds);
}

void Tunnel::stop() {
  if (!stopped_ && source_ != nullptr)
    allowance_.give_back({worker_.shared().sources, *source_, tenant_}, worker_.now());
  stopped_ = true;
  again_.cancel();
  deadline_.cancel();
  if (pause_ != nullptr) pause_->cancel();
}

bool Tunnel::end(CloseReason reason, bool client_too) {
  stop();
  const bool silent = reason == CloseReason::tunnel_idle;
  if (!silent && reason != CloseReason::drain_timeout && reason != CloseReason::half_closed_timeout) return false;
  const auto is_cut = [silent](const Relay& relay) {
    return relay.state() == Relay::State::open && (!silent || relay.holds_bytes());
  };
  if (is_cut(up_)) upstream_.abort();
  if (is_cut(down_) && client_too) client_.abort();
  return is_cut(up_) || is_cut(down_);
}

void Tunnel::timed_out() {
  if (worker_.now() < silent_at_) {
    look_due_ = false;
    look();
    return worker_.loop().timers().arm(deadline_, silent_at_);
  }
  stop();
  observer_.on_tunnel_closed(half_closed() ? CloseReason::half_closed_timeout : CloseReason::tunnel_idle, "");
}

}  // namespace edgemux::listeners
