#include "routing/upstream/connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/base/log.h"
#include "routing/upstream/pool.h"

namespace edgemux::routing {

UpstreamConnection::UpstreamConnection(UpstreamPool& pool, UpstreamContext& context,
                                       std::shared_ptr<const EndpointSet> endpoints, std::size_t first, bool http1_only)
    : pool_(pool),
      context_(context),
      output_(context.blocks),
      endpoints_(std::move(endpoints)),
      deadline_([](void* self) { static_cast<UpstreamConnection*>(self)->timed_out(); }, this),
      again_(
          context.loop, [](void* self) { static_cast<UpstreamConnection*>(self)->read(); }, this),
      http1_only_(http1_only) {
  if (!endpoints_->endpoints.empty()) {
    expected_ = &endpoints_->endpoints[first];
    pool_.charge(*expected_);
  }
  connector_.reset(new Connector(context.loop, context.metrics, *this, endpoints_, first, pool.connect_timeout(),
                                 pool.upstream().transport.source_address));  // NOLINT: the observer is a private base
}

UpstreamConnection::~UpstreamConnection() = default;

// ---- streams come and go ----

void UpstreamConnection::expect(UpstreamStream& stream) {
  stream.connection_ = this;
  stream.state_ = UpstreamStream::State::waiting;
  stream.deadline_.cancel();  // of the queue
  stream.id_ = 0;
  stream.attempts_ = 1;  // at the least; it is told how many when it is over
  stream.endpoint_text_ = {};
  stream.endpoint_state_ = nullptr;
  stream.reused_ = stream.answered_ = stream.complete_ = false;
  stream.paused_ = stream.awaiting_ = stream.asked_ = stream.touched_ = false;
  stream.unconsumed_ = stream.kept_back_ = 0;
  waiting_.push_back(&stream);
}

void UpstreamConnection::attach(UpstreamStream& stream) {
  stream.connection_ = this;
  stream.state_ = UpstreamStream::State::ready;
  stream.id_ = 0;
  stream.attempts_ = requests_ > 0 ? 1 : attempts_;  // those for the connection count for whom it was made
  stream.endpoint_text_ = endpoint_->text;
  stream.endpoint_state_ = endpoint_->state.get();
  stream.reused_ = requests_ > 0;
  stream.fresh_ = false;
  stream.answered_ = stream.complete_ = stream.paused_ = stream.awaiting_ = stream.asked_ = stream.touched_ = false;
  stream.unconsumed_ = stream.kept_back_ = 0;
  ++requests_;
  ++in_use_;
  pool_.charge(*endpoint_);
  stream.touch();
}

void UpstreamConnection::detach(UpstreamStream& stream) {
  const auto was = std::exchange(stream.state_, UpstreamStream::State::none);
  stream.connection_ = nullptr;
  pool_.end_request(stream);
  if (was == UpstreamStream::State::waiting) {
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &stream));
    if (waiting_.empty() && (state_ == State::connecting || state_ == State::securing)) return close();
    if (waiting_.empty() && state_ == State::open && !in_the_making()) pool_.take_back(*this);
    return;
  }
  --in_use_;
  pool_.discharge(*endpoint_);
  const core::StreamId id = std::exchange(stream.id_, 0);
  if (id != 0) streams_[id - 1] = nullptr;
  if (state_ != State::open) return;
  if (!codec_->multiplexed()) return pool_.take_back(*this);
  if (id != 0) codec_->cancel(id);  // of a stream that is over there is nothing left to cancel
  stream.unconsumed_ = 0;
  flush();  // what the codec has to say
  if (state_ == State::open) pool_.take_back(*this);
}

void UpstreamConnection::park(std::uint64_t until) {
  if (!codec_->multiplexed()) again_.cancel();
  context_.loop.timers().arm(deadline_, until);
}

// ---- sending ----

void UpstreamConnection::flush() {
  write();
  // Streams that share the connection wait for the same output.
  if (state_ == State::open && untold_ && output_.empty() && codec_->multiplexed()) again_.request();
}

void UpstreamConnection::write() {
  if (state_ != State::open) return;
  codec_->produce();  // what is borrowed is the callers' again from now on
  if (write_failed_) return output_.clear();
  const core::IoResult result = output_.flush(*stream_);
  counts_.sent += result.bytes;
  if (result.bytes > 0) took_at_ = context_.loop.now();
  if (result.status == core::IoStatus::error) {
    // It may have answered before it stopped listening (a 413, say): the answer, or its absence, decides.
    write_failed_ = true;
    output_.clear();
    again_.request();
  }
  if (!output_.empty()) untold_ = true;
}

