// Exchange: answers of our own, and the end.

#include "listeners/exchange.h"

#include <algorithm>
#include <array>

#include "core/base/log.h"
#include "listeners/actions.h"
#include "listeners/clock.h"
#include "listeners/grpc.h"
#include "listeners/http_session.h"
#include "listeners/local_reply.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

using core::FieldId;
using routing::UpstreamFailure;

namespace {

using std::chrono::milliseconds;

struct FailureAnswer {
  std::uint16_t status;
  CloseReason reason;
  const char* text;
};

FailureAnswer answer_to(UpstreamFailure::Kind kind) {
  switch (kind) {
    case UpstreamFailure::Kind::no_endpoint:
      return {503, CloseReason::no_endpoint, "has no endpoint that can be reached"};
    case UpstreamFailure::Kind::refused:
      return {502, CloseReason::connect_failed, "refuses connections"};
    case UpstreamFailure::Kind::connect_timeout:
      return {504, CloseReason::connect_timeout, "does not accept the connection in time"};
    case UpstreamFailure::Kind::tls:
      return {502, CloseReason::upstream_tls, "cannot be reached over TLS"};
    case UpstreamFailure::Kind::limit:
      return {503, CloseReason::upstream_limit, "is at its limit"};
    case UpstreamFailure::Kind::reset:
      return {502, CloseReason::upstream_reset, "reset the connection"};
    case UpstreamFailure::Kind::closed:
      return {502, CloseReason::upstream_closed, "closed the connection without a whole answer"};
    case UpstreamFailure::Kind::bad_response:
      return {502, CloseReason::bad_response, "gave an answer that is not valid HTTP"};
    case UpstreamFailure::Kind::timeout:
      return {504, CloseReason::response_timeout, "did not answer in time"};
    case UpstreamFailure::Kind::shortage:
      return {503, CloseReason::out_of_resources, "cannot be asked for want of resources"};
    case UpstreamFailure::Kind::head_too_large:
      return {431, CloseReason::head_too_large, "takes no head as large as a request's"};
  }
  return {502, CloseReason::internal, "failed"};
}

}  // namespace

void Exchange::fail_upstream(const UpstreamFailure& failure) {
  const FailureAnswer answer = answer_to(failure.kind);
  core::log_limited(core::LogLevel::warn, {close_reason_name(answer.reason), upstream_->identity},
                    "route {}: upstream {} {}: {}", route_->name, upstream_->name, answer.text,
                    failure.detail.empty() ? "-" : failure.detail);
  // What is told of the client's own fault, the client sees.
  const bool own = failure.kind == UpstreamFailure::Kind::head_too_large;
  refuse(answer.status, answer.reason,
         own ? "the head is larger than the upstream takes" : std::string_view(failure.detail));
}

// Its upstreams did nothing with it, and it is not whole here any more: its client can send it again (RFC 9113 8.7).
void Exchange::hand_back(const UpstreamFailure& failure) {
  core::log_limited(core::LogLevel::warn, {"not processed", upstream_->identity},
                    "route {}: upstream {} did not process a request that cannot be sent again from here: {}",
                    route_->name, upstream_->name, failure.detail);
  detail_ = failure.detail;
  session_->abort(*this, CloseReason::upstream_reset, core::StreamError::refused);
}

