#include "listeners/exchange.h"

#include <algorithm>
#include <array>

#include "core/http/bytes.h"
#include "core/http/path.h"
#include "listeners/actions.h"
#include "listeners/clock.h"
#include "listeners/forwarding.h"
#include "listeners/grpc.h"
#include "listeners/http_session.h"
#include "listeners/worker.h"

namespace edgemux::listeners {

using core::Field;
using core::FieldId;
using routing::UpstreamFailure;

namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t kMostUntouched = 3;  // attempts after which "I did nothing with it" is an error

}  // namespace

// ---- beginning ----

Exchange::Exchange(Worker& worker)
    : worker_(worker),
      upstream_stream_(static_cast<routing::UpstreamStream::Observer&>(*this)),
      tries_(worker.loop().timers(), static_cast<Tries::Observer&>(*this)),
      body_deadline_([](void* self) { static_cast<Exchange*>(self)->body_timed_out(); }, this),
      throttle_([](void* self) { static_cast<Exchange*>(self)->unthrottle(); }, this),
      look_([](void* self) { static_cast<Exchange*>(self)->look(); }, this) {}

void Exchange::reset() {
  throttle_.cancel();
  body_deadline_.cancel();  // of a request that became a tunnel
  if (session_ != nullptr) session_->keeps(std::exchange(kept_, 0), 0);
  session_ = nullptr;
  route_.reset();
  rule_ = nullptr;
  part_ = nullptr;
  upstream_.reset();
  text_.clear();
  repeatable_ = whole_ = false;
  if (saved_ != nullptr) saved_->clear();
  mirrors_.clear();
  early_body_.clear();
  if (early_body_.capacity() > kMostPending) early_body_.shrink_to_fit();
  detail_.clear();
  endpoint_.clear();
  host_ = method_ = path_ = user_agent_ = referer_ = origin_ = {};
  protocol_ = {};
  connect_us_ = first_byte_us_ = bytes_in_ = bytes_out_ = counted_in_ = counted_out_ = max_body_ = 0;
  unconsumed_ = trailers_ = 0;
  attempts_ = 0;
  status_ = 0;
  stage_ = Stage::over;
  rest_ = {};
  head_request_ = has_id_ = request_done_ = head_sent_ = answer_done_ = wants_upgrade_ = grpc_ = talks_ =
      awaits_continue_ = false;
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
  started_us_ = monotonic_us();
  began_us_ = session.request_began_us(started_us_);
}

void Exchange::remember(const core::RequestHead& head) {
  if (!worker_.shared().access_log.enabled()) return;
  host_ = keep(head.host);
  method_ = keep(logged_method(head));
  path_ = keep(head.target);
  if (const Field* field = head.fields.find(FieldId::user_agent)) user_agent_ = keep(field->value);
  if (const Field* field = head.fields.find("referer")) referer_ = keep(field->value);
  count_kept();
  protocol_ = head.major == 2 ? "HTTP/2" : head.minor == 1 ? "HTTP/1.1" : "HTTP/1.0";
}

namespace {

// One of the names that stand between commas.
bool lists(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const std::size_t comma = std::min(names.find(','), names.size());
    std::string_view one = names.substr(0, comma);
    while (one.starts_with(' ') || one.starts_with('\t')) one.remove_prefix(1);
    while (one.ends_with(' ') || one.ends_with('\t')) one.remove_suffix(1);
    if (!one.empty() && core::equal_ignoring_case(one, name)) return true;
    names.remove_prefix(std::min(comma + 1, names.size()));
  }
  return false;
}

}  // namespace

