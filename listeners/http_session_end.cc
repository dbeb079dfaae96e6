// HttpSession, its deadlines and its ends.

#include "listeners/http_session.h"

#include <algorithm>
#include <array>
#include <utility>

#include "listeners/clock.h"
#include "listeners/exchange.h"
#include "listeners/forwarding.h"
#include "listeners/stream_tunnel.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kLingerTime{5'000};
constexpr milliseconds kDrainGrace{1'000};
constexpr std::uint64_t kLook = 500;  // ms
constexpr const char* kNoWindow = "the client opens no window for what it asked for";

// Reads what nobody wants any more. Not into the worker's buffer: whoever this is called by may have lent pieces of it.
core::IoStatus drop_input(core::Stream& stream) {
  std::array<char, 8192> dropped;
  return stream.read(dropped).status;
}

}  // namespace

void HttpSession::cut(CloseReason reason) {
  codec_->stop();
  // Not send(): a broken codec is finished, and the connection would end as if it were done.
  stream_->end_follows();
  listener().metrics().client_sent.add(output_.flush(*stream_).bytes);
  stream_->shutdown_write();
  // What the client sent meanwhile is taken, so that closing is a FIN and no reset, and the GOAWAY arrives.
  for (int i = 0; i < 4 && stream_->readable(); ++i) {
    if (drop_input(*stream_) != core::IoStatus::ok) break;
  }
  close(reason);
}

void HttpSession::finish(CloseReason reason) {
  // After a refusal the client may still be sending, or about to.
  const bool refused = reason == CloseReason::bad_request || reason == CloseReason::head_too_large ||
                       reason == CloseReason::body_too_large || reason == CloseReason::body_too_slow;
  if (refused || codec_->mid_message() || !stash_.empty() || (stream_->readable() && !input_ended_)) {
    return linger(reason);
  }
  close(reason);
}

void HttpSession::linger(CloseReason reason) {
  stage_.emplace<Lingering>(Lingering{reason});
  stash_.clear();
  stream_->shutdown_write();
  await(Waiting::linger, kLingerTime);
  discard();
}

void HttpSession::discard() {
  const CloseReason reason = std::get<Lingering>(stage_).reason;
  // Bounded per turn, so that a client that sends without end does not keep the worker to itself.
  for (int i = 0; i < 16 && stream_->readable(); ++i) {
    const auto status = drop_input(*stream_);
    if (status == core::IoStatus::again) return;
    if (status != core::IoStatus::ok) return close(reason);
  }
  if (stream_->readable()) again_.request();
}

void HttpSession::await(Waiting what, milliseconds time) {
  waiting_ = what;
  worker().loop().timers().arm(deadline_, worker().now() + static_cast<std::uint64_t>(time.count()));
}

void HttpSession::await_next() {
  const auto& timeouts = worker().snapshot().timeouts;
  if (draining_ && codec_->multiplexed()) {
    if (waiting_ != Waiting::drain) await(Waiting::drain, kDrainGrace);
  } else if (busy()) {
    waiting_ = Waiting::nothing;
  } else if (http1_.dropping()) {
    await(Waiting::rest, kLingerTime);
  } else if (codec_->mid_message()) {
    await(Waiting::head, timeouts.request_head);
  } else if (answers_wait()) {
    await_windows();
  } else {
    await(Waiting::idle, timeouts.idle);
  }
}

void HttpSession::send_goaway() {
  codec_->close_after();
  codec_->close_after();
  send();
}

void HttpSession::timed_out() {
  switch (waiting_) {
    case Waiting::nothing:
      return;
    case Waiting::handshake:
      listener().metrics().handshakes_failed.add();
      return close(CloseReason::handshake_timeout);
    case Waiting::idle:
      if (codec_->multiplexed()) send_goaway();
      return close(CloseReason::idle_timeout);
    case Waiting::drain:
      return say_goodbye();
    case Waiting::window:
      return windows_timed_out();
    case Waiting::first_head:
      if (!codec_->mid_message()) {
        if (codec_->multiplexed()) send_goaway();
        return close(CloseReason::idle_timeout);
      }
      [[fallthrough]];
    case Waiting::head:
      if (codec_->multiplexed()) {
        detail_ = "a frame or a header block did not come in time";
        send_goaway();
        return close(CloseReason::head_timeout);
      }
      codec_->close_after();
      open_exchange(core::kOnlyStream)
          .start_refused(*this, core::kOnlyStream, 408, CloseReason::head_timeout,
                         "the request's head did not come in time");
      return;
    case Waiting::rest:
      return close(CloseReason::body_too_slow);
    case Waiting::write:
      stream_->abort();
      return close(CloseReason::response_too_slow);
    case Waiting::linger:
      stream_->abort();
      return close(std::get<Lingering>(stage_).reason);
  }
}

// An answer that waits for the client's windows may wait as long as unsent bytes (RFC 9113 10.5), bytes of a tunnel as
// long as a tunnel may be quiet.
std::uint64_t HttpSession::patience_with(core::StreamId stream) {
  const auto& timeouts = worker().snapshot().timeouts;
  const milliseconds most =
      tunnel_of(stream) != nullptr ? std::max(timeouts.idle, timeouts.tunnel_idle) : timeouts.idle;
  return static_cast<std::uint64_t>(most.count());
}

