#include "core/http/http1_server.h"

#include <ctime>

#include "core/http/status.h"

namespace edgemux::core {

std::size_t Http1Server::receive(std::span<char> bytes) {
  std::size_t consumed = 0;
  while (!stopped_ && !finished_ && consumed < bytes.size()) {
    const auto rest = bytes.subspan(consumed);
    if (phase_ == Phase::head) {
      // Pipelined requests whose answers the client does not fetch must not pile up.
      if (output_.pending() > kMostUnsent) break;
      if (!receive_head(rest, consumed)) break;
    } else if (phase_ == Phase::body) {
      if (!receive_body(rest, consumed)) break;
    } else {
      break;
    }
  }
  return consumed;
}

// Some clients put one behind a body (RFC 9112 2.2). It begins no request: behind it the connection is at rest.
std::size_t Http1Server::skip_empty_lines(std::span<const char> bytes) {
  std::size_t size = 0;
  while (bytes.size() - size >= 2 && bytes[size] == '\r' && bytes[size + 1] == '\n' &&
         empty_lines_ < kMaxLeadingLines) {
    size += 2;
    ++empty_lines_;
  }
  if (size > 0) scanned_ = 0;
  return size;
}

bool Http1Server::receive_head(std::span<char> bytes, std::size_t& consumed) {
  if (bytes.front() == '\r' && scanned_ <= 1) {
    const std::size_t empty = skip_empty_lines(bytes);
    consumed += empty;
    bytes = bytes.subspan(empty);
    if (bytes.empty()) return false;
    if (empty_lines_ == kMaxLeadingLines && bytes.front() == '\r') {
      keep_alive_ = false;
      observer_.on_malformed(kStream, 400, "empty lines before the request", {});
      return false;
    }
  }
  if (scanned_ > 0) {
    // The head came in pieces: only what is new is looked at until its end is there.
    const auto state = scanner_.feed({bytes.data() + scanned_, bytes.size() - scanned_});
    scanned_ = bytes.size();
    if (state == HeadScanner::State::need_more) return false;
    if (state == HeadScanner::State::error) {
      keep_alive_ = false;
      observer_.on_malformed(kStream, scanner_.status(), scanner_.reason(), {});
      return false;
    }
  }
  RequestHead& head = scratch_.request;
  const ParseResult result = parse_request_head(bytes, head_limit_, head);
  if (result.state == ParseState::need_more) {
    scanner_.reset(head_limit_);
    if (scanner_.feed({bytes.data(), bytes.size()}) == HeadScanner::State::error) {
      keep_alive_ = false;
      observer_.on_malformed(kStream, scanner_.status(), scanner_.reason(), {});
      return false;
    }
    scanned_ = bytes.size();
    return false;
  }
  scanned_ = empty_lines_ = 0;
  if (result.state == ParseState::error) {
    keep_alive_ = false;
    observer_.on_malformed(kStream, result.status, result.reason, {});
    return false;
  }
  consumed += result.consumed;
  minor_ = head.minor;
  head_request_ = head.method == Method::head;
  keep_alive_ = head.keep_alive;
  awaits_word_ = head.expect_continue;
  drops_body_ = false;
  request_open_ = true;
  body_ = BodyReader(head);
  const bool end = body_.done();
  phase_ = end ? Phase::waiting : Phase::body;
  observer_.on_request(kStream, head, end);
  return true;
}

bool Http1Server::receive_body(std::span<char> bytes, std::size_t& consumed) {
  const BodyStep step = body_.next({bytes.data(), bytes.size()});
  consumed += step.consumed;
  awaits_word_ = false;
  if (step.state == BodyState::error) {
    keep_alive_ = false;
    observer_.on_malformed(kStream, 400, step.reason, {});
    return false;
  }
  const bool end = step.state == BodyState::done;
  if (end) phase_ = request_open_ ? Phase::waiting : Phase::head;
  if (drops_body_) return step.consumed > 0 || end;
  if (!step.data.empty() || end) observer_.on_request_body(kStream, {step.data.data(), step.data.size()}, end);
  return step.consumed > 0 || end;
}

namespace {

// Room for the status line, what we add and the fields of a head.
std::size_t room_for(const ResponseHead& head) {
  std::size_t room = 512 + head.reason.size();
  for (const auto& field : head.fields) room += field.name.size() + field.value.size() + 4;
  return room;
}

}  // namespace

void Http1Server::drop_body(StreamId) {
  drops_body_ = phase_ == Phase::body && minor_ == 1 && !awaits_word_ && body_.framing() == Framing::length &&
                body_.remaining() <= kMostDropped;
}

void Http1Server::send_informational(StreamId, const ResponseHead& head) {
  if (minor_ == 0 || finished_) return;
  const std::size_t room = room_for(head);
  HeadWriter writer(output_.reserve(room), room);
  writer.status_line(head.status, head.reason);
  writer.fields(head.fields);
  writer.end();
  if (writer.ok()) output_.commit(writer.size());
}

void Http1Server::send_head(StreamId, const ResponseHead& head, BodyPlan plan) {
  const bool bodyless = head_request_ || head.status == 204 || head.status == 304;
  // An answer before the request's end: nobody waits for much that may never come, so the connection ends.
  if ((phase_ == Phase::body && !drops_body_) || close_after_) keep_alive_ = false;
  if (bodyless || plan.kind == BodyPlan::Kind::none) {
    wire_ = Wire::none;
  } else if (plan.kind == BodyPlan::Kind::length) {
    wire_ = Wire::length;
  } else if (minor_ == 1) {
    wire_ = Wire::chunked;
  } else {
    wire_ = Wire::until_close;
    keep_alive_ = false;
  }
  const std::size_t room = room_for(head);
  HeadWriter writer(output_.reserve(room), room);
  writer.status_line(head.status, head.reason);
  if (head.fields.find(FieldId::date) == nullptr) writer.field("date", scratch_.date.at(std::time(nullptr)));
  writer.fields(head.fields);
  if (wire_ == Wire::chunked) {
    writer.append("transfer-encoding: chunked\r\n");
  } else if (plan.kind == BodyPlan::Kind::length && head.status != 204) {
    writer.field("content-length", plan.length);  // for HEAD and 304 too: what the body would have been
  } else if (wire_ == Wire::none && !bodyless) {
    writer.append("content-length: 0\r\n");
  }
  if (!keep_alive_) {
    writer.append("connection: close\r\n");
  } else if (minor_ == 0) {
    writer.append("connection: keep-alive\r\n");
  }
  writer.end();
  output_.commit(writer.ok() ? writer.size() : 0);
}

void Http1Server::send_body(StreamId, std::span<const char> data) {
  if (data.empty() || wire_ == Wire::none) return;
  if (wire_ != Wire::chunked) {
    output_.borrow(data);
    return;
  }
  output_.commit(write_chunk_prefix(data.size(), output_.reserve(kMaxChunkPrefix)));
  output_.borrow(data);
  output_.append(kChunkEnd);
}

void Http1Server::send_end(StreamId) {
  if (wire_ == Wire::chunked) output_.append(kLastChunk);
  request_open_ = false;
  if (!keep_alive_ || close_after_) {
    finished_ = true;
    return;
  }
  next_request();
}

void Http1Server::next_request() {
  wire_ = Wire::none;
  if (phase_ != Phase::body) phase_ = Phase::head;
  // An answer to what never becomes a request (a broken head, one that is late) has nothing of the request before.
  head_request_ = false;
  minor_ = 1;
}

void Http1Server::send_upgrade(StreamId, const ResponseHead& head) {
  const std::size_t room = room_for(head) + head.upgrade_protocol.size();
  HeadWriter writer(output_.reserve(room), room);
  writer.status_line(head.status, head.reason);
  writer.field("connection", "upgrade");
  writer.field("upgrade", head.upgrade_protocol);
  writer.fields(head.fields);
  writer.end();
  if (writer.ok()) output_.commit(writer.size());
  phase_ = Phase::tunnel;
}

}  // namespace edgemux::core
