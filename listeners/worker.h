#pragma once
// Worker: one thread, one event loop, and everything that the connections accepted there share: receive buffer, blocks,
// pipes, upstream pools, TLS contexts, the snapshot in force. Workers share nothing mutable with each other but atomics
// (counters, admission, upstream states).
//
// Threads: the constructor, start(), post(), and join() belong to the control thread; all else runs on the worker's
// own.

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/base/metrics.h"
#include "core/http/http1_server.h"
#include "core/io/event_loop.h"
#include "core/io/output.h"
#include "core/io/relay.h"
#include "core/tls/context.h"
#include "listeners/access_log.h"
#include "listeners/admission.h"
#include "listeners/listener.h"
#include "listeners/mirror.h"
#include "listeners/session.h"
#include "listeners/source_rates.h"
#include "routing/table/snapshot.h"
#include "routing/upstream/pool.h"

namespace edgemux::listeners {

class Exchange;

// What all workers share; outlives them.
struct Shared {
  core::Metrics& metrics;
  AccessLog& access_log;
  Admission& admission;
  SourceRates& sources;
  std::shared_ptr<core::TicketKeys> ticket_keys;
  std::uint64_t most_idle;                    // upstream connections that one worker may keep
  std::function<void()> ask_for_descriptors;  // Worker::give_away() to all; thread safe
};

class Worker {
 public:
  Worker(unsigned index, Shared& shared);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The error is internal (descriptors, the TLS library).
  core::Result<void> start();
  // Runs on the worker's thread.
  void post(std::function<void()> task) { loop_.post(std::move(task)); }
  // Ends the loop without regard for what is under way, and waits for the thread.
  void stop_and_join();

  // Takes a snapshot over, with the sockets to accept on from now on. Returns the one before.
  routing::SnapshotPtr adopt(routing::SnapshotPtr snapshot, const std::vector<WorkerSocket>& sockets);
  // Lets go all sockets but these, which it has.
  void keep_only(const std::vector<WorkerSocket>& sockets);
  // For the listener that is bound to the address that the client connected to, the most exact one; without one it is
  // closed.
  void accept_by_address(int fd, const core::SocketAddress& client);
  // Of the idle upstream connections some that others need the descriptors of.
  void give_away() { (void)pools_.give_away(kGivenAway); }
  // Stops accepting, lets sessions finish.
  void drain();
  // Closes everything that is left.
  void close_all();
  [[nodiscard]] std::size_t session_count() const { return session_count_.load(std::memory_order_relaxed); }

  // ---- for sessions ----
  [[nodiscard]] unsigned index() const { return index_; }
  [[nodiscard]] core::EventLoop& loop() { return loop_; }
  [[nodiscard]] std::uint64_t now() const { return loop_.now(); }
  [[nodiscard]] const routing::Snapshot& snapshot() const { return *snapshot_; }
  // Some limit per source is set: new connections count for theirs.
  [[nodiscard]] bool counts_sources() const { return counts_sources_; }
  [[nodiscard]] core::WorkerMetrics& metrics() { return metrics_; }
  [[nodiscard]] Shared& shared() { return shared_; }
  [[nodiscard]] core::BlockPool& blocks() { return blocks_; }
  [[nodiscard]] core::RelayScratch& relay_scratch() { return relay_scratch_; }
  [[nodiscard]] core::HttpScratch& http_scratch() { return http_scratch_; }
  // The receive buffer: for bytes that are dealt with before the call returns.
  [[nodiscard]] std::span<char> buffer() { return buffer_; }
  // The same memory and some more than as much again, for ClientHellos.
  [[nodiscard]] std::span<char> inspect_buffer() { return {memory_.get(), kInspectSize}; }
  [[nodiscard]] routing::UpstreamPools& pools() { return pools_; }
  [[nodiscard]] Mirrors& mirrors() { return mirrors_; }
  [[nodiscard]] core::TlsWorker& tls() { return *tls_; }
  [[nodiscard]] bool draining() const { return draining_; }
  // Descriptors or memory have run out for `count` more sockets: that many idle upstream connections go at the end of
  // the turn; where this worker has none, all give some away soon.
  void relieve(std::size_t count);
  void log(const AccessRecord& record) { shared_.access_log.write(index_, record); }
  // Uniform over all values. It guards nothing.
  std::uint64_t random();
  // 32 hex digits, unique and not to be guessed from others of other workers.
  void make_request_id(char* out);

  // False: enough token files have been looked for in this second.
  // Whether a token may be looked for in the file system now, for that client.
  bool may_read_token(const core::SocketAddress& client);

  std::unique_ptr<Exchange> take_exchange();
  void give_exchange(std::unique_ptr<Exchange> exchange);

  // Takes ownership until the session retires.
  void add(std::unique_ptr<Session> session);

 private:
  friend class Session;
  static constexpr std::size_t kBufferSize = 64 * 1024;
  static constexpr std::size_t kInspectSize = 2 * (kBufferSize + 1);  // a hello of 64 KiB, and one byte beyond it
  static constexpr std::size_t kKeptExchanges = 256;
  static constexpr std::size_t kGivenAway = 16;
  // Reads of tokens in a second: of one client address (of those that share a bucket), and of all.
  static constexpr unsigned kTokenReadsPerSource = 50;
  static constexpr unsigned kTokenReadsPerSecond = 5'000;
  void remove(Session& session);
  void tick();
  void release_unused_listeners();
  void drain_sessions(const Listener& listener);
  // So often that each client is looked at twice within the listeners' tcp.user_timeout.
  void watch_windows();
  void look_at_windows();

  unsigned index_;
  Shared& shared_;
  core::WorkerMetrics& metrics_;
  std::unique_ptr<core::TlsWorker> tls_;  // outlives what the loop frees last
  core::EventLoop loop_;
  core::BlockPool blocks_;
  core::PipePool pipes_;
  std::unique_ptr<char[]> memory_;
  std::span<char> buffer_;
  core::RelayScratch relay_scratch_;
  core::HttpScratch http_scratch_;
  routing::UpstreamContext upstream_context_;
  bool counts_sources_ = false;
  routing::UpstreamPools pools_;
  Mirrors mirrors_;
  routing::SnapshotPtr snapshot_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;
  Session* sessions_ = nullptr;
  std::atomic<std::size_t> session_count_{0};
  core::Timer tick_;
  core::Timer window_tick_;
  Session* window_next_ = nullptr;   // of a round through all clients; null = the next one begins
  std::uint64_t window_period_ = 0;  // ms, of a round; 0 = none
  std::uint64_t window_wait_ = 0;    // ms, between two parts of this round
  std::size_t window_part_ = 0;      // clients
  unsigned ticks_ = 0;
  std::uint64_t token_second_ = 0;
  unsigned token_reads_ = 0;
  std::array<std::uint8_t, 1024> source_token_reads_{};
  std::uint64_t token_seed_ = 0;  // who shares a bucket with whom is nobody's choice
  std::array<std::uint64_t, 2> random_{};
  bool draining_ = false;
  std::thread thread_;
};

}  // namespace edgemux::listeners
