#pragma once
// Http2Connection: what both HTTP/2 codecs share: the nghttp2 session, the streams, the bodies both ways and their
// windows, the flood guard. It does no I/O: bytes come by receive(), and go into the Output in produce().
//
// Heads are handed to nghttp2 at once (it copies them); bodies are pulled by nghttp2 while it writes, so that several
// streams share the connection frame by frame. A body piece is borrowed until produce(); what the windows do not let
// out then is copied.
//
// nghttp2 may not be asked to write while it reads. What observers send from inside receive() is therefore copied, and
// written when receive() is through.
//
// A connection is broken by the peer's protocol error, by what the guard refuses, or by lack of memory: then GOAWAY is
// written, broken() is called once, and nothing else happens any more.

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/http/codec.h"
#include "core/http/flood_guard.h"
#include "core/http/http1_server.h"
#include "core/http/http2_fields.h"
#include "core/http/http2_stream.h"
#include "core/io/output.h"

namespace edgemux::core {

// Milliseconds of a monotonic clock.
using Http2Clock = std::uint64_t (*)();
std::uint64_t http2_clock();

class Http2Connection {
 protected:
  enum class Side : std::uint8_t { server, client };
  // Requests at a time: of a client, so that one that asks for much and takes nothing costs 256 KiB at most, of which a
  // request with its upstream connection is some 3 (RFC 9113 5.1.2 recommends 100); of a client that has just come in,
  // and takes a hundred for granted; and to an upstream.
  static constexpr std::uint32_t kMaxStreams = 48;
  static constexpr std::uint32_t kMaxEarlyStreams = 100;
  static constexpr std::uint32_t kMaxUpstreamStreams = 100;
  // What a peer may send on one stream, and on all, before it was taken: the memory that a slow other side costs.
  static constexpr std::uint32_t kStreamWindow = 64 * 1024;
  static constexpr std::int32_t kConnectionWindow = 64 * 1024;
  // An upstream's connection is shared by clients: one that does not read must not hold the others' answers up, so only
  // the streams' windows bind, and the connection's is given back as the bytes come. They begin little, because a
  // client may ask for a hundred answers and take none of them; widen() is for who can afford more.
  static constexpr std::uint32_t kLeastWindow = 256;
  static constexpr std::int32_t kUpstreamWindow = static_cast<std::int32_t>(kMaxUpstreamStreams * kStreamWindow);

  Http2Connection(Side side, Output& output, HttpScratch& scratch, std::size_t head_limit, Http2Clock clock);
  virtual ~Http2Connection();
  Http2Connection(const Http2Connection&) = delete;
  Http2Connection& operator=(const Http2Connection&) = delete;

  // ---- what the codecs are told
  // A block is complete. `first`: nothing of the message came before it.
  virtual void on_head(Http2Stream& stream, HeaderBlock& block, bool end) = 0;
  virtual void on_body(Http2Stream& stream, std::span<const char> data, bool end) = 0;
  // The body does not match its Content-Length.
  virtual void on_broken_body(Http2Stream& stream, const char* reason) = 0;
  // Over before both sides had ended. The stream goes right after.
  virtual void on_lost(Http2Stream& stream, std::uint32_t error) = 0;
  // Both halves have ended.
  virtual void on_whole(Http2Stream&) {}
  virtual void on_writable(Http2Stream& stream) = 0;
  virtual void on_broken(std::uint16_t status, const char* reason) = 0;
  // A stream has gone, or the peer's SETTINGS or GOAWAY came.
  virtual void on_room() {}
  // A request and its answer were whole.
  virtual void on_answered() {}
  // The client knows of kMaxStreams.
  virtual void on_limit_known() {}

  // ---- the connection
  void receive_bytes(std::span<char> bytes);
  // Calls `what` as if it happened within receive().
  template <typename What>
  void as_received(What what) {
    receiving_ = true;
    what();
    receiving_ = false;
    after_received();
  }
  void write_out();
  [[nodiscard]] bool mid_block() const { return block_ != nullptr; }
  [[nodiscard]] bool broken() const { return broken_; }
  // GOAWAY was exchanged and no stream is left.
  [[nodiscard]] bool exhausted() const;
  [[nodiscard]] bool waiting_for_windows() const { return waiting_ > 0; }
  [[nodiscard]] std::size_t kept_bytes() const { return kept_; }
  // Of bodies: handed out and not given back.
  [[nodiscard]] std::size_t unconsumed_bytes() const { return unconsumed_; }
  [[nodiscard]] std::uint64_t stalled() const { return guard_.stalled_ms(clock_()); }
  [[nodiscard]] bool window_shut() const { return nghttp2_session_get_remote_window_size(session_) == 0; }
  // How long the stream's own window has kept all back that waits for it.
  [[nodiscard]] std::uint64_t stalled(const Http2Stream& stream) const;
  // Any DATA, of any stream.
  [[nodiscard]] bool any_data_sent() const { return data_sent_; }
  // Breaks the connection off when the guard finds that its stall is no pause.
  void judge_untaken();
  void halt() { stopped_ = true; }
  void break_off(std::uint32_t error, std::uint16_t status, const char* reason);

  // Tells a client of kMaxStreams. Until it knows, it may have begun more.
  void limit_streams();