void UpstreamConnection::tell_writable() {
  if (!output_.empty() || !std::exchange(untold_, false)) return;
  // Calls may end streams, or begin others.
  for (std::size_t i = 0; i < streams_.size() && output_.empty(); ++i) {
    UpstreamStream* stream = streams_[i];
    if (stream != nullptr && codec_->pending(stream->id_) == 0) stream->observer_.on_upstream_writable();
  }
}

// ---- coming to stand ----

void UpstreamConnection::on_connected(std::unique_ptr<core::TcpStream> stream, const Endpoint& endpoint,
                                      unsigned attempts) {
  end_charge();
  attempts_ = attempts;
  endpoint_ = &endpoint;
  slot_ = pool_.slot_of(*this);
  core::TcpStream& socket = *stream;
  stream_ = std::move(stream);
  const UpstreamTransport& transport = pool_.upstream().transport;
  if (transport.proxy_protocol != core::ProxyVersion::off && !introduce(socket)) return;
  if (transport.tls == nullptr) {
    connector_.reset();
    stream_->set_observer(this);
    return open();
  }
  if (context_.tls == nullptr) return unsecured(ConnectFailure::Kind::tls, "TLS is not available here");
  auto secured = context_.tls->connect(std::move(stream_), transport.tls, endpoint.host, endpoint.text,
                                       http1_only_ ? "http/1.1" : "");
  if (!secured) return unsecured(ConnectFailure::Kind::tls, secured.error().message);
  tls_ = secured->get();
  stream_ = std::move(*secured);
  stream_->set_observer(this);
  state_ = State::securing;
  context_.loop.timers().arm(deadline_, connector_->attempt_ends());
  secure();
}

bool UpstreamConnection::introduce(core::TcpStream& stream) {
  std::array<char, core::kMaxProxyWritten> header;
  const core::ProxyLine line =
      waiting_.empty() ? core::ProxyLine{} : waiting_.front()->observer_.on_upstream_asks_who();
  const iovec piece{header.data(), write_proxy_header(pool_.upstream().transport.proxy_protocol, line, header)};
  const core::IoResult sent = stream.write({&piece, 1});
  if (sent.status == core::IoStatus::ok && sent.bytes == piece.iov_len) return true;
  // A new socket has room for it, unless it is lost already.
  fail(UpstreamFailure::Kind::reset,
       sent.status == core::IoStatus::error ? std::strerror(sent.error) : "it does not take the PROXY header");
  return false;
}

void UpstreamConnection::secure() {
  switch (tls_->handshake()) {
    case core::HandshakeStatus::again:
      return;
    case core::HandshakeStatus::failed:
      return unsecured(ConnectFailure::Kind::tls, std::string(tls_->failure()));
    case core::HandshakeStatus::done:
      if (pool_.upstream().transport.version == HttpVersion::http2 && tls_->alpn() != "h2") {
        return unsecured(ConnectFailure::Kind::tls, "it does not agree on h2 (ALPN)");
      }
      deadline_.cancel();
      connector_.reset();
      return open();
  }
}

void UpstreamConnection::unsecured(ConnectFailure::Kind kind, const std::string& why) {
  // With another endpoint the request may well be answered, and nobody would hear of this one.
  if (endpoints_->endpoints.size() > 1) {
    core::log_limited(core::LogLevel::warn, {"no TLS", endpoint_->text}, "{}: no TLS with {}: {}",
                      pool_.upstream().title(), endpoint_->text, why);
  }
  deadline_.cancel();
  tls_ = nullptr;
  if (stream_ != nullptr) {
    stream_->set_observer(nullptr);
    context_.loop.retire(std::move(stream_));
  }
  endpoint_ = nullptr;
  state_ = State::connecting;
  connector_->go_on(kind, why);
}

void UpstreamConnection::open() {
  connected_at_ = context_.loop.now();
  core::ClientCodec::Observer& observer = *this;
  const HttpVersion version = pool_.upstream().transport.version;
  const bool agreed = tls_ != nullptr && tls_->alpn() == "h2";
  if (version == HttpVersion::http2 || (version == HttpVersion::automatic && agreed)) {
    http2_ = std::make_unique<core::Http2Client>(observer, output_, context_.http);
    codec_ = http2_.get();
  } else {
    codec_ = &http1_.emplace(observer, output_, context_.http);
  }
  state_ = State::open;
  // What came together with the connection (its end, say) is not reported again.
  if (stream_->readable()) again_.request();
  admit();
  if (state_ != State::open || !codec_->multiplexed()) return;
  flush();
  // Those that wait for its SETTINGS do so for as long as others wait for a connection.
  if (state_ == State::open && in_the_making()) {
    context_.loop.timers().arm(deadline_, connected_at_ + static_cast<std::uint64_t>(pool_.connect_timeout().count()));
  }
  if (state_ == State::open) pool_.take_back(*this);
}

