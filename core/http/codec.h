#pragma once
// The codec contracts: what stands between the bytes of a connection and the messages on it. Sessions and exchanges are
// written against these and know neither HTTP/1 nor HTTP/2.
//
// A codec does no I/O. It is given received bytes and writes into an Output; its owner reads, flushes and closes. One
// codec per connection. Messages are streams: HTTP/1 has one at a time, always number 1.
//
// Bytes that a codec hands out (heads' views, body data) are valid during the call only. Bytes that are handed to it as
// body are borrowed by the Output until its owner's next flush (or Output::keep), which must come before they go.
//
// Order of calls, per stream, on either side: head, then any number of body pieces, then the end (a flag of the last).
// Observers may call back into the codec. They may also give the connection up, and say so with stop(): the codec then
// calls nobody any more, and receive() returns at once.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/http/message.h"

namespace edgemux::core {

using StreamId = std::uint32_t;

// What an answer's body will be, as far as its sender knows. How it is delimited on the wire is the codec's to decide.
struct BodyPlan {
  enum class Kind : std::uint8_t { none, length, unknown };
  Kind kind = Kind::none;
  std::uint64_t length = 0;
};

// The client's side of a connection: requests come in, answers go out.
class ServerCodec {
 public:
  class Observer {
   public:
    // `end`: no body follows. The head may be changed by the callee (fields marked hop_by_hop are not forwarded).
    virtual void on_request(StreamId stream, RequestHead& head, bool end) = 0;
    virtual void on_request_body(StreamId stream, std::span<const char> data, bool end) = 0;
    // The client took the stream back. Nothing more is sent on it.
    virtual void on_request_reset(StreamId stream) = 0;
    // The connection's framing is broken: there is no next message. `status` is what to answer, if an answer is still
    // possible.
    virtual void on_malformed(StreamId stream, std::uint16_t status, const char* reason) = 0;

   protected:
    ~Observer() = default;
  };

  virtual ~ServerCodec() = default;

  // Takes received bytes and returns how many it is done with. The rest is offered again, in front of what comes next:
  // it is an incomplete head, or belongs to a request that must wait for the answer before it.
  virtual std::size_t receive(std::span<char> bytes) = 0;
  // False: receive() would take nothing now, however much there is. Do not read.
  [[nodiscard]] virtual bool wants_input() const = 0;
  // Some bytes of a message that is not whole have been received.
  [[nodiscard]] virtual bool mid_message() const = 0;

  // A 1xx other than 101; dropped where the client cannot take it.
  virtual void send_informational(StreamId stream, const ResponseHead& head) = 0;
  // The final head. Hop-by-hop fields are left out, framing and connection fields are added.
  virtual void send_head(StreamId stream, const ResponseHead& head, BodyPlan plan) = 0;
  virtual void send_body(StreamId stream, std::span<const char> data) = 0;
  // The answer is complete. The request need not be: then the connection (HTTP/1) or stream cannot be used further.
  virtual void send_end(StreamId stream) = 0;
  // 101: the stream becomes a tunnel of bytes; receive() takes nothing from now on.
  virtual void send_upgrade(StreamId stream, const ResponseHead& head) = 0;

  // No further request after the present ones: say so in the next head.
  virtual void close_after() = 0;
  // All has been said: close when the Output is empty.
  [[nodiscard]] virtual bool finished() const = 0;
  virtual void stop() = 0;
};

// A request as it goes out.
struct OutgoingRequest {
  std::string_view method;
  std::string_view path;
  bool has_query = false;
  std::string_view query;
  std::string_view authority;
  std::span<const Field> fields;    // the client's; hop-by-hop ones, Host and Content-Length are left out
  std::span<const Field> added;     // ours, written after them
  Framing framing = Framing::none;  // none, length or chunked
  std::uint64_t content_length = 0;
  bool has_content_length = false;    // with framing none: "content-length: 0" was there
  std::string_view upgrade_protocol;  // not empty: ask for this upgrade
  Method kind = Method::other;
};

// The upstream's side of a connection: requests go out, answers come in.
class ClientCodec {
 public:
  class Observer {
   public:
    // Any head: 1xx (the final one follows), 101, or the final one. `end`: no body follows.
    virtual void on_response(ResponseHead& head, bool end) = 0;
    virtual void on_response_body(std::span<const char> data, bool end) = 0;
    virtual void on_bad_response(const char* reason) = 0;

   protected:
    ~Observer() = default;
  };

  virtual ~ClientCodec() = default;

  virtual void send_request(const OutgoingRequest& request) = 0;
  virtual void send_body(std::span<const char> data) = 0;
  virtual void send_end() = 0;

  virtual std::size_t receive(std::span<char> bytes) = 0;
  // The upstream ended its half. True: that completed the answer (on_response_body with `end` was called).
  virtual bool end_of_input() = 0;
  // Both messages are complete, nothing is left over, and both sides agreed to keep the connection.
  [[nodiscard]] virtual bool reusable() const = 0;
  virtual void stop() = 0;
};

}  // namespace edgemux::core
