#include "listeners/http_session.h"

#include <algorithm>

#include "core/base/log.h"
#include "listeners/clock.h"
#include "listeners/exchange.h"
#include "listeners/stream_tunnel.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

namespace {

constexpr std::size_t kStashRead = 16 * 1024;
constexpr int kReadsPerEvent = 32;

}  // namespace

HttpSession::HttpSession(Listener& listener, const core::SocketAddress& client, const core::SocketAddress& destination,
                         std::unique_ptr<core::Stream> stream)
    : Session(listener, client, destination),
      stream_(std::move(stream)),
      output_(worker().blocks()),
      http1_(*this, output_, worker().http_scratch(), worker().snapshot().limits.request_head),
      codec_(&http1_),
      deadline_([](void* self) { static_cast<HttpSession*>(self)->timed_out(); }, this),
      again_(
          worker().loop(), [](void* self) { static_cast<HttpSession*>(self)->go_on(); }, this),
      began_us_(monotonic_us()) {
  stream_->set_observer(this);
}

HttpSession::~HttpSession() = default;

void HttpSession::on_ready(core::Stream&) { go_on(); }

void HttpSession::go_on() {
  if (closed_) return;
  if (std::holds_alternative<Handshaking>(stage_)) {
    handshake();
  } else if (std::holds_alternative<Serving>(stage_)) {
    serve();
  } else if (std::holds_alternative<Lingering>(stage_)) {
    discard();
  }
}

void HttpSession::serve() {
  if (closed_ || !std::holds_alternative<Serving>(stage_)) return;
  own_heads_ = 0;
  if (!output_.empty() || waiting_ == Waiting::write || codec_->finished()) {
    send();
    if (closed_ || !std::holds_alternative<Serving>(stage_)) return;
  }
  if (stream_->broken() && busy() && (input_ended_ || !codec_->wants_input())) {
    // Nothing is read while the answer is due, or any more, so nothing else would find out.
    detail_ = "the client reset the connection";
    return close(CloseReason::client_reset);
  }
  if (!congested()) {
    for (const auto& exchange : exchanges_) {
      if (exchange != nullptr && codec_->pending(exchange->stream()) == 0) exchange->on_client_writable();
      if (closed_ || !std::holds_alternative<Serving>(stage_)) return;
    }
    for (std::size_t i = 0; i < stream_tunnels_.size(); ++i) stream_tunnels_[i]->client().may_write();
  }
  if (held_due()) {
    start_held();
    if (closed_ || !std::holds_alternative<Serving>(stage_)) return;
  }
  read();
}

void HttpSession::start_held() {
  while (held_due()) {
    if (!can_start()) {
      multiplexed_->refuse_held();
      continue;
    }
    const auto held = multiplexed_->start_next();
    own_heads_ = 0;
    if (fed_ != nullptr) flush_fed();
  }
  flush();
}

// Who can be refused without harm costs nothing beyond the others' bound.
void HttpSession::limit_held() {
  while (multiplexed_->holds() && spent() + multiplexed_->held_cost() > kMostSpent + kHeld) multiplexed_->refuse_held();
}

bool HttpSession::wants_input() const {
  if (!codec_->wants_input() || unsent() >= kMostUnsent) return false;
  // Over HTTP/2 each stream has its window.
  return codec_->multiplexed() || !busy() || exchanges_[0] == nullptr || exchanges_[0]->wants_input();
}

void HttpSession::read() {
  // A pipelined request that waited for the answer before it.
  if (!stash_.empty() && codec_->wants_input() && !codec_->mid_message() && unsent() < kMostUnsent) {
    if (!receive(stash_)) return;
  }
  for (int reads = 0; !closed_ && std::holds_alternative<Serving>(stage_) && stream_->readable() && wants_input();
       ++reads) {
    if (reads == kReadsPerEvent) return again_.request();  // others wait as well
    std::span<char> buffer = worker().buffer();
    const std::size_t kept = stash_.size();
    if (kept > 0) {
      stash_.resize(kept + kStashRead);
      buffer = {stash_.data() + kept, kStashRead};
    }
    const core::IoResult result = stream_->read(buffer);
    if (kept > 0) stash_.resize(kept + result.bytes);
    switch (result.status) {
      case core::IoStatus::ok:
        listener().metrics().client_received.add(result.bytes);
        if (!receive(kept > 0 ? std::span<char>(stash_) : buffer.first(result.bytes))) return;
        break;
      case core::IoStatus::again:
        return;
      case core::IoStatus::eof:
        return end_of_input();
      case core::IoStatus::error:
        detail_ = tls_ != nullptr && !tls_->failure().empty() ? tls_->failure() : std::strerror(result.error);
        return close(between_requests() ? CloseReason::client_closed : CloseReason::client_reset);
    }
  }
}

