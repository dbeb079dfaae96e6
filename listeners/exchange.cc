#include "listeners/exchange.h"

#include <array>

#include "core/base/log.h"
#include "core/http/path.h"
#include "listeners/actions.h"
#include "listeners/clock.h"
#include "listeners/forwarding.h"
#include "listeners/grpc.h"
#include "listeners/http_session.h"
#include "listeners/local_reply.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

using core::Field;
using core::FieldId;
using routing::UpstreamFailure;

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMostPending = 64 * 1024;
constexpr milliseconds kBodyGrace{10'000};
constexpr std::uint32_t kMostUntouched = 3;  // attempts after which "I did nothing with it" is an error
constexpr milliseconds kBodyCheck{2'000};

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
  }
  return {502, CloseReason::internal, "failed"};
}

}  // namespace

// ---- beginning ----

Exchange::Exchange(Worker& worker)
    : worker_(worker),
      upstream_stream_(static_cast<routing::UpstreamStream::Observer&>(*this)),
      tries_(worker.loop().timers(), static_cast<Tries::Observer&>(*this)),
      body_deadline_([](void* self) { static_cast<Exchange*>(self)->body_timed_out(); }, this),
      throttle_([](void* self) { static_cast<Exchange*>(self)->unthrottle(); }, this) {}

void Exchange::reset() {
  throttle_.cancel();
  session_ = nullptr;
  route_.reset();
  rule_ = nullptr;
  upstream_.reset();
  pool_ = nullptr;
  text_.clear();
  repeatable_ = whole_ = false;
  mirrors_.clear();
  early_body_.clear();
  if (early_body_.capacity() > kMostPending) early_body_.shrink_to_fit();
  detail_.clear();
  endpoint_.clear();
  host_ = method_ = path_ = user_agent_ = referer_ = origin_ = {};
  protocol_ = {};
  first_byte_us_ = bytes_in_ = bytes_out_ = max_body_ = body_bytes_ = 0;
  unconsumed_ = 0;
  attempts_ = 0;
  status_ = 0;
  stage_ = Stage::over;
  has_id_ = request_done_ = head_sent_ = answer_done_ = wants_upgrade_ = grpc_ = false;
}

Exchange::Text Exchange::keep(std::string_view text) {
  constexpr std::size_t kMost = 4096;  // the log cuts long values anyway
  text = text.substr(0, kMost);
  const Text kept{static_cast<std::uint32_t>(text_.size()), static_cast<std::uint32_t>(text.size())};
  text_.append(text);
  return kept;
}

void Exchange::begin(HttpSession& session, core::StreamId stream) {
  session_ = &session;
  client_ = session.client();
  stream_ = stream;
  stage_ = Stage::routing;
  began_us_ = monotonic_us();
}

void Exchange::remember(const core::RequestHead& head) {
  if (!worker_.shared().access_log.enabled()) return;
  host_ = keep(head.host);
  method_ = keep(head.method_text);
  path_ = keep(head.target);
  if (const Field* field = head.fields.find(FieldId::user_agent)) user_agent_ = keep(field->value);
  if (const Field* field = head.fields.find("referer")) referer_ = keep(field->value);
  protocol_ = head.major == 2 ? "HTTP/2" : head.minor == 1 ? "HTTP/1.1" : "HTTP/1.0";
}

void Exchange::start(HttpSession& session, core::StreamId stream, core::RequestHead& head, bool end) {
  begin(session, stream);
  request_done_ = end;
  if (!end) {
    body_began_ = worker_.now();
    // A client that waits for "100 Continue" waits for the upstream.
    await_body(head.expect_continue ? worker_.snapshot().timeouts.response : kBodyGrace);
  }
  remember(head);
  const auto& trusted = session.listener().spec().trusted_proxies;
  from_trusted_ = !trusted.empty() && contains(trusted, client_);
  if (from_trusted_) client_ = client_behind(head.fields, client_, trusted);
  if (const Field* type = head.fields.find(FieldId::content_type)) grpc_ = is_grpc(type->value);
  if (head.method == core::Method::connect) {
    return refuse(405, CloseReason::bad_request, "CONNECT is not served here");
  }
  std::array<char, 4096> small;
  std::string large;
  std::span<char> scratch = small;
  if (head.path.size() > small.size()) {
    large.resize(head.path.size());
    scratch = large;
  }
  core::NormalPath path{nullptr, head.path};
  if (head.path != "*") path = core::normalize_path(head.path, scratch);
  if (path.error != nullptr) return refuse(400, CloseReason::bad_request, path.error);
  if (session.secure()) {
    dispatch_tls(head, path.path, end);
  } else {
    dispatch_http(head, path.path, end);
  }
}

