#include "core/http/http2_connection.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

namespace edgemux::core {

std::uint64_t http2_clock() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

// From nghttp2's plain functions to the connection. Any failure that they return ends nghttp2_session_mem_recv().
struct Http2Callbacks {
  static Http2Connection& of(void* user) { return *static_cast<Http2Connection*>(user); }

  static int begin_frame(nghttp2_session*, const nghttp2_frame_hd* header, void* user) {
    return of(user).begin_frame(*header);
  }
  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return of(user).begin_headers(*frame);
  }
  static int header(nghttp2_session*, const nghttp2_frame*, nghttp2_rcbuf* name, nghttp2_rcbuf* value,
                    std::uint8_t flags, void* user) {
    return of(user).header(name, value, (flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0);
  }
  static int data_chunk(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size,
                        void* user) {
    return of(user).data_chunk(id, {reinterpret_cast<const char*>(data), size});
  }
  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return of(user).frame_received(*frame);
  }
  static int before_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return of(user).before_frame(*frame) ? 0 : NGHTTP2_ERR_CANCEL;
  }
  static int frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return of(user).frame_sent(*frame);
  }
  static int stream_closed(nghttp2_session*, std::int32_t id, std::uint32_t error, void* user) {
    return of(user).stream_closed(id, error);
  }
  static ssize_t read_body(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t length, std::uint32_t* flags,
                           nghttp2_data_source* source, void* user) {
    return of(user).read_body(*static_cast<Http2Stream*>(source->ptr), length, *flags);
  }
  static int write_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* frame_header, std::size_t length,
                        nghttp2_data_source* source, void* user) {
    return of(user).write_data(*static_cast<Http2Stream*>(source->ptr), frame_header, length);
  }

  static int ignore_extension(nghttp2_session*, void**, const nghttp2_frame_hd*, void*) { return NGHTTP2_ERR_CANCEL; }

  static const nghttp2_session_callbacks* all() {
    static const nghttp2_session_callbacks* const callbacks = [] {
      nghttp2_session_callbacks* made = nullptr;
      nghttp2_session_callbacks_new(&made);
      nghttp2_session_callbacks_set_on_begin_frame_callback(made, begin_frame);
      nghttp2_session_callbacks_set_on_begin_headers_callback(made, begin_headers);
      nghttp2_session_callbacks_set_on_header_callback2(made, header);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, data_chunk);
      nghttp2_session_callbacks_set_on_frame_recv_callback(made, frame_received);
      nghttp2_session_callbacks_set_before_frame_send_callback(made, before_frame);
      nghttp2_session_callbacks_set_on_frame_send_callback(made, frame_sent);
      nghttp2_session_callbacks_set_on_stream_close_callback(made, stream_closed);
      nghttp2_session_callbacks_set_send_data_callback(made, write_data);
      nghttp2_session_callbacks_set_unpack_extension_callback(made, ignore_extension);
      return made;
    }();
    return callbacks;
  }

  static const nghttp2_option* options() {
    static const nghttp2_option* const options = [] {
      nghttp2_option* made = nullptr;
      nghttp2_option_new(&made);
      nghttp2_option_set_no_auto_window_update(made, 1);
      nghttp2_option_set_no_http_messaging(made, 1);  // http2_fields.h is stricter, and looks once
      nghttp2_option_set_no_closed_streams(made, 1);
      nghttp2_option_set_max_continuations(made, FloodGuard::kContinuations);
      nghttp2_option_set_max_send_header_block_length(made, 1024 * 1024);
      nghttp2_option_set_stream_reset_rate_limit(made, 1'000'000, 1'000'000);  // the guard counts
      nghttp2_option_set_builtin_recv_extension_type(made, NGHTTP2_PRIORITY_UPDATE);
      // Unknown frames too are seen by begin_frame(), and counted.
      for (unsigned type = 0x0a; type <= 0xff; ++type) {
        if (type != NGHTTP2_PRIORITY_UPDATE) {
          nghttp2_option_set_user_recv_extension_type(made, static_cast<std::uint8_t>(type));
        }
      }
      return made;
    }();
    return options;
  }
};

