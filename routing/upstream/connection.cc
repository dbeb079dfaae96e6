#include "routing/upstream/connection.h"

#include <cerrno>
#include <cstring>

#include "routing/upstream/pool.h"

namespace edgemux::routing {

UpstreamConnection::UpstreamConnection(UpstreamPool& pool, UpstreamContext& context,
                                       std::shared_ptr<const EndpointSet> endpoints, std::size_t first,
                                       std::chrono::milliseconds connect_timeout)
    : pool_(pool),
      context_(context),
      output_(context.blocks),
      codec_(*this, output_, context.http),
      endpoints_(std::move(endpoints)),
      deadline_([](void* self) { static_cast<UpstreamConnection*>(self)->timed_out(); }, this),
      again_(
          context.loop, [](void* self) { static_cast<UpstreamConnection*>(self)->read(); }, this) {
  connector_.reset(new Connector(context.loop, context.metrics, *this, endpoints_, first,
                                 connect_timeout));  // NOLINT: the observer is a private base
}

UpstreamConnection::~UpstreamConnection() = default;

void UpstreamConnection::lend(Observer& observer) {
  observer_ = &observer;
  ++requests_;
  answered_ = false;
  awaiting_ = false;
  paused_ = false;
  if (state_ == State::idle) state_ = State::busy;
  touch();
}

void UpstreamConnection::park(std::uint64_t until) {
  observer_ = nullptr;
  state_ = State::idle;
  awaiting_ = false;
  again_.cancel();
  context_.loop.timers().arm(deadline_, until);
}

void UpstreamConnection::touch() {
  if (state_ != State::busy) return;
  context_.loop.timers().arm(deadline_,
                             context_.loop.now() + static_cast<std::uint64_t>(context_.response_timeout.count()));
}

void UpstreamConnection::expect_answer() {
  awaiting_ = true;
  touch();
}

void UpstreamConnection::flush() {
  if (state_ == State::connecting) {
    output_.keep();
    return;
  }
  if (state_ != State::busy || write_failed_) {
    output_.clear();
    return;
  }
  const core::IoResult result = output_.flush(*stream_);
  counts_.sent += result.bytes;
  if (result.bytes > 0) touch();  // silence counts from the last byte that it took
  if (result.status == core::IoStatus::error) {
    // It may have answered before it stopped listening (a 413, say): the answer, or its absence, decides.
    write_failed_ = true;
    output_.clear();
    again_.request();
  }
}

void UpstreamConnection::pause() { paused_ = true; }

void UpstreamConnection::resume() {
  if (!paused_) return;
  paused_ = false;
  touch();
  again_.request();
}

void UpstreamConnection::on_connected(std::unique_ptr<core::TcpStream> stream, const Endpoint& endpoint,
                                      unsigned attempts) {
  connector_.reset();
  attempts_ = attempts;
  endpoint_ = &endpoint;
  slot_ = pool_.slot_of(*this);
  stream_ = std::move(stream);
  stream_->set_observer(this);
  connected_at_ = context_.loop.now();
  state_ = State::busy;
  touch();
  // What came together with the connection (its end, say) is not reported again.
  if (stream_->readable()) again_.request();
  const bool waited = !output_.empty();
  flush();
  if (waited && output_.empty() && observer_ != nullptr) observer_->on_upstream_writable();
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
  }
}

void UpstreamConnection::on_ready(core::Stream&) {
  if (state_ == State::idle) {
    // The upstream closed it, or speaks out of turn.
    if (stream_->readable()) close();
    return;
  }
  if (state_ != State::busy) return;
  if (!output_.empty()) {
    flush();
    if (output_.empty() && observer_ != nullptr) observer_->on_upstream_writable();
  }
  read();
}