bool HttpSession::receive(std::span<char> bytes) {
  const std::size_t used = codec_->receive(bytes);
  own_heads_ = 0;
  if (fed_ != nullptr) flush_fed();
  if (closed_) return false;
  if (multiplexed_ != nullptr && multiplexed_->holds()) limit_held();
  if (codec_->multiplexed()) flush();
  if (closed_) return false;
  if (multiplexed_ != nullptr && !busy()) settle_idle();
  if (bytes.data() == stash_.data()) {
    stash_.erase(0, used);
    if (stash_.empty() && stash_.capacity() > kStashRead) stash_.shrink_to_fit();
  } else if (used < bytes.size()) {
    stash_.assign(bytes.data() + used, bytes.size() - used);
  }
  if (waiting_ == Waiting::rest && !http1_.dropping() && !rest_received()) return false;
  if (codec_->mid_message() && !busy()) {
    if (head_began_us_ == 0 && !http1_.dropping()) head_began_us_ = monotonic_us();
    if (waiting_ == Waiting::idle || waiting_ == Waiting::nothing) {
      await(Waiting::head, worker().snapshot().timeouts.request_head);
    }
  } else {
    head_began_us_ = 0;
  }
  return std::holds_alternative<Serving>(stage_);
}

std::uint64_t HttpSession::request_began_us(std::uint64_t now) {
  const std::uint64_t began = std::exchange(head_began_us_, 0);
  return began == 0 ? now : began;
}

bool HttpSession::rest_received() {
  await_next();
  if (draining_ && at_rest()) close(CloseReason::draining);
  return !closed_;
}

// What was held, and then taken back, may have been all there was.
void HttpSession::settle_idle() {
  const bool over = waiting_ == Waiting::head && !codec_->mid_message();
  if (over || waiting_ == Waiting::nothing || waiting_ == Waiting::window) await_next();
}

void HttpSession::end_of_input() {
  if (!busy()) {
    // The end of an answer that is on its way still.
    const bool answered = !codec_->mid_message() || http1_.dropping();
    if (answered && stash_.empty() && unsent() > 0) return (void)(input_ended_ = true);
    return close(codec_->mid_message() || !stash_.empty() ? CloseReason::client_reset : CloseReason::client_closed);
  }
  if (codec_->mid_message()) {
    detail_ = "the client closed the connection in the middle of its request";
    return close(CloseReason::client_reset);
  }
  // Half-closed behind a whole request: it gets its answer.
  const bool first = !std::exchange(input_ended_, true);
  codec_->close_after();
  if (!first || !codec_->multiplexed()) return;
  end_streams();
  flush();
}

// Requests that are not whole cannot become so any more, and what has come for tunnels is all.
void HttpSession::end_streams() {
  multiplexed_->end_of_input();
  for (core::StreamId stream = 1; stream <= exchanges_.size() && !closed_; ++stream) {
    const Exchange* exchange = exchange_of(stream);
    if (exchange == nullptr || exchange->request_whole()) continue;
    codec_->reset(stream, core::StreamError::cancel, core::Fault::client);
    if (exchange_of(stream) == exchange) on_request_reset(stream);
  }
  std::vector<core::StreamId> tunnels;
  for (const auto& tunnel : stream_tunnels_) tunnels.push_back(tunnel->id());
  for (const core::StreamId stream : tunnels) {
    StreamTunnel* tunnel = closed_ ? nullptr : tunnel_of(stream);
    if (tunnel != nullptr) tunnel->client().received({}, true);
  }
}

// A stream that ends with that makes room for another one.
void HttpSession::produce() {
  codec_->produce();
  if (held_due()) again_.request();
  if (multiplexed_ != nullptr && multiplexed_->lingers()) watch_lingering();
}

