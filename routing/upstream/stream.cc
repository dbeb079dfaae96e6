#include "routing/upstream/stream.h"

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
  if (connection_->streams_.size() < id_) connection_->streams_.resize(id_);
  connection_->streams_[id_ - 1] = this;
}

void UpstreamStream::send_body(std::span<const char> data) { connection_->codec_->send_body(id_, data); }

void UpstreamStream::send_end() { connection_->codec_->send_end(id_); }

void UpstreamStream::send_trailers(const core::FieldList& fields) { connection_->codec_->send_trailers(id_, fields); }

bool UpstreamStream::shared() const { return state_ == State::ready && connection_->codec_->multiplexed(); }

void UpstreamStream::flush() {
  if (state_ == State::ready) connection_->flush();
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
}

void UpstreamStream::expect_answer() {
  awaiting_ = true;
  touch();
}

void UpstreamStream::touch() {
  if (state_ != State::ready) return;
  auto& context = connection_->context_;
  context.loop.timers().arm(deadline_,
                            context.loop.now() + static_cast<std::uint64_t>(context.response_timeout.count()));
}

void UpstreamStream::timed_out() {
  if (state_ != State::ready) return;  // left armed: the next request moves it
  const std::size_t waiting = pending();
  if (paused_ || (!awaiting_ && waiting == 0)) return touch();  // the client is slow, not the upstream
  const std::string time = std::to_string(connection_->context_.response_timeout.count()) + " ms";
  connection_->fail_stream(
      *this, {UpstreamFailure::Kind::timeout,
              awaiting_ ? "no answer within " + time : "it took nothing of the request for " + time, reused_, answered_,
              false});
}

UpstreamStream::Counts UpstreamStream::take_counts() {
  return connection_ != nullptr ? std::exchange(connection_->counts_, {}) : Counts{};
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

void UpstreamStream::release() {
  if (state_ == State::none) return;
  connection_->detach(*this);
}

}  // namespace edgemux::routing
