#include "routing/upstream/stream.h"

#include <algorithm>

#include "routing/upstream/connection.h"
#include "routing/upstream/pool.h"

namespace edgemux::routing {

UpstreamPlace::~UpstreamPlace() {
  if (connection_ == nullptr) return;
  connection_->pool_.discharge(*connection_->endpoint_);
  connection_->close();
}

std::string_view UpstreamPlace::endpoint_text() const { return connection_->endpoint_->text; }

const std::string& UpstreamPlace::upstream_name() const { return connection_->pool_.upstream().name; }

UpstreamStream::UpstreamStream(Observer& observer)
    : observer_(observer), deadline_([](void* self) { static_cast<UpstreamStream*>(self)->timed_out(); }, this) {}

void UpstreamStream::send_request(const core::OutgoingRequest& request, bool end) {
  id_ = connection_->codec_->send_request(request, end);
  if (id_ == 0) return connection_->not_sent(*this);
  if (connection_->streams_.size() < id_) connection_->streams_.resize(id_);
  connection_->streams_[id_ - 1] = this;
  if (connection_->codec_->multiplexed()) connection_->codec_->allow(id_, observer_.upstream_window());
}

void UpstreamStream::send_body(std::span<const char> data) {
  if (state_ == State::ready) connection_->codec_->send_body(id_, data);
}

void UpstreamStream::send_end() {
  if (state_ == State::ready) connection_->codec_->send_end(id_);
}

void UpstreamStream::send_trailers(const core::FieldList& fields) {
  if (state_ == State::ready) connection_->codec_->send_trailers(id_, fields);
}

bool UpstreamStream::shared() const { return state_ == State::ready && connection_->codec_->multiplexed(); }

void UpstreamStream::flush() {
  if (state_ != State::ready) return;
  connection_->flush();
  note_kept_back();
}

void UpstreamStream::note_kept_back() {
  if (!shared() || id_ == 0) return;
  const std::size_t now = connection_->codec_->pending(id_);
  if (now == kept_back_) return;
  kept_back_ = now;
  kept_back_at_ = connection_->context_.loop.now();
}

std::size_t UpstreamStream::pending() const {
  if (state_ != State::ready) return 0;
  return connection_->output_.pending() + (id_ != 0 ? connection_->codec_->pending(id_) : 0);
}

void UpstreamStream::resume() {
  if (!paused_) return;
  paused_ = false;
  if (state_ != State::ready) return;
  touch();
  give_back();
  connection_->again_.request();
}

void UpstreamStream::give_back() {
  if (unconsumed_ == 0 || paused_ || id_ == 0) return;
  connection_->codec_->consumed(id_, std::exchange(unconsumed_, 0));
  if (!complete_ && connection_->codec_->multiplexed()) {
    connection_->codec_->allow(id_, observer_.upstream_window());
  }
}

void UpstreamStream::expect_answer() {
  awaiting_ = true;
  asked_ = false;
  if (state_ == State::ready) asked_at_ = connection_->context_.loop.now();
  touch();
}

void UpstreamStream::expect_word() {
  expect_answer();
  asked_ = true;
}

std::uint64_t UpstreamStream::silence() const {
  return static_cast<std::uint64_t>(silence_.value_or(connection_->context_.response_timeout).count());
}

void UpstreamStream::touch() {
  if (state_ != State::ready) return;
  const std::uint64_t most = silence();
  if (most == 0) return deadline_.cancel();
  core::EventLoop& loop = connection_->context_.loop;
  loop.timers().arm(deadline_, loop.now() + most);
}

void UpstreamStream::begin_waiting(UpstreamPool& pool) {
  pool_ = &pool;
  state_ = State::queued;
  id_ = 0;
  attempts_ = 0;
  endpoint_text_ = {};
  endpoint_state_ = nullptr;
  reused_ = answered_ = complete_ = paused_ = awaiting_ = asked_ = touched_ = false;
  unconsumed_ = 0;
  core::EventLoop& loop = pool.context_.loop;
  loop.timers().arm(deadline_, loop.now() + static_cast<std::uint64_t>(pool.upstream().pending_timeout.count()));
}

void UpstreamStream::timed_out() {
  if (state_ == State::queued) {
    const std::string why = pool_->waited_in_vain();
    auto& observer = observer_;
    release();
    return observer.on_upstream_failed({UpstreamFailure::Kind::limit, why});
  }
  if (state_ != State::ready) return;  // left armed: the next request moves it
  const std::size_t waiting = pending();
  core::EventLoop& loop = connection_->context_.loop;
  // Silence counts from the last byte of the request that it took. What a shared connection takes of others says
  // nothing of a request that is through, or that its own window keeps back.
  note_kept_back();
  if (waiting > 0 || !shared()) {
    const std::uint64_t due = (kept_back_ > 0 ? kept_back_at_ : connection_->took_at_) + silence();
    if (due > loop.now()) return loop.timers().arm(deadline_, due);
  }
  if (paused_ || (!awaiting_ && waiting == 0)) return touch();  // the client is slow, not the upstream
  const std::string time = std::to_string(silence()) + " ms";
  const char* what = asked_      ? "no word on whether the body is wanted within "
                     : awaiting_ ? "no answer within "
                                 : "it took nothing of the request for ";
  connection_->doubt(loop.now() - silence());
  connection_->fail_stream(*this, {UpstreamFailure::Kind::timeout, what + time, reused_, answered_});
}

MovedBytes UpstreamStream::take_counts() {
  return connection_ != nullptr ? std::exchange(connection_->counts_, {}) : MovedBytes{};
}

UpstreamStream::Upgraded UpstreamStream::take_stream() {
  UpstreamConnection& connection = *connection_;
  connection.stream_->set_observer(nullptr);
  connection.state_ = UpstreamConnection::State::taken;
  connection.again_.cancel();
  connection.detach(*this);
  connection.pool_.charge(*connection.endpoint_);
  return {std::move(connection.stream_), std::move(connection.stash_), UpstreamPlace(connection)};
}

void UpstreamStream::blame(std::chrono::milliseconds fair) {
  if (state_ == State::waiting) return connection_->blame_attempt(*this, fair);
  if (state_ != State::ready || !awaiting_ || answered_ || pending() > 0) return;
  const std::uint64_t since = shared() ? asked_at_ : std::max(asked_at_, connection_->took_at_);
  if (connection_->context_.loop.now() - since < static_cast<std::uint64_t>(fair.count())) return;
  connection_->doubt(since);
  connection_->pool_.failed(*connection_->endpoint_);
}

void UpstreamStream::release() {
  if (state_ == State::none) return;
  if (state_ == State::queued) {
    state_ = State::none;
    deadline_.cancel();
    pool_->stop_waiting(*this);
    return pool_->end_request(*this);
  }
  connection_->detach(*this);
}

}  // namespace edgemux::routing
