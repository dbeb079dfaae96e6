// Exchange: the request's body, how fast it comes, and what of it is kept for another try.

#include "listeners/exchange.h"
#include "listeners/http_session.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

using routing::UpstreamFailure;

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBodyCheck{2'000};

}  // namespace

// ---- what is kept ----

// What comes of the body is little, as far as is known, and keeping it is in nobody's way.
bool Exchange::spares(const core::OutgoingRequest& request) const {
  const bool little = !request.has_content_length || request.content_length <= kMostSpare;
  return little && early_body_.size() <= kMostSpare && session_->may_spare(0);
}

void Exchange::keep_body(std::span<const char> data) {
  const std::size_t size = early_body_.size() + data.size();
  const bool for_retry = tries_.may_follow() && size <= kMostPending && session_->may_keep(data.size());
  if (!for_retry) tries_.give_up_retries();
  whole_ = whole_ && !wants_upgrade_ && (for_retry || (size <= kMostSpare && session_->may_spare(data.size())));
  if (for_retry || whole_) {
    early_body_.append(data.data(), data.size());
  } else {
    std::string().swap(early_body_);
  }
  count_kept();
}

void Exchange::mirror(const core::OutgoingRequest& request) {
  for (const auto& mirror : rule_->filters->mirrors) {
    if (wants_upgrade_ || !mirror.samples(worker_.random())) continue;
    if (auto copy = worker_.mirrors().copy(mirror.upstream, request)) mirrors_.push_back(std::move(copy));
  }
}

void Exchange::feed_mirrors(std::span<const char> data, bool end) {
  for (auto& copy : mirrors_) copy->add_body(data);
  if (!end) return;
  // Sending may break a connection that is this request's as well, and so end it.
  for (auto& copy : std::exchange(mirrors_, {})) worker_.mirrors().send(std::move(copy));
}

// ---- what comes ----

void Exchange::on_request_body(std::span<const char> data, bool end) {
  if (std::exchange(awaits_continue_, false)) {  // it waits for no word
    upstream_stream_.expect_more();
    await_body(kBodyGrace);
  }
  pace_.add(data.size(), worker_.now());
  bytes_in_ += data.size();
  unconsumed_ += data.size();
  spend_bandwidth(data.size());
  if (end) {
    request_done_ = true;
    body_deadline_.cancel();
  }
  if (max_body_ != 0 && bytes_in_ > max_body_ && stage_ != Stage::over && stage_ != Stage::replying) {
    return refuse(413, CloseReason::body_too_large, "the body is larger than this host takes");
  }
  // It asked for a tunnel, and has got an answer instead: what was meant for the tunnel is nobody's (RFC 8441 5). The
  // upstream has the request whole, and would read this as the next one.
  if (wants_upgrade_) return give_back_window();
  if (!mirrors_.empty()) feed_mirrors(data, end);
  if (stage_ == Stage::connecting) {
    early_body_.append(data.data(), data.size());
    return;
  }
  if (!upstream_stream_.ready()) return;
  if (keeps_request()) keep_body(data);
  upstream_stream_.send_body(data);
  if (!end || !upstream_stream_.ready()) return;  // a connection that breaks by being written to has told so
  upstream_stream_.send_end();
  if (upstream_stream_.ready()) upload_ended();
}

void Exchange::on_request_trailers(core::FieldList& fields) {
  request_done_ = true;
  awaits_continue_ = false;  // the body is whole, and empty
  body_deadline_.cancel();
  feed_mirrors({}, true);
  if (stage_ == Stage::over || stage_ == Stage::replying) return;
  const bool waits = stage_ == Stage::connecting;
  const std::size_t size = SavedRequest::size_of(fields);
  const bool affordable = session_->may_keep(2 * size);  // the block that they came in is there too
  if (!affordable && (waits || upstream_stream_.pending() > 0)) {
    return refuse(431, CloseReason::head_too_large, "trailers that wait for an upstream are too large");
  }
  if (!affordable) {
    tries_.give_up_retries();
    whole_ = false;
  }
  if (waits || keeps_request()) saved_->save_trailers(fields);
  if (!waits && upstream_stream_.pending() > 0) trailers_ = size;
  count_kept();
  if (waits || !upstream_stream_.ready()) return;
  upstream_stream_.send_trailers(fields);
  upload_ended();
}

void Exchange::flush_upstream() {
  upstream_stream_.flush();
  throttle();
  give_back_window();
  if (bytes_in_ != counted_in_ && (!request_done_ || counted_in_ != 0)) count_soon();
}

void Exchange::give_back_window() {
  if (unconsumed_ == 0 || throttle_.armed() || stage_ == Stage::connecting || upstream_stream_.pending() > 0) return;
  session_->codec().consumed(stream_, std::exchange(unconsumed_, 0));
}

bool Exchange::wants_input() const {
  return !throttle_.armed() &&
         (stage_ == Stage::connecting ? early_body_.size() : 0) + upstream_stream_.pending() < kMostPending;
}

// ---- how fast ----

void Exchange::await_body(milliseconds time) {
  worker_.loop().timers().arm(body_deadline_, worker_.now() + static_cast<std::uint64_t>(time.count()));
}

UploadPace::Held Exchange::held() const {
  if (!wants_input() || stage_ == Stage::connecting) return UploadPace::Held::by_upstream;
  if (!session_->withholds_window()) return UploadPace::Held::nothing;
  return unconsumed_ >= kMostPending / 2 ? UploadPace::Held::by_upstream : UploadPace::Held::by_window;
}

void Exchange::body_timed_out() {
  const auto& timeouts = worker_.snapshot().timeouts;
  const auto in_ms = [](milliseconds time) { return static_cast<std::uint64_t>(time.count()); };
  if (head_sent_) {
    if (pace_.quiet(worker_.now(), bytes_in_ + bytes_out_, in_ms(timeouts.tunnel_idle))) {
      return refuse(408, CloseReason::body_too_slow, "neither side has sent anything for timeouts.tunnel_idle");
    }
  } else if (talks_ && upstream_stream_.shared()) {
    // A stream of gRPC may be silent before its first answer, too: for as long as an answer may take.
    const auto most = silence().count() == 0 ? timeouts.tunnel_idle : silence();
    if (pace_.quiet(worker_.now(), bytes_in_, in_ms(most))) {
      return refuse(504, CloseReason::response_timeout, "neither side has sent anything before an answer");
    }
  } else if (pace_.too_slow(worker_.now(), timeouts.request_body_rate, held(), in_ms(timeouts.response))) {
    // No upstream holds a body up for longer than that.
    return refuse(408, CloseReason::body_too_slow, "the request's body comes in too slowly");
  }
  await_body(kBodyCheck);
}

}  // namespace edgemux::listeners