Http2Connection::Http2Connection(Side side, Output& output, HttpScratch& scratch, std::size_t head_limit,
                                 Http2Clock clock)
    : output_(output),
      scratch_(scratch),
      guard_(clock(), side == Side::server ? 1 : 10),
      side_(side),
      head_limit_(head_limit),
      clock_(clock) {
  const auto make = side == Side::server ? nghttp2_session_server_new3 : nghttp2_session_client_new3;
  if (make(&session_, Http2Callbacks::all(), this, Http2Callbacks::options(), http2_memory()) != 0) {
    session_ = nullptr;
    broken_ = true;
    return;
  }
  const auto limit = static_cast<std::uint32_t>(std::min<std::size_t>(head_limit, UINT32_MAX));
  const nghttp2_settings_entry server[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxEarlyStreams},
                                           {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
                                           {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limit},
                                           {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
                                           {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}};
  const nghttp2_settings_entry client[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                           {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kLeastWindow},
                                           {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limit},
                                           {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1}};
  const std::span<const nghttp2_settings_entry> ours =
      side == Side::server ? std::span<const nghttp2_settings_entry>(server) : client;
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, ours.data(), ours.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        side == Side::server ? kConnectionWindow : kUpstreamWindow);
}

Http2Connection::~Http2Connection() {
  nghttp2_session_del(session_);
  for (Http2Stream* stream : streams_) delete stream;
}

// ---- streams

Http2Stream* Http2Connection::open_stream() {
  auto* stream = new Http2Stream();
  if (free_slots_.empty()) {
    streams_.push_back(stream);
    stream->slot = static_cast<StreamId>(streams_.size());
  } else {
    stream->slot = free_slots_.back();
    free_slots_.pop_back();
    streams_[stream->slot - 1] = stream;
  }
  ++open_;
  guard_.earn_request();
  return stream;
}

void Http2Connection::close_stream(Http2Stream& stream) {
  if (stream.dirty) std::erase(dirty_, &stream);
  drop_kept(stream);
  std::erase(drained_, stream.slot);
  streams_[stream.slot - 1] = nullptr;
  freed_slots_.push_back(stream.slot);
  --open_;
  if (stream.lingers) --answered_early_;
  delete &stream;
}

Http2Stream* Http2Connection::find(std::int32_t id) const {
  return static_cast<Http2Stream*>(nghttp2_session_get_stream_user_data(session_, id));
}

