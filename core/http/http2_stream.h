#pragma once
// Http2Stream: what a codec knows of one stream beside nghttp2. Owned by its Http2Connection, from the first sight of
// the stream until both sides are through with it.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/http/codec.h"
#include "core/http/http2_held.h"
#include "core/http/http2_memory.h"

namespace edgemux::core {

struct Http2Stream : InHttp2Memory {
  Http2Stream() = default;
  ~Http2Stream() { give_http2_memory(trailers); }
  Http2Stream(const Http2Stream&) = delete;
  Http2Stream& operator=(const Http2Stream&) = delete;

  [[nodiscard]] std::size_t kept_size() const { return kept.size() - kept_at; }
  [[nodiscard]] std::size_t unsent() const { return kept_size() + borrowed.size(); }

  std::int32_t id = 0;  // on the wire
  StreamId slot = 0;    // the codec's

  // ---- what comes in
  std::unique_ptr<HeldRequest> held;  // waits for others to be over: the owner does not know of it (server)
  std::uint64_t length_left = 0;      // of the announced Content-Length
  std::size_t unconsumed = 0;         // handed out and not given back to the window
  std::uint32_t late = 0;             // bytes that came while it lingers
  std::uint32_t window = 0;           // what may come in, and not be given back (client)
  bool has_length = false;
  bool input_ended = false;  // END_STREAM came
  bool drop_input = false;   // nobody wants more of it: the answer is out, or what came is broken
  bool broken_input = false;
  bool head_seen = false;  // of the request, or of the final answer
  std::uint8_t informational = 0;

  // ---- what goes out
  std::span<const char> borrowed;  // until the next produce()
  std::string kept;                // copied, waits for the window
  std::size_t kept_at = 0;
  std::uint64_t kept_since = 0;  // ms of the clock: nothing of `kept` has gone out since
  char* trailers = nullptr;      // see Http2Connection::store_trailers
  bool head_sent = false;
  bool with_body = false;     // the head went out without END_STREAM
  bool output_ended = false;  // the owner said so
  bool end_sent = false;      // END_STREAM is on the wire
  bool deferred = false;      // nghttp2 waits to be told of more
  bool dirty = false;         // in the list of streams with something borrowed
  bool waiting = false;       // kept is not empty, and the owner knows

  bool refusal = false;    // its answer has a status from 400 on (server)
  bool lingers = false;    // its answer is out, and what is left of the request is dropped (server)
  bool abandoned = false;  // the owner has given it up: no calls any more
  bool blameless = false;  // and the other side is not the cause
  bool head_request = false;
  bool upgrade = false;  // asked to become a tunnel
  bool tunnel = false;   // is one
  bool begun = false;    // its HEADERS are on the wire (client)
  bool tasted = false;   // some of its answer's body is (server)
  Method method = Method::other;
};

}  // namespace edgemux::core
