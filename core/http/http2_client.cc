#include "core/http/http2_client.h"

namespace edgemux::core {

namespace {

constexpr std::uint32_t kNoLimit = UINT32_MAX;  // of a peer that has set none

}  // namespace

std::size_t Http2Client::capacity() const {
  if (broken() || stopped_ || goaway_received_ || nghttp2_session_check_request_allowed(session_) == 0) return 0;
  if (!settled_) return open_streams() == 0 ? 1 : 0;
  const std::size_t theirs = nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  const std::size_t most = theirs < kMaxUpstreamStreams ? theirs : kMaxUpstreamStreams;
  return open_streams() < most ? most - open_streams() : 0;
}

bool Http2Client::reusable() const { return !broken() && !stopped_ && !goaway_received_; }

StreamId Http2Client::send_request(const OutgoingRequest& request, bool end) {
  if (broken()) return 0;
  Http2FieldList list;
  list.add_known(":method", request.method, request.never_indexed);
  list.add_known(":scheme", request.scheme.empty() ? std::string_view("http") : request.scheme);
  list.add_known(":authority", request.authority, request.never_indexed);
  std::string_view target = request.path;
  if (request.has_query) {
    target_.assign(request.path);
    target_ += '?';
    target_ += request.query;
    target = target_;
  }
  list.add_known(":path", target, request.never_indexed);
  list.add_all(request.fields);
  for (const Field& field : request.added) list.add(field.name, field.value);
  if (request.te_trailers) list.add_known("te", "trailers");
  if (request.framing == Framing::length || (request.framing == Framing::none && request.has_content_length)) {
    list.add_number("content-length", request.content_length);
  }
  const std::uint32_t most = nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE);
  if (most != kNoLimit && list.counted_bytes() > most) return 0;
  Http2Stream* stream = open_stream();
  stream->window = kLeastWindow;
  stream->method = request.kind;
  stream->head_sent = true;
  stream->with_body = !end;
  stream->output_ended = end;
  const nghttp2_data_provider body = provider(*stream);
  stream->id = nghttp2_submit_request(session_, nullptr, list.data(), list.size(), end ? nullptr : &body, stream);
  if (stream->id < 0) {
    const int error = stream->id;
    close_stream(*stream);
    break_off(NGHTTP2_INTERNAL_ERROR, 500, nghttp2_strerror(error));
    return 0;
  }
  return stream->slot;
}

void Http2Client::send_body(StreamId id, std::span<const char> data) {
  if (Http2Stream* to = stream(id); to != nullptr && !to->abandoned) put_body(*to, data);
}

void Http2Client::send_end(StreamId id) {
  if (Http2Stream* to = stream(id); to != nullptr && !to->abandoned) put_end(*to);
}

void Http2Client::send_trailers(StreamId id, const FieldList& fields) {
  if (Http2Stream* to = stream(id); to != nullptr && !to->abandoned) put_trailers(*to, fields);
}

std::size_t Http2Client::pending(StreamId id) const {
  const Http2Stream* of = stream(id);
  return of != nullptr ? of->unsent() : 0;
}

void Http2Client::consumed(StreamId id, std::size_t bytes) {
  if (Http2Stream* from = stream(id)) give_back(*from, bytes);
}

void Http2Client::allow(StreamId id, std::size_t bytes) {
  Http2Stream* of = stream(id);
  if (of == nullptr || of->abandoned || of->input_ended) return;
  widen(*of, bytes);
}

bool Http2Client::cancel(StreamId id) {
  if (Http2Stream* what = stream(id)) put_reset(*what, NGHTTP2_CANCEL);
  return true;
}

void Http2Client::ping() {
  if (!broken() && !stopped_) nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
}

void Http2Client::say_goodbye() {
  if (broken() || stopped_) return;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, nullptr, 0);
  write_out();
}

std::size_t Http2Client::receive(std::span<char> bytes) {
  receive_bytes(bytes);
  if (room_changed_ && !stopped_ && !broken()) {
    room_changed_ = false;
    observer_.on_capacity();  // also where there is none: others need not wait for it
  }
  return bytes.size();
}

void Http2Client::on_head(Http2Stream& stream, HeaderBlock& block, bool end) {
  ResponseHead& head = scratch_.response;
  if (stream.head_seen) {
    if (!end) return give_up(stream, "a second head");
    if (stream.has_length && stream.length_left != 0) return give_up(stream, "less DATA than Content-Length");
    if (const HeadProblem problem = block.trailers(head.fields); problem.reason != nullptr) {
      return give_up(stream, problem.reason);
    }
    return observer_.on_response_trailers(stream.slot, head.fields);
  }
  if (const HeadProblem problem = block.response(end, stream.method, head); problem.reason != nullptr) {
    return give_up(stream, problem.reason);
  }
  if (head.status < 200) {
    if (++stream.informational > kMaxInformational) return give_up(stream, "too many interim answers");
  } else {
    stream.head_seen = true;
    // Of a HEAD, 204 or 304 without END_STREAM an empty DATA is still to come.
    stream.has_length = !end && (head.framing == Framing::length || head.framing == Framing::none);
    stream.length_left = head.framing == Framing::length ? head.content_length : 0;
  }
  observer_.on_response(stream.slot, head, end);
}

void Http2Client::on_body(Http2Stream& stream, std::span<const char> data, bool end) {
  if (!stream.head_seen) {
    give_back(stream, data.size());
    return give_up(stream, "DATA before the head");
  }
  observer_.on_response_body(stream.slot, data, end);
}

void Http2Client::give_up(Http2Stream& stream, const char* reason) {
  put_reset(stream, NGHTTP2_PROTOCOL_ERROR);
  observer_.on_bad_response(stream.slot, reason);
}

void Http2Client::on_lost(Http2Stream& stream, std::uint32_t error) {
  // RST_STREAM behind a whole answer: the upstream wants no more of the request (RFC 9113 8.1).
  if (stream.head_seen && stream.input_ended) return;
  const bool unprocessed = error == NGHTTP2_REFUSED_STREAM || !stream.begun;
  observer_.on_response_reset(stream.slot, unprocessed, nghttp2_http2_strerror(error));
}

}  // namespace edgemux::core