std::uint64_t HttpSession::patience_with_all() {
  std::uint64_t most = UINT64_MAX;
  for (core::StreamId stream = 1; stream <= exchanges_.size(); ++stream) {
    if (multiplexed_->pending(stream) > 0) most = std::min(most, patience_with(stream));
  }
  return most;
}

HttpSession::Untaken HttpSession::untaken() {
  Untaken all;
  all.others = multiplexed_->holds();
  for (core::StreamId stream = 1; stream <= exchanges_.size(); ++stream) {
    const bool waits = multiplexed_->pending(stream) > 0;
    if (!waits && exchange_of(stream) == nullptr && tunnel_of(stream) == nullptr) continue;
    const std::uint64_t stalled = multiplexed_->stalled_ms(stream);
    const std::uint64_t most = patience_with(stream);
    if (stalled >= most) {
      all.streams.push_back(stream);
      continue;
    }
    all.others = true;
    if (stalled > 0) all.left = std::min(all.left, most - stalled);
  }
  return all;
}

// A client that has taken nothing so far is looked at before.
void HttpSession::await_windows() {
  if (!multiplexed_->waiting()) return;
  const auto idle = static_cast<std::uint64_t>(worker().snapshot().timeouts.idle.count());
  const Untaken now = untaken();
  std::uint64_t left = now.streams.empty() ? now.left : 0;
  if (multiplexed_->shut()) {
    const std::uint64_t most = patience_with_all();
    left = std::min(left, most - std::min(most, multiplexed_->stalled_ms()));
  }
  // Others may come to wait meanwhile.
  left = std::min(left, multiplexed_->taken() ? idle : std::min(idle, kLook));
  await(Waiting::window, milliseconds(std::max<std::uint64_t>(left, 1)));
}

void HttpSession::windows_timed_out() {
  waiting_ = Waiting::nothing;
  multiplexed_->judge_stall();
  if (closed_) return;
  const Untaken late = untaken();
  const bool all = multiplexed_->waiting() && multiplexed_->shut() && multiplexed_->stalled_ms() >= patience_with_all();
  if (all || (!late.others && !late.streams.empty())) {
    detail_ = kNoWindow;
    codec_->close_after();
    codec_->produce();
    return cut(CloseReason::response_too_slow);
  }
  for (const core::StreamId stream : late.streams) {
    give_up(stream);
    if (closed_) return;
  }
  if (!late.streams.empty()) flush();
  if (closed_ || waiting_ != Waiting::nothing) return;
  await_windows();
  if (waiting_ == Waiting::nothing && !busy()) await_next();
}

// The others of its connection go on.
void HttpSession::give_up(core::StreamId stream) {
  if (Exchange* exchange = exchange_of(stream)) {
    codec_->reset(stream, core::StreamError::cancel, core::Fault::client);
    exchange->cancel(CloseReason::response_too_slow, kNoWindow);
    return drop_exchange(*exchange);
  }
  StreamTunnel* tunnel = tunnel_of(stream);
  if (tunnel == nullptr)
    return (void)codec_->reset(stream, core::StreamError::cancel, core::Fault::client);  // of a request that is over
  tunnel->cut();
  tunnel->client().abort();
  stream_tunnel_done(*tunnel, CloseReason::response_too_slow, kNoWindow);
}

void HttpSession::grown_up() {
  if (!std::exchange(grown_up_, true)) {
    multiplexed_->tell_limit();
    const auto most = static_cast<std::uint64_t>(worker().snapshot().timeouts.request_head.count());
    worker().loop().timers().arm(*early_, worker().now() + most);
  } else {
    // What finds no place within the time that a head may take is refused: another connection may have room.
    multiplexed_->end_early();
    while (multiplexed_->holds() && !can_start()) multiplexed_->refuse_held();
    early_.reset();
  }
  flush();
}

void HttpSession::say_goodbye() {
  waiting_ = Waiting::nothing;
  codec_->close_after();
  send();
}

void HttpSession::end_soon() {
  if (closed_ || draining_) return;
  draining_ = true;
  codec_->close_after();
  if (codec_->multiplexed() && waiting_ != Waiting::write) await(Waiting::drain, kDrainGrace);
}

void HttpSession::drain() {
  if (closed_ || draining_) return;
  if (!std::holds_alternative<Serving>(stage_)) {
    draining_ = true;
    codec_->close_after();
    return;
  }
  end_soon();
  if (codec_->multiplexed()) return send();
  // A client that has just come in gets a moment to say what it wants.
  if (waiting_ == Waiting::first_head) return await(Waiting::first_head, kDrainGrace);
  if (at_rest()) close(CloseReason::draining);
}

// Whether close_notify may say that what the client has is all (RFC 8446 6.1). An answer that was given whole is, also
// one that refuses; what timeouts.drain cuts is not.
bool HttpSession::ends_whole(CloseReason reason) const {
  if (std::holds_alternative<Serving>(stage_)) return !busy() && !answers_wait() && unsent() == 0;
  return !is_failure(reason);
}