void Exchange::refuse(std::uint16_t status, CloseReason reason, std::string_view detail) {
  if (stage_ == Stage::over) return;
  if (detail_.data() != detail.data()) detail_ = detail;
  if (head_sent_) {
    // Too late for another answer: what the client has must not look whole. But it gets what has come.
    session_->flush();
    if (stage_ == Stage::over) return;  // the client was lost
    release_upstream();
    if (stage_ != Stage::over) session_->abort(*this, reason);
    return;
  }
  std::string body;
  if (upstream_ != nullptr && status >= 500) {
    // Operators' clients see which upstream it was; why is in the log.
    for (const auto kind :
         {UpstreamFailure::Kind::no_endpoint, UpstreamFailure::Kind::refused, UpstreamFailure::Kind::connect_timeout,
          UpstreamFailure::Kind::tls, UpstreamFailure::Kind::limit, UpstreamFailure::Kind::reset,
          UpstreamFailure::Kind::closed, UpstreamFailure::Kind::bad_response, UpstreamFailure::Kind::timeout,
          UpstreamFailure::Kind::shortage}) {
      const FailureAnswer answer = answer_to(kind);
      if (answer.reason == reason) body = describe(status, "upstream " + upstream_->name + " " + answer.text);
    }
  }
  if (reason == CloseReason::no_upstream || reason == CloseReason::request_timeout) body = describe(status, detail_);
  if (body.empty()) body = describe(status, upstream_ != nullptr && status >= 500 ? std::string_view() : detail);
  if (grpc_) return refuse_grpc(status, reason, body);
  LocalReply answer;
  answer.status = status;
  answer.body = body;
  answer.reason = reason;
  // RFC 9110 15.5.6. Of the methods, CONNECT alone is refused here.
  static const std::array<std::pair<std::string, std::string>, 1> allowed{
      {{"allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"}}};
  if (status == 405) answer.headers = allowed;
  reply(answer);
}

void Exchange::refuse_grpc(std::uint16_t status, CloseReason reason, std::string_view message) {
  LocalReply answer;
  answer.status = 200;
  answer.content_type = "application/grpc";
  const std::array<std::pair<std::string, std::string>, 3> headers{{{"content-type", "application/grpc"},
                                                                    {"grpc-status", std::string(grpc_status(status))},
                                                                    {"grpc-message", grpc_message(message)}}};
  answer.headers = headers;
  answer.reason = reason;
  reply(answer);
}

void Exchange::reply(const LocalReply& answer) {
  release_upstream();
  if (stage_ == Stage::over) return;  // others of its connection were told, and the client is gone
  core::ResponseHead& head = worker_.http_scratch().response;
  head.clear();
  head.status = answer.status;
  bool has_type = false;
  for (const auto& [name, value] : answer.headers) {
    has_type = has_type || name == "content-type";
    // Framing and connection are the codec's to write, whatever was configured.
    const FieldId id = core::classify_field(name);
    head.fields.add({name, value, id, core::is_always_hop_by_hop(id)});
  }
  if (!has_type && !answer.body.empty()) head.fields.add({"content-type", answer.content_type, FieldId::content_type});
  if (!answer.location.empty()) head.fields.add({"location", answer.location, FieldId::location});
  if (rule_ != nullptr && rule_->filters != nullptr) {
    // All of it fits: such an answer has few fields of its own.
    if (answer.preflight != nullptr) {
      shape_preflight(*rule_->filters, *answer.preflight, head.fields);
    } else {
      (void)shape_answer(*rule_, nullptr, view(origin_), head.fields);
    }
  }
  status_ = answer.status;
  head_sent_ = true;
  auto& codec = session_->codec();
  core::BodyPlan plan;
  if (!answer.body.empty()) plan = {core::BodyPlan::Kind::length, answer.body.size()};
  if (answer.reason != CloseReason::body_too_slow) codec.drop_body(stream_);
  session_->wrote_head(SavedRequest::size_of(head.fields));
  codec.send_head(stream_, head, plan);
  if (stage_ == Stage::over) return;  // the client was lost
  const bool with_body = !bodiless(answer.status) && !answer.body.empty();
  if (with_body && answer.of_route) {
    rest_ = answer.body;
    stage_ = Stage::replying;
    return reply_on();
  }
  if (with_body) {
    codec.send_body(stream_, {answer.body.data(), answer.body.size()});
    bytes_out_ = answer.body.size();
    payers().charge(bytes_out_, worker_.now());
  }
  if (stage_ != Stage::over) codec.send_end(stream_);
  if (stage_ != Stage::over) session_->flush();
  if (stage_ != Stage::over) finish(answer.reason);
}

