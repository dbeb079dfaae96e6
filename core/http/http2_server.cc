#include "core/http/http2_server.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <iterator>
#include <utility>

#include "core/http/bytes.h"

namespace edgemux::core {
namespace {

// ":status" as three digits.
struct StatusText {
  std::array<char, 3> digits;
  explicit StatusText(unsigned status)
      : digits{static_cast<char>('0' + status / 100 % 10), static_cast<char>('0' + status / 10 % 10),
               static_cast<char>('0' + status % 10)} {}
  [[nodiscard]] std::string_view view() const { return {digits.data(), digits.size()}; }
};

std::uint32_t code_of(StreamError error) {
  switch (error) {
    case StreamError::refused:
      return NGHTTP2_REFUSED_STREAM;
    case StreamError::cancel:
      return NGHTTP2_CANCEL;
    case StreamError::protocol:
      return NGHTTP2_PROTOCOL_ERROR;
    case StreamError::too_much:
      return NGHTTP2_ENHANCE_YOUR_CALM;
    case StreamError::internal:
      break;
  }
  return NGHTTP2_INTERNAL_ERROR;
}

// RFC 9218 4, of which "u" and "i" are all there is. Without a wish streams share the connection: a long answer shall
// not keep a short one waiting.
nghttp2_extpri priority_of(const RequestHead& head) {
  nghttp2_extpri priority = {NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1};
  const Field* wish = head.fields.find(std::string_view("priority"));
  if (wish == nullptr) return priority;
  priority.inc = 0;
  std::string_view rest = wish->value;
  while (!rest.empty()) {
    const std::string_view item = trim_ows(rest.substr(0, rest.find(',')));
    rest.remove_prefix(
        std::min(rest.size(), rest.find(',') == std::string_view::npos ? rest.size() : rest.find(',') + 1));
    if (item == "i" || item == "i=?1") priority.inc = 1;
    if (item.size() == 3 && item.starts_with("u=") && item[2] >= '0' && item[2] <= '7') {
      priority.urgency = static_cast<std::uint32_t>(item[2] - '0');
    }
  }
  return priority;
}

}  // namespace

void Http2Server::announce(std::span<const std::string> origins) {
  std::vector<nghttp2_origin_entry> entries;
  entries.reserve(origins.size());
  for (const std::string& origin : origins) {
    entries.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(origin.data())), origin.size()});
  }
  if (!broken()) nghttp2_submit_origin(session_, NGHTTP2_FLAG_NONE, entries.data(), entries.size());
}

// ---- requests

void Http2Server::on_head(Http2Stream& stream, HeaderBlock& block, bool end) {
  if (stream.head_seen) return on_trailers(stream, block, end);
  stream.head_seen = true;
  RequestHead& head = scratch_.request;
  const bool beyond = started() > kMaxStreams;
  const bool queues = early_ && (beyond || (holds() && !wary()));
  const HeadProblem problem = block.request(end, head);
  // There is no room even to say what is wrong.
  if ((problem.reason != nullptr && queues) || (beyond && !early_)) {
    return refuse_unprocessed(stream, problem.reason == nullptr ? &head : nullptr);
  }
  if (problem.reason != nullptr) return refuse(stream, problem, block.content_type());
  stream.head_request = head.method == Method::head;
  stream.upgrade = head.upgrade;
  stream.has_length = !end && head.framing == Framing::length;
  stream.length_left = head.content_length;
  const nghttp2_extpri priority = priority_of(head);
  nghttp2_session_change_extpri_stream_priority(session_, stream.id, &priority, 0);
  if ((queues || wary()) && hold(stream, block, end)) return;
  if (queues) return refuse_unprocessed(stream, &head);
  observer_.on_request(stream.slot, head, end);
}

void Http2Server::on_trailers(Http2Stream& stream, HeaderBlock& block, bool end) {
  // RFC 9113 8.1: trailers end the stream.
  if (!end) return refuse(stream, {400, "a second head"});
  if (stream.upgrade) return refuse(stream, {400, "trailers in a tunnel"});
  if (stream.has_length && stream.length_left != 0) return on_broken_body(stream, "less DATA than Content-Length");
  if (stream.held != nullptr) {
    if (!begin(stream)) return refuse_held(stream);  // they are not worth their memory
    if (stopped_ || stream.abandoned || stream.drop_input) return;
  }
  FieldList& fields = scratch_.request.fields;
  if (const HeadProblem problem = block.trailers(fields); problem.reason != nullptr) return refuse(stream, problem);
  observer_.on_request_trailers(stream.slot, fields);
}

void Http2Server::refuse(Http2Stream& stream, HeadProblem problem, std::string_view content_type) {
  if (stream.held != nullptr) return give_up(stream, NGHTTP2_PROTOCOL_ERROR);  // RFC 9113 8.1.1
  stream.drop_input = stream.broken_input = true;
  (void)note(FloodGuard::Kind::malformed);
  observer_.on_malformed(stream.slot, problem.status, problem.reason, content_type);
}

