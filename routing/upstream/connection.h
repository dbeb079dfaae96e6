#pragma once
// UpstreamConnection: one HTTP connection to an endpoint, with its codec. Made, kept and freed by its UpstreamPool;
// lent to one exchange at a time, which is its Observer meanwhile.
//
// Order of calls for the borrower: codec().send_request, send_body*, send_end in any split, and flush() at the end of
// each event in which it sent something (body bytes are borrowed until then). A connection that is still being made
// keeps everything until it stands. Answers come through the observer. When both messages are complete, or the exchange
// gives up: UpstreamPool::release(), which keeps the connection only if its codec says that it can be used again. After
// on_upstream_failed() the connection is no longer the borrower's.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/metrics.h"
#include "core/http/codec.h"
#include "core/http/http1_client.h"
#include "core/io/event_loop.h"
#include "core/io/output.h"
#include "core/io/stream.h"
#include "routing/table/snapshot.h"
#include "routing/upstream/connector.h"

namespace edgemux::routing {

class UpstreamPool;

// What the upstream side of a worker shares. Everything outlives the pools.
struct UpstreamContext {
  core::EventLoop& loop;
  core::BlockPool& blocks;
  core::HttpScratch& http;
  core::WorkerMetrics& metrics;
  std::span<char> buffer;                              // receive buffer, used within one event only
  std::size_t offset;                                  // where this worker's round robin begins
  std::chrono::milliseconds response_timeout{60'000};  // timeouts.response of the snapshot in force
};

struct UpstreamFailure {
  enum class Kind : std::uint8_t { no_endpoint, refused, connect_timeout, limit, reset, closed, bad_response, timeout };
  Kind kind = Kind::reset;
  std::string detail;
  bool reused = false;    // the connection had served requests before: it may simply have been too old
  bool answered = false;  // bytes of an answer had come
};

class UpstreamConnection final : public core::Retirable,
                                 private core::StreamObserver,
                                 private Connector::Observer,
                                 private core::ClientCodec::Observer {
 public:
  class Observer {
   public:
    virtual void on_upstream_response(core::ResponseHead& head, bool end) = 0;
    virtual void on_upstream_body(std::span<const char> data, bool end) = 0;
    // The bytes handed out in this event will go now: flush what borrowed them.
    virtual void on_upstream_event_end() = 0;
    // What had been held back by a full upstream is sent: pending() is zero again.
    virtual void on_upstream_writable() = 0;
    virtual void on_upstream_failed(const UpstreamFailure& failure) = 0;

   protected:
    ~Observer() = default;
  };

  UpstreamConnection(UpstreamPool& pool, UpstreamContext& context, std::shared_ptr<const EndpointSet> endpoints,
                     std::size_t first, std::chrono::milliseconds connect_timeout);
  ~UpstreamConnection() override;

  [[nodiscard]] core::ClientCodec& codec() { return codec_; }
  void flush();
  // Bytes that wait for the upstream to take them. While not zero, stop feeding.
  [[nodiscard]] std::size_t pending() const { return output_.pending(); }

  // Stops and resumes reading the answer (the client is slow).
  void pause();
  void resume();

  // The request is complete: from now on silence counts against timeouts.response. Before that it counts only while
  // the upstream leaves bytes of the request waiting.
  void expect_answer();

  [[nodiscard]] bool reused() const { return requests_ > 1; }
  [[nodiscard]] std::string_view endpoint_text() const {
    return endpoint_ != nullptr ? std::string_view(endpoint_->text) : std::string_view();
  }
  [[nodiscard]] unsigned attempts() const { return attempts_; }
  // Loop milliseconds when the connection stood; 0 = not yet.
  [[nodiscard]] std::uint64_t connected_at() const { return connected_at_; }

  // Bytes moved since the call before, for the metrics.
  struct Counts {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
  };
  Counts take_counts() { return std::exchange(counts_, {}); }

  // After a 101, from on_upstream_event_end(): the bytes become the caller's, with what was received behind the head.
  // The place in limits.connections is held until release().
  struct Upgraded {
    std::unique_ptr<core::Stream> stream;
    std::string received;
  };
  Upgraded take_stream();

 private:
  friend class UpstreamPool;
  static constexpr std::size_t kReadBudget = 32;  // reads per event, so that a fast upstream does not starve the others
  enum class State : std::uint8_t { connecting, busy, idle, taken, closed };

  void lend(Observer& observer);
  void park(std::uint64_t until);
  void close();

  void on_ready(core::Stream& stream) override;
  void on_connected(std::unique_ptr<core::TcpStream> stream, const Endpoint& endpoint, unsigned attempts) override;
  void on_connect_failed(const ConnectFailure& failure) override;
  void on_response(core::ResponseHead& head, bool end) override;
  void on_response_body(std::span<const char> data, bool end) override;
  void on_bad_response(const char* reason) override;

  void read();
  bool receive(std::span<char> bytes);
  void fail(UpstreamFailure::Kind kind, std::string detail);
  void timed_out();
  void touch();

  UpstreamPool& pool_;
  UpstreamContext& context_;
  Observer* observer_ = nullptr;
  std::unique_ptr<core::Stream> stream_;
  core::Output output_;
  core::Http1Client codec_;
  std::string stash_;  // an incomplete head
  std::unique_ptr<Connector> connector_;
  std::shared_ptr<const EndpointSet> endpoints_;
  const Endpoint* endpoint_ = nullptr;
  core::Timer deadline_;
  core::Deferred again_;
  std::uint64_t connected_at_ = 0;
  std::uint64_t requests_ = 0;
  Counts counts_;
  std::size_t index_ = 0;        // in the pool's list
  std::size_t slot_ = SIZE_MAX;  // of its endpoint in the pool's present set; SIZE_MAX = not in it
  unsigned attempts_ = 0;
  State state_ = State::connecting;
  bool paused_ = false;
  bool answered_ = false;
  bool awaiting_ = false;      // the request is complete
  bool write_failed_ = false;  // the upstream takes no more; its answer may be there all the same
  bool leased_ = false;        // counted in UpstreamState::connections
};

}  // namespace edgemux::routing
