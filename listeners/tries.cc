#include "listeners/tries.h"

namespace edgemux::listeners {

bool idempotent(core::Method method) {
  switch (method) {
    case core::Method::get:
    case core::Method::head:
    case core::Method::options:
    case core::Method::trace:
    case core::Method::put:
    case core::Method::delete_:
      return true;
    default:
      return false;
  }
}

Tries::Tries(core::TimerWheel& timers, Observer& observer) : timers_(timers), observer_(observer) {}

Tries::Deadlines::Deadlines(Tries& tries)
    : request([](void* self) { static_cast<Tries*>(self)->observer_.on_request_timeout(); }, &tries),
      step([](void* self) { static_cast<Tries*>(self)->step(); }, &tries) {}

Tries::Deadlines& Tries::deadlines() {
  if (deadlines_ == nullptr) deadlines_ = std::make_unique<Deadlines>(*this);
  return *deadlines_;
}

void Tries::begin(const routing::Filters* filters, core::Method method, std::uint64_t now) {
  filters_ = filters;
  left_ = made_ = 0;
  if (filters == nullptr) return;
  idempotent_ = idempotent(method);
  if (filters->retry) left_ = filters->retry->attempts;
  if (filters->request_timeout.count() != 0) {
    timers_.arm(deadlines().request, now + static_cast<std::uint64_t>(filters->request_timeout.count()));
  }
}

void Tries::try_begins(std::uint64_t now) {
  if (filters_ == nullptr || filters_->try_timeout.count() == 0) return;
  timers_.arm(deadlines().step, now + static_cast<std::uint64_t>(filters_->try_timeout.count()));
}

void Tries::end() {
  filters_ = nullptr;
  left_ = 0;
  pausing_ = false;
  if (deadlines_ == nullptr) return;
  deadlines_->request.cancel();
  deadlines_->step.cancel();
}

bool Tries::follows(const routing::UpstreamFailure& failure) const {
  if (left_ == 0) return false;
  const routing::Retry& policy = *filters_->retry;
  using Kind = routing::UpstreamFailure::Kind;
  switch (failure.kind) {
    case Kind::refused:
    case Kind::tls:  // nothing of the request has gone out
    case Kind::connect_timeout:
      return policy.on_connect;
    case Kind::reset:
    case Kind::closed:
      if (failure.unprocessed) return policy.on_connect || policy.on_reset;
      return policy.on_reset && idempotent_ && !failure.answered;
    case Kind::timeout:
      return policy.on_timeout && idempotent_ && !failure.answered;
    case Kind::no_endpoint:
    case Kind::limit:
    case Kind::bad_response:
    case Kind::shortage:
    case Kind::head_too_large:
      return false;
  }
  return false;
}

bool Tries::follows(std::uint16_t status) const { return left_ > 0 && filters_->retry->on(status); }

void Tries::pause(std::uint64_t now, std::uint64_t random) {
  --left_;
  ++made_;
  pausing_ = true;
  timers_.arm(deadlines().step,
              now + static_cast<std::uint64_t>(retry_backoff(*filters_->retry, made_, random).count()));
}

void Tries::step() {
  if (!pausing_) return observer_.on_try_timeout();
  pausing_ = false;
  observer_.on_next_try();
}

}  // namespace edgemux::listeners