void Http2Server::on_broken_body(Http2Stream& stream, const char* reason) { refuse(stream, {400, reason}); }

void Http2Server::on_body(Http2Stream& stream, std::span<const char> data, bool end) {
  if (stream.upgrade && !stream.tunnel && !stream.head_sent) {
    // RFC 8441 5: nothing may come before the answer.
    give_back(stream, data.size());
    return refuse(stream, {400, "data before the answer to CONNECT"});
  }
  if (stream.held != nullptr && held_bodies_ + data.size() <= kMostHeldBodies) {
    held_bodies_ += data.size();
    return stream.held->add_body(data, end);
  }
  if (stream.held != nullptr) {
    if (!begin(stream)) return refuse_held(stream);
    if (stopped_ || stream.abandoned || stream.drop_input) return give_back(stream, data.size());
  }
  observer_.on_request_body(stream.slot, data, end);
}

void Http2Server::on_lost(Http2Stream& stream, std::uint32_t) {
  if (stream.head_seen && !wary()) ++taken_back_;
  if (let_go(stream) != nullptr) return;
  if (stream.head_seen && (!stream.output_ended || stream.tunnel)) observer_.on_request_reset(stream.slot);
}

// ---- requests that wait for others to be over

bool Http2Server::hold(Http2Stream& stream, const HeaderBlock& block, bool end) {
  auto held = std::make_unique<HeldRequest>(block, end);
  const std::size_t cost = held->cost(holds() ? held_.back()->held.get() : nullptr);
  if (held_cost_ + cost > kMostHeldHeads) return false;
  held_cost_ += cost;
  stream.held = std::move(held);
  held_.push_back(&stream);
  return true;
}

std::unique_ptr<HeldRequest> Http2Server::let_go(Http2Stream& stream) {
  if (stream.held == nullptr) return nullptr;
  const auto at = std::ranges::find(held_, &stream);
  const HeldRequest* before = at == held_.begin() ? nullptr : (*std::prev(at))->held.get();
  held_cost_ -= stream.held->cost(before);
  if (const auto next = std::next(at); next != held_.end()) {
    // What it shared with this one is now the next one's alone.
    const HeldRequest& after = *(*next)->held;
    held_cost_ += after.cost(before) - after.cost(stream.held.get());
  }
  held_bodies_ -= stream.held->body().size();
  held_.erase(at);
  return std::move(stream.held);
}

void Http2Server::give_up(Http2Stream& stream, std::uint32_t error) {
  let_go(stream);
  put_reset(stream, error);
}

void Http2Server::refuse_held() {
  if (holds()) refuse_held(*held_.back());
}

void Http2Server::refuse_held(Http2Stream& stream) {
  const std::unique_ptr<HeldRequest> held = let_go(stream);
  HeaderBlock block(SIZE_MAX);  // it was within the limit
  held->unpack(block);
  block.request(held->bodyless(), scratch_.request);
  refuse_unprocessed(stream, &scratch_.request);
}

void Http2Server::refuse_unprocessed(Http2Stream& stream, const RequestHead* head) {
  put_reset(stream, NGHTTP2_REFUSED_STREAM);
  observer_.on_refused(head);
}

void Http2Server::end_of_input() {
  for (Http2Stream* stream : std::vector<Http2Stream*>(held_)) {
    if (!stream->input_ended) give_up(*stream, NGHTTP2_CANCEL);
  }
}

std::shared_ptr<const void> Http2Server::start_next() {
  Http2Stream& stream = *held_.front();
  std::unique_ptr<HeldRequest> held = let_go(stream);
  as_received([&] { start(stream, *held); });
  return held;
}

void Http2Server::start(Http2Stream& stream, const HeldRequest& held) {
  HeaderBlock block(SIZE_MAX);  // it was within the limit
  held.unpack(block);
  block.request(held.bodyless(), scratch_.request);
  observer_.on_request(stream.slot, scratch_.request, held.bodyless());
  // Nothing is sent meanwhile, so the stream is still there.
  if (stopped_ || held.bodyless() || (held.body().empty() && !held.ended())) return;
  if (stream.abandoned || stream.drop_input) return give_back(stream, held.body().size());
  observer_.on_request_body(stream.slot, held.body(), held.ended());
}

bool Http2Server::begin(Http2Stream& stream) {
  if (started() >= kMaxStreams) return false;
  const std::unique_ptr<HeldRequest> held = let_go(stream);
  start(stream, *held);
  if (!held->body().empty()) begun_.push_back(held->take_body());
  return true;
}

// ---- answers

