#pragma once
// UpstreamStream: one request at an upstream. Owned by whoever asks; release(), or destroying it, takes it back in
// whatever state it is.
//
//   UpstreamPool::acquire(stream)   ready: a connection stands and has room for a request.
//                                   waiting: exactly one of on_upstream_ready() and on_upstream_failed() comes later.
//                                   limit: the upstream has no place left, and its queue no room.
//   send_request, send_body*, send_end or send_trailers, in any split; flush() at the end of each event in which
//   something was sent: body bytes are borrowed until then.
//   on_upstream_response*, on_upstream_body*, perhaps on_upstream_trailers; every event that brought some of it ends
//   with on_upstream_event_end().
//   on_upstream_failed() instead of all that is still to come; the stream is released by then.
//   release(): the connection is kept if it can be used again, otherwise closed.
//
// Back-pressure: while pending() is not zero, feed the upstream no more; on_upstream_writable() tells when it is zero
// again. pause() holds the answer back, resume() lets it come.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/http/codec.h"
#include "core/io/stream.h"
#include "core/io/timer_wheel.h"
#include "core/proxy_protocol/proxy_header.h"

namespace edgemux::routing {

class UpstreamConnection;
class UpstreamPool;
struct EndpointState;

// Over a connection.
struct MovedBytes {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
};

struct UpstreamFailure {
  // head_too_large: the request's; nothing of it was sent, and its connection is as well as before.
  // tls: no TLS connection that satisfies the upstream's policy, or broken files of ours. shortage: no descriptor or
  // memory of our own, so that nobody was asked.
  enum class Kind : std::uint8_t {
    no_endpoint,
    refused,
    connect_timeout,
    tls,
    limit,
    reset,
    closed,
    bad_response,
    timeout,
    shortage,
    head_too_large
  };
  Kind kind = Kind::reset;
  std::string detail;
  bool reused = false;       // the connection had served requests before: it may simply have been too old
  bool answered = false;     // the final head had come
  bool unprocessed = false;  // the upstream said that it did nothing with the request, or never got any of it
  bool alive = false;        // the connection is, and may carry the next try
  MovedBytes moved = {};     // what UpstreamStream::take_counts() has not told of a connection that is taken away
};

// A connection that was taken out of its pool still has its place in limits.connections; this gives it back.
class UpstreamPlace {
 public:
  UpstreamPlace() = default;
  explicit UpstreamPlace(UpstreamConnection& connection) : connection_(&connection) {}
  UpstreamPlace(UpstreamPlace&& from) noexcept : connection_(std::exchange(from.connection_, nullptr)) {}
  UpstreamPlace& operator=(UpstreamPlace&&) = delete;
  ~UpstreamPlace();
  [[nodiscard]] std::string_view endpoint_text() const;
  [[nodiscard]] const std::string& upstream_name() const;

 private:
  UpstreamConnection* connection_ = nullptr;
};

class UpstreamStream {
 public:
  class Observer {
   public:
    virtual void on_upstream_ready() = 0;
    // The most that should be read at once from a connection that carries this answer alone.
    [[nodiscard]] virtual std::size_t upstream_read_limit() const { return SIZE_MAX; }
    // How much of the answer may be on its way over a shared connection. Asked when the request goes, and whenever some
    // of the answer was taken; never less than before.
    [[nodiscard]] virtual std::size_t upstream_window() { return SIZE_MAX; }
    // Any head: 1xx (the final one follows), 101, or the final one. `end`: no body follows.
    virtual void on_upstream_response(core::ResponseHead& head, bool end) = 0;
    virtual void on_upstream_body(std::span<const char> data, bool end) = 0;
    // In place of the end of the body.
    virtual void on_upstream_trailers(core::FieldList& fields) = 0;
    // The bytes handed out in this event will go now: flush what borrowed them.
    virtual void on_upstream_event_end() = 0;
    virtual void on_upstream_writable() = 0;
    virtual void on_upstream_failed(const UpstreamFailure& failure) = 0;
    // Whose request it is, for an upstream that wants a PROXY header. The views live until the call returns to the
    // loop.
    [[nodiscard]] virtual core::ProxyLine on_upstream_asks_who() const { return {}; }

   protected:
    ~Observer() = default;
  };

  explicit UpstreamStream(Observer& observer);
  ~UpstreamStream() { release(); }
  UpstreamStream(const UpstreamStream&) = delete;
  UpstreamStream& operator=(const UpstreamStream&) = delete;

