#pragma once
// The codec contracts: what stands between the bytes of a connection and the messages on it. Sessions, exchanges and
// upstream connections are written against these and know neither HTTP/1 nor HTTP/2.
//
// A codec does no I/O. It is given received bytes and writes into an Output; its owner reads, flushes and closes. One
// codec per connection. Messages are streams. A StreamId is the codec's own small number, dense from 1 on and given
// again once its stream is over on both sides; HTTP/1 has one stream at a time, number 1. 0 is the connection.
//
// Right before its owner flushes the Output it calls produce(), so that a codec may gather what one event brings.
//
// Bytes that a codec hands out (heads' views, body data) are valid during the call only. Bytes that are handed to it as
// body are borrowed until its owner's next flush (or produce() and Output::keep), which must come before they go; what
// a stream's window does not let out by then the codec has copied, and pending(stream) says so.
//
// Order of calls, per stream, on either side: head, then any number of body pieces, then the end: a flag of the last,
// or the trailers. Observers may call back into the codec. They may also give the connection up, and say so with
// stop(): the codec then calls nobody any more, and receive() returns at once.
//
// Back-pressure. Sending: while pending(stream) is not zero, feed that stream no more; on_stream_writable() tells when
// it is zero again (a codec that is not multiplexed leaves this to its owner, who sees its Output). Receiving: body
// bytes that were handed out are given back with consumed() once they have gone on; the other side may then send as
// many more. A codec that is not multiplexed ignores that: its owner holds the sender back by not reading.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/http/message.h"

namespace edgemux::core {

using StreamId = std::uint32_t;
inline constexpr StreamId kOnlyStream = 1;  // of a codec that is not multiplexed

// What an answer's body will be, as far as its sender knows. How it is delimited on the wire is the codec's to decide.
struct BodyPlan {
  enum class Kind : std::uint8_t { none, length, unknown };
  Kind kind = Kind::none;
  std::uint64_t length = 0;
  bool trailers = false;  // the answer is not over with its head: trailers may follow, a body of length 0 too, or none
};

// Why one stream ends early (RFC 9113 7).
enum class StreamError : std::uint8_t { internal, refused, cancel, protocol, too_much };
// Whose doing that is. What others do, an upstream say, is no part of a client's flood.
enum class Fault : std::uint8_t { client, other };

// The client's side of a connection: requests come in, answers go out.
class ServerCodec {
 public:
  class Observer {
   public:
    // `end`: no body follows. The head may be changed by the callee (fields marked hop_by_hop are not forwarded).
    virtual void on_request(StreamId stream, RequestHead& head, bool end) = 0;
    virtual void on_request_body(StreamId stream, std::span<const char> data, bool end) = 0;
    // In place of the end of the body. HTTP/1: dropped before they come here.
    virtual void on_request_trailers(StreamId stream, FieldList& fields) = 0;
    // The client took the stream back. Nothing more is sent on it.
    virtual void on_request_reset(StreamId stream) = 0;
    // Both halves of a stream that send_upgrade() made a tunnel have ended: its number may be given to another one.
    virtual void on_tunnel_over(StreamId) {}
    virtual void on_stream_writable(StreamId stream) = 0;
    // The request of this stream is broken; `status` is what to answer, if an answer is still possible. In HTTP/1 there
    // is no next message then. Stream 0: the connection is broken, the codec has written what is to be said (GOAWAY)
    // and finished() is true; `status` is 400 for broken framing, 429 for a client that floods. `content_type`: of the
    // request, where it was seen and no on_request() came.
    virtual void on_malformed(StreamId stream, std::uint16_t status, const char* reason,
                              std::string_view content_type) = 0;
    // A request that was not handed out was refused as not processed, for want of room. Null: it is broken besides. May
    // not call back.
    virtual void on_refused(const RequestHead*) {}

   protected:
    ~Observer() = default;
  };

  virtual ~ServerCodec() = default;

  // Takes received bytes and returns how many it is done with. The rest is offered again, in front of what comes next:
  // it is an incomplete head, or belongs to a request that must wait for the answer before it. A multiplexed codec
  // takes everything.
  virtual std::size_t receive(std::span<char> bytes) = 0;
  // False: receive() would take nothing now, however much there is. Do not read.
  [[nodiscard]] virtual bool wants_input() const = 0;
  // Some bytes of a message that is not whole have been received. HTTP/2: of a frame or a header block.
  [[nodiscard]] virtual bool mid_message() const = 0;
  // Several streams at a time.
  [[nodiscard]] virtual bool multiplexed() const = 0;