void UpstreamConnection::admit() {
  while (state_ == State::open && !waiting_.empty() && codec_->capacity() > 0 && !pool_.used_up(*this)) {
    UpstreamStream& first = *waiting_.front();
    waiting_.erase(waiting_.begin());
    attach(first);
    first.fresh_ = true;
    first.observer_.on_upstream_ready();
  }
  while (state_ == State::open && !in_the_making() && !waiting_.empty()) pool_.move_on(*waiting_.front());
}

void UpstreamConnection::on_connect_failed(const ConnectFailure& failure) {
  attempts_ = failure.attempts;
  endpoint_ = failure.last;
  switch (failure.kind) {
    case ConnectFailure::Kind::no_endpoint:
      return fail(UpstreamFailure::Kind::no_endpoint, failure.detail);
    case ConnectFailure::Kind::timeout:
      return fail(UpstreamFailure::Kind::connect_timeout, failure.detail);
    case ConnectFailure::Kind::refused:
      return fail(UpstreamFailure::Kind::refused, failure.detail);
    case ConnectFailure::Kind::tls:
      return fail(UpstreamFailure::Kind::tls, failure.detail);
    case ConnectFailure::Kind::shortage:
      return fail(UpstreamFailure::Kind::shortage, failure.detail);
  }
}

void UpstreamConnection::on_attempt_failed(const Endpoint& endpoint) { pool_.failed(endpoint); }

void UpstreamConnection::on_shortage() {
  if (context_.on_shortage) context_.on_shortage();
}

void UpstreamConnection::end_charge() {
  if (const Endpoint* expected = std::exchange(expected_, nullptr); expected != nullptr) pool_.discharge(*expected);
}

// ---- receiving ----

void UpstreamConnection::on_ready(core::Stream&) {
  if (state_ == State::securing) return secure();
  if (state_ != State::open) return;
  if (!codec_->multiplexed() && in_use_ == 0) {
    if (says_more()) close();
    return;
  }
  if (!output_.empty()) write();
  tell_writable();
  read();
}

bool UpstreamConnection::says_more() {
  // There may be nothing after all, and TLS has things of its own to say (tickets). The receive buffer may be in use.
  char byte = 0;
  return stream_->readable() && stream_->read({&byte, 1}).status != core::IoStatus::again;
}

bool UpstreamConnection::held_back() const {
  return !codec_->multiplexed() && !streams_.empty() && streams_[0] != nullptr && streams_[0]->paused_;
}

void UpstreamConnection::read() {
  std::size_t budget = kReadBudget;
  while (state_ == State::open && !held_back() && (stream_->readable() || write_failed_)) {
    if (budget == 0) return again_.request();
    --budget;
    std::span<char> buffer = context_.buffer;
    if (!codec_->multiplexed() && !streams_.empty() && streams_[0] != nullptr) {
      buffer = buffer.first(std::min(buffer.size(), streams_[0]->observer_.upstream_read_limit()));
    }
    const std::size_t kept = stash_.size();
    if (kept > 0) {
      // An incomplete head: it grows in the stash until it is whole (its size is bounded by the codec).
      const std::size_t more = std::min<std::size_t>(buffer.size(), 4096);
      stash_.resize(kept + more);
      buffer = {stash_.data() + kept, more};
    }
    const core::IoResult result = stream_->read(buffer);
    if (kept > 0) stash_.resize(kept + result.bytes);
    if (result.status == core::IoStatus::ok) {
      counts_.received += result.bytes;
      heard_at_ = context_.loop.now();
      doubted_ = false;
      if (!receive(kept > 0 ? std::span<char>(stash_) : buffer.first(result.bytes))) return;
      continue;
    }
    if (result.status == core::IoStatus::again) {
      if (write_failed_) fail(UpstreamFailure::Kind::reset, "it stopped taking the request");
      break;
    }
    if (result.status == core::IoStatus::eof) {
      // Anybody on the way can send a FIN (RFC 9112 9.8).
      if (tls_ != nullptr && tls_->truncated() && http1_ && http1_->ends_with_connection()) {
        return fail(UpstreamFailure::Kind::closed, "its answer ended without close_notify");
      }
      if (codec_->end_of_input()) {
        end_event();
      } else {
        const bool begun = std::any_of(streams_.begin(), streams_.end(),
                                       [](const UpstreamStream* s) { return s != nullptr && s->answered_; });
        fail(UpstreamFailure::Kind::closed, begun || kept > 0 ? "it closed the connection in the middle of its answer"
                                                              : "it closed the connection without an answer");
      }
      return;
    }
    // A server may refuse our certificate only now (TLS 1.3).
    if (tls_ != nullptr && !tls_->failure().empty()) return fail(UpstreamFailure::Kind::reset, tls_->failure());
    return fail(UpstreamFailure::Kind::reset, std::strerror(result.error));
  }
  if (state_ != State::open || !codec_->multiplexed()) return;
  write();
  tell_writable();
}