void HttpSession::close(CloseReason reason) {
  if (closed_) return;
  closed_ = true;
  // Where nothing is under way, the end of the drain cuts nothing.
  const bool upgraded = std::holds_alternative<std::unique_ptr<Upgraded>>(stage_);
  const bool lingers = std::holds_alternative<Lingering>(stage_);
  const bool taken = lingers || (!answers_wait() && unsent() == 0);
  if (reason == CloseReason::drain_timeout && !busy() && !upgraded && taken && !codec_->mid_message()) {
    reason = CloseReason::draining;
  }
  const bool logged = worker().shared().access_log.enabled();
  // A line for the connection itself: where no request has one, and where it was the connection's fault.
  const bool own =
      reason == CloseReason::flood || (!busy() && !upgraded && (requests_ == 0 || (is_failure(reason) && !told_)));
  const bool whole = ends_whole(reason);
  bool cut = false;
  codec_->stop();
  deadline_.cancel();
  early_.reset();
  lingering_.reset();
  again_.cancel();
  if (busy()) {
    for (const auto& exchange : exchanges_) {
      if (exchange == nullptr || exchange->over()) continue;  // who is ending will be done with in a moment
      exchange->cancel(reason, detail_);
      drop_exchange(*exchange);
    }
    while (!stream_tunnels_.empty()) {
      StreamTunnel& tunnel = *stream_tunnels_.back();
      tunnel.cut();
      stream_tunnel_done(tunnel, reason, detail_);
    }
  } else if (upgraded) {
    Upgraded* stage = std::get<std::unique_ptr<Upgraded>>(stage_).get();
    cut = stage->tunnel.end(reason, false);
    stage->tunnel.closed();
    tell_tunnel(stage->tunnel, stage->place, stage->request, began_us_, record(reason, detail_));
  }
  if (own) {
    worker().metrics().closes[static_cast<std::size_t>(reason)].add();
    if (logged) {
      AccessRecord line = record(reason, detail_);
      line.duration_us = monotonic_us() - began_us_;
      worker().log(line);
    }
  }
  if (tls_ != nullptr && whole && !cut) stream_->shutdown_write();
  stream_->set_observer(nullptr);
  retire();
}

void HttpSession::on_refused(const core::RequestHead* head) {
  constexpr CloseReason kReason = CloseReason::too_many_streams;
  listener().metrics().requests[core::status_class(0)].add();
  worker().metrics().closes[static_cast<std::size_t>(kReason)].add();
  if (!worker().shared().access_log.enabled()) return;
  AccessRecord line = record(kReason, {});
  line.kind = AccessKind::request;
  line.protocol = "HTTP/2";
  line.host = line.route = line.tenant = {};  // its own host has not been looked for
  core::SocketAddress sender;
  if (head != nullptr) {
    const auto& trusted = listener().spec().trusted_proxies;
    if (!trusted.empty() && contains(trusted, client())) {
      sender = sender_behind(head->fields, {client(), secure()}, trusted).address;
      line.client = &sender;
    }
    line.host = head->host;
    line.method = logged_method(*head);
    line.path = head->target;
    if (const auto* field = head->fields.find(core::FieldId::user_agent)) line.user_agent = field->value;
    if (const auto* field = head->fields.find("referer")) line.referer = field->value;
  }
  worker().log(line);
}

// What the lines of this connection have in common.
AccessRecord HttpSession::record(CloseReason reason, std::string_view detail) const {
  AccessRecord record;
  record.kind = AccessKind::connection;
  record.reason = reason;
  record.client = &client();
  record.listener = listener().name();
  record.sni = sni_;
  if (tls_ != nullptr && !std::holds_alternative<Handshaking>(stage_)) {
    record.alpn = alpn();
    record.tls_version = tls_version();
    record.tls_resumed = tls_resumed();
  }
  if (tls_route_ != nullptr) {
    record.host = tls_route_->name;
    record.route = tls_route_->name;
    record.tenant = tls_route_->tenant;
  }
  record.detail = detail;
  return record;
}

void HttpSession::tell_tunnel(const Tunnel& tunnel, const routing::UpstreamPlace& place, const UpgradedRequest& request,
                              std::uint64_t began_us, AccessRecord record) {
  worker().metrics().closes[static_cast<std::size_t>(record.reason)].add();
  if (!worker().shared().access_log.enabled()) return;
  record.client = &request.client;
  record.host = request.host;
  record.path = request.path;
  record.route = request.route;
  record.tenant = request.tenant == nullptr ? std::string_view() : request.tenant->name;
  record.request_id = request.request_id;
  record.bytes_in = tunnel.bytes_to_upstream();
  record.bytes_out = tunnel.bytes_to_client();
  record.upstream = place.upstream_name();
  record.endpoint = place.endpoint_text();
  record.protocol = "upgrade";
  record.duration_us = monotonic_us() - began_us;
  worker().log(record);
}

}  // namespace edgemux::listeners
