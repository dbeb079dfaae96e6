#pragma once
// Exchange: one request and its answer. Finds the route and the rule, answers by itself or through an upstream, and
// passes bodies both ways under back-pressure. It knows neither HTTP/1 nor HTTP/2.
//
// Life: taken from the worker's pool, start(), any number of events, finish() exactly once: that writes the access log,
// counts, and tells the session, which gives the exchange back. Sessions call: on_request_body, on_request_trailers,
// flush_upstream, on_client_writable, cancel.
//
// What an exchange keeps of the request is text for the log and, where a retry is possible, a copy of the request; both
// live in strings that keep their capacity from one request to the next.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/http/codec.h"
#include "listeners/allowance.h"
#include "listeners/close_reason.h"
#include "listeners/forwarding.h"
#include "listeners/mirror.h"
#include "listeners/payers.h"
#include "listeners/saved_request.h"
#include "listeners/tries.h"
#include "listeners/upgraded_request.h"
#include "listeners/upload_pace.h"
#include "routing/table/route.h"
#include "routing/upstream/pool.h"
#include "routing/upstream/stream.h"

namespace edgemux::listeners {

class HttpSession;
class Worker;
struct LocalReply;

class Exchange final : public core::Retirable, private routing::UpstreamStream::Observer, private Tries::Observer {
 public:
  explicit Exchange(Worker& worker);
  ~Exchange() override = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  void start(HttpSession& session, core::StreamId stream, core::RequestHead& head, bool end);
  void on_request_body(std::span<const char> data, bool end);
  // In place of the end of the body.
  void on_request_trailers(core::FieldList& fields);
  // The event that brought body bytes is over: what borrowed them is sent.
  void flush_upstream();
  // What had been held back by a slow client is sent.
  void on_client_writable();
  // False: the upstream takes no more now; read no further request bytes (or return no window).
  [[nodiscard]] bool wants_input() const;
  // Its end has come.
  [[nodiscard]] bool request_whole() const { return request_done_; }

  // Its answer is our own, and the client has not taken it all.
  [[nodiscard]] bool replies() const { return stage_ == Stage::replying; }
  // It is ending, or has.
  [[nodiscard]] bool over() const { return stage_ == Stage::over; }
  // The client is gone, or its message broken: ends without an answer. Does not call the session.
  void cancel(CloseReason reason, std::string_view detail);
  // Refuses the request if nothing of an answer has been sent; otherwise aborts. For the session's own findings (a
  // malformed body, a body that is too slow).
  void refuse(std::uint16_t status, CloseReason reason, std::string_view detail);

  // An answer of the session's own, to something that never became a request. `content_type`: of it, where known.
  void start_refused(HttpSession& session, core::StreamId stream, std::uint16_t status, CloseReason reason,
                     std::string_view detail, std::string_view content_type = {});

  // Empty and ready for the next request; strings keep their memory.
  void reset();
  [[nodiscard]] core::StreamId stream() const { return stream_; }
  // Of a request that has become a tunnel.
  [[nodiscard]] UpgradedRequest upgraded() const;