void UpstreamConnection::read() {
  std::size_t budget = kReadBudget;
  while (state_ == State::busy && !paused_ && (stream_->readable() || write_failed_)) {
    if (budget == 0) return again_.request();
    --budget;
    std::span<char> buffer = context_.buffer;
    const std::size_t kept = stash_.size();
    if (kept > 0) {
      // An incomplete head: it grows in the stash until it is whole (its size is bounded by the codec).
      stash_.resize(kept + 4096);
      buffer = {stash_.data() + kept, 4096};
    }
    const core::IoResult result = stream_->read(buffer);
    if (kept > 0) stash_.resize(kept + result.bytes);
    if (result.status == core::IoStatus::ok) {
      counts_.received += result.bytes;
      if (!receive(kept > 0 ? std::span<char>(stash_) : buffer.first(result.bytes))) return;
      continue;
    }
    if (result.status == core::IoStatus::again) {
      if (write_failed_) fail(UpstreamFailure::Kind::reset, "it stopped taking the request");
      return;
    }
    if (result.status == core::IoStatus::eof) {
      if (codec_.end_of_input()) {
        if (observer_ != nullptr) observer_->on_upstream_event_end();
      } else {
        fail(UpstreamFailure::Kind::closed, answered_ ? "it closed the connection in the middle of its answer"
                                                      : "it closed the connection without an answer");
      }
      return;
    }
    fail(UpstreamFailure::Kind::reset, std::strerror(result.error));
    return;
  }
}

bool UpstreamConnection::receive(std::span<char> bytes) {
  touch();
  answered_ = true;
  const std::size_t used = codec_.receive(bytes);
  const bool own = !stash_.empty();
  if (state_ == State::busy || state_ == State::closed) {
    // What is left over is an incomplete head, or what a tunnel begins with.
    if (own) {
      stash_.erase(0, used);
    } else if (used < bytes.size()) {
      stash_.assign(bytes.data() + used, bytes.size() - used);
    }
  }
  // No observer: the exchange gave the connection back from inside.
  if (observer_ != nullptr) observer_->on_upstream_event_end();
  return state_ == State::busy;
}

void UpstreamConnection::on_response(core::ResponseHead& head, bool end) {
  if (observer_ != nullptr) observer_->on_upstream_response(head, end);
}

void UpstreamConnection::on_response_body(std::span<const char> data, bool end) {
  if (observer_ != nullptr) observer_->on_upstream_body(data, end);
}

void UpstreamConnection::on_bad_response(const char* reason) { fail(UpstreamFailure::Kind::bad_response, reason); }

void UpstreamConnection::fail(UpstreamFailure::Kind kind, std::string detail) {
  Observer* observer = observer_;
  UpstreamFailure failure{kind, std::move(detail), reused(), answered_};
  if (!failure.detail.empty() && connected_at_ != 0) failure.detail = endpoint_->text + ": " + failure.detail;
  observer_ = nullptr;
  close();
  if (observer != nullptr) observer->on_upstream_failed(failure);
}

void UpstreamConnection::timed_out() {
  if (state_ == State::idle) {
    close();
    return;
  }
  if (paused_ || (!awaiting_ && output_.empty())) {
    touch();  // the client is slow, not the upstream
    return;
  }
  if (!awaiting_) {
    fail(UpstreamFailure::Kind::timeout,
         "it took nothing of the request for " + std::to_string(context_.response_timeout.count()) + " ms");
    return;
  }
  fail(UpstreamFailure::Kind::timeout, "no answer within " + std::to_string(context_.response_timeout.count()) + " ms");
}

void UpstreamConnection::close() {
  if (state_ == State::closed) return;
  const bool was_idle = state_ == State::idle;
  state_ = State::closed;
  observer_ = nullptr;
  codec_.stop();
  deadline_.cancel();
  again_.cancel();
  connector_.reset();  // or it would still report in this turn
  if (stream_ != nullptr) stream_->set_observer(nullptr);
  if (was_idle) pool_.forget_idle(*this);
  pool_.remove(*this);
}

UpstreamConnection::Upgraded UpstreamConnection::take_stream() {
  stream_->set_observer(nullptr);
  state_ = State::taken;
  observer_ = nullptr;
  deadline_.cancel();
  again_.cancel();
  return {std::move(stream_), std::move(stash_)};
}

}  // namespace edgemux::routing
