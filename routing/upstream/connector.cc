#include "routing/upstream/connector.h"

#include <cerrno>
#include <cstring>

namespace edgemux::routing {

Connector::Connector(core::EventLoop& loop, core::WorkerMetrics& metrics, Observer& observer,
                     std::shared_ptr<const EndpointSet> endpoints, std::size_t first, std::chrono::milliseconds timeout)
    : loop_(loop),
      metrics_(metrics),
      observer_(observer),
      endpoints_(std::move(endpoints)),
      next_(first),
      timeout_(timeout),
      deadline_([](void* self) { static_cast<Connector*>(self)->timed_out(); }, this),
      later_(
          loop, [](void* self) { static_cast<Connector*>(self)->report(); }, this) {}

Connector::~Connector() {
  if (stream_ != nullptr) {
    stream_->set_observer(nullptr);
    loop_.retire(std::move(stream_));
  }
}

void Connector::start(bool speaks_first) {
  speaks_first_ = speaks_first;
  if (endpoints_->endpoints.empty()) {
    failure_.kind = ConnectFailure::Kind::no_endpoint;
    failure_.detail = endpoints_->problem.empty() ? "it has no endpoints" : endpoints_->problem;
    later_.request();
    return;
  }
  try_next();
}

void Connector::try_next() {
  const auto& endpoints = endpoints_->endpoints;
  while (failure_.attempts < endpoints.size() && failure_.attempts < kMostAttempts) {
    const Endpoint& endpoint = endpoints[next_ % endpoints.size()];
    ++failure_.attempts;
    if (failure_.attempts > 1) metrics_.upstream_retries.add();
    auto stream = core::TcpStream::connect(loop_, endpoint.address, {.speaks_first = speaks_first_});
    if (stream) {
      stream_ = std::move(*stream);
      stream_->set_observer(this);
      loop_.timers().arm(deadline_, loop_.now() + static_cast<std::uint64_t>(timeout_.count()));
      return;
    }
    attempt_failed(core::ConnectResult::failed, stream.error().message);
  }
  later_.request();
}

void Connector::attempt_failed(core::ConnectResult result, const std::string& why) {
  metrics_.upstream_connect(result);
  failure_.kind =
      result == core::ConnectResult::timeout ? ConnectFailure::Kind::timeout : ConnectFailure::Kind::refused;
  if (!failure_.detail.empty()) failure_.detail += "; ";
  failure_.detail += endpoints_->endpoints[next_ % endpoints_->endpoints.size()].text + ": " + why;
  failure_.last = &endpoints_->endpoints[next_ % endpoints_->endpoints.size()];
  observer_.on_attempt_failed(*failure_.last);
  ++next_;
}

void Connector::on_ready(core::Stream&) {
  switch (stream_->connect_state()) {
    case core::TcpStream::Connect::pending:
      return;
    case core::TcpStream::Connect::done: {
      deadline_.cancel();
      metrics_.upstream_connect(core::ConnectResult::ok);
      stream_->set_observer(nullptr);
      const Endpoint& endpoint = endpoints_->endpoints[next_ % endpoints_->endpoints.size()];
      observer_.on_connected(std::move(stream_), endpoint, failure_.attempts);
      return;
    }
    case core::TcpStream::Connect::failed:
      break;
  }
  deadline_.cancel();
  const int error = stream_->connect_error();
  stream_->set_observer(nullptr);
  loop_.retire(std::move(stream_));
  attempt_failed(error == ECONNREFUSED ? core::ConnectResult::refused : core::ConnectResult::failed,
                 std::strerror(error));
  try_next();
}

void Connector::timed_out() {
  stream_->set_observer(nullptr);
  loop_.retire(std::move(stream_));
  attempt_failed(core::ConnectResult::timeout, "no answer within " + std::to_string(timeout_.count()) + " ms");
  try_next();
}

void Connector::report() { observer_.on_connect_failed(failure_); }

}  // namespace edgemux::routing