bool UpstreamConnection::receive(std::span<char> bytes) {
  if (!codec_->multiplexed() && !streams_.empty() && streams_[0] != nullptr) {
    streams_[0]->touched_ = true;
    streams_[0]->touch();
  }
  const std::size_t used = codec_->receive(bytes);
  const bool own = !stash_.empty();
  std::string lent;  // pieces of it go out when the event ends
  if (state_ == State::open || state_ == State::closed) {
    // What is left over is an incomplete head, or what a tunnel begins with.
    if (own) {
      lent = std::exchange(stash_, {});
      if (used < lent.size()) stash_.assign(lent, used);
    } else if (used < bytes.size()) {
      stash_.assign(bytes.data() + used, bytes.size() - used);
    }
  }
  end_event();
  // Streams that are over have been tidied up: their numbers may be given again.
  if (state_ == State::open && codec_->multiplexed() && (std::exchange(room_, false) || !codec_->reusable())) {
    admit();
    if (state_ == State::open) pool_.take_back(*this);
  }
  return state_ == State::open && (in_use_ > 0 || codec_->multiplexed());
}

UpstreamStream* UpstreamConnection::touched(core::StreamId id) {
  UpstreamStream* stream = stream_of(id);
  if (stream == nullptr) return nullptr;
  stream->touched_ = true;
  if (codec_->multiplexed()) stream->touch();
  return stream;
}

void UpstreamConnection::end_event() {
  for (std::size_t i = 0; i < streams_.size(); ++i) {  // a call may end any stream
    UpstreamStream* stream = streams_[i];
    if (stream == nullptr || !stream->touched_) continue;
    stream->touched_ = false;
    stream->observer_.on_upstream_event_end();
    if (streams_[i] == stream) stream->give_back();
  }
}

void UpstreamConnection::on_response(core::StreamId id, core::ResponseHead& head, bool end) {
  UpstreamStream* stream = touched(id);
  if (stream == nullptr) return;
  if (head.status >= 200 || head.status == 101) {
    stream->answered_ = proven_ = true;
    pool_.succeeded(*endpoint_);
  }
  stream->complete_ = end;
  stream->observer_.on_upstream_response(head, end);
}

void UpstreamConnection::on_response_body(core::StreamId id, std::span<const char> data, bool end) {
  UpstreamStream* stream = touched(id);
  if (stream == nullptr) return codec_->consumed(id, data.size());
  stream->unconsumed_ += data.size();
  stream->complete_ = end;
  stream->observer_.on_upstream_body(data, end);
}

void UpstreamConnection::on_response_trailers(core::StreamId id, core::FieldList& fields) {
  UpstreamStream* stream = touched(id);
  if (stream == nullptr) return;
  stream->complete_ = true;
  stream->observer_.on_upstream_trailers(fields);
}

void UpstreamConnection::on_stream_writable(core::StreamId id) {
  UpstreamStream* stream = stream_of(id);
  if (stream == nullptr) return;
  stream->touch();
  untold_ = true;  // what waited is in the output now
}

// ---- ends ----

void UpstreamConnection::on_response_reset(core::StreamId id, bool unprocessed, const char* reason) {
  UpstreamStream* stream = stream_of(id);
  if (stream == nullptr) return;
  stream->complete_ = true;  // there is nothing to cancel
  // Not `reused`: the connection is alive, so it was not too old.
  fail_stream(*stream, {UpstreamFailure::Kind::reset, reason, false, stream->answered_, unprocessed});
}

void UpstreamConnection::on_bad_response(core::StreamId id, const char* reason) {
  if (!codec_->multiplexed() || id == 0) return fail(UpstreamFailure::Kind::bad_response, reason);
  UpstreamStream* stream = stream_of(id);
  if (stream == nullptr) return;
  fail_stream(*stream, {UpstreamFailure::Kind::bad_response, reason, stream->reused_, stream->answered_});
}

void UpstreamConnection::on_capacity() { room_ = true; }