 private:
  friend class HttpSession;  // its list of exchanges with bytes for their upstreams
  static constexpr std::size_t kMostPending = std::size_t{64} * 1024;  // of a body that waits, or is kept for a retry
  static constexpr std::size_t kMostSpare = std::size_t{8} * 1024;     // of one that no rule's retry asks to keep
  static constexpr std::chrono::milliseconds kBodyGrace{10'000};       // before its pace counts
  // connecting: the request is kept until a connection stands; also between two tries. replying: a body of our own goes
  // out.
  enum class Stage : std::uint8_t { routing, connecting, uploading, answering, upgrading, replying, over };

  void begin(HttpSession& session, core::StreamId stream);
  void remember(const core::RequestHead& head);
  // Each of these ends the exchange or leaves it waiting for the upstream.
  void dispatch_http(core::RequestHead& head, std::string_view path, bool end);
  void dispatch_tls(core::RequestHead& head, std::string_view path, bool end);
  void serve(core::RequestHead& head, std::string_view path, bool end);
  // False: a limit of the tenant is reached, of connections or the rate of requests, and the request has been answered
  // so.
  bool within_connections();
  bool within_rate();
  [[nodiscard]] bool admitted(const core::FieldList& fields) const;
  void challenge(core::RequestHead& head, bool end);
  void redirect_to_https(const core::RequestHead& head);
  void answer_preflight(const core::RequestHead& head);
  void redirect(const routing::Redirect& redirect, const routing::Rule& rule, const core::RequestHead& head,
                std::string_view path);
  void settle_forwarding(core::RequestHead& head);
  void forward(core::RequestHead& head, std::string_view path, const routing::UpstreamPtr& upstream, bool end);
  void send(const core::OutgoingRequest& request, const routing::UpstreamPool::Wish& wish);
  // How long the upstream may be silent; 0 = for ever.
  [[nodiscard]] routing::milliseconds silence() const;
  void continue_body();
  // Nor will it have one.
  [[nodiscard]] bool has_no_body() const { return bytes_in_ == 0 && (request_done_ || wants_upgrade_); }
  // An answer of this status to this request ends with its head (RFC 9110 6.4.1).
  [[nodiscard]] bool bodiless(std::uint16_t status) const { return head_request_ || status == 204 || status == 304; }
  void too_many_fields();
  void retry(bool fresh, const routing::EndpointState* avoid);
  // Gives this try up; the next one comes after a pause.
  void retry_later(bool alive);
  // Retries are at most a fifth of the upstream's requests; see retry_budget.h.
  bool pay_for_retry();
  // Keeps a copy, unless it is that.
  void save(const core::OutgoingRequest& request);
  [[nodiscard]] bool spares(const core::OutgoingRequest& request) const;
  // All that comes of the request is kept, for another try.
  [[nodiscard]] bool keeps_request() const { return tries_.may_follow() || whole_; }
  void keep_body(std::span<const char> data);
  // Tells the session what is kept of the request now.
  void count_kept();
  // Sends the request on the connection that stands.
  void go(const core::OutgoingRequest& request);
  // What was kept of the request is on its way: the rest of it may come.
  void go_on();
  void upload_ended();
  void mirror(const core::OutgoingRequest& request);
  void feed_mirrors(std::span<const char> data, bool end);
  void give_back_window();
  // The same for the client's address.
  bool within_source_rate();
  void too_many(CloseReason reason, std::string_view why);
  [[nodiscard]] Payers payers() const;
  // Null: nobody's limits count.
  [[nodiscard]] routing::TenantState* tenant() const;
  void spend_bandwidth(std::size_t bytes);
  // Holds both directions up where the tenant's or the client's bandwidth is used up.
  void throttle();
  void unthrottle();
  void count_for_tenant();
  // What has been moved since the time before, for the tenant.
  void count_bytes();
  // More is to come: what has come so far will be in the figures within a second.
  void count_soon();
  void look();
  // The latest try is over.
  void count_tries();
  void await_body(std::chrono::milliseconds time);
  void body_timed_out();
  // What keeps the client from sending more of the body.
  [[nodiscard]] UploadPace::Held held() const;

  void reply(const LocalReply& reply);
  // Sends what the client and the bandwidths take now of a body of the route's.
  void reply_on();
  void refuse_grpc(std::uint16_t status, CloseReason reason, std::string_view message);
  void fail_upstream(const routing::UpstreamFailure& failure);
  void hand_back(const routing::UpstreamFailure& failure);
  void finish(CloseReason reason);
  void write_log(CloseReason reason);
  void release_upstream();
  // It did not answer within the time of a try or of the request.
  void give_up_upstream(routing::milliseconds time);
  // The client is slow: what is needed no more is given back to the heap.
  void shed();
  void count_upstream(const routing::MovedBytes& moved);

  void on_upstream_ready() override;
  [[nodiscard]] std::size_t upstream_read_limit() const override;
  [[nodiscard]] std::size_t upstream_window() override;
  void on_upstream_response(core::ResponseHead& head, bool end) override;
  void on_upstream_body(std::span<const char> data, bool end) override;
  void on_upstream_trailers(core::FieldList& fields) override;
  void on_upstream_event_end() override;
  void on_upstream_writable() override;
  void on_upstream_failed(const routing::UpstreamFailure& failure) override;
  [[nodiscard]] core::ProxyLine on_upstream_asks_who() const override;

  void on_request_timeout() override;
  void on_try_timeout() override;
  void on_next_try() override;

  // A piece of text_.
  struct Text {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
  };
  Text keep(std::string_view text);
  [[nodiscard]] std::string_view view(Text text) const { return std::string_view(text_).substr(text.begin, text.size); }

  Worker& worker_;
  HttpSession* session_ = nullptr;
  routing::RoutePtr route_;
  const routing::Rule* rule_ = nullptr;         // of route_; null before one is found, and for ACME solvers
  const routing::Split::Part* part_ = nullptr;  // of the rule's split; null where it has none
  routing::UpstreamPtr upstream_;
  routing::UpstreamStream upstream_stream_;
  std::string text_;
  std::unique_ptr<SavedRequest> saved_;                    // stays for the next request
  std::vector<std::unique_ptr<MirroredRequest>> mirrors_;  // copies of a request that is not whole yet
  // The request's body so far: of what came while the connection was being made, and where another try may follow. Of a
  // little one also where a shared connection may turn out not to have begun it.
  std::string early_body_;
  std::string rewritten_;  // the path, where the rule changes it
  Tries tries_;
  std::string_view rest_;  // of a body of the route's, while replying
  std::string detail_;
  std::string endpoint_;
  ForwardingFields forwarding_;  // added to the request
  std::string forwarding_text_;
  core::SocketAddress client_;  // as trusted proxies say
  core::Timer body_deadline_;
  core::Timer throttle_;  // armed: nothing is moved until then
  core::Timer look_;      // armed: bytes are counted then
  Allowance allowance_;
  Exchange* next_fed_ = nullptr;  // in the session's list
  Text host_, method_, path_, user_agent_, referer_, origin_;
  std::string_view protocol_;
  std::array<char, 32> request_id_{};
  std::uint64_t began_us_ = 0;    // its first byte
  std::uint64_t started_us_ = 0;  // its head was whole
  std::uint64_t connect_us_ = 0;  // until a connection stood that was made for it
  std::uint64_t first_byte_us_ = 0;
  std::uint64_t bytes_in_ = 0;
  std::uint64_t bytes_out_ = 0;
  std::uint64_t counted_in_ = 0;
  std::uint64_t counted_out_ = 0;
  std::uint64_t max_body_ = 0;
  UploadPace pace_;             // while a body comes in
  std::size_t unconsumed_ = 0;  // of the request's body, not yet given back to the codec
  std::size_t trailers_ = 0;    // bytes of the request's that wait behind its body, in the codec
  std::size_t granted_ = 0;     // of what the session can keep of answers; see HttpSession::grant
  std::size_t kept_ = 0;        // of the request; as the session was told
  core::StreamId stream_ = 0;
  std::uint32_t attempts_ = 0;
  std::uint16_t status_ = 0;
  std::string asked_protocols_;  // of the upgrade, as the client listed them
  Stage stage_ = Stage::over;
  bool head_request_ = false;
  bool retry_fresh_ = false;  // the next try goes on a connection of its own
  bool repeatable_ = false;   // what is saved has no body and is safe to repeat
  bool whole_ = false;        // all that has come is kept: it may be sent elsewhere if the upstream did nothing with it
  bool has_id_ = false;
  bool request_done_ = false;
  bool head_sent_ = false;
  bool answer_done_ = false;
  bool fed_ = false;
  bool wants_upgrade_ = false;
  bool talks_ = false;            // a stream of gRPC: both sides may be silent for a while
  bool awaits_continue_ = false;  // the client waits to be told that its body is wanted
  bool from_trusted_ = false;
  bool by_https_ = false;  // as trusted proxies say
  bool grpc_ = false;      // errors are told in grpc-status
};

}  // namespace edgemux::listeners
