#pragma once
// Http1Client: the ClientCodec of HTTP/1.1 (RFC 9112). One request at a time; reusable() says when the next may go.

#include "core/http/chunked.h"
#include "core/http/codec.h"
#include "core/http/head_parser.h"
#include "core/http/http1_server.h"
#include "core/io/output.h"

namespace edgemux::core {

class Http1Client final : public ClientCodec {
 public:
  static constexpr StreamId kStream = 1;
  static constexpr std::size_t kHeadLimit = 64 * 1024;
  static constexpr unsigned kMaxInformational = 32;  // interim answers to one request

  Http1Client(Observer& observer, Output& output, HttpScratch& scratch)
      : observer_(observer), output_(output), scratch_(scratch) {}

  [[nodiscard]] std::size_t capacity() const override { return reusable() ? 1 : 0; }
  StreamId send_request(const OutgoingRequest& request, bool end) override;
  void send_body(StreamId stream, std::span<const char> data) override;
  void send_end(StreamId) override {
    request_done_ = true;
    if (stopped_) return;
    if (framing_ == Framing::chunked) output_.append(kLastChunk);
  }

  void send_trailers(StreamId stream, const FieldList&) override { send_end(stream); }
  [[nodiscard]] std::size_t pending(StreamId) const override { return 0; }
  void allow(StreamId, std::size_t) override {}
  void consumed(StreamId, std::size_t) override {}
  bool cancel(StreamId) override { return false; }
  void produce() override {}
  [[nodiscard]] bool multiplexed() const override { return false; }

  std::size_t receive(std::span<char> bytes) override;
  bool end_of_input() override;
  [[nodiscard]] bool reusable() const override {
    return !stopped_ && request_done_ && phase_ == Phase::idle && keep_alive_ && !surplus_;
  }
  void stop() override { stopped_ = true; }
  // Nothing but the end of the connection ends the answer that is on its way.
  [[nodiscard]] bool ends_with_connection() const {
    return phase_ == Phase::body && body_.framing() == Framing::until_close;
  }

 private:
  enum class Phase : std::uint8_t { idle, head, body, tunnel };

  bool receive_head(std::span<char> bytes, std::size_t& consumed);
  bool receive_body(std::span<char> bytes, std::size_t& consumed);

  Observer& observer_;
  Output& output_;
  HttpScratch& scratch_;
  HeadScanner scanner_;
  std::size_t scanned_ = 0;
  BodyReader body_;
  Phase phase_ = Phase::idle;
  Method method_ = Method::other;
  Framing framing_ = Framing::none;
  std::uint8_t informational_ = 0;
  bool request_done_ = true;
  bool keep_alive_ = true;
  bool surplus_ = false;  // bytes came that belong to no answer
  bool stopped_ = false;
};

}  // namespace edgemux::core