void Exchange::start(HttpSession& session, core::StreamId stream, core::RequestHead& head, bool end) {
  begin(session, stream);
  request_done_ = end;
  if (!end && !head.upgrade) {  // who asks for a tunnel waits for an answer first
    pace_.begin(worker_.now());
    await_body(kBodyGrace);
  }
  head_request_ = head.method == core::Method::head;
  remember(head);
  const auto& trusted = session.listener().spec().trusted_proxies;
  from_trusted_ = !trusted.empty() && contains(trusted, client_);
  by_https_ = session.secure();
  if (from_trusted_) {
    const Sender sender = sender_behind(head.fields, {client_, by_https_}, trusted);
    client_ = sender.address;
    by_https_ = sender.secure;
  }
  if (const Field* type = head.fields.find(FieldId::content_type)) grpc_ = is_grpc(type->value);
  if (!within_source_rate()) return;
  if (head.method == core::Method::connect) {
    return refuse(405, CloseReason::bad_request, "CONNECT is not served here");
  }
  // RFC 9110 7.4. A trusted proxy may have ended the TLS; the other way round a sidecar may have added it.
  if (!from_trusted_ && !session.secure() && core::equal_ignoring_case(head.scheme, "https")) {
    return refuse(421, CloseReason::misdirected, "an https target over a connection without TLS");
  }
  std::array<char, 4096> small;
  std::string large;
  std::span<char> scratch = small;
  if (head.path.size() * core::kPathGrowth > small.size()) {
    if (const std::size_t room = core::path_room(head.path); room > small.size()) {
      large.resize(room);
      scratch = large;
    }
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
                             std::string_view detail, std::string_view content_type) {
  begin(session, stream);
  grpc_ = is_grpc(content_type);
  // Of a request that could not be read nobody knows for whom a trusted proxy has sent it.
  if (!contains(session.listener().spec().trusted_proxies, client_) && !within_source_rate()) return;
  refuse(status, reason, detail);
}

// ---- forwarding ----

// Before rules look at the fields.
void Exchange::settle_forwarding(core::RequestHead& head) {
  forwarding_ =
      make_forwarding(head.fields, {session_->client(), from_trusted_, session_->secure(), by_https_, head.authority},
                      forwarding_text_);
}

void Exchange::forward(core::RequestHead& head, std::string_view path, const routing::UpstreamPtr& upstream, bool end) {
  upstream_ = upstream;
  if (upstream->missing) {
    return refuse(500, CloseReason::no_upstream, "upstream " + upstream->name + " is not defined");
  }
  worker_.make_request_id(request_id_.data());
  has_id_ = true;
  std::array<Field, 5> added;
  std::size_t count = 0;
  const auto add = [&](std::string_view name, std::string_view value, FieldId id) {
    if (!value.empty()) added[count++] = {name, value, id};
  };
  add("x-forwarded-for", forwarding_.x_forwarded_for, FieldId::x_forwarded_for);
  add("forwarded", forwarding_.forwarded, FieldId::forwarded);
  add("x-request-id", {request_id_.data(), request_id_.size()}, FieldId::x_request_id);
  add("x-forwarded-proto", forwarding_.x_forwarded_proto, FieldId::x_forwarded_proto);
  add("x-forwarded-host", forwarding_.x_forwarded_host, FieldId::x_forwarded_host);
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
  request.never_indexed = head.never_indexed;
  request.scheme = upstream_->transport.tls != nullptr ? "https" : "http";
  wants_upgrade_ = head.upgrade;
  if (wants_upgrade_) request.upgrade_protocol = asked_protocols_ = head.upgrade_protocol;
  request_done_ = end;
  const routing::Filters* filters = rule_ != nullptr ? rule_->filters.get() : nullptr;
  if (rule_ != nullptr && !shape_request(*rule_, part_, head.fields, request, rewritten_)) {
    return refuse(431, CloseReason::bad_request, "with those of the rule, the request has too many header fields");
  }
  upstream_->state->runtime().retries.request();
  if (filters != nullptr && !filters->mirrors.empty()) mirror(request);
  upstream_stream_.limit_silence(silence());
  talks_ = grpc_ && session_->codec().multiplexed() && !head.has_content_length && head.te_trailers;
  if (!end && head.expect_continue) {
    // The client waits for the upstream's word, or sends without it; the upstream is waited for as for an answer.
    awaits_continue_ = true;
    body_deadline_.cancel();
  }
  tries_.begin(filters, head.method, worker_.now());
  send(request, {&client_, false, nullptr, wants_upgrade_});
  if (request_done_) feed_mirrors({}, true);  // none, if the exchange is over
}

milliseconds Exchange::silence() const {
  const milliseconds usual = worker_.snapshot().timeouts.response;
  return rule_ == nullptr || rule_->filters == nullptr ? usual : rule_->filters->silence(usual);
}

void Exchange::send(const core::OutgoingRequest& request, const routing::UpstreamPool::Wish& wish) {
  connect_us_ = 0;
  tries_.try_begins(worker_.now());
  // Asked for anew: while a try is waited for, nothing keeps the pool.
  routing::UpstreamPool& pool = worker_.pools().of(upstream_);
  switch (pool.acquire(upstream_stream_, wish)) {
    case routing::UpstreamPool::Acquired::limit:
      return fail_upstream({UpstreamFailure::Kind::limit, pool.limit_reason()});
    case routing::UpstreamPool::Acquired::refused:
      return fail_upstream({UpstreamFailure::Kind::tls, upstream_->transport.refused});
    case routing::UpstreamPool::Acquired::waiting:
      save(request);
      whole_ = true;
      stage_ = Stage::connecting;
      return;
    case routing::UpstreamPool::Acquired::ready:
      break;
  }
  // A pooled connection may turn out to have been closed by the upstream just before: the request goes out again. So
  // does one with which a shared connection did nothing.
  const bool no_body = has_no_body();
  const bool affordable = session_->may_keep(0);
  repeatable_ = upstream_stream_.reused() && no_body && idempotent(request.kind) && affordable;
  whole_ = upstream_stream_.shared() && affordable && (no_body || tries_.may_follow() || spares(request));
  if (!affordable) tries_.give_up_retries();
  if (repeatable_ || whole_ || tries_.may_follow()) save(request);
  go(request);
}

void Exchange::go(const core::OutgoingRequest& request) {
  const bool trailers = saved_ != nullptr && saved_->has_trailers();
  const bool whole = request_done_ || wants_upgrade_;  // what follows, follows the answer
  const bool end = whole && early_body_.empty() && !trailers;
  stage_ = Stage::uploading;
  upstream_stream_.send_request(request, end);
  if (!early_body_.empty() && upstream_stream_.ready()) upstream_stream_.send_body(early_body_);
  if (awaits_continue_) upstream_stream_.expect_word();
  if (!whole || !upstream_stream_.ready()) return;
  if (trailers) {
    core::FieldList fields;
    saved_->trailers(fields);
    if (upstream_stream_.pending() > 0) trailers_ = SavedRequest::size_of(fields);
    upstream_stream_.send_trailers(fields);
  } else if (!end) {
    upstream_stream_.send_end();
  }
  upload_ended();
}

void Exchange::upload_ended() {
  stage_ = Stage::answering;
  upstream_stream_.expect_answer();
}

void Exchange::save(const core::OutgoingRequest& request) {
  if (saved_ == nullptr) saved_ = std::make_unique<SavedRequest>();
  saved_->save(request);
  count_kept();
}

void Exchange::count_kept() {
  const std::size_t now = text_.size() + (saved_ != nullptr ? saved_->size() : 0) + trailers_ +
                          (stage_ == Stage::connecting ? 0 : early_body_.size());  // there its window counts
  if (now != kept_) session_->keeps(std::exchange(kept_, now), now);
}

std::size_t Exchange::upstream_read_limit() const {
  return std::min(session_->read_limit(stream_), allowance_.left(payers()));
}

std::size_t Exchange::upstream_window() { return session_->grant(stream_, granted_); }

void Exchange::on_upstream_ready() {
  if (upstream_stream_.fresh()) connect_us_ = monotonic_us() - started_us_;
  std::vector<Field> fields;
  const core::OutgoingRequest request = saved_->request(fields);
  repeatable_ = upstream_stream_.reused() && has_no_body() && idempotent(request.kind);
  go(request);
  go_on();
}

void Exchange::go_on() {
  upstream_stream_.flush();
  if (!upstream_stream_.ready()) return;  // it waits for a connection; or that broke, which has been told
  throttle();
  if (early_body_.size() > kMostPending) tries_.give_up_retries();
  const bool spare = early_body_.size() <= kMostSpare && session_->may_spare(early_body_.size());
  whole_ = whole_ && upstream_stream_.shared() && (tries_.may_follow() || early_body_.empty() || spare);
  if (!tries_.may_follow() && !whole_) early_body_.clear();
  count_kept();
  give_back_window();
  session_->resume_reading();
}

void Exchange::retry(bool fresh, const routing::EndpointState* avoid) {
  worker_.metrics().upstream_retries.add();
  std::vector<Field> fields;
  send(saved_->request(fields), {&client_, fresh, avoid, wants_upgrade_});
  go_on();
}

bool Exchange::pay_for_retry() { return upstream_->state->runtime().retries.take(); }

// A kept connection may be too old; one that is shared, and alive, is not.
void Exchange::retry_later(bool alive) {
  retry_fresh_ = !alive;
  release_upstream();
  if (stage_ == Stage::over) return;
  stage_ = Stage::connecting;
  first_byte_us_ = 0;
  tries_.pause(worker_.now(), worker_.random());
}

void Exchange::on_next_try() { retry(retry_fresh_, upstream_stream_.endpoint_state()); }

void Exchange::on_try_timeout() {
  const bool shared = upstream_stream_.shared();  // it is asked for a sign of life, and lent once it has given one
  give_up_upstream(rule_->filters->try_timeout);
  if (stage_ == Stage::over) return;
  const UpstreamFailure failure{UpstreamFailure::Kind::timeout, "no answer within timeouts.try"};
  if (tries_.follows(failure) && pay_for_retry()) return retry_later(shared);
  fail_upstream(failure);
}

void Exchange::on_request_timeout() {
  give_up_upstream(rule_->filters->request_timeout);
  refuse(504, CloseReason::request_timeout, "the request was not answered within timeouts.request");
}

void Exchange::on_client_writable() {
  if (stage_ == Stage::replying) return reply_on();
  if (!throttle_.armed()) upstream_stream_.resume();
}

// ---- the upstream's answer ----

void Exchange::on_upstream_response(core::ResponseHead& head, bool end) {
  if (first_byte_us_ == 0) first_byte_us_ = monotonic_us() - started_us_;
  if (head.status == 101) {
    if (!wants_upgrade_ || !head.upgrade) {
      detail_ = "it switched protocols without being asked";
      return fail_upstream({UpstreamFailure::Kind::bad_response, detail_, false, true});
    }
    if (!lists(asked_protocols_, head.upgrade_protocol)) {  // RFC 9110 7.8, RFC 6455 4.1
      detail_ = "it switched to a protocol that nobody asked for";
      return fail_upstream({UpstreamFailure::Kind::bad_response, detail_, false, true});
    }
    if (rule_ != nullptr && !shape_answer(*rule_, part_, view(origin_), head.fields)) return too_many_fields();
    status_ = session_->codec().multiplexed() ? 200 : 101;  // as the client is told (RFC 8441 5)
    head_sent_ = true;
    stage_ = Stage::upgrading;
    session_->codec().send_upgrade(stream_, head);
    return;
  }
  if (head.status < 200) {
    if (head.status == 100) continue_body();
    session_->codec().send_informational(stream_, head);
    return;
  }
  if (tries_.follows(head.status) && pay_for_retry()) return retry_later(upstream_stream_.shared());
  tries_.answered();
  whole_ = false;
  if (!end && !early_body_.empty()) {  // nobody asks for it any more, and the answer may take its time
    std::string().swap(early_body_);
    count_kept();
  }
  continue_body();
  // Over HTTP/2 it would tell the client that the tunnel stands (RFC 8441 5).
  if (wants_upgrade_ && head.status < 300 && session_->codec().multiplexed()) {
    return fail_upstream({UpstreamFailure::Kind::bad_response, "it answered a WebSocket and did not switch protocols"});
  }
  if (rule_ != nullptr && !shape_answer(*rule_, part_, view(origin_), head.fields)) return too_many_fields();
  status_ = head.status;
  core::BodyPlan plan;
  if (head.framing == core::Framing::chunked || head.framing == core::Framing::until_close) {
    plan.kind = core::BodyPlan::Kind::unknown;
  } else if (head.has_content_length) {
    plan = {core::BodyPlan::Kind::length, head.content_length};
  }
  plan.trailers = !end;
  head_sent_ = true;
  session_->codec().send_head(stream_, head, plan);
  if (!end || stage_ == Stage::over) return;
  session_->codec().send_end(stream_);
  answer_done_ = stage_ != Stage::over;
}

// The upstream has said what it wants, so that from now on it is the client who is waited for.
void Exchange::continue_body() {
  if (!std::exchange(awaits_continue_, false)) return;
  upstream_stream_.expect_more();
  await_body(kBodyGrace);
  pace_.restart(worker_.now());
}

void Exchange::too_many_fields() {
  fail_upstream({UpstreamFailure::Kind::bad_response, "with those of the rule, it has too many header fields"});
}

void Exchange::on_upstream_body(std::span<const char> data, bool end) {
  if (stage_ == Stage::over) return;
  bytes_out_ += data.size();
  spend_bandwidth(data.size());
  session_->codec().send_body(stream_, data);
  if (!end || stage_ == Stage::over) return;  // a client that floods is lost by writing to it
  session_->codec().send_end(stream_);
  answer_done_ = stage_ != Stage::over;
}

void Exchange::on_upstream_trailers(core::FieldList& fields) {
  if (stage_ == Stage::over) return;
  session_->codec().send_trailers(stream_, fields);
  answer_done_ = stage_ != Stage::over;
}

void Exchange::on_upstream_event_end() {
  if (stage_ == Stage::over) return;
  session_->flush();
  if (stage_ == Stage::over) return;  // the client was lost
  if (stage_ == Stage::upgrading) {
    if (upstream_stream_.pending() > 0) {
      return refuse(502, CloseReason::bad_response, "it switched protocols before it had the whole request");
    }
    count_upstream(upstream_stream_.take_counts());
    count_tries();
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
  if (bytes_out_ != counted_out_) count_soon();
  throttle();
  if (session_->pending(stream_) == 0) return;
  upstream_stream_.pause();
  if (head_sent_) shed();
}

void Exchange::on_upstream_writable() {
  if (stage_ == Stage::over) return;
  give_back_window();
  session_->resume_reading();
}

void Exchange::on_upstream_failed(const UpstreamFailure& failure) {
  session_->take_back(granted_);
  endpoint_ = upstream_stream_.endpoint_text();
  count_tries();
  count_upstream(failure.moved);
  if (head_sent_ && !answer_done_ && bodiless(status_)) {  // it had all but its end, over HTTP/2
    session_->codec().send_end(stream_);
    answer_done_ = stage_ != Stage::over;
  }
  if (answer_done_) return on_upstream_event_end();  // the client has everything
  // A connection that did not come to stand has tried every endpoint already.
  const bool lost = failure.kind == UpstreamFailure::Kind::reset || failure.kind == UpstreamFailure::Kind::closed;
  const bool stale = failure.reused && !failure.answered && lost;
  const bool untouched = failure.unprocessed && lost && !head_sent_ && attempts_ <= kMostUntouched;
  const bool repeats = std::exchange(repeatable_, false) && bytes_in_ == 0;
  if (stale && repeats && !head_sent_) return retry(true, nullptr);  // the endpoint may be as well as ever
  // Of an upgrade, bytes of the tunnel may have come since.
  if (untouched && whole_ && (bytes_in_ == 0 || !wants_upgrade_)) {
    return retry(true, upstream_stream_.endpoint_state());
  }
  if (!head_sent_ && tries_.follows(failure) && pay_for_retry()) return retry_later(failure.alive);
  if (untouched && tries_.first() && session_->codec().multiplexed()) return hand_back(failure);
  fail_upstream(failure);
}

core::ProxyLine Exchange::on_upstream_asks_who() const {
  return {client_, session_->destination(), session_->sni(), session_->alpn()};
}

}  // namespace edgemux::listeners