void HttpSession::watch_lingering() {
  if (lingering_ == nullptr) {
    lingering_ = std::make_unique<core::Timer>(
        [](void* self) {
          auto& session = *static_cast<HttpSession*>(self);
          if (!std::holds_alternative<Serving>(session.stage_)) return;  // it ends with the connection
          session.multiplexed_->end_lingering();
          session.flush();
        },
        this);
  }
  if (!lingering_->armed()) {
    worker().loop().timers().arm(*lingering_, worker().now() + core::MultiplexedServerCodec::kLinger);
  }
}

void HttpSession::flush() {
  if (closed_) return;
  produce();
  if (codec_->multiplexed() && output_.pending() < kGathered && waiting_ != Waiting::write && !codec_->finished()) {
    if (output_.empty()) {
      if (waiting_ == Waiting::nothing) await_windows();
      return;
    }
    output_.keep();
    sending_ = true;
    return again_.request();
  }
  send();
}

void HttpSession::send() {
  if (closed_) return;
  sending_ = false;
  produce();
  const std::size_t before = output_.pending();
  if (codec_->finished()) stream_->end_follows();
  const core::IoResult result = output_.flush(*stream_);
  listener().metrics().client_sent.add(before - output_.pending());
  if (result.status == core::IoStatus::error) {
    detail_ = std::strerror(result.error);
    return close(CloseReason::client_reset);
  }
  if (unsent() > 0) {
    // Every bit of progress gives the client more time.
    if (waiting_ != Waiting::write || output_.pending() < before) {
      await(Waiting::write, worker().snapshot().timeouts.idle);
    }
    return;
  }
  if (waiting_ == Waiting::write) await_next();
  if (waiting_ == Waiting::nothing && codec_->multiplexed()) await_windows();
  if (busy()) return;
  if (codec_->finished() || input_ended_) return finish(CloseReason::done);
  if (draining_ && at_rest()) close(CloseReason::draining);
}

bool HttpSession::at_rest() const {
  return !codec_->multiplexed() && !busy() && !codec_->mid_message() && stash_.empty() && unsent() == 0;
}

bool HttpSession::between_requests() const {
  return requests_ > 0 && !busy() && !codec_->mid_message() && stash_.empty() && unsent() == 0;
}

std::size_t HttpSession::read_limit(core::StreamId stream) const {
  if (multiplexed_ == nullptr) return SIZE_MAX;
  return std::max(congested() ? 0 : multiplexed_->room(stream), kLittleRead);
}

std::size_t HttpSession::reply_limit(core::StreamId stream) const {
  if (multiplexed_ == nullptr) return kMostUnsent;
  const std::size_t used = multiplexed_->held() + unsent();
  return std::max(std::min(read_limit(stream), used < kMostHeld ? kMostHeld - used : 0), kLittleRead);
}

std::size_t HttpSession::grant(core::StreamId stream, std::size_t& granted) {
  if (multiplexed_ == nullptr) return SIZE_MAX;
  const std::size_t used = promised_ - granted + multiplexed_->held() + unsent();
  // Who comes first does not take all; who has shown that the client takes it may have an equal share.
  const std::size_t most = granted == 0 || open_ > kFew ? kMostHeld : kMostHeldOfFew;
  const std::size_t left = used < most ? most - used : 0;
  const std::size_t parts = granted == 0 ? 4 : std::max<std::size_t>(open_, 1);
  const std::size_t share = std::min(left / parts, multiplexed_->room(stream));
  if (share > granted) {
    promised_ += share - granted;
    granted = share;
  }
  return granted;
}

// ---- exchanges ----

Exchange& HttpSession::open_exchange(core::StreamId stream) {
  if (exchanges_.size() < stream) exchanges_.resize(stream);
  exchanges_[stream - 1] = worker().take_exchange();
  ++open_;
  return *exchanges_[stream - 1];
}

void HttpSession::drop_exchange(Exchange& exchange) {
  for (Exchange** place = &fed_; exchange.fed_ && *place != nullptr; place = &(*place)->next_fed_) {
    if (*place != &exchange) continue;
    *place = exchange.next_fed_;
    exchange.fed_ = false;
    break;
  }
  ++requests_;
  --open_;
  worker().give_exchange(std::move(exchanges_[exchange.stream() - 1]));
  if (held_due()) again_.request();
}

