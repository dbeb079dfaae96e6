#pragma once
// Http2Server: the ServerCodec of HTTP/2 (RFC 9113) with prior knowledge, which is also what ALPN "h2" leads to. It
// speaks first: produce() and flush right after making it.
//
// WebSocket over HTTP/2 (RFC 8441) is handed out as a GET that wants an upgrade; send_upgrade() answers it. Body bytes
// before that reset the stream.

#include <span>
#include <string>

#include "core/http/http2_connection.h"

namespace edgemux::core {

class Http2Server final : public ServerCodec, private Http2Connection {
 public:
  // All references outlive the codec. `head_limit`: the most decoded bytes of a request head, 32 per field included.
  Http2Server(Observer& observer, Output& output, HttpScratch& scratch, std::size_t head_limit,
              Http2Clock clock = http2_clock)
      : Http2Connection(Side::server, output, scratch, head_limit, clock), observer_(observer) {}

  // ORIGIN (RFC 8336): what may be asked for on this connection beside the name of the handshake ("https://a.example").
  void announce(std::span<const std::string> origins);

  std::size_t receive(std::span<char> bytes) override {
    receive_bytes(bytes);
    return bytes.size();
  }
  [[nodiscard]] bool wants_input() const override { return !stopped_ && !finished(); }
  [[nodiscard]] bool mid_message() const override { return mid_block(); }
  [[nodiscard]] bool multiplexed() const override { return true; }

  void send_informational(StreamId stream, const ResponseHead& head) override;
  void send_head(StreamId stream, const ResponseHead& head, BodyPlan plan) override;
  void send_body(StreamId stream, std::span<const char> data) override;
  void send_end(StreamId stream) override;
  void send_trailers(StreamId stream, const FieldList& fields) override;
  void send_upgrade(StreamId stream, const ResponseHead& head) override;

  [[nodiscard]] std::size_t pending(StreamId stream) const override;
  void consumed(StreamId stream, std::size_t bytes) override;
  bool reset(StreamId stream, StreamError error) override;

  void produce() override { write_out(); }
  void close_after() override;
  [[nodiscard]] bool finished() const override;
  void stop() override { halt(); }

  // Answers wait for the client's windows; for how long now without any progress.
  [[nodiscard]] bool waiting() const { return waiting_for_windows(); }
  [[nodiscard]] std::uint64_t stalled_ms() const { return stalled(); }
  // How much of this answer the client's windows would let out now.
  [[nodiscard]] std::size_t room(StreamId stream) const;
  // Bytes of all answers that were copied to wait, and of all requests that have not gone on.
  [[nodiscard]] std::size_t held() const { return kept_bytes(); }
  [[nodiscard]] std::size_t received() const { return unconsumed_bytes(); }
  // So many of them that the client may have to wait for its connection's window, whichever streams they came on: what
  // has gone on is given back by halves.
  [[nodiscard]] bool withholds_window() const { return 2 * unconsumed_bytes() > kConnectionWindow; }

 private:
  enum class Drain : std::uint8_t { none, noticed, last };

  void on_head(Http2Stream& stream, HeaderBlock& block, bool end) override;
  void on_body(Http2Stream& stream, std::span<const char> data, bool end) override;
  void on_broken_body(Http2Stream& stream, const char* reason) override;
  void on_lost(Http2Stream& stream, std::uint32_t error) override;
  void on_writable(Http2Stream& stream) override { observer_.on_stream_writable(stream.slot); }
  void on_broken(std::uint16_t status, const char* reason) override { observer_.on_malformed(0, status, reason); }
  void on_trailers(Http2Stream& stream, HeaderBlock& block, bool end);
  void refuse(Http2Stream& stream, HeadProblem problem);
  void submit(Http2Stream& stream, Http2FieldList& list);

  Observer& observer_;
  Drain drain_ = Drain::none;
};

}  // namespace edgemux::core
