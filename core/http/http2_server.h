#pragma once
// Http2Server: the ServerCodec of HTTP/2 (RFC 9113) with prior knowledge, which is also what ALPN "h2" leads to. It
// speaks first: produce() and flush right after making it.
//
// WebSocket over HTTP/2 (RFC 8441) is handed out as a GET that wants an upgrade; send_upgrade() answers it. Body bytes
// before that reset the stream.
//
// Requests at a time. Clients take a hundred for granted until they have read a limit, and some lose requests when that
// turns out lower while they begin them. So a hundred is what it says at first, until tell_limit(). Of these no more
// are handed out than of others; the rest is held, in order of arrival, until startable() and start_next(). What is too
// large to be held is refused as not processed.
//
// Who has taken back several requests, and not wanted many others, is not believed at once: each further one is held
// until the bytes that came with it have been read, so that one that is taken back at once costs no upstream anything
// (rapid reset, CVE-2023-44487). What is too large to be held is then started.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/http/http2_connection.h"

namespace edgemux::core {

class Http2Server final : public MultiplexedServerCodec, private Http2Connection {
 public:
  // All references outlive the codec. `head_limit`: the most decoded bytes of a request head, 32 per field included.
  Http2Server(Observer& observer, Output& output, HttpScratch& scratch, std::size_t head_limit,
              Http2Clock clock = http2_clock)
      : Http2Connection(Side::server, output, scratch, head_limit, clock), observer_(observer) {}

  // ORIGIN (RFC 8336): what may be asked for on this connection beside the name of the handshake ("https://a.example").
  void announce(std::span<const std::string> origins) override;

  std::size_t receive(std::span<char> bytes) override {
    begun_.clear();
    receive_bytes(bytes);
    return bytes.size();
  }
  [[nodiscard]] bool wants_input() const override { return !stopped_ && !finished(); }
  [[nodiscard]] bool mid_message() const override { return mid_block(); }

  void send_informational(StreamId stream, const ResponseHead& head) override;
  void send_head(StreamId stream, const ResponseHead& head, BodyPlan plan) override;
  void send_body(StreamId stream, std::span<const char> data) override;
  void send_end(StreamId stream) override;
  void send_trailers(StreamId stream, const FieldList& fields) override;
  void send_upgrade(StreamId stream, const ResponseHead& head) override;

  [[nodiscard]] std::size_t pending(StreamId stream) const override;
  void consumed(StreamId stream, std::size_t bytes) override;
  bool reset(StreamId stream, StreamError error, Fault fault) override;

  void produce() override { write_out(); }
  void close_after() override;
  [[nodiscard]] bool finished() const override;
  void stop() override { halt(); }

  [[nodiscard]] std::size_t room(StreamId stream) const override;
  [[nodiscard]] bool waiting() const override { return waiting_for_windows(); }
  [[nodiscard]] std::uint64_t stalled_ms() const override { return stalled(); }
  [[nodiscard]] bool shut() const override { return window_shut(); }
  [[nodiscard]] std::uint64_t stalled_ms(StreamId id) const override {
    const Http2Stream* of = stream(id);
    return of != nullptr ? stalled(*of) : 0;
  }
  [[nodiscard]] bool taken() const override { return any_data_sent(); }
  void judge_stall() override { judge_untaken(); }
  [[nodiscard]] std::size_t held() const override { return kept_bytes(); }
  [[nodiscard]] std::size_t received() const override {
    std::size_t begun = 0;
    for (const auto& body : begun_) begun += body.size();
    return unconsumed_bytes() + begun;
  }
  // What has gone on is given back by halves.
  [[nodiscard]] bool withholds_window() const override { return 2 * unconsumed_bytes() > kConnectionWindow; }

  void tell_limit() override { limit_streams(); }
  void end_early() override { early_ = false; }
  [[nodiscard]] bool holds() const override { return !held_.empty(); }
  [[nodiscard]] std::size_t held_cost() const override { return held_cost_ + held_.size() * kPerStream; }
  [[nodiscard]] bool startable() const override { return holds() && !stopped_ && !broken() && started() < kMaxStreams; }
  std::shared_ptr<const void> start_next() override;
  void refuse_held() override;
  void end_of_input() override;

  [[nodiscard]] bool lingers() const override { return any_lingers(); }
  void end_lingering() override { reset_lingering(); }

 private:
  enum class Drain : std::uint8_t { none, noticed, last };
  static constexpr std::size_t kMostHeldHeads = 16 * 1024;
  // Less than half of the window: what others have taken is given back by halves.
  static constexpr std::size_t kMostHeldBodies = 24 * 1024;
  static constexpr std::size_t kPerStream = 600;  // ours and nghttp2's
  static constexpr unsigned kFewTakenBack = 4;
  static constexpr unsigned kAnswersPerTakenBack = 4;  // that were wanted to their ends

  void on_head(Http2Stream& stream, HeaderBlock& block, bool end) override;
  void on_body(Http2Stream& stream, std::span<const char> data, bool end) override;
  void on_broken_body(Http2Stream& stream, const char* reason) override;
  void on_lost(Http2Stream& stream, std::uint32_t error) override;
  void on_whole(Http2Stream& stream) override {
    if (stream.tunnel) observer_.on_tunnel_over(stream.slot);
  }
  void on_writable(Http2Stream& stream) override { observer_.on_stream_writable(stream.slot); }
  void on_limit_known() override { end_early(); }
  void on_answered() override {
    if (taken_back_ > 0 && ++answered_ % kAnswersPerTakenBack == 0) --taken_back_;
  }
  void on_broken(std::uint16_t status, const char* reason) override { observer_.on_malformed(0, status, reason, {}); }
  void on_trailers(Http2Stream& stream, HeaderBlock& block, bool end);
  void refuse(Http2Stream& stream, HeadProblem problem, std::string_view content_type = {});
  void submit(Http2Stream& stream, Http2FieldList& list);
  // Streams that were handed out, or have a head under way.
  [[nodiscard]] std::size_t started() const { return open_streams() - held_.size(); }
  // False: what waits takes too much already.
  bool hold(Http2Stream& stream, const HeaderBlock& block, bool end);
  // It waits no longer.
  std::unique_ptr<HeldRequest> let_go(Http2Stream& stream);
  void start(Http2Stream& stream, const HeldRequest& held);
  // Starts one that is held, within receive(). False: there is no place.
  bool begin(Http2Stream& stream);
  [[nodiscard]] bool wary() const { return taken_back_ > kFewTakenBack; }
  void give_up(Http2Stream& stream, std::uint32_t error);
  void refuse_held(Http2Stream& stream);
  void refuse_unprocessed(Http2Stream& stream, const RequestHead* head);

  Observer& observer_;
  std::vector<Http2Stream*> held_;  // in order of arrival
  std::size_t held_cost_ = 0;
  std::size_t held_bodies_ = 0;
  std::vector<std::vector<char>> begun_;  // bodies of those that began within receive(), borrowed until the next one
  unsigned taken_back_ = 0;               // requests, until it is too many
  unsigned answered_ = 0;                 // of a client that has taken some back
  Drain drain_ = Drain::none;
  bool early_ = true;
};

}  // namespace edgemux::core