void HttpSession::feed(Exchange& exchange) {
  if (exchange.fed_) return;
  exchange.fed_ = true;
  exchange.next_fed_ = std::exchange(fed_, &exchange);
}

void HttpSession::flush_fed() {
  while (fed_ != nullptr) {
    Exchange& exchange = *fed_;
    fed_ = exchange.next_fed_;
    exchange.fed_ = false;
    exchange.flush_upstream();
  }
}

void HttpSession::on_request(core::StreamId stream, core::RequestHead& head, bool end) {
  if (multiplexed_ != nullptr && !owes_little() && spent() + kPerRequest > kMostSpent) {
    codec_->reset(stream, core::StreamError::refused, core::Fault::client);
    return on_refused(&head);
  }
  Exchange& exchange = open_exchange(stream);
  if (waiting_ == Waiting::first_head || waiting_ == Waiting::head || waiting_ == Waiting::idle ||
      waiting_ == Waiting::rest) {
    waiting_ = Waiting::nothing;
  }
  feed(exchange);
  exchange.start(*this, stream, head, end);
}

void HttpSession::on_request_body(core::StreamId stream, std::span<const char> data, bool end) {
  Exchange* exchange = exchange_of(stream);
  if (exchange == nullptr) {
    if (StreamTunnel* tunnel = tunnel_of(stream)) return tunnel->client().received(data, end);
    return codec_->consumed(stream, data.size());
  }
  feed(*exchange);
  exchange->on_request_body(data, end);
}

void HttpSession::on_request_trailers(core::StreamId stream, core::FieldList& fields) {
  Exchange* exchange = exchange_of(stream);
  if (exchange == nullptr) return;
  feed(*exchange);
  exchange->on_request_trailers(fields);
}

void HttpSession::on_request_reset(core::StreamId stream) {
  Exchange* exchange = exchange_of(stream);
  if (exchange == nullptr) {
    if (StreamTunnel* tunnel = tunnel_of(stream)) tunnel->client().was_reset();
    return;
  }
  exchange->cancel(CloseReason::client_reset, "the client took the request back");
  drop_exchange(*exchange);
  if (!busy()) await_next();
}

void HttpSession::on_tunnel_over(core::StreamId stream) {
  if (StreamTunnel* tunnel = tunnel_of(stream)) tunnel->client().is_over();
}

void HttpSession::on_stream_writable(core::StreamId stream) {
  Exchange* exchange = exchange_of(stream);
  // As soon as that is sent; and what is our own is not sent within the codec.
  if (congested() || (exchange != nullptr && exchange->replies())) return again_.request();
  if (exchange == nullptr) {
    if (StreamTunnel* tunnel = tunnel_of(stream)) tunnel->client().may_write();
    return;
  }
  exchange->on_client_writable();
}

void HttpSession::on_malformed(core::StreamId stream, std::uint16_t status, const char* reason,
                               std::string_view content_type) {
  const CloseReason why = status == 431 || status == 414 ? CloseReason::head_too_large
                          : status == 429                ? CloseReason::flood
                                                         : CloseReason::bad_request;
  if (!codec_->multiplexed()) codec_->close_after();
  if (stream == 0) {
    detail_ = reason;
    if (why == CloseReason::flood) {
      core::log_limited(core::LogLevel::warn, "flood", "listener {}: client {}: {}", listener().name(), client().ip(),
                        reason);
    }
    return cut(why);
  }
  if (Exchange* exchange = exchange_of(stream)) return exchange->refuse(status, why, reason);
  if (StreamTunnel* tunnel = tunnel_of(stream)) {  // an answer would be bytes of the tunnel
    codec_->reset(stream, core::StreamError::protocol, core::Fault::client);
    return tunnel->client().was_reset();
  }
  open_exchange(stream).start_refused(*this, stream, status, why, reason, content_type);
}

void HttpSession::exchange_done(Exchange& exchange, CloseReason reason) {
  drop_exchange(exchange);
  if (closed_) return;
  if (codec_->finished()) {
    told_ = told_ || is_failure(reason);
    if (unsent() == 0 && !busy()) finish(reason);
    return;
  }
  if (busy()) return;
  if (input_ended_) return sending_ ? send() : unsent() == 0 ? finish(CloseReason::done) : void();
  if (unsent() == 0 || sending_) await_next();
  if (!stash_.empty() || stream_->readable()) again_.request();
}

