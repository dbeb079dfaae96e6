// Http2Connection: what goes out, and the windows of what comes in.

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/http/http2_connection.h"

namespace edgemux::core {

void Http2Connection::widen(Http2Stream& stream, std::size_t window) {
  const auto wanted = static_cast<std::uint32_t>(std::min<std::size_t>(window, kStreamWindow));
  if (wanted <= stream.window || broken_) return;
  if (stream.begun && !accepted_) return;
  stream.window = wanted;
  if (!stream.begun) return;
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, stream.id, static_cast<std::int32_t>(wanted));
}

// nghttp2 refuses streams beyond a limit that it has been given, whether the client can know of it or not. So it is
// given the larger one once more, which before_frame() keeps from going out.
void Http2Connection::limit_streams() {
  if (broken_) return;
  limiting_ = accepted_ ? 1 : 2;
  for (const std::uint32_t most : {kMaxStreams, kMaxEarlyStreams}) {
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, most};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &entry, 1);
  }
}

bool Http2Connection::before_frame(const nghttp2_frame& frame) {
  const bool again = limiting_ > 0 && frame.hd.type == NGHTTP2_SETTINGS && frame.settings.niv == 1 &&
                     frame.settings.iv[0].value == kMaxEarlyStreams;
  return !again;
}

void Http2Connection::resume(Http2Stream& stream) {
  if (!stream.deferred || broken_) return;
  stream.deferred = false;
  nghttp2_session_resume_data(session_, stream.id);
}

void Http2Connection::put_body(Http2Stream& stream, std::span<const char> data) {
  if (data.empty() || stream.output_ended || !stream.with_body) return;
  if (!stream.borrowed.empty()) {
    if (stream.borrowed.data() + stream.borrowed.size() == data.data()) {
      stream.borrowed = {stream.borrowed.data(), stream.borrowed.size() + data.size()};
      return;
    }
    pump();
    keep(stream);
  }
  stream.borrowed = data;
  if (!stream.dirty) dirty_.push_back(&stream);
  stream.dirty = true;
  resume(stream);
}

void Http2Connection::put_end(Http2Stream& stream) {
  if (stream.output_ended) return;
  stream.output_ended = true;
  if (stream.with_body) resume(stream);
}

void Http2Connection::put_reset(Http2Stream& stream, std::uint32_t error) {
  if (stream.abandoned) return;
  stream.abandoned = stream.output_ended = true;
  stream.borrowed = {};
  drop_kept(stream);
  if (!broken_) nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id, error);
}

namespace {

// Trailers wait behind the body as one block: a count, then for each field two sizes, the name and the value.
struct FieldSizes {
  std::uint32_t name : 31;
  std::uint32_t never_indexed : 1;
  std::uint32_t value;
};

}  // namespace

void Http2Connection::put_trailers(Http2Stream& stream, const FieldList& fields) {
  if (stream.output_ended) return;
  std::size_t size = sizeof(std::uint32_t);
  std::uint32_t count = 0;
  for (const Field& field : fields) {
    if (field.hop_by_hop || is_managed(field.id)) continue;
    size += sizeof(FieldSizes) + field.name.size() + field.value.size();
    ++count;
  }
  if (count > 0 && stream.with_body) {
    stream.trailers = static_cast<char*>(take_http2_memory(size));
    char* out = stream.trailers;
    const auto put = [&out](const void* bytes, std::size_t n) {
      if (n > 0) std::memcpy(out, bytes, n);
      out += n;
    };
    put(&count, sizeof count);
    for (const Field& field : fields) {
      if (field.hop_by_hop || is_managed(field.id)) continue;
      const FieldSizes sizes = {static_cast<std::uint32_t>(field.name.size()) & 0x7fffffffU, field.never_indexed,
                                static_cast<std::uint32_t>(field.value.size())};
      put(&sizes, sizeof sizes);
      put(field.name.data(), field.name.size());
      put(field.value.data(), field.value.size());
    }
  }
  put_end(stream);
}

