#pragma once
// Http2Client: the ClientCodec of HTTP/2 (RFC 9113) with prior knowledge, which is also what ALPN "h2" leads to. It
// speaks first: produce() and flush right after making it. One request may go before the upstream's SETTINGS have come;
// how many it takes is not known earlier.

#include <string>

#include "core/http/http2_connection.h"

namespace edgemux::core {

class Http2Client final : public ClientCodec, private Http2Connection {
 public:
  static constexpr std::size_t kHeadLimit = 64 * 1024;
  static constexpr unsigned kMaxInformational = 32;  // interim answers to one request

  // All references outlive the codec.
  Http2Client(Observer& observer, Output& output, HttpScratch& scratch, Http2Clock clock = http2_clock)
      : Http2Connection(Side::client, output, scratch, kHeadLimit, clock), observer_(observer) {}

  [[nodiscard]] std::size_t capacity() const override;
  [[nodiscard]] bool settled() const { return settled_; }
  StreamId send_request(const OutgoingRequest& request, bool end) override;
  void send_body(StreamId stream, std::span<const char> data) override;
  void send_end(StreamId stream) override;
  void send_trailers(StreamId stream, const FieldList& fields) override;
  [[nodiscard]] std::size_t pending(StreamId stream) const override;
  void consumed(StreamId stream, std::size_t bytes) override;
  void allow(StreamId stream, std::size_t bytes) override;
  bool cancel(StreamId stream) override;
  void produce() override { write_out(); }

  std::size_t receive(std::span<char> bytes) override;
  // Streams that are open are lost then; the owner knows them.
  bool end_of_input() override { return false; }
  [[nodiscard]] bool reusable() const override;
  [[nodiscard]] bool multiplexed() const override { return true; }
  void stop() override { halt(); }
  // Asks for a sign of life (RFC 9113 6.7), with the next produce().
  void ping();
  // GOAWAY, as the last thing before an owner closes whom nobody uses (RFC 9113 6.8).
  void say_goodbye();

 private:
  void on_head(Http2Stream& stream, HeaderBlock& block, bool end) override;
  void on_body(Http2Stream& stream, std::span<const char> data, bool end) override;
  void on_broken_body(Http2Stream& stream, const char* reason) override { give_up(stream, reason); }
  void on_lost(Http2Stream& stream, std::uint32_t error) override;
  void on_writable(Http2Stream& stream) override { observer_.on_stream_writable(stream.slot); }
  void on_broken(std::uint16_t, const char* reason) override { observer_.on_bad_response(0, reason); }
  void on_room() override { room_changed_ = true; }
  // The answer is broken: the stream goes, the connection stays.
  void give_up(Http2Stream& stream, const char* reason);

  Observer& observer_;
  std::string target_;  // :path of the request being made
  bool room_changed_ = false;
};

}  // namespace edgemux::core