void UpstreamConnection::fail_stream(UpstreamStream& stream, UpstreamFailure failure) {
  if (!codec_->multiplexed()) return fail(failure.kind, failure.detail);
  judge(failure.kind, stream.answered_ || failure.unprocessed, false);
  failure.alive = !doubted_;
  failure.detail = endpoint_->text + ": " + failure.detail;
  failure.moved = std::exchange(counts_, {});
  auto& observer = stream.observer_;
  detach(stream);
  observer.on_upstream_failed(failure);
}

void UpstreamConnection::not_sent(UpstreamStream& stream) {
  UpstreamFailure failure{UpstreamFailure::Kind::head_too_large, "the request's head is larger than it says it takes"};
  if (state_ != State::open) failure = {UpstreamFailure::Kind::reset, "the connection broke", stream.reused_};
  failure.unprocessed = true;
  fail_stream(stream, std::move(failure));
}

void UpstreamConnection::fail(UpstreamFailure::Kind kind, const std::string& detail) {
  UpstreamFailure failure{kind, detail};
  if (in_use_ > 0) {
    const bool answered = std::all_of(streams_.begin(), streams_.end(),
                                      [](const UpstreamStream* s) { return s == nullptr || s->answered_; });
    judge(kind, answered, proven_);
  }
  // What the connector says names every endpoint that it tried.
  if (!failure.detail.empty() && stream_ != nullptr && endpoint_ != nullptr)
    failure.detail = endpoint_->text + ": " + failure.detail;
  close();
  // Whoever is told may give up others of these streams.
  const auto tell = [&](UpstreamStream& stream) {
    failure.reused = stream.reused_;
    failure.answered = stream.answered_;
    failure.unprocessed = stream.id_ == 0;
    stream.attempts_ = attempts_;
    if (endpoint_ != nullptr) {
      stream.endpoint_text_ = endpoint_->text;
      stream.endpoint_state_ = endpoint_->state.get();
    }
    failure.moved = std::exchange(counts_, {});
    auto& observer = stream.observer_;
    detach(stream);
    observer.on_upstream_failed(failure);
  };
  while (!waiting_.empty()) tell(*waiting_.front());
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    if (streams_[i] != nullptr) tell(*streams_[i]);
  }
}

void UpstreamConnection::judge(UpstreamFailure::Kind kind, bool answered, bool kept) {
  using Kind = UpstreamFailure::Kind;
  const bool lost = kind == Kind::reset || kind == Kind::closed;
  if (kind == Kind::bad_response || (!answered && (kind == Kind::timeout || (lost && !kept)))) pool_.failed(*endpoint_);
}

void UpstreamConnection::blame_attempt(UpstreamStream& stream, std::chrono::milliseconds fair) {
  const Connector::Aim aim = connector_ != nullptr ? connector_->aim() : Connector::Aim{endpoint_, connected_at_};
  if (aim.endpoint == nullptr) return;
  stream.endpoint_text_ = aim.endpoint->text;
  stream.endpoint_state_ = aim.endpoint->state.get();
  // For all that wait it is one failure: that of the last to give it up.
  const bool long_enough = context_.loop.now() - aim.since >= static_cast<std::uint64_t>(fair.count());
  if (long_enough && waiting_.size() == 1) pool_.failed(*aim.endpoint);
}

void UpstreamConnection::doubt(std::uint64_t since) {
  if (http2_ == nullptr || doubted_ || heard_at_ > since) return;
  doubted_ = true;
  http2_->ping();
}

void UpstreamConnection::timed_out() {
  if (state_ == State::securing) {
    const std::string time = std::to_string(pool_.connect_timeout().count()) + " ms";
    return unsecured(ConnectFailure::Kind::timeout, "no TLS connection within " + time);
  }
  if (state_ != State::open) return;
  if (in_the_making() || !waiting_.empty()) {
    mute_ = mute_ || in_the_making();
    while (state_ == State::open && !waiting_.empty()) pool_.move_on(*waiting_.front());
  }
  if (in_use_ == 0 && state_ == State::open && waiting_.empty()) close();
}

void UpstreamConnection::close() {
  if (state_ == State::closed) return;
  if (idle() && http2_ != nullptr && !write_failed_) {
    http2_->say_goodbye();
    (void)output_.flush(*stream_);
  }
  state_ = State::closed;
  if (codec_ != nullptr) codec_->stop();
  deadline_.cancel();
  again_.cancel();
  connector_.reset();  // or it would still report in this turn
  end_charge();
  if (stream_ != nullptr) {
    stream_->set_observer(nullptr);
    if (tls_ != nullptr) stream_->shutdown_write();  // close_notify
  }
  pool_.remove(*this);
}

}  // namespace edgemux::routing
