#pragma once
// UpstreamConnection: one HTTP connection to an endpoint, with its codec, and the UpstreamStreams on it: one at a time
// over HTTP/1, several over HTTP/2. Made, kept and freed by its UpstreamPool. Streams talk to it; nobody else does.
//
// Life: connecting, with streams that wait for it; securing, where the upstream has TLS (both within timeouts.connect
// per endpoint; without TLS to be had it connects to the next one); open; then closed, or taken (an upgrade: the bytes
// belong to somebody else, the place in limits.connections is still held).

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/chain.h"
#include "core/base/metrics.h"
#include "core/http/codec.h"
#include "core/http/http1_client.h"
#include "core/http/http2_client.h"
#include "core/io/event_loop.h"
#include "core/io/output.h"
#include "core/io/stream.h"
#include "core/tls/context.h"
#include "routing/table/snapshot.h"
#include "routing/upstream/connector.h"
#include "routing/upstream/stream.h"

namespace edgemux::routing {

class UpstreamPools;

// What the upstream side of a worker shares. Everything outlives the pools.
struct UpstreamContext {
  core::EventLoop& loop;
  core::BlockPool& blocks;
  core::HttpScratch& http;
  core::WorkerMetrics& metrics;
  std::span<char> buffer;                              // receive buffer, used within one event only
  std::size_t offset;                                  // where this worker's round robin begins
  std::chrono::milliseconds connect_timeout{3'000};    // timeouts.connect of the snapshot in force
  std::chrono::milliseconds response_timeout{60'000};  // timeouts.response of the snapshot in force
  core::TlsWorker* tls = nullptr;                      // the worker's; null: upstreams with TLS fail
  std::uint64_t most_idle = UINT64_MAX;                // connections that all pools may keep
  UpstreamPools* pools = nullptr;                      // set by them
  std::function<void()> on_shortage = {};              // see Connector::Observer; may be empty
};

class UpstreamConnection final : public core::Retirable,
                                 private core::StreamObserver,
                                 private Connector::Observer,
                                 private core::ClientCodec::Observer {
 public:
  // `http1_only`: where TLS decides about the version, nothing else is offered.
  UpstreamConnection(UpstreamPool& pool, UpstreamContext& context, std::shared_ptr<const EndpointSet> endpoints,
                     std::size_t first, bool http1_only);
  ~UpstreamConnection() override;

  // Loop milliseconds when the connection stood; 0 = not yet.
  [[nodiscard]] std::uint64_t connected_at() const { return connected_at_; }

 private:
  friend class UpstreamPlace;
  friend class UpstreamPool;
  friend class UpstreamStream;
  static constexpr std::size_t kReadBudget = 32;  // reads per event, so that a fast upstream does not starve the others
  enum class State : std::uint8_t { connecting, securing, open, taken, closed };

  // A stream that waits for a connection in the making.
  void expect(UpstreamStream& stream);
  // The stream may send its request now.
  void attach(UpstreamStream& stream);
  // The stream leaves, whatever it was doing.
  void detach(UpstreamStream& stream);
  [[nodiscard]] bool idle() const { return state_ == State::open && in_use_ == 0 && waiting_.empty(); }
  [[nodiscard]] bool has_room() const { return state_ == State::open && codec_->capacity() > 0; }
  // And it is not known to be silent.
  [[nodiscard]] bool lendable() const { return has_room() && !doubted_; }
  // HTTP/1, between two requests: the upstream has closed, or there are bytes of it that belong to no answer.
  [[nodiscard]] bool says_more();
  // Nobody uses it: closed at `until`, loop milliseconds, or when the upstream says anything.
  void park(std::uint64_t until);
  void close();
  void flush();
  void write();
  // on_upstream_writable() to all whose bytes are gone, once the output is empty.
  void tell_writable();
  // Null: there is none, as for 0, which is the connection.
  UpstreamStream* stream_of(core::StreamId id) { return id - 1U < streams_.size() ? streams_[id - 1U] : nullptr; }

  void on_ready(core::Stream& stream) override;
  void on_connected(std::unique_ptr<core::TcpStream> stream, const Endpoint& endpoint, unsigned attempts) override;
  void on_connect_failed(const ConnectFailure& failure) override;
  void on_attempt_failed(const Endpoint& endpoint) override;
  void on_shortage() override;
  // False: it did not go out, and the connection has failed.
  bool introduce(core::TcpStream& stream);
  void secure();
  // There is no TLS connection with this endpoint: on to the next one.
  void unsecured(ConnectFailure::Kind kind, const std::string& why);
  void open();
  // Requests may wait for it: it does not stand, or has not said yet how many it takes.
  [[nodiscard]] bool in_the_making() const {
    return state_ == State::connecting || state_ == State::securing ||
           (state_ == State::open && http2_ != nullptr && !http2_->settled() && !mute_);
  }
  // Gives those that wait what room there is; the others get a connection of their own.
  void admit();
  // Where it goes, as far as that is known.
  [[nodiscard]] const Endpoint* aim() const { return endpoint_ != nullptr ? endpoint_ : expected_; }
  void on_response(core::StreamId stream, core::ResponseHead& head, bool end) override;
  void on_response_body(core::StreamId stream, std::span<const char> data, bool end) override;
  void on_response_trailers(core::StreamId stream, core::FieldList& fields) override;
  void on_stream_writable(core::StreamId stream) override;
  void on_response_reset(core::StreamId stream, bool unprocessed, const char* reason) override;
  void on_bad_response(core::StreamId stream, const char* reason) override;
  void on_capacity() override;

  // The stream whose event this is, marked for on_upstream_event_end(); null if it was given up.
  UpstreamStream* touched(core::StreamId id);
  void end_event();
  // Every stream is held back.
  [[nodiscard]] bool held_back() const;
  void read();
  bool receive(std::span<char> bytes);
  // Fails every stream and closes.
  void fail(UpstreamFailure::Kind kind, const std::string& detail);
  void fail_stream(UpstreamStream& stream, UpstreamFailure failure);
  // The codec did not take its request.
  void not_sent(UpstreamStream& stream);
  // Whether the failure says something about the endpoint. `answered`: there was an answer, or the request was not
  // taken. `kept`: the connection may just have been too old.
  void judge(UpstreamFailure::Kind kind, bool answered, bool kept);
  // See UpstreamStream::blame(): the stream waits for the connection.
  void blame_attempt(UpstreamStream& stream, std::chrono::milliseconds fair);
  // A request has waited in vain since then: a shared connection on which nothing at all has come is asked for a sign
  // of life, and lent to nobody until one comes.
  void doubt(std::uint64_t since);
  void end_charge();
  void timed_out();

  UpstreamPool& pool_;
  UpstreamContext& context_;
  std::unique_ptr<core::Stream> stream_;
  core::TlsStream* tls_ = nullptr;  // the same, where it is one
  core::Output output_;
  std::optional<core::Http1Client> http1_;
  std::unique_ptr<core::Http2Client> http2_;
  core::ClientCodec* codec_ = nullptr;  // null before the connection stands
  std::string stash_;                   // an incomplete head
  std::unique_ptr<Connector> connector_;
  std::shared_ptr<const EndpointSet> endpoints_;
  const Endpoint* endpoint_ = nullptr;
  const Endpoint* expected_ = nullptr;    // charged while the connection is being made
  std::vector<UpstreamStream*> waiting_;  // for the connection to stand
  std::vector<UpstreamStream*> streams_;  // by StreamId - 1; null where there is none
  core::Timer deadline_;                  // of an unused connection, and of the TLS handshake
  core::Deferred again_;
  std::uint64_t connected_at_ = 0;
  std::uint64_t took_at_ = 0;   // loop milliseconds: when it last took bytes
  std::uint64_t heard_at_ = 0;  // and when it last sent any
  std::uint64_t requests_ = 0;
  MovedBytes counts_;
  core::ChainLink<UpstreamConnection> in_room_;  // while listed_
  core::ChainLink<UpstreamConnection> in_slot_;  // while listed_ and slot_ is one
  std::size_t in_use_ = 0;                       // streams attached
  std::size_t index_ = 0;                        // in the pool's list
  std::size_t slot_ = SIZE_MAX;                  // of its endpoint in the pool's present set; SIZE_MAX = not in it
  unsigned attempts_ = 0;
  State state_ = State::connecting;
  const bool http1_only_;
  bool mute_ = false;          // HTTP/2: timeouts.connect went by without its SETTINGS
  bool doubted_ = false;       // see doubt()
  bool proven_ = false;        // an answer has begun on it
  bool room_ = false;          // on_capacity() was called in this event
  bool listed_ = false;        // the pool may lend it
  bool parked_ = false;        // counted as idle
  bool write_failed_ = false;  // the upstream takes no more; its answer may be there all the same
  bool untold_ = false;        // streams may wait to be told that the output is empty
};

}  // namespace edgemux::routing
