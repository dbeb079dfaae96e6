#pragma once
// Http1Server: the ServerCodec of HTTP/1.0 and 1.1 (RFC 9112). One request at a time; pipelined ones wait in the
// owner's hands.

#include "core/http/chunked.h"
#include "core/http/codec.h"
#include "core/http/head_parser.h"
#include "core/http/head_writer.h"
#include "core/io/output.h"

namespace edgemux::core {

// What the codecs of a worker share: big values that are used within one call only.
struct HttpScratch {
  RequestHead request;
  ResponseHead response;
  DateCache date;
};

class Http1Server final : public ServerCodec {
 public:
  static constexpr StreamId kStream = kOnlyStream;
  static constexpr std::size_t kMostUnsent = 64 * 1024;   // above it no further request is begun
  static constexpr std::size_t kMostDropped = 64 * 1024;  // of a body that nobody wants; beyond it the connection ends

  // All references outlive the codec. `head_limit`: the most bytes of a request head.
  Http1Server(Observer& observer, Output& output, HttpScratch& scratch, std::size_t head_limit)
      : observer_(observer), output_(output), scratch_(scratch), head_limit_(head_limit) {}

  std::size_t receive(std::span<char> bytes) override;
  [[nodiscard]] bool wants_input() const override {
    return !stopped_ && !finished_ && phase_ != Phase::waiting && phase_ != Phase::tunnel;
  }
  [[nodiscard]] bool mid_message() const override { return phase_ == Phase::body || scanned_ > 0; }
  // The answer is given, and what is left of the request's body is still to come.
  [[nodiscard]] bool dropping() const { return phase_ == Phase::body && !request_open_ && !finished_; }

  void drop_body(StreamId stream) override;
  void send_informational(StreamId stream, const ResponseHead& head) override;
  void send_head(StreamId stream, const ResponseHead& head, BodyPlan plan) override;
  void send_body(StreamId stream, std::span<const char> data) override;
  void send_end(StreamId stream) override;
  void send_trailers(StreamId stream, const FieldList&) override { send_end(stream); }
  void send_upgrade(StreamId stream, const ResponseHead& head) override;

  [[nodiscard]] bool multiplexed() const override { return false; }
  [[nodiscard]] std::size_t pending(StreamId) const override { return 0; }
  void consumed(StreamId, std::size_t) override {}
  bool reset(StreamId, StreamError, Fault) override { return false; }
  void produce() override {}

  void close_after() override { close_after_ = true; }
  [[nodiscard]] bool finished() const override { return finished_; }
  void stop() override { stopped_ = true; }

 private:
  enum class Phase : std::uint8_t {
    head,     // a request may begin
    body,     // its body is coming in
    waiting,  // it is whole; the answer is not
    tunnel,
  };
  enum class Wire : std::uint8_t { none, length, chunked, until_close };

  // Takes a head off the front of `bytes`; false when more is needed or it was refused.
  bool receive_head(std::span<char> bytes, std::size_t& consumed);
  bool receive_body(std::span<char> bytes, std::size_t& consumed);
  void next_request();
  // Of empty lines before a request, where no more than that has been looked at.
  std::size_t skip_empty_lines(std::span<const char> bytes);

  Observer& observer_;
  Output& output_;
  HttpScratch& scratch_;
  std::size_t head_limit_;
  HeadScanner scanner_;
  std::size_t scanned_ = 0;      // bytes of an incomplete head that the scanner has seen; 0 = none
  std::size_t empty_lines_ = 0;  // before the present head
  BodyReader body_;
  Phase phase_ = Phase::head;
  Wire wire_ = Wire::none;
  std::uint8_t minor_ = 1;
  bool head_request_ = false;
  bool request_open_ = false;  // a request has begun and its answer is not complete
  bool keep_alive_ = true;     // as far as the present request goes
  bool awaits_word_ = false;   // the client may keep its body back for ever (Expect: 100-continue)
  bool drops_body_ = false;    // the present request's, of which little is left
  bool close_after_ = false;
  bool finished_ = false;
  bool stopped_ = false;
};

}  // namespace edgemux::core