void Exchange::start_refused(HttpSession& session, core::StreamId stream, std::uint16_t status, CloseReason reason,
                             std::string_view detail) {
  begin(session, stream);
  refuse(status, reason, detail);
}

// ---- forwarding ----

// Before rules look at the fields.
void Exchange::settle_forwarding(core::RequestHead& head) {
  forwarding_ = make_forwarding(head.fields, {session_->client(), from_trusted_, session_->secure(), head.authority},
                                forwarding_text_);
}

void Exchange::forward(core::RequestHead& head, std::string_view path, const routing::UpstreamPtr& upstream, bool end) {
  upstream_ = upstream;
  if (upstream->missing) {
    return refuse(500, CloseReason::no_upstream, "upstream " + upstream->name + " is not defined");
  }
  worker_.make_request_id(request_id_.data());
  has_id_ = true;
  std::array<Field, 5> added{{
      {"x-forwarded-for", forwarding_.x_forwarded_for, FieldId::x_forwarded_for},
      {"forwarded", forwarding_.forwarded, FieldId::forwarded},
      {"x-request-id", {request_id_.data(), request_id_.size()}, FieldId::x_request_id},
  }};
  std::size_t count = 3;
  if (!forwarding_.x_forwarded_proto.empty()) {
    added[count++] = {"x-forwarded-proto", forwarding_.x_forwarded_proto, FieldId::x_forwarded_proto};
  }
  if (!forwarding_.x_forwarded_host.empty()) {
    added[count++] = {"x-forwarded-host", forwarding_.x_forwarded_host, FieldId::x_forwarded_host};
  }
  core::OutgoingRequest request;
  request.method = head.method_text;
  request.kind = head.method;
  request.path = path;
  request.has_query = head.has_query;
  request.query = head.query;
  request.authority = head.authority;
  request.fields = {head.fields.begin(), head.fields.size()};
  request.added = std::span(added).first(count);
  request.framing = head.framing;
  request.content_length = head.content_length;
  request.has_content_length = head.has_content_length;
  request.te_trailers = head.te_trailers;
  request.scheme = upstream_->transport.tls != nullptr ? "https" : "http";
  wants_upgrade_ = head.upgrade;
  if (wants_upgrade_) request.upgrade_protocol = head.upgrade_protocol;
  request_done_ = end;
  const routing::Filters* filters = rule_ != nullptr ? rule_->filters.get() : nullptr;
  if (filters != nullptr && !shape_request(*rule_, head.fields, request, rewritten_)) {
    return refuse(431, CloseReason::bad_request, "with those of the rule, the request has too many header fields");
  }
  pool_ = &worker_.pools().of(upstream_);
  upstream_->state->runtime().retries.request();
  if (filters != nullptr && !filters->mirrors.empty()) mirror(request);
  tries_.begin(filters, head.method, worker_.now());
  send(request, false);
  if (request_done_) feed_mirrors({}, true);  // none, if the exchange is over
}

void Exchange::send(const core::OutgoingRequest& request, bool fresh) {
  ++attempts_;
  tries_.try_begins(worker_.now());
  const auto* avoid = fresh ? upstream_stream_.endpoint_state() : nullptr;
  switch (pool_->acquire(upstream_stream_, {&client_, fresh, avoid})) {
    case routing::UpstreamPool::Acquired::limit:
      return fail_upstream({UpstreamFailure::Kind::limit, pool_->limit_reason()});
    case routing::UpstreamPool::Acquired::refused:
      return fail_upstream({UpstreamFailure::Kind::tls, upstream_->transport.refused});
    case routing::UpstreamPool::Acquired::waiting:
      if (&request != &saved_.request()) saved_.save(request);
      whole_ = request_done_ && bytes_in_ == 0;
      stage_ = Stage::connecting;
      return;
    case routing::UpstreamPool::Acquired::ready:
      break;
  }
  // A pooled connection may turn out to have been closed by the upstream just before: the request goes out again. So
  // does one with which a shared connection did nothing.
  const bool bodiless = request_done_ && bytes_in_ == 0 && !wants_upgrade_;
  repeatable_ = upstream_stream_.reused() && bodiless && idempotent(request.kind);
  whole_ = upstream_stream_.shared() && bodiless;
  if (repeatable_ || whole_ || tries_.may_follow()) saved_.save(request);
  go(request);
}