void Http2Server::send_informational(StreamId id, const ResponseHead& head) {
  Http2Stream* to = stream(id);
  if (to == nullptr || to->abandoned || to->head_sent || broken()) return;
  const StatusText status(head.status);
  Http2FieldList list;
  list.add_known(":status", status.view(), head.never_indexed);
  list.add_all({head.fields.begin(), head.fields.size()});
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, to->id, nullptr, list.data(), list.size(), nullptr);
}

void Http2Server::submit(Http2Stream& stream, Http2FieldList& list) {
  stream.head_sent = true;
  const nghttp2_data_provider body = provider(stream);
  nghttp2_submit_response(session_, stream.id, list.data(), list.size(), stream.with_body ? &body : nullptr);
}

void Http2Server::send_head(StreamId id, const ResponseHead& head, BodyPlan plan) {
  Http2Stream* to = stream(id);
  if (to == nullptr || to->abandoned || to->head_sent || broken()) return;
  to->refusal = head.status >= 400;
  const bool bodyless = to->head_request || head.status == 204 || head.status == 304;
  const bool empty = plan.kind == BodyPlan::Kind::length && plan.length == 0 && !plan.trailers;
  // What has no body may end later all the same, with an empty DATA or with trailers.
  to->with_body = bodyless ? plan.trailers : plan.kind != BodyPlan::Kind::none && !empty;
  const StatusText status(head.status);
  Http2FieldList list;
  list.add_known(":status", status.view(), head.never_indexed);
  if (head.fields.find(FieldId::date) == nullptr) list.add_known("date", scratch_.date.at(std::time(nullptr)));
  list.add_all({head.fields.begin(), head.fields.size()});
  // Some clients hold the length of a 304 against the empty DATA that ends it later.
  const bool countable = head.status != 204 && !(head.status == 304 && to->with_body);
  if (plan.kind == BodyPlan::Kind::length && countable) {
    list.add_number("content-length", plan.length);  // for HEAD and 304 too: what the body would have been
  } else if (plan.kind == BodyPlan::Kind::none && !bodyless) {
    list.add_known("content-length", "0");
  }
  submit(*to, list);
}

void Http2Server::send_upgrade(StreamId id, const ResponseHead& head) {
  Http2Stream* to = stream(id);
  if (to == nullptr || to->abandoned || to->head_sent || broken()) return;
  to->with_body = to->tunnel = true;
  Http2FieldList list;
  list.add_known(":status", "200");
  for (const Field& field : head.fields) {
    // The handshake of HTTP/1 has no place here (RFC 8441 5).
    if (field.name != "sec-websocket-accept") list.add_all({&field, 1});
  }
  submit(*to, list);
}

void Http2Server::send_body(StreamId id, std::span<const char> data) {
  if (Http2Stream* to = stream(id); to != nullptr && !to->abandoned) put_body(*to, data);
}

void Http2Server::send_end(StreamId id) {
  Http2Stream* to = stream(id);
  if (to == nullptr || to->abandoned) return;
  if (!to->input_ended && !to->tunnel) to->drop_input = true;
  put_end(*to);
}

void Http2Server::send_trailers(StreamId id, const FieldList& fields) {
  Http2Stream* to = stream(id);
  if (to == nullptr || to->abandoned) return;
  if (!to->input_ended) to->drop_input = true;
  put_trailers(*to, fields);
}

std::size_t Http2Server::pending(StreamId id) const {
  const Http2Stream* of = stream(id);
  return of != nullptr ? of->unsent() : 0;
}

std::size_t Http2Server::room(StreamId id) const {
  const Http2Stream* of = stream(id);
  if (of == nullptr || broken()) return 0;
  const std::int32_t window = std::min(nghttp2_session_get_stream_remote_window_size(session_, of->id),
                                       nghttp2_session_get_remote_window_size(session_));
  const std::size_t waiting = of->unsent();
  return window <= 0 || static_cast<std::size_t>(window) <= waiting ? 0 : static_cast<std::size_t>(window) - waiting;
}

void Http2Server::consumed(StreamId id, std::size_t bytes) {
  if (Http2Stream* from = stream(id)) give_back(*from, bytes);
}

bool Http2Server::reset(StreamId id, StreamError error, Fault fault) {
  if (Http2Stream* what = stream(id)) {
    what->blameless = fault == Fault::other;
    put_reset(*what, code_of(error));
  }
  return true;
}

// RFC 9113 6.8: the first notice lets requests arrive that are on their way.
void Http2Server::close_after() {
  if (broken() || drain_ == Drain::last) return;
  if (drain_ == Drain::none) {
    drain_ = Drain::noticed;
    nghttp2_submit_shutdown_notice(session_);
    return;
  }
  drain_ = Drain::last;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
}

bool Http2Server::finished() const { return broken() || ((drain_ == Drain::last || goaway_received_) && exhausted()); }

}  // namespace edgemux::core
