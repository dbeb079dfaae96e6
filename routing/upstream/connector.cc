#include "routing/upstream/connector.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace edgemux::routing {

namespace {

// The first endpoint of the same name and the other family that `wanted` likes; SIZE_MAX = none.
template <class Wanted>
std::size_t find_other_family(const std::vector<Endpoint>& endpoints, std::size_t endpoint, Wanted wanted) {
  const Endpoint& one = endpoints[endpoint];
  if (one.host.empty() || one.address.is_unix()) return SIZE_MAX;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const Endpoint& other = endpoints[i];
    if (other.address.is_v4() != one.address.is_v4() && other.host == one.host &&
        other.address.port() == one.address.port() && wanted(i)) {
      return i;
    }
  }
  return SIZE_MAX;
}

bool outpaced(const Endpoint& endpoint, std::uint64_t now) {
  return endpoint.state != nullptr && endpoint.state->outpaced_until.load(std::memory_order_relaxed) > now;
}

}  // namespace

std::size_t first_choice(const EndpointSet& set, std::size_t wanted, std::uint64_t now) {
  const auto& endpoints = set.endpoints;
  if (wanted >= endpoints.size() || !outpaced(endpoints[wanted], now)) return wanted;
  const std::size_t other =
      find_other_family(endpoints, wanted, [&](std::size_t i) { return !outpaced(endpoints[i], now); });
  return other == SIZE_MAX ? wanted : other;
}

Connector::Connector(core::EventLoop& loop, core::WorkerMetrics& metrics, Observer& observer,
                     std::shared_ptr<const EndpointSet> endpoints, std::size_t first, std::chrono::milliseconds timeout,
                     const std::optional<core::SocketAddress>& source)
    : loop_(loop),
      metrics_(metrics),
      observer_(observer),
      endpoints_(std::move(endpoints)),
      next_(first),
      timeout_(timeout),
      source_(source),
      stagger_([](void* self) { static_cast<Connector*>(self)->try_other_family(); }, this),
      second_try_([](void* self) { static_cast<Connector*>(self)->try_again(); }, this),
      later_(
          loop, [](void* self) { static_cast<Connector*>(self)->report(); }, this) {}

Connector::~Connector() {
  end(first_);
  end(second_);
}

void Connector::end(Attempt& attempt) {
  attempt.deadline.cancel();
  if (attempt.stream == nullptr) return;
  attempt.stream->set_observer(nullptr);
  loop_.retire(std::move(attempt.stream));
}

void Connector::start(bool speaks_first) {
  speaks_first_ = speaks_first;
  next_ = first_choice(*endpoints_, next_, loop_.now());
  if (endpoints_->endpoints.empty()) {
    failure_.kind = ConnectFailure::Kind::no_endpoint;
    failure_.detail = endpoints_->problem.empty() ? "it has no endpoints" : endpoints_->problem;
    later_.request();
    return;
  }
  try_next();
}

bool Connector::tried(std::size_t endpoint) const {
  const auto end = tried_.begin() + failure_.attempts;
  return std::find(tried_.begin(), end, endpoint) != end;
}

std::size_t Connector::other_family(std::size_t endpoint) const {
  return find_other_family(endpoints_->endpoints, endpoint, [this](std::size_t i) { return !tried(i); });
}

Connector::Begun Connector::begin(Attempt& attempt, std::size_t endpoint) {
  tried_[failure_.attempts++] = endpoint;
  return dial(attempt, endpoint);
}

Connector::Begun Connector::dial(Attempt& attempt, std::size_t endpoint) {
  const core::SocketAddress& address = endpoints_->endpoints[endpoint].address;
  auto stream =
      core::TcpStream::connect(loop_, address, {.speaks_first = speaks_first_}, source_ ? &*source_ : nullptr);
  attempt.endpoint = endpoint;
  if (!stream && stream.error().shortage) {
    shortage_ = std::move(stream.error().message);
    return Begun::shortage;
  }
  if (!stream) {
    attempt_failed(endpoint, core::ConnectResult::failed, stream.error().message);
    return Begun::failed;
  }
  attempt.stream = std::move(*stream);
  attempt.stream->set_observer(this);
  attempt.ends = loop_.now() + static_cast<std::uint64_t>(timeout_.count());
  loop_.timers().arm(attempt.deadline, attempt.ends);
  return Begun::yes;
}