  // A 1xx other than 101; dropped where the client cannot take it.
  virtual void send_informational(StreamId stream, const ResponseHead& head) = 0;
  // Said before the head of an answer that is whole at once, if what is left of the request's body may be waited for.
  // Where that is little and sure to come, it is read and not handed out, and the next request can follow. HTTP/2: it
  // always can.
  virtual void drop_body(StreamId stream) = 0;
  // The final head. Hop-by-hop fields are left out, framing and connection fields are added.
  virtual void send_head(StreamId stream, const ResponseHead& head, BodyPlan plan) = 0;
  virtual void send_body(StreamId stream, std::span<const char> data) = 0;
  // The answer is complete. The request need not be: then the connection (HTTP/1) or stream cannot be used further.
  virtual void send_end(StreamId stream) = 0;
  // In place of send_end. Dropped where the protocol or the client cannot take them.
  virtual void send_trailers(StreamId stream, const FieldList& fields) = 0;
  // 101, or the 200 of an extended CONNECT: the stream becomes a tunnel of bytes. HTTP/1: receive() takes nothing from
  // now on, the owner moves the bytes. HTTP/2: they come and go as body of the stream.
  virtual void send_upgrade(StreamId stream, const ResponseHead& head) = 0;

  // Bytes of this stream's answer that wait for the client's window. HTTP/1: always 0.
  [[nodiscard]] virtual std::size_t pending(StreamId stream) const = 0;
  virtual void consumed(StreamId stream, std::size_t bytes) = 0;
  // Ends one stream without a whole answer. False: this protocol cannot; the connection must be aborted.
  virtual bool reset(StreamId stream, StreamError error, Fault fault) = 0;

  virtual void produce() = 0;
  // No further request after the present ones: say so in the next head, or at once. HTTP/2: GOAWAY, first with the
  // highest id, then (called again) with the last stream.
  virtual void close_after() = 0;
  // All has been said: close when the Output is empty.
  [[nodiscard]] virtual bool finished() const = 0;
  virtual void stop() = 0;
};

// One with several streams at a time, each with windows of its own, on a connection whose memory its owner bounds.
class MultiplexedServerCodec : public ServerCodec {
 public:
  [[nodiscard]] bool multiplexed() const final { return true; }
  void drop_body(StreamId) final {}
  // Tells the client which origins it may ask for on this connection (RFC 8336).
  virtual void announce(std::span<const std::string> origins) = 0;

  // How much of this answer the client's windows would let out now.
  [[nodiscard]] virtual std::size_t room(StreamId stream) const = 0;
  // Answers wait for the client's windows; for how long now without any progress.
  [[nodiscard]] virtual bool waiting() const = 0;
  [[nodiscard]] virtual std::uint64_t stalled_ms() const = 0;
  // The connection's window lets nothing out.
  [[nodiscard]] virtual bool shut() const = 0;
  // How long an answer has waited for its own window without any progress; 0 where it is not that which it waits for.
  [[nodiscard]] virtual std::uint64_t stalled_ms(StreamId stream) const = 0;
  // Some of an answer's body has gone out since the connection began.
  [[nodiscard]] virtual bool taken() const = 0;
  // Ends the connection (on_malformed() of stream 0, 429) if its stall is an attack rather than a pause. Called now and
  // then while answers wait and nothing was taken; where receive() could be.
  virtual void judge_stall() = 0;
  // Bytes of all answers that were copied to wait, and of all requests that have not gone on.
  [[nodiscard]] virtual std::size_t held() const = 0;
  [[nodiscard]] virtual std::size_t received() const = 0;
  // So many of them that the client may have to wait for its connection's window, whichever streams they came on.
  [[nodiscard]] virtual bool withholds_window() const = 0;

  // ---- requests that wait: for others to be over, or for the bytes that came with them to be read
  // The client is told of the limit; until it says that it knows, its requests are still held.
  virtual void tell_limit() = 0;
  // From now on nothing is held for want of a place.
  virtual void end_early() = 0;
  [[nodiscard]] virtual bool holds() const = 0;
  // What they cost, without the bodies, which received() counts.
  [[nodiscard]] virtual std::size_t held_cost() const = 0;
  // One may be started. The owner does so where it could call receive(), and keeps what start_next() returns until it
  // has flushed: the body is in there.
  [[nodiscard]] virtual bool startable() const = 0;
  virtual std::shared_ptr<const void> start_next() = 0;
  // No more bytes will come: those that are not whole are given up.
  virtual void end_of_input() = 0;
  // Refuses the youngest as not processed.
  virtual void refuse_held() = 0;