bool Http2Connection::exhausted() const {
  return open_ == 0 && nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

// ---- receiving

bool Http2Connection::within(const char* reason) {
  if (reason != nullptr && flood_ == nullptr) flood_ = reason;
  return reason == nullptr;
}

void Http2Connection::receive_bytes(std::span<char> bytes) {
  if (stopped_ || broken_ || receiving_) return;
  free_slots_.insert(free_slots_.end(), freed_slots_.begin(), freed_slots_.end());
  freed_slots_.clear();
  receiving_ = true;
  const ssize_t taken =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (!stopped_) hand_over(false);
  chunk_ = {};
  receiving_ = false;
  if (stopped_) return;
  if (flood_ != nullptr) return break_off(NGHTTP2_ENHANCE_YOUR_CALM, 429, flood_);
  if (too_large_) return break_off(NGHTTP2_FRAME_SIZE_ERROR, 400, "too large CONTINUATION");
  if (taken < 0) {
    if (taken == NGHTTP2_ERR_FLOODED || taken == NGHTTP2_ERR_TOO_MANY_SETTINGS ||
        taken == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
      return break_off(NGHTTP2_ENHANCE_YOUR_CALM, 429, nghttp2_strerror(static_cast<int>(taken)));
    }
    const bool memory = taken == NGHTTP2_ERR_NOMEM;
    return break_off(memory ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_PROTOCOL_ERROR, memory ? 500 : 400,
                     nghttp2_strerror(static_cast<int>(taken)));
  }
  after_received();
}

void Http2Connection::after_received() {
  if (stopped_) return;
  pump();
  settle();
  tell_writable();
}

void Http2Connection::break_off(std::uint32_t error, std::uint16_t status, const char* reason) {
  if (broken_ || stopped_) return;
  broken_ = true;
  // By hand: nghttp2 may be in no state to write. Whole frames only have gone into the Output before.
  const std::string_view text = reason;
  const auto size = static_cast<std::uint32_t>(8 + text.size());
  const auto last = static_cast<std::uint32_t>(nghttp2_session_get_last_proc_stream_id(session_));
  char* const frame = output_.reserve(kFrameHeader + size);
  const auto put32 = [frame](std::size_t at, std::uint32_t value) {
    for (int i = 0; i < 4; ++i) frame[at + static_cast<std::size_t>(i)] = static_cast<char>(value >> (24 - 8 * i));
  };
  put32(0, size << 8 | NGHTTP2_GOAWAY);
  frame[4] = 0;
  put32(5, 0);
  put32(9, last);
  put32(13, error);
  std::memcpy(frame + 17, text.data(), text.size());
  output_.commit(kFrameHeader + size);
  on_broken(status, reason);
}

void Http2Connection::judge_untaken() {
  if (data_sent_ || broken_ || stopped_) return;
  const char* const reason = FloodGuard::judge_stall(waiting_, stalled());
  if (reason != nullptr) break_off(NGHTTP2_ENHANCE_YOUR_CALM, 429, reason);
}

int Http2Connection::begin_frame(const nghttp2_frame_hd& header) {
  if (stopped_) return NGHTTP2_ERR_CALLBACK_FAILURE;
  using Kind = FloodGuard::Kind;
  bool fine = true;
  switch (header.type) {
    case NGHTTP2_DATA:
    case NGHTTP2_HEADERS:
      break;
    case NGHTTP2_PRIORITY:
    case NGHTTP2_PRIORITY_UPDATE:
      fine = note(Kind::priority);
      break;
    case NGHTTP2_CONTINUATION:
      // nghttp2 looks at the size of the other frames only (RFC 9113 4.2).
      too_large_ = header.length > kFrameSize;
      fine = !too_large_ && note(Kind::control);
      break;
    case NGHTTP2_RST_STREAM: {
      const Http2Stream* stream = find(header.stream_id);
      if (side_ == Side::server) {
        const bool answered = stream != nullptr && (stream->tasted || stream->lingers);
        fine = note(answered ? Kind::cancel : Kind::reset);
      } else {
        // A server that has answered wants no more of the request (RFC 9113 8.1).
        fine = (stream != nullptr && stream->head_seen && stream->input_ended) || note(Kind::reset);
      }
      break;
    }
    case NGHTTP2_SETTINGS:
      fine = note(Kind::settings);
      break;
    case NGHTTP2_WINDOW_UPDATE:
      fine = note(Kind::window);
      break;
    default:
      fine = note(Kind::control);
      break;
  }
  return fine ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

int Http2Connection::begin_headers(const nghttp2_frame& frame) {
  if (stopped_) return NGHTTP2_ERR_CALLBACK_FAILURE;
  Http2Stream* stream = find(frame.hd.stream_id);
  if (stream == nullptr && side_ == Side::server && frame.headers.cat == NGHTTP2_HCAT_REQUEST) {
    stream = open_stream();
    stream->id = frame.hd.stream_id;
    nghttp2_session_set_stream_user_data(session_, stream->id, stream);
  }
  block_ = std::make_unique<HeaderBlock>(head_limit_);
  return 0;
}

int Http2Connection::header(nghttp2_rcbuf* name, nghttp2_rcbuf* value, bool never_indexed) {
  if (stopped_ || block_ == nullptr) return NGHTTP2_ERR_CALLBACK_FAILURE;
  block_->add(name, value, never_indexed);
  return within(FloodGuard::judge_block(block_->decoded_bytes(), head_limit_)) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

int Http2Connection::data_chunk(std::int32_t id, std::span<const char> data) {
  hand_over(false);
  if (stopped_) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (side_ == Side::client) nghttp2_session_consume_connection(session_, data.size());
  Http2Stream* stream = find(id);
  if (stream == nullptr || stream->drop_input || stream->abandoned) {
    consume(id, data.size());
    if (stream != nullptr && stream->lingers) come_late(*stream, data.size());
    return 0;
  }
  if (side_ == Side::client && unconsumed_ + data.size() > kUpstreamWindow) {
    // Until it has acknowledged our SETTINGS, nghttp2 takes the streams' windows for larger than they are.
    nghttp2_session_terminate_session(session_, NGHTTP2_FLOW_CONTROL_ERROR);
    return 0;
  }
  stream->unconsumed += data.size();
  unconsumed_ += data.size();
  if (stream->has_length) {
    if (data.size() > stream->length_left) {
      stream->drop_input = stream->broken_input = true;
      give_back(*stream, data.size());
      on_broken_body(*stream, "more DATA than Content-Length");
      return stopped_ ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    }
    stream->length_left -= data.size();
  }
  chunk_ = {stream, data};
  return 0;
}

void Http2Connection::hand_over(bool end) {
  if (chunk_.stream == nullptr) return;
  const Chunk chunk = chunk_;
  chunk_ = {};
  if (chunk.stream->abandoned || chunk.stream->drop_input) return give_back(*chunk.stream, chunk.data.size());
  on_body(*chunk.stream, chunk.data, end);
}

int Http2Connection::frame_received(const nghttp2_frame& frame) {
  if (stopped_) return NGHTTP2_ERR_CALLBACK_FAILURE;
  const bool end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  switch (frame.hd.type) {
    case NGHTTP2_DATA: {
      const bool empty = frame.hd.length == frame.data.padlen;
      if (empty && !end && !note(FloodGuard::Kind::empty)) return NGHTTP2_ERR_CALLBACK_FAILURE;
      if (!end) {
        hand_over(false);
        break;
      }
      Http2Stream* stream = find(frame.hd.stream_id);
      if (stream == nullptr) break;
      stream->input_ended = true;
      if (stream->abandoned || stream->drop_input) {
        hand_over(false);
      } else if (stream->has_length && stream->length_left != 0) {
        hand_over(false);
        if (stopped_ || stream->abandoned || stream->drop_input) break;
        stream->drop_input = stream->broken_input = true;
        on_broken_body(*stream, "less DATA than Content-Length");
      } else if (chunk_.stream != nullptr) {
        hand_over(true);
      } else {
        on_body(*stream, {}, true);
      }
      break;
    }
    case NGHTTP2_HEADERS: {
      const std::unique_ptr<HeaderBlock> block = std::move(block_);
      Http2Stream* stream = find(frame.hd.stream_id);
      if (stream == nullptr || block == nullptr) break;
      if (end) stream->input_ended = true;
      if (!stream->abandoned && !stream->drop_input) on_head(*stream, *block, end);
      break;
    }
    case NGHTTP2_GOAWAY:
      goaway_received_ = true;
      on_room();
      break;
    case NGHTTP2_SETTINGS:
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        accepted_ = true;
        if (limiting_ > 0 && --limiting_ == 0) on_limit_known();
      }
      settled_ = true;
      on_room();
      break;
    default:
      break;
  }
  return stopped_ ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

int Http2Connection::stream_closed(std::int32_t id, std::uint32_t error) {
  Http2Stream* stream = find(id);
  if (stream == nullptr) return 0;
  if (chunk_.stream == stream) chunk_ = {};
  if (stream->unconsumed > 0) consume(id, stream->unconsumed, true);
  unconsumed_ -= stream->unconsumed;
  const bool whole = stream->input_ended && stream->end_sent;
  if (whole) {
    guard_.earn_answer();
    on_answered();
    if (!stopped_) on_whole(*stream);
  }
  if (!stopped_ && !std::exchange(stream->abandoned, true) && !whole) on_lost(*stream, error);
  nghttp2_session_set_stream_user_data(session_, id, nullptr);
  close_stream(*stream);
  if (stopped_) return NGHTTP2_ERR_CALLBACK_FAILURE;
  on_room();
  return stopped_ ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

void Http2Connection::give_back(Http2Stream& stream, std::size_t bytes) {
  bytes = std::min(bytes, stream.unconsumed);
  stream.unconsumed -= bytes;
  unconsumed_ -= bytes;
  if (bytes == 0 || broken_) return;
  consume(stream.id, bytes, stream.input_ended);
}

void Http2Connection::consume(std::int32_t id, std::size_t bytes, bool over) {
  if (side_ == Side::server) nghttp2_session_consume_connection(session_, bytes);
  if (!over) nghttp2_session_consume_stream(session_, id, bytes);
}

nghttp2_data_provider Http2Connection::provider(Http2Stream& stream) {
  nghttp2_data_provider provider;
  provider.source.ptr = &stream;
  provider.read_callback = Http2Callbacks::read_body;
  return provider;
}

}  // namespace edgemux::core