  // Before acquire(), for all that follow: how long the upstream may be silent; 0 = for ever. Without it, as long as
  // the pool's context says.
  void limit_silence(std::chrono::milliseconds time) { silence_ = time; }

  // ---- from ready on. A connection may break by being written to: then its end is told before the call returns, and
  // what is sent after that goes nowhere.
  void send_request(const core::OutgoingRequest& request, bool end);
  void send_body(std::span<const char> data);
  void send_end();
  void send_trailers(const core::FieldList& fields);
  void flush();
  [[nodiscard]] std::size_t pending() const;
  void pause() { paused_ = true; }
  void resume();
  // The request is complete: from now on silence counts. Before that it counts only while the upstream leaves bytes of
  // the request waiting.
  void expect_answer();
  // The rest of the request waits for the upstream's word (RFC 9110 10.1.1): its silence counts until expect_more().
  void expect_word();
  void expect_more() { awaiting_ = asked_ = false; }

  // ---- in any state ----
  // Whoever asked waits no longer, and releases it next. Where the endpoint has had the whole request for at least
  // `fair` and has sent nothing, or has been asked for a connection for as long, it has failed.
  void blame(std::chrono::milliseconds fair);
  void release();
  [[nodiscard]] bool idle() const { return state_ == State::none; }
  [[nodiscard]] bool ready() const { return state_ == State::ready; }

  // ---- what became of it; kept after release() until the next acquire() ----
  [[nodiscard]] bool reused() const { return reused_; }
  // It waited for its connection to be made.
  [[nodiscard]] bool fresh() const { return fresh_; }
  // Its connection carries other streams beside it.
  [[nodiscard]] bool shared() const;
  // Endpoints tried for a new connection, with one that is being tried; 0 = none yet.
  [[nodiscard]] unsigned attempts() const { return attempts_; }
  // Empty before an endpoint was found. Valid until the connection is freed: not after this turn of the loop, once
  // released.
  [[nodiscard]] std::string_view endpoint_text() const { return endpoint_text_; }
  // The endpoint of the latest attempt, for Wish::avoid; null = none was reached. Valid as long as the upstream's
  // state.
  [[nodiscard]] const EndpointState* endpoint_state() const { return endpoint_state_; }

  // On its connection since the call before, for the metrics.
  MovedBytes take_counts();

  // After a 101 over HTTP/1, from on_upstream_event_end(): the bytes become the caller's, with what was received behind
  // the head. The stream is released.
  struct Upgraded {
    std::unique_ptr<core::Stream> stream;
    std::string received;
    UpstreamPlace place;
  };
  Upgraded take_stream();

 private:
  friend class UpstreamConnection;
  friend class UpstreamPool;
  enum class State : std::uint8_t { none, queued, waiting, ready };

  // In the pool's queue, until it gives a connection or timeouts.pending is over.
  void begin_waiting(UpstreamPool& pool);
  [[nodiscard]] std::uint64_t silence() const;  // ms; 0 = for ever
  void touch();
  // How much of the request the windows of a shared connection keep back, and since when it is as much.
  void note_kept_back();
  void timed_out();
  void give_back();

  Observer& observer_;
  UpstreamConnection* connection_ = nullptr;
  UpstreamPool* pool_ = nullptr;  // while queued
  core::Timer deadline_;
  std::optional<std::chrono::milliseconds> silence_;
  std::uint64_t asked_at_ = 0;            // when the request was complete
  std::uint64_t source_ = 0;              // source_hash() of the client, where the upstream's balance asks for it
  const EndpointState* avoid_ = nullptr;  // compared only
  std::string_view endpoint_text_;
  const EndpointState* endpoint_state_ = nullptr;
  std::size_t kept_back_ = 0;
  std::uint64_t kept_back_at_ = 0;
  std::size_t unconsumed_ = 0;  // of the answer's body, not yet given back to the codec
  unsigned attempts_ = 0;
  core::StreamId id_ = 0;  // 0 = no request was sent
  State state_ = State::none;
  bool paused_ = false;
  bool awaiting_ = false;  // the request is complete, or asked_
  bool asked_ = false;     // for a word on its body
  bool answered_ = false;  // the final head has come
  bool reused_ = false;
  bool fresh_ = false;
  bool complete_ = false;     // the answer is
  bool touched_ = false;      // got something in this event
  bool counted_ = false;      // in UpstreamRuntime::requests
  bool needs_http1_ = false;  // see UpstreamPool::Wish::upgrade
};

}  // namespace edgemux::routing
