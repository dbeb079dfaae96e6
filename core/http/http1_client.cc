#include "core/http/http1_client.h"

namespace edgemux::core {
namespace {

// RFC 9110 8.6: a request of these that has no body says so, and some servers insist on it (411).
bool expects_body(Method method) { return method == Method::post || method == Method::put || method == Method::patch; }

}  // namespace

StreamId Http1Client::send_request(const OutgoingRequest& request, bool end) {
  method_ = request.kind;
  framing_ = request.framing;
  phase_ = Phase::head;
  informational_ = 0;
  scanned_ = 0;
  request_done_ = request.framing == Framing::none;
  std::size_t room = 256 + request.method.size() + request.path.size() + request.query.size() +
                     request.authority.size() + request.upgrade_protocol.size();
  for (const auto& field : request.fields) room += field.name.size() + field.value.size() + 4;
  for (const auto& field : request.added) room += field.name.size() + field.value.size() + 4;
  HeadWriter writer(output_.reserve(room), room);
  writer.request_line(request.method, request.path, request.has_query, request.query);
  writer.field("host", request.authority);
  writer.fields(request.fields);
  for (const auto& field : request.added) writer.field(field.name, field.value);
  if (request.framing == Framing::none && (request.has_content_length || expects_body(request.kind))) {
    writer.append("content-length: 0\r\n");
  } else {
    writer.framing(request.framing, request.content_length);
  }
  if (!request.upgrade_protocol.empty()) {
    writer.append("connection: upgrade\r\n");
    writer.field("upgrade", request.upgrade_protocol);
  }
  writer.end();
  if (!writer.ok()) {
    stop();  // then its body must not go out either, or it would be read as a request
    return kStream;
  }
  output_.commit(writer.size());
  if (end) send_end(kStream);  // of an empty body in chunks too
  return kStream;
}

void Http1Client::send_body(StreamId, std::span<const char> data) {
  if (data.empty() || stopped_ || request_done_) return;  // behind a whole request it would be the next one
  if (framing_ != Framing::chunked) {
    output_.borrow(data);
    return;
  }
  output_.commit(write_chunk_prefix(data.size(), output_.reserve(kMaxChunkPrefix)));
  output_.borrow(data);
  output_.append(kChunkEnd);
}

std::size_t Http1Client::receive(std::span<char> bytes) {
  std::size_t consumed = 0;
  while (!stopped_ && consumed < bytes.size()) {
    const auto rest = bytes.subspan(consumed);
    if (phase_ == Phase::head) {
      if (!receive_head(rest, consumed)) break;
    } else if (phase_ == Phase::body) {
      if (!receive_body(rest, consumed)) break;
    } else {
      if (phase_ == Phase::idle) surplus_ = true;
      break;
    }
  }
  return consumed;
}

bool Http1Client::receive_head(std::span<char> bytes, std::size_t& consumed) {
  if (scanned_ > 0) {
    const auto state = scanner_.feed({bytes.data() + scanned_, bytes.size() - scanned_});
    scanned_ = bytes.size();
    if (state == HeadScanner::State::need_more) return false;
    if (state == HeadScanner::State::error) {
      observer_.on_bad_response(kStream, scanner_.reason());
      return false;
    }
  }
  ResponseHead& head = scratch_.response;
  const ParseResult result = parse_response_head(bytes, kHeadLimit, method_, head);
  if (result.state == ParseState::need_more) {
    scanner_.reset(kHeadLimit);
    if (scanner_.feed({bytes.data(), bytes.size()}) == HeadScanner::State::error) {
      observer_.on_bad_response(kStream, scanner_.reason());
      return false;
    }
    scanned_ = bytes.size();
    return false;
  }
  scanned_ = 0;
  if (result.state == ParseState::error) {
    observer_.on_bad_response(kStream, result.reason);
    return false;
  }
  consumed += result.consumed;
  if (head.status < 200 && head.status != 101) {
    if (++informational_ > kMaxInformational) {
      observer_.on_bad_response(kStream, "too many interim answers");
      return false;
    }
    observer_.on_response(kStream, head, false);
    return true;
  }
  if (head.status == 101) {
    phase_ = Phase::tunnel;
    keep_alive_ = false;
    observer_.on_response(kStream, head, false);
    return true;
  }
  keep_alive_ = head.keep_alive;
  body_ = BodyReader(head);
  const bool end = body_.done();
  phase_ = end ? Phase::idle : Phase::body;
  // Known before the observer may release the connection: what follows the end of this answer belongs to nobody.
  if (end && bytes.size() > result.consumed) surplus_ = true;
  observer_.on_response(kStream, head, end);
  return true;
}

bool Http1Client::receive_body(std::span<char> bytes, std::size_t& consumed) {
  const BodyStep step = body_.next({bytes.data(), bytes.size()});
  consumed += step.consumed;
  if (step.state == BodyState::error) {
    observer_.on_bad_response(kStream, step.reason);
    return false;
  }
  const bool end = step.state == BodyState::done;
  if (end) {
    phase_ = Phase::idle;
    if (bytes.size() > step.consumed) surplus_ = true;
  }
  if (!step.data.empty() || end) observer_.on_response_body(kStream, {step.data.data(), step.data.size()}, end);
  return step.consumed > 0 || end;
}

bool Http1Client::end_of_input() {
  keep_alive_ = false;
  if (phase_ != Phase::body || !body_.end_of_input()) return false;
  phase_ = Phase::idle;
  observer_.on_response_body(kStream, {}, true);
  return true;
}

}  // namespace edgemux::core