void Http2Connection::submit_trailers(Http2Stream& stream) {
  const char* in = stream.trailers;
  std::uint32_t count = 0;
  std::memcpy(&count, in, sizeof count);
  in += sizeof count;
  Http2FieldList list;
  for (std::uint32_t i = 0; i < count; ++i) {
    FieldSizes sizes{};
    std::memcpy(&sizes, in, sizeof sizes);
    in += sizeof sizes;
    list.add({in, sizes.name}, {in + sizes.name, sizes.value}, sizes.never_indexed != 0);
    in += sizes.name + sizes.value;
  }
  nghttp2_submit_trailer(session_, stream.id, list.data(), list.size());
  give_http2_memory(stream.trailers);
  stream.trailers = nullptr;
}

ssize_t Http2Connection::read_body(Http2Stream& stream, std::size_t length, std::uint32_t& flags) {
  const std::size_t unsent = stream.unsent();
  const std::size_t size = std::min(length, unsent);
  if (size == unsent && stream.output_ended) {
    flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream.trailers != nullptr) {
      flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      submit_trailers(stream);
    }
  } else if (size == 0) {
    stream.deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  } else if (size < unsent && size < FloodGuard::kTinyData) {
    note(FloodGuard::Kind::tiny);
  }
  flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  return static_cast<ssize_t>(size);
}

int Http2Connection::write_data(Http2Stream& stream, const std::uint8_t* frame_header, std::size_t length) {
  output_.append({reinterpret_cast<const char*>(frame_header), kFrameHeader});
  guard_.earn_data(length);
  if (length > 0) data_sent_ = true;  // an empty one needs no window
  if (length > 0) stream.tasted = true;
  if (const std::size_t kept = std::min(length, stream.kept_size()); kept > 0) {
    output_.append({stream.kept.data() + stream.kept_at, kept});
    stream.kept_at += kept;
    stream.kept_since = clock_();
    kept_ -= kept;
    length -= kept;
    if (stream.kept_size() == 0) {
      std::string().swap(stream.kept);
      stream.kept_at = 0;
      if (stream.waiting) {
        stream.waiting = false;
        --waiting_;
        drained_.push_back(stream.slot);
      }
    }
  }
  output_.borrow(stream.borrowed.first(length));
  stream.borrowed = stream.borrowed.subspan(length);
  progress_ = true;
  return 0;
}

int Http2Connection::frame_sent(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
      guard_.earn_frame();
      [[fallthrough]];
    case NGHTTP2_DATA: {
      const bool end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
      if (!end && side_ == Side::server) break;
      Http2Stream* stream = find(frame.hd.stream_id);
      if (stream == nullptr) break;
      if (!std::exchange(stream->begun, true) && side_ == Side::client && stream->window > kLeastWindow) {
        // Not by the window's size: before the upstream has seen our SETTINGS, nghttp2 takes another one for granted.
        nghttp2_submit_window_update(session_, NGHTTP2_FLAG_NONE, stream->id,
                                     static_cast<std::int32_t>(stream->window - kLeastWindow));
      }
      if (!end) break;
      stream->end_sent = true;
      if (side_ == Side::client || stream->input_ended || stream->tunnel) break;
      // The answer is out and the request is not whole: the rest of it is of no use (RFC 9113 8.1).
      stream->abandoned = true;
      if (may_linger(*stream)) {
        linger(*stream);
      } else {
        nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream->id,
                                  stream->broken_input ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR);
      }
      break;
    }
    case NGHTTP2_RST_STREAM:
      if (frame.rst_stream.error_code == NGHTTP2_NO_ERROR) break;
      // That a request is not wanted any more is no doing of the upstream.
      if (side_ == Side::client && frame.rst_stream.error_code == NGHTTP2_CANCEL) break;
      if (const Http2Stream* stream = find(frame.hd.stream_id); stream != nullptr && stream->blameless) break;
      note(frame.rst_stream.error_code == NGHTTP2_REFUSED_STREAM ? FloodGuard::Kind::refusal : FloodGuard::Kind::reset);
      break;
    case NGHTTP2_GOAWAY:
      if (frame.goaway.error_code == NGHTTP2_NO_ERROR) break;
      goaway_error_ = frame.goaway.error_code;
      reason_.assign(reinterpret_cast<const char*>(frame.goaway.opaque_data), frame.goaway.opaque_data_len);
      if (reason_.empty()) reason_ = nghttp2_http2_strerror(goaway_error_);
      break;
    default:
      break;
  }
  return 0;
}

