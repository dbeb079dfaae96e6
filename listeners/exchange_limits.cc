// Exchange, the limits of tenants and of client addresses: the rate of requests, and bandwidth.

#include <utility>

#include "core/base/log.h"
#include "core/base/metrics.h"
#include "listeners/exchange.h"
#include "listeners/http_session.h"
#include "listeners/local_reply.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

namespace {

constexpr std::uint64_t kLookMs = 1'000;

}  // namespace

routing::TenantState* Exchange::tenant() const {
  return route_ == nullptr || route_->owner == nullptr ? nullptr : route_->owner->state.get();
}

bool Exchange::within_connections() {
  if (session_->count_for(route_->owner)) return true;
  detail_ = "tenant " + route_->owner->name + " has reached a limit on its connections";
  core::log_limited(core::LogLevel::warn, {"tenant_limit", route_->owner->name},
                    "listener {}: connections are closed: {}", session_->listener().name(), detail_);
  too_many(CloseReason::tenant_limit, "this host has more connections than it may");
  return false;
}

bool Exchange::within_rate() {
  routing::TenantState* state = tenant();
  if (state == nullptr || state->take_request(worker_.now())) return true;
  state->figures(worker_.index()).refused_requests.fetch_add(1, std::memory_order_relaxed);
  detail_ = "tenant " + route_->owner->name + " has reached limits.requests_per_second";
  too_many(CloseReason::tenant_limit, "this host gets more requests than it may");
  return false;
}

bool Exchange::within_source_rate() {
  if (worker_.shared().sources.take_request(client_, worker_.now())) return true;
  detail_ = "the client has reached limits.requests_per_second_per_source";
  too_many(CloseReason::source_limit, "this client sends more requests than it may");
  return false;
}

void Exchange::too_many(CloseReason reason, std::string_view why) {
  static const std::vector<std::pair<std::string, std::string>> retry_after{{"retry-after", "1"}};
  const std::string body = describe(429, why);
  if (grpc_) return refuse_grpc(429, reason, body);
  LocalReply answer;
  answer.status = 429;
  answer.body = body;
  answer.headers = retry_after;
  answer.reason = reason;
  reply(answer);
}

Payers Exchange::payers() const { return {worker_.shared().sources, client_, tenant()}; }

void Exchange::spend_bandwidth(std::size_t bytes) { allowance_.spend(payers(), bytes); }

void Exchange::throttle() {
  if (stage_ == Stage::over) return;
  if (!throttle_.armed()) {
    const std::uint64_t wait = allowance_.wait(payers(), worker_.now());
    if (wait == 0) return;
    worker_.loop().timers().arm(throttle_, worker_.now() + wait);
  }
  upstream_stream_.pause();
}

void Exchange::unthrottle() {
  if (stage_ == Stage::over) return;
  pace_.restart(worker_.now());  // it was not the client that was slow
  throttle();
  if (throttle_.armed()) return;
  if (stage_ == Stage::replying) {
    give_back_window();
    if (session_->pending(stream_) == 0) reply_on();
    return;
  }
  if (session_->pending(stream_) == 0) upstream_stream_.resume();
  give_back_window();
  session_->resume_reading();
}

void Exchange::count_for_tenant() {
  throttle_.cancel();
  look_.cancel();
  allowance_.give_back(payers(), worker_.now());
  routing::TenantState* state = tenant();
  if (state == nullptr) return;
  auto& figures = state->figures(worker_.index());
  figures.requests[core::status_class(status_)].fetch_add(1, std::memory_order_relaxed);
  count_bytes();
}

void Exchange::count_bytes() {
  const std::uint64_t in = bytes_in_ - std::exchange(counted_in_, bytes_in_);
  const std::uint64_t out = bytes_out_ - std::exchange(counted_out_, bytes_out_);
  routing::TenantState* state = tenant();
  if (state == nullptr) return;
  auto& figures = state->figures(worker_.index());
  figures.received.fetch_add(in, std::memory_order_relaxed);
  figures.sent.fetch_add(out, std::memory_order_relaxed);
}

void Exchange::count_soon() {
  if (!look_.armed() && stage_ != Stage::over) worker_.loop().timers().arm(look_, worker_.now() + kLookMs);
}

void Exchange::look() {
  if (!upstream_stream_.idle()) count_upstream(upstream_stream_.take_counts());
  count_bytes();
}

}  // namespace edgemux::listeners