void Exchange::reply_on() {
  auto& codec = session_->codec();
  while (!rest_.empty()) {
    throttle();
    if (throttle_.armed()) return session_->flush();
    const std::size_t size = std::min({rest_.size(), session_->reply_limit(stream_), allowance_.left(payers())});
    codec.send_body(stream_, {rest_.data(), size});
    if (stage_ == Stage::over) return;  // the client was lost
    rest_.remove_prefix(size);
    bytes_out_ += size;
    spend_bandwidth(size);
    if (rest_.empty()) codec.send_end(stream_);
    if (stage_ != Stage::over) session_->flush();
    if (stage_ == Stage::over) return;
    if (rest_.empty()) break;
    if (session_->pending(stream_) > 0) return shed();
  }
  finish(CloseReason::done);
}

void Exchange::count_upstream(const routing::MovedBytes& moved) {
  session_->listener().metrics().upstream_sent.add(moved.sent);
  session_->listener().metrics().upstream_received.add(moved.received);
}

void Exchange::count_tries() { attempts_ += upstream_stream_.attempts(); }

void Exchange::give_up_upstream(milliseconds time) {
  // What the connection, the queue or the client's body took of it is no fault of the endpoint.
  upstream_stream_.blame(time / 2);
  release_upstream();
}

void Exchange::release_upstream() {
  session_->take_back(granted_);
  if (upstream_stream_.idle()) return;
  endpoint_ = upstream_stream_.endpoint_text();
  count_tries();
  count_upstream(upstream_stream_.take_counts());
  upstream_stream_.release();
}

void Exchange::shed() {
  saved_.reset();
  std::string().swap(early_body_);
  forwarding_ = {};
  std::string().swap(forwarding_text_);
  count_kept();
}

void Exchange::finish(CloseReason reason) {
  stage_ = Stage::over;  // first: what is told while the upstream is released may close the session
  release_upstream();
  const std::uint64_t duration = monotonic_us() - began_us_;
  auto& metrics = session_->listener().metrics();
  metrics.request(status_, duration);
  worker_.metrics().closes[static_cast<std::size_t>(reason)].add();
  if (worker_.shared().access_log.enabled()) write_log(reason);
  body_deadline_.cancel();
  tries_.end();
  count_for_tenant();
  session_->exchange_done(*this, reason);
}

void Exchange::cancel(CloseReason reason, std::string_view detail) {
  if (stage_ == Stage::over) return;
  if (detail_.empty()) detail_ = detail;
  stage_ = Stage::over;
  release_upstream();
  body_deadline_.cancel();
  tries_.end();
  session_->listener().metrics().request(status_, monotonic_us() - began_us_);
  worker_.metrics().closes[static_cast<std::size_t>(reason)].add();
  if (worker_.shared().access_log.enabled()) write_log(reason);
  count_for_tenant();
}

UpgradedRequest Exchange::upgraded() const {
  UpgradedRequest kept;
  kept.client = client_;
  kept.request_id.assign(request_id_.data(), request_id_.size());
  kept.host = view(host_);
  kept.path = view(path_);
  if (route_ != nullptr) {
    kept.tenant = route_->owner;
    kept.route = route_->name;
  }
  return kept;
}

void Exchange::write_log(CloseReason reason) {
  AccessRecord record;
  record.kind = AccessKind::request;
  record.reason = reason;
  record.status = status_;
  record.client = &client_;
  record.listener = session_->listener().name();
  record.sni = session_->sni();
  record.alpn = session_->alpn();
  record.tls_version = session_->tls_version();
  record.tls_resumed = session_->tls_resumed();
  record.host = view(host_);
  record.method = view(method_);
  record.path = view(path_);
  record.protocol = protocol_;
  if (route_ != nullptr) {
    record.route = route_->name;
    record.tenant = route_->tenant;
  }
  if (upstream_ != nullptr) record.upstream = upstream_->name;
  record.endpoint = endpoint_;
  record.attempts = attempts_;
  if (has_id_) record.request_id = {request_id_.data(), request_id_.size()};
  record.user_agent = view(user_agent_);
  record.referer = view(referer_);
  record.detail = detail_;
  record.bytes_in = bytes_in_;
  record.bytes_out = bytes_out_;
  record.duration_us = monotonic_us() - began_us_;
  record.connect_us = connect_us_;
  record.first_byte_us = first_byte_us_;
  worker_.log(record);
}

}  // namespace edgemux::listeners