void HttpSession::abort(Exchange& exchange, CloseReason reason, core::StreamError error) {
  if (closed_) return;
  if (codec_->reset(exchange.stream(), error, of_upstream(reason) ? core::Fault::other : core::Fault::client)) {
    exchange.cancel(reason, {});
    drop_exchange(exchange);
    flush();
    if (!closed_ && !busy()) await_next();
    return;
  }
  stream_->abort();
  close(reason);
}

void HttpSession::resume_reading() {
  if (codec_->multiplexed()) flush();  // windows that were given back
  again_.request();
}

StreamTunnel* HttpSession::tunnel_of(core::StreamId stream) {
  for (const auto& tunnel : stream_tunnels_) {
    if (tunnel->id() == stream && tunnel->has_stream()) return tunnel.get();
  }
  return nullptr;
}

void HttpSession::stream_tunnel_done(StreamTunnel& tunnel, CloseReason reason, std::string_view detail) {
  const auto place = std::find_if(stream_tunnels_.begin(), stream_tunnels_.end(),
                                  [&](const auto& one) { return one.get() == &tunnel; });
  if (place == stream_tunnels_.end()) return;
  std::unique_ptr<StreamTunnel> gone = std::move(*place);
  stream_tunnels_.erase(place);
  tunnel.tunnel().closed();
  tell_tunnel(tunnel.tunnel(), tunnel.place(), tunnel.request(), tunnel.began_us(), record(reason, detail));
  worker().loop().retire(std::move(gone));
  if (closed_ || busy()) return;
  if (!codec_->finished() && !input_ended_) return await_next();
  if (unsent() == 0) finish(CloseReason::done);
}

void HttpSession::upgrade(Exchange& exchange, routing::UpstreamStream::Upgraded upstream) {
  UpgradedRequest request = exchange.upgraded();
  if (codec_->multiplexed()) {
    const core::StreamId stream = exchange.stream();
    drop_exchange(exchange);
    stream_tunnels_.push_back(std::make_unique<StreamTunnel>(*this, stream, std::move(upstream), std::move(request)));
    return;
  }
  drop_exchange(exchange);
  deadline_.cancel();
  waiting_ = Waiting::nothing;
  again_.cancel();
  Tunnel::Observer& observer = *this;
  const std::string received = std::move(upstream.received);
  auto made = std::make_unique<Upgraded>(std::move(upstream), worker(), observer, *stream_);
  Upgraded& stage = *stage_.emplace<std::unique_ptr<Upgraded>>(std::move(made));
  const auto size = [](std::size_t bytes) { return static_cast<std::uint32_t>(bytes); };
  const Tunnel::First up{0, size(stash_.size())};
  const Tunnel::First down{size(output_.pending()), size(output_.pending() + received.size())};
  stage.tunnel.to_client().prepend(output_);
  stage.tunnel.to_client().prepend(received);
  stage.tunnel.to_upstream().prepend(stash_);
  stash_.clear();
  stage.request = std::move(request);
  stage.tunnel.count_for(stage.request.client, stage.request.state());
  stage.tunnel.opened(up, down);
  stage.tunnel.start();
}

bool HttpSession::count_for(const routing::TenantPtr& tenant) {
  // Over TLS the server name has told; but the name may be somebody else's since.
  if (secure() && tenant_state() == (tenant == nullptr ? nullptr : tenant->state.get())) return true;
  const auto been_with = [this](const routing::TenantState* state) {
    return std::find(left_.begin(), left_.end(), state) != left_.end();
  };
  const routing::TenantState* before = tenant_state();
  if (!change_tenant(tenant.get(), tenant != nullptr && !been_with(tenant->state.get()))) {
    codec_->close_after();
    return false;
  }
  if (before != nullptr && before != tenant_state() && !been_with(before)) {
    constexpr std::size_t kRemembered = 64;
    if (left_.size() == kRemembered) left_.clear();
    left_.push_back(before);
  }
  counted_for_ = tenant;
  return true;
}

core::ListenerMetrics& HttpSession::tunnel_metrics() const { return listener().metrics(); }

void HttpSession::on_tunnel_closed(CloseReason reason, const char* detail) {
  detail_ = detail;
  close(reason);
}

}  // namespace edgemux::listeners
