#include "listeners/stream_tunnel.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "listeners/clock.h"
#include "listeners/http_session.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

void CodecStream::received(std::span<const char> data, bool end) {
  // Of who is read more slowly than the window lets in, it would never be empty.
  input_.erase(0, std::exchange(taken_, 0));
  input_.append(data.data(), data.size());
  ended_ = ended_ || end;
  again_.request();
}

void CodecStream::was_reset() {
  reset_ = finished_ = true;
  again_.request();
}

CodecStream::CodecStream(HttpSession& session, core::StreamId id)
    : session_(session),
      id_(id),
      again_(
          session.worker().loop(),
          [](void* self) {
            auto& stream = *static_cast<CodecStream*>(self);
            if (stream.observer_ != nullptr) stream.observer_->on_ready(stream);
          },
          this) {}

core::IoResult CodecStream::read(std::span<char> buffer) {
  if (reset_) return {core::IoStatus::error, 0, ECONNRESET};
  if (input_.empty()) return {ended_ ? core::IoStatus::eof : core::IoStatus::again, 0, 0};
  const std::size_t count = std::min(buffer.size(), input_.size() - taken_);
  std::memcpy(buffer.data(), input_.data() + taken_, count);
  taken_ += count;
  if (taken_ == input_.size()) {
    taken_ = 0;
    input_.clear();
    if (input_.capacity() > kKept) std::string().swap(input_);
  }
  if (!over_) {
    session_.codec().consumed(id_, count);
    session_.flush();
  }
  return {core::IoStatus::ok, count, 0};
}

core::IoResult CodecStream::write(std::span<const iovec> pieces) {
  if (reset_) return {core::IoStatus::error, 0, ECONNRESET};
  if (session_.pending(id_) > 0) return {};
  std::size_t count = 0;
  for (const iovec& piece : pieces) {
    session_.codec().send_body(id_, {static_cast<const char*>(piece.iov_base), piece.iov_len});
    count += piece.iov_len;
  }
  session_.flush();
  if (reset_) return {core::IoStatus::error, 0, ECONNRESET};
  return count > 0 ? core::IoResult{core::IoStatus::ok, count, 0} : core::IoResult{};
}

std::size_t CodecStream::unsent() const { return reset_ || finished_ ? 0 : session_.pending(id_); }

void CodecStream::shutdown_write() {
  if (std::exchange(finished_, true)) return;
  session_.codec().send_end(id_);
  session_.flush();
}

void CodecStream::abort() {
  if (std::exchange(reset_, true) || over_) return;
  session_.codec().reset(id_, core::StreamError::cancel, core::Fault::other);
  session_.flush();
}

StreamTunnel::StreamTunnel(HttpSession& session, core::StreamId id, routing::UpstreamStream::Upgraded upstream,
                           UpgradedRequest request)
    : session_(session),
      id_(id),
      began_us_(monotonic_us()),
      client_(session, id),
      upstream_(std::move(upstream.stream)),
      place_(std::move(upstream.place)),
      request_(std::move(request)),
      tunnel_(session.worker(), *this, client_, *upstream_) {  // NOLINT: the observer is a private base
  tunnel_.to_client().prepend(upstream.received);
  tunnel_.count_for(request_.client, request_.state());
  tunnel_.opened({}, {0, static_cast<std::uint32_t>(upstream.received.size())}, true);
  tunnel_.start();
}

core::ListenerMetrics& StreamTunnel::tunnel_metrics() const { return session_.listener().metrics(); }

std::size_t StreamTunnel::tunnel_read_limit() const { return session_.read_limit(id_); }

void StreamTunnel::on_tunnel_closed(CloseReason reason, const char* detail) {
  tunnel_.end(reason, false);
  if (reason != CloseReason::done) client_.abort();
  session_.stream_tunnel_done(*this, reason, detail);
}

}  // namespace edgemux::listeners