bool Connector::settle(Begun begun, std::size_t endpoint) {
  switch (begun) {
    case Begun::failed:
      return false;
    case Begun::yes:
      if (failure_.attempts < kMostAttempts && other_family(endpoint) != SIZE_MAX) {
        loop_.timers().arm(stagger_, loop_.now() + kStagger);
      }
      return true;
    case Begun::shortage:
      break;
  }
  if (!std::exchange(tried_again_, true)) {
    observer_.on_shortage();
    loop_.timers().arm(second_try_, loop_.now() + kSecondTry);
    return true;
  }
  note_failure(endpoint, ConnectFailure::Kind::shortage, shortage_);
  later_.request();
  return true;
}

void Connector::try_again() {
  if (!settle(dial(first_, first_.endpoint), first_.endpoint)) try_next();
}

void Connector::try_next() {
  const std::size_t count = endpoints_->endpoints.size();
  while (failure_.attempts < std::min(count, kMostAttempts)) {
    while (tried(next_ % count)) ++next_;
    if (failure_.attempts > 0) metrics_.upstream_retries.add();
    const std::size_t endpoint = next_ % count;
    if (settle(begin(first_, endpoint), endpoint)) return;
  }
  later_.request();
}

void Connector::try_other_family() {
  const std::size_t endpoint = other_family(first_.endpoint);
  if (endpoint != SIZE_MAX) (void)begin(second_, endpoint);
}

void Connector::attempt_failed(std::size_t endpoint, core::ConnectResult result, const std::string& why) {
  metrics_.upstream_connect(result);
  note_failure(endpoint,
               result == core::ConnectResult::timeout ? ConnectFailure::Kind::timeout : ConnectFailure::Kind::refused,
               why);
}

void Connector::note_failure(std::size_t endpoint, ConnectFailure::Kind kind, const std::string& why) {
  failure_.kind = kind;
  if (!failure_.detail.empty()) failure_.detail += "; ";
  failure_.last = &endpoints_->endpoints[endpoint];
  failure_.detail += failure_.last->text + ": " + why;
  if (kind != ConnectFailure::Kind::shortage) observer_.on_attempt_failed(*failure_.last);
}

void Connector::on_ready(core::Stream& stream) {
  Attempt& attempt = first_.stream.get() == &stream ? first_ : second_;
  switch (attempt.stream->connect_state()) {
    case core::TcpStream::Connect::pending:
      return;
    case core::TcpStream::Connect::done: {
      attempt.deadline.cancel();
      stagger_.cancel();
      metrics_.upstream_connect(core::ConnectResult::ok);
      if (&attempt == &second_ && first_.running()) outpaced_by_other_family(endpoints_->endpoints[first_.endpoint]);
      standing_ = attempt.endpoint;
      standing_ends_ = attempt.ends;
      attempt.stream->set_observer(nullptr);
      auto winner = std::move(attempt.stream);
      end(&attempt == &first_ ? second_ : first_);
      observer_.on_connected(std::move(winner), endpoints_->endpoints[attempt.endpoint], failure_.attempts);
      return;
    }
    case core::TcpStream::Connect::failed:
      break;
  }
  const int error = attempt.stream->connect_error();
  end(attempt);
  attempt_failed(attempt.endpoint, error == ECONNREFUSED ? core::ConnectResult::refused : core::ConnectResult::failed,
                 std::strerror(error));
  if (first_.running() || second_.running()) return;  // the other family may still make it
  stagger_.cancel();
  try_next();
}

void Connector::outpaced_by_other_family(const Endpoint& slow) {
  if (slow.state == nullptr) return;
  slow.state->outpaced_until.store(loop_.now() + kRemembered, std::memory_order_relaxed);
}

Connector::Aim Connector::aim() const {
  const auto since = [this](std::uint64_t ends) { return ends - static_cast<std::uint64_t>(timeout_.count()); };
  if (first_.running()) return {&endpoints_->endpoints[first_.endpoint], since(first_.ends)};
  if (second_.running()) return {&endpoints_->endpoints[second_.endpoint], since(second_.ends)};
  if (standing_ends_ == 0) return {};
  return {&endpoints_->endpoints[standing_], since(standing_ends_)};
}

void Connector::go_on(ConnectFailure::Kind kind, const std::string& why) {
  standing_ends_ = 0;
  note_failure(standing_, kind, why);
  try_next();
}

void Connector::timed_out(Attempt& attempt) {
  end(attempt);
  attempt_failed(attempt.endpoint, core::ConnectResult::timeout,
                 "no answer within " + std::to_string(timeout_.count()) + " ms");
  if (first_.running() || second_.running()) return;
  stagger_.cancel();
  try_next();
}

void Connector::report() { observer_.on_connect_failed(failure_); }

}  // namespace edgemux::routing