void Exchange::go(const core::OutgoingRequest& request) {
  const bool end = request_done_ && early_body_.empty();
  upstream_stream_.send_request(request, end);
  stage_ = Stage::uploading;
  if (!early_body_.empty()) upstream_stream_.send_body(early_body_);
  if (!request_done_) return;
  if (!early_body_.empty()) upstream_stream_.send_end();
  upload_ended();
}

void Exchange::upload_ended() {
  stage_ = Stage::answering;
  upstream_stream_.expect_answer();
}

std::size_t Exchange::upstream_read_limit() const { return session_->read_limit(); }

void Exchange::on_upstream_ready() {
  go(saved_.request());
  upstream_stream_.flush();
  throttle();
  if (early_body_.size() > kMostPending) tries_.give_up_retries();
  if (!tries_.may_follow()) early_body_.clear();
  give_back_window();
  session_->resume_reading();
}

void Exchange::mirror(const core::OutgoingRequest& request) {
  for (const auto& mirror : rule_->filters->mirrors) {
    if (wants_upgrade_ || !mirror.samples(worker_.random())) continue;
    if (auto copy = worker_.mirrors().copy(mirror.upstream, request)) mirrors_.push_back(std::move(copy));
  }
}

void Exchange::feed_mirrors(std::span<const char> data, bool end) {
  for (auto& copy : mirrors_) {
    copy->add_body(data);
    if (end) worker_.mirrors().send(std::move(copy));
  }
  if (end) mirrors_.clear();
}

void Exchange::retry() {
  worker_.metrics().upstream_retries.add();
  send(saved_.request(), true);
  upstream_stream_.flush();
  throttle();
}

bool Exchange::pay_for_retry() { return upstream_->state->runtime().retries.take(); }

void Exchange::retry_later() {
  release_upstream();
  stage_ = Stage::connecting;
  first_byte_us_ = 0;
  tries_.pause(worker_.now(), worker_.random());
}

void Exchange::on_next_try() { retry(); }

void Exchange::on_try_timeout() {
  const UpstreamFailure failure{UpstreamFailure::Kind::timeout, "no answer within timeouts.try"};
  if (tries_.follows(failure) && pay_for_retry()) return retry_later();
  fail_upstream(failure);
}

void Exchange::on_request_timeout() {
  refuse(504, CloseReason::request_timeout, "the request was not answered within timeouts.request");
}

void Exchange::on_request_body(std::span<const char> data, bool end) {
  if (body_bytes_ == 0) body_began_ = worker_.now();
  body_bytes_ += data.size();
  bytes_in_ += data.size();
  unconsumed_ += data.size();
  charge_bandwidth(data.size());
  if (end) {
    request_done_ = true;
    body_deadline_.cancel();
  }
  if (max_body_ != 0 && bytes_in_ > max_body_ && stage_ != Stage::over) {
    return refuse(413, CloseReason::body_too_large, "the body is larger than this host takes");
  }
  if (!mirrors_.empty()) feed_mirrors(data, end);
  if (stage_ == Stage::connecting) {
    early_body_.append(data.data(), data.size());
    return;
  }
  if (!upstream_stream_.ready()) return;
  if (tries_.may_follow()) {
    early_body_.append(data.data(), data.size());
    if (early_body_.size() > kMostPending) {
      tries_.give_up_retries();
      early_body_.clear();
    }
  }
  upstream_stream_.send_body(data);
  if (!end) return;
  upstream_stream_.send_end();
  upload_ended();
}

void Exchange::on_request_trailers(core::FieldList& fields) {
  request_done_ = true;
  body_deadline_.cancel();
  feed_mirrors({}, true);
  tries_.give_up_retries();               // they are not kept
  if (!upstream_stream_.ready()) return;  // none of those that may be dropped is missed
  upstream_stream_.send_trailers(fields);
  upload_ended();
}

void Exchange::flush_upstream() {
  upstream_stream_.flush();
  throttle();
  give_back_window();
}