  // ---- streams
  Http2Stream* stream(StreamId slot) const { return slot - 1 < streams_.size() ? streams_[slot - 1] : nullptr; }
  Http2Stream* open_stream();
  void close_stream(Http2Stream& stream);
  // But for those that linger.
  [[nodiscard]] std::size_t open_streams() const { return open_ - answered_early_; }

  // ---- sending
  nghttp2_data_provider provider(Http2Stream& stream);
  void put_body(Http2Stream& stream, std::span<const char> data);
  void put_end(Http2Stream& stream);
  void put_trailers(Http2Stream& stream, const FieldList& fields);
  void put_reset(Http2Stream& stream, std::uint32_t error);
  // Streams whose answer was out before their request was whole.
  [[nodiscard]] bool any_lingers() const { return !lingering_.empty(); }
  // Resets those that have lingered for MultiplexedServerCodec::kLinger.
  void reset_lingering();
  void give_back(Http2Stream& stream, std::size_t bytes);
  // Of a stream's window of a client, up to kStreamWindow.
  void widen(Http2Stream& stream, std::size_t window);
  // One of these came. False: too many; the connection ends when what was received is dealt with.
  bool note(FloodGuard::Kind kind) { return within(guard_.note(kind, clock_())); }

  Output& output_;
  HttpScratch& scratch_;
  nghttp2_session* session_ = nullptr;
  FloodGuard guard_;
  bool stopped_ = false;
  bool goaway_received_ = false;
  bool settled_ = false;   // the peer's SETTINGS have come
  bool accepted_ = false;  // ours have been acknowledged

 private:
  friend struct Http2Callbacks;
  static constexpr std::size_t kFrameHeader = 9;
  static constexpr std::size_t kFrameSize = 16'384;  // SETTINGS_MAX_FRAME_SIZE, of ours as it is by default
  static constexpr std::size_t kMostLingering = 32;
  static constexpr std::uint32_t kMostLate = 64 * 1024;
  struct Chunk {
    Http2Stream* stream = nullptr;
    std::span<const char> data;
  };

  void after_received();
  void hand_over(bool end);
  // Gives the windows back that wait for the bytes to be taken: not the connection's of an upstream, nor that of a
  // stream whose input is over.
  void consume(std::int32_t id, std::size_t bytes, bool over = false);
  void pump();
  void settle();
  void tell_writable();
  // False: too much; the callback must fail.
  bool within(const char* reason);
  void keep(Http2Stream& stream);
  // Forgets what was copied for the stream.
  void drop_kept(Http2Stream& stream);
  [[nodiscard]] static bool may_linger(const Http2Stream& stream);
  void linger(Http2Stream& stream);
  void reset_first_lingering();
  void come_late(Http2Stream& stream, std::size_t bytes);
  void resume(Http2Stream& stream);
  void submit_trailers(Http2Stream& stream);

  // nghttp2's callbacks, in its terms.
  int begin_frame(const nghttp2_frame_hd& header);
  int begin_headers(const nghttp2_frame& frame);
  int header(nghttp2_rcbuf* name, nghttp2_rcbuf* value, bool never_indexed);
  int data_chunk(std::int32_t id, std::span<const char> data);
  int frame_received(const nghttp2_frame& frame);
  bool before_frame(const nghttp2_frame& frame);
  int frame_sent(const nghttp2_frame& frame);
  int stream_closed(std::int32_t id, std::uint32_t error);
  ssize_t read_body(Http2Stream& stream, std::size_t length, std::uint32_t& flags);
  int write_data(Http2Stream& stream, const std::uint8_t* frame_header, std::size_t length);
  Http2Stream* find(std::int32_t id) const;

  Side side_;
  std::size_t head_limit_;
  Http2Clock clock_;
  std::unique_ptr<HeaderBlock> block_;  // being decoded
  Chunk chunk_;                         // received, not handed out yet: whether it is the last shows right after
  std::vector<Http2Stream*> streams_;   // by slot - 1
  std::vector<StreamId> free_slots_;
  std::vector<StreamId> freed_slots_;  // not given again before the next receive(): owners may still tidy up
  struct Lingering {
    std::int32_t id;
    std::uint64_t since;
  };
  std::vector<Lingering> lingering_;  // the oldest first; some of them may be over
  std::vector<Http2Stream*> dirty_;
  std::vector<StreamId> drained_;  // to be told that they are writable
  std::string reason_;             // of the GOAWAY that nghttp2 sent by itself
  const char* flood_ = nullptr;
  std::size_t open_ = 0;            // streams
  std::size_t answered_early_ = 0;  // of these: that linger
  std::size_t waiting_ = 0;         // streams with something kept
  std::size_t kept_ = 0;            // bytes, of all streams
  std::size_t unconsumed_ = 0;
  std::uint32_t goaway_error_ = 0;
  bool too_large_ = false;     // a CONTINUATION
  std::uint8_t limiting_ = 0;  // acknowledgements of SETTINGS until the client knows of kMaxStreams
  bool receiving_ = false;
  bool pumping_ = false;
  bool progress_ = false;
  bool data_sent_ = false;
  bool broken_ = false;
};

}  // namespace edgemux::core