  // ---- requests that were answered before they were whole
  static constexpr std::uint64_t kLinger = 2'000;  // ms
  // There are some: what their clients still send of them is dropped, at the speed of the windows. While it is so, the
  // owner calls end_lingering() every kLinger and flushes; it resets those that have lingered for that long (RFC
  // 9113 8.1).
  [[nodiscard]] virtual bool lingers() const = 0;
  virtual void end_lingering() = 0;
};

// A request as it goes out.
struct OutgoingRequest {
  std::string_view method;
  std::string_view path;
  bool has_query = false;
  std::string_view query;
  std::string_view authority;
  std::string_view scheme;          // "http" or "https"; HTTP/2 only
  std::span<const Field> fields;    // the client's; hop-by-hop ones, Host and Content-Length are left out
  std::span<const Field> added;     // ours, written after them
  Framing framing = Framing::none;  // none, length or chunked (a length that is not known)
  std::uint64_t content_length = 0;
  bool has_content_length = false;    // with framing none: "content-length: 0" was there
  std::string_view upgrade_protocol;  // not empty: ask for this upgrade
  bool te_trailers = false;           // the client takes trailers (gRPC)
  bool never_indexed = false;         // as in Field, of method, path and authority; HTTP/2 only
  Method kind = Method::other;
};

// The upstream's side of a connection: requests go out, answers come in.
class ClientCodec {
 public:
  class Observer {
   public:
    // Any head: 1xx (the final one follows), 101, or the final one. `end`: no body follows.
    virtual void on_response(StreamId stream, ResponseHead& head, bool end) = 0;
    virtual void on_response_body(StreamId stream, std::span<const char> data, bool end) = 0;
    virtual void on_response_trailers(StreamId stream, FieldList& fields) = 0;
    virtual void on_stream_writable(StreamId stream) = 0;
    // `unprocessed`: the upstream said that it did nothing with the request (REFUSED_STREAM, above a GOAWAY's last
    // stream): any request may be sent again elsewhere.
    virtual void on_response_reset(StreamId stream, bool unprocessed, const char* reason) = 0;
    // Stream 0: the connection is broken, with every stream on it.
    virtual void on_bad_response(StreamId stream, const char* reason) = 0;
    // capacity() may be another one (the peer's SETTINGS, a stream that ended): 0, too.
    virtual void on_capacity() = 0;

   protected:
    ~Observer() = default;
  };

  virtual ~ClientCodec() = default;

  // How many requests may be begun now. HTTP/1: 1 or 0. HTTP/2: within the peer's limit and ours; 0 after GOAWAY.
  [[nodiscard]] virtual std::size_t capacity() const = 0;

  // Needs capacity(). `end`: no body follows (send_end need not be called). 0: nothing was sent, because the head is
  // larger than the upstream says it takes, or because the connection has broken, which is told.
  virtual StreamId send_request(const OutgoingRequest& request, bool end) = 0;
  virtual void send_body(StreamId stream, std::span<const char> data) = 0;
  virtual void send_end(StreamId stream) = 0;
  virtual void send_trailers(StreamId stream, const FieldList& fields) = 0;
  [[nodiscard]] virtual std::size_t pending(StreamId stream) const = 0;
  virtual void consumed(StreamId stream, std::size_t bytes) = 0;
  // So many bytes of the answer may be on their way or not yet consumed; never fewer than were allowed before. A codec
  // that is not multiplexed ignores it.
  virtual void allow(StreamId stream, std::size_t bytes) = 0;
  // Gives the stream up. False: this protocol cannot; the connection must be closed.
  virtual bool cancel(StreamId stream) = 0;
  virtual void produce() = 0;

  virtual std::size_t receive(std::span<char> bytes) = 0;
  // The upstream ended its half. True: that completed the answer (on_response_body with `end` was called).
  virtual bool end_of_input() = 0;
  // Every message is complete, nothing is left over, and both sides agreed to keep the connection.
  [[nodiscard]] virtual bool reusable() const = 0;
  [[nodiscard]] virtual bool multiplexed() const = 0;
  virtual void stop() = 0;
};

}  // namespace edgemux::core