void Exchange::give_back_window() {
  if (unconsumed_ == 0 || throttle_.armed() || stage_ == Stage::connecting || upstream_stream_.pending() > 0) return;
  session_->codec().consumed(stream_, std::exchange(unconsumed_, 0));
}

bool Exchange::wants_input() const {
  return !throttle_.armed() &&
         (stage_ == Stage::connecting ? early_body_.size() : 0) + upstream_stream_.pending() < kMostPending;
}

void Exchange::on_client_writable() {
  if (!throttle_.armed()) upstream_stream_.resume();
}

void Exchange::await_body(milliseconds time) {
  worker_.loop().timers().arm(body_deadline_, worker_.now() + static_cast<std::uint64_t>(time.count()));
}

void Exchange::body_timed_out() {
  const std::uint64_t rate = worker_.snapshot().timeouts.request_body_rate;
  if (!wants_input() || stage_ == Stage::connecting) {
    body_began_ = worker_.now();  // it is the upstream that is slow
    body_bytes_ = 0;
  } else if (rate != 0 && body_bytes_ * 1000 < rate * (worker_.now() - body_began_)) {
    return refuse(408, CloseReason::body_too_slow, "the request's body comes in too slowly");
  }
  await_body(kBodyCheck);
}

// ---- the upstream's answer ----

void Exchange::on_upstream_response(core::ResponseHead& head, bool end) {
  if (first_byte_us_ == 0) first_byte_us_ = monotonic_us() - began_us_;
  if (head.status == 101) {
    if (!wants_upgrade_ || !head.upgrade) {
      detail_ = "it switched protocols without being asked";
      return fail_upstream({UpstreamFailure::Kind::bad_response, detail_, false, true});
    }
    status_ = 101;
    head_sent_ = true;
    stage_ = Stage::upgrading;
    session_->codec().send_upgrade(stream_, head);
    return;
  }
  if (head.status < 200) {
    session_->codec().send_informational(stream_, head);
    return;
  }
  if (tries_.follows(head.status) && pay_for_retry()) {
    return retry_later();
  }
  tries_.answered();
  if (rule_ != nullptr && rule_->filters != nullptr && !shape_answer(*rule_->filters, view(origin_), head.fields)) {
    return fail_upstream(
        {UpstreamFailure::Kind::bad_response, "with those of the rule, it has too many header fields"});
  }
  status_ = head.status;
  core::BodyPlan plan;
  if (head.framing == core::Framing::chunked || head.framing == core::Framing::until_close) {
    plan.kind = core::BodyPlan::Kind::unknown;
  } else if (head.has_content_length) {
    plan = {core::BodyPlan::Kind::length, head.content_length};
  }
  head_sent_ = true;
  session_->codec().send_head(stream_, head, plan);
  if (end) {
    session_->codec().send_end(stream_);
    answer_done_ = true;
  }
}

void Exchange::on_upstream_body(std::span<const char> data, bool end) {
  if (stage_ == Stage::over) return;
  bytes_out_ += data.size();
  charge_bandwidth(data.size());
  session_->codec().send_body(stream_, data);
  if (end) {
    session_->codec().send_end(stream_);
    answer_done_ = true;
  }
}

void Exchange::on_upstream_trailers(core::FieldList& fields) {
  if (stage_ == Stage::over) return;
  session_->codec().send_trailers(stream_, fields);
  answer_done_ = true;
}

void Exchange::on_upstream_event_end() {
  if (stage_ == Stage::over) return;
  session_->flush();
  if (stage_ == Stage::over) return;  // the client was lost
  if (stage_ == Stage::upgrading) {
    if (upstream_stream_.pending() > 0) {
      return refuse(502, CloseReason::bad_response, "it switched protocols before it had the whole request");
    }
    count_upstream_bytes();
    auto taken = upstream_stream_.take_stream();
    HttpSession* session = session_;
    endpoint_ = taken.place.endpoint_text();
    stage_ = Stage::over;
    tries_.end();
    worker_.metrics().closes[static_cast<std::size_t>(CloseReason::done)].add();
    session->listener().metrics().request(status_, monotonic_us() - began_us_);
    write_log(CloseReason::done);
    count_for_tenant();
    session->upgrade(*this, std::move(taken));
    return;
  }
  if (answer_done_) return finish(CloseReason::done);
  throttle();
  if (session_->pending(stream_) > 0) upstream_stream_.pause();
}