// Some clients (curl 7.88) throw the answer away when the reset is there before they have looked at it. Most have sent
// all in a moment; after a refusal they stop by themselves. With much to send behind another answer they would wait for
// ever.
bool Http2Connection::may_linger(const Http2Stream& stream) {
  return !stream.broken_input && (stream.refusal || !stream.has_length || stream.length_left <= kMostLate);
}

void Http2Connection::come_late(Http2Stream& stream, std::size_t bytes) {
  stream.late += static_cast<std::uint32_t>(bytes);
  if (stream.refusal || stream.late <= kMostLate || stream.late - bytes > kMostLate) return;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id, NGHTTP2_NO_ERROR);
}

void Http2Connection::linger(Http2Stream& stream) {
  stream.lingers = true;
  ++answered_early_;
  give_back(stream, stream.unconsumed);
  lingering_.push_back({stream.id, clock_()});
  if (lingering_.size() > kMostLingering) reset_first_lingering();
}

void Http2Connection::reset_first_lingering() {
  const Http2Stream* stream = find(lingering_.front().id);
  lingering_.erase(lingering_.begin());
  if (stream == nullptr || stream->input_ended || broken_) return;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
}

void Http2Connection::reset_lingering() {
  const std::uint64_t now = clock_();
  while (!lingering_.empty() && now >= lingering_.front().since + MultiplexedServerCodec::kLinger)
    reset_first_lingering();
}

// Everything that may go, goes into the Output.
void Http2Connection::pump() {
  if (pumping_ || receiving_ || broken_ || stopped_) return;
  pumping_ = true;
  while (!stopped_) {
    const std::uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) {
      pumping_ = false;
      return break_off(NGHTTP2_INTERNAL_ERROR, 500, nghttp2_strerror(static_cast<int>(size)));
    }
    if (size == 0) break;
    output_.append({reinterpret_cast<const char*>(data), static_cast<std::size_t>(size)});
  }
  pumping_ = false;
  if (stopped_) return;
  if (flood_ != nullptr) return break_off(NGHTTP2_ENHANCE_YOUR_CALM, 429, flood_);
  if (goaway_error_ != 0) {
    broken_ = true;  // nghttp2 has said GOAWAY itself
    on_broken(400, reason_.c_str());
  }
}

void Http2Connection::keep(Http2Stream& stream) {
  if (stream.borrowed.empty()) return;
  if (stream.kept_at > 0) {
    stream.kept.erase(0, stream.kept_at);
    stream.kept_at = 0;
  }
  // Not twice as much: a hundred such streams are what a client that takes nothing costs.
  stream.kept.reserve(stream.kept.size() + stream.borrowed.size());
  stream.kept.append(stream.borrowed.data(), stream.borrowed.size());
  kept_ += stream.borrowed.size();
  stream.borrowed = {};
}

void Http2Connection::drop_kept(Http2Stream& stream) {
  kept_ -= stream.kept_size();
  if (stream.waiting) --waiting_;
  stream.waiting = false;
  std::string().swap(stream.kept);
  stream.kept_at = 0;
}

// What is left of the borrowed bytes is copied.
void Http2Connection::settle() {
  if (dirty_.empty() && waiting_ == 0 && !progress_ && !guard_.stalls()) return;
  const std::uint64_t now = clock_();
  for (Http2Stream* stream : dirty_) {
    keep(*stream);
    stream->dirty = false;
    if (stream->kept_size() > 0 && !stream->waiting) {
      stream->waiting = true;
      stream->kept_since = now;
      ++waiting_;
    }
  }
  dirty_.clear();
  if (waiting_ > 0 || progress_ || guard_.stalls()) guard_.note_waiting(waiting_ > 0, progress_, now);
  progress_ = false;
}

std::uint64_t Http2Connection::stalled(const Http2Stream& stream) const {
  if (!stream.waiting || nghttp2_session_get_stream_remote_window_size(session_, stream.id) > 0) return 0;
  const std::uint64_t now = clock_();
  return now > stream.kept_since ? now - stream.kept_since : 0;
}

void Http2Connection::write_out() {
  pump();
  settle();
}

void Http2Connection::tell_writable() {
  while (!drained_.empty() && !stopped_ && !broken_) {
    const StreamId slot = drained_.back();
    drained_.pop_back();
    Http2Stream* drained = stream(slot);
    if (drained != nullptr && !drained->abandoned && !drained->output_ended) on_writable(*drained);
  }
}

}  // namespace edgemux::core