void Exchange::on_upstream_writable() {
  if (stage_ == Stage::over) return;
  give_back_window();
  session_->resume_reading();
}

void Exchange::on_upstream_failed(const UpstreamFailure& failure) {
  endpoint_ = upstream_stream_.endpoint_text();
  if (upstream_stream_.attempts() > 1) attempts_ += upstream_stream_.attempts() - 1;
  // A connection that did not come to stand has tried every endpoint already.
  const bool lost = failure.kind == UpstreamFailure::Kind::reset || failure.kind == UpstreamFailure::Kind::closed;
  const bool stale = failure.reused && !failure.answered && lost;
  const bool untouched = failure.unprocessed && lost && whole_ && attempts_ <= kMostUntouched;
  if (((stale && repeatable_) || untouched) && !head_sent_) {
    repeatable_ = false;
    return retry();
  }
  if (!head_sent_ && tries_.follows(failure) && pay_for_retry()) return retry_later();
  fail_upstream(failure);
}

core::ProxyLine Exchange::on_upstream_asks_who() const {
  return {client_, session_->destination(), session_->sni(), session_->alpn()};
}

void Exchange::fail_upstream(const UpstreamFailure& failure) {
  const FailureAnswer answer = answer_to(failure.kind);
  core::log_limited(core::LogLevel::warn, upstream_->identity, "route {}: upstream {} {}: {}", route_->name,
                    upstream_->name, answer.text, failure.detail.empty() ? "-" : failure.detail);
  refuse(answer.status, answer.reason, failure.detail);
}

// ---- answers of our own, and the end ----

void Exchange::refuse(std::uint16_t status, CloseReason reason, std::string_view detail) {
  if (stage_ == Stage::over) return;
  if (detail_.data() != detail.data()) detail_ = detail;
  if (head_sent_) {
    // Too late for another answer: what the client has must not look whole.
    release_upstream();
    return session_->abort(*this, reason);
  }
  std::string body;
  if (upstream_ != nullptr && status >= 500) {
    // Operators' clients see which upstream it was; why is in the log.
    for (const auto kind :
         {UpstreamFailure::Kind::no_endpoint, UpstreamFailure::Kind::refused, UpstreamFailure::Kind::connect_timeout,
          UpstreamFailure::Kind::tls, UpstreamFailure::Kind::limit, UpstreamFailure::Kind::reset,
          UpstreamFailure::Kind::closed, UpstreamFailure::Kind::bad_response, UpstreamFailure::Kind::timeout}) {
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
      (void)shape_answer(*rule_->filters, view(origin_), head.fields);
    }
  }
  status_ = answer.status;
  head_sent_ = true;
  auto& codec = session_->codec();
  core::BodyPlan plan;
  if (!answer.body.empty()) plan = {core::BodyPlan::Kind::length, answer.body.size()};
  codec.send_head(stream_, head, plan);
  codec.send_body(stream_, {answer.body.data(), answer.body.size()});
  codec.send_end(stream_);
  bytes_out_ = answer.body.size();
  session_->flush();
  if (stage_ != Stage::over) finish(answer.reason);
}

void Exchange::count_upstream_bytes() {
  const auto moved = upstream_stream_.take_counts();
  session_->listener().metrics().upstream_sent.add(moved.sent);
  session_->listener().metrics().upstream_received.add(moved.received);
}

void Exchange::release_upstream() {
  if (upstream_stream_.idle()) return;
  endpoint_ = upstream_stream_.endpoint_text();
  if (upstream_stream_.attempts() > 1) attempts_ += upstream_stream_.attempts() - 1;
  count_upstream_bytes();
  upstream_stream_.release();
}

void Exchange::finish(CloseReason reason) {
  release_upstream();
  stage_ = Stage::over;
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
  release_upstream();
  body_deadline_.cancel();
  tries_.end();
  stage_ = Stage::over;
  session_->listener().metrics().request(status_, monotonic_us() - began_us_);
  worker_.metrics().closes[static_cast<std::size_t>(reason)].add();
  if (worker_.shared().access_log.enabled()) write_log(reason);
  count_for_tenant();
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
  record.first_byte_us = first_byte_us_;
  worker_.log(record);
}

}  // namespace edgemux::listeners
