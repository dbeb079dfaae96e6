#pragma once
// Metrics: what the workers count. Each worker has its own counters and is the only thread that writes them, so that
// counting is a plain load, add and store; whoever reads sums over the workers. Names and text format are admin/'s.
//
//   ListenerMetrics& m = metrics.worker(i).listeners[slot];   // slot = metrics.listener_slot("https"), asked once
//   m.accepted.add(); m.active.add(); ... m.active.sub(); m.request(200, micros);
//
// Ownership: Metrics outlives every worker. References stay valid for its life.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace edgemux::core {

// One writer, any readers.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void sub(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed); }
  void set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t read() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// Upper bounds of the latency buckets in microseconds; one more bucket takes the rest.
inline constexpr std::array<std::uint64_t, 14> kLatencyBounds{500,       1'000,     2'500,      5'000,     10'000,
                                                              25'000,    50'000,    100'000,    250'000,   1'000'000,
                                                              2'500'000, 5'000'000, 10'000'000, 60'000'000};

class Histogram {
 public:
  void observe(std::uint64_t micros) {
    std::size_t i = 0;
    while (i < kLatencyBounds.size() && micros > kLatencyBounds[i]) ++i;
    buckets_[i].add();
    sum_.add(micros);
  }
  // Not cumulative; the last one is above every bound.
  [[nodiscard]] std::uint64_t bucket(std::size_t i) const { return buckets_[i].read(); }
  [[nodiscard]] std::uint64_t sum_micros() const { return sum_.read(); }

 private:
  std::array<Counter, kLatencyBounds.size() + 1> buckets_;
  Counter sum_;
};

// Requests are counted by the class of their status: 1xx (an upgrade) .. 5xx, and none where the client went away, or
// was refused, before there was one.
inline constexpr std::array<std::string_view, 6> kStatusClasses{"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
constexpr std::size_t status_class(unsigned status) { return status >= 100 && status < 600 ? status / 100 : 0; }

// Counters of one listener in one worker.
struct alignas(64) ListenerMetrics {
  Counter accepted;
  Counter active;  // client connections open now
  std::array<Counter, kStatusClasses.size()> requests;
  Histogram latency;        // of requests
  Counter client_received;  // bytes; above TLS where it is terminated
  Counter client_sent;
  Counter upstream_sent;
  Counter upstream_received;
  Counter handshakes_full;
  Counter handshakes_resumed;
  Counter handshakes_failed;
  Counter tunnels;  // connections that reached an endpoint as bytes, and upgrades
  Counter tunnels_active;

  // A finished request.
  void request(unsigned status, std::uint64_t duration_micros) {
    requests[status_class(status)].add();
    latency.observe(duration_micros);
  }
};

// Twice as many as there are listeners at a time: names that come and go over reloads need slots, too.
inline constexpr std::size_t kListenerSlots = 128;
inline constexpr std::size_t kReasonSlots = 64;

enum class ConnectResult : std::uint8_t { ok, refused, timeout, failed, limited };
inline constexpr std::size_t kConnectResults = 5;

// What became of the copy of a request for a mirror. dropped: it was never sent, because of a bound.
enum class MirrorResult : std::uint8_t { answered, failed, dropped };
inline constexpr std::size_t kMirrorResults = 3;

struct alignas(64) WorkerMetrics {
  std::array<ListenerMetrics, kListenerSlots> listeners;
  std::array<Counter, kReasonSlots> closes;  // by CloseReason (listeners/close_reason.h)
  std::array<Counter, kConnectResults> upstream_connects;
  std::array<Counter, kMirrorResults> mirrored;
  Counter upstream_reuses;   // requests that took a connection out of the pool
  Counter upstream_retries;  // attempts after the first
  Counter upstream_idle;     // pooled connections now
  Counter accept_failures;   // no descriptor or memory for a client, who waits
  Counter heartbeat;         // monotonic milliseconds of the loop's last sign of life; set() about once a second

  void mirror(MirrorResult result) { mirrored[static_cast<std::size_t>(result)].add(); }
  void upstream_connect(ConnectResult result) { upstream_connects[static_cast<std::size_t>(result)].add(); }
};

class Metrics {
 public:
  explicit Metrics(unsigned workers);

  [[nodiscard]] unsigned workers() const { return static_cast<unsigned>(workers_.size()); }
  [[nodiscard]] WorkerMetrics& worker(unsigned index) { return *workers_[index]; }
  [[nodiscard]] const WorkerMetrics& worker(unsigned index) const { return *workers_[index]; }
  // The sum of read(WorkerMetrics) over them.
  template <class Read>
  [[nodiscard]] std::uint64_t over_workers(Read read) const {
    std::uint64_t sum = 0;
    for (const auto& worker : workers_) sum += read(std::as_const(*worker));
    return sum;
  }

  // Thread safe. The same name always gets the same slot, over reloads too. When all are taken, new names share the
  // slot of "other".
  std::size_t listener_slot(std::string_view name);
  // The names by slot; slot 0 is "other".
  [[nodiscard]] std::vector<std::string> listener_names() const;

  // Of the process; any thread.
  const std::int64_t started_at;  // unix seconds
  std::atomic<std::uint64_t> reloads_ok{0};
  std::atomic<std::uint64_t> reloads_failed{0};
  std::atomic<std::uint64_t> reloads_refused{0};  // by reload.max_removed
  // Of the latest reload, broken files that are set aside apart: whether what it found is what serves; and unix seconds
  // of the latest one of which that is true. A start is one.
  std::atomic<bool> reload_succeeded{true};
  std::atomic<std::int64_t> reload_success_at;
  void reload_ended(bool success);
  std::atomic<std::uint64_t> generation{0};
  std::atomic<std::uint64_t> hosts{0};
  std::atomic<std::uint64_t> sources_set_aside{0};  // configuration files whose last good bytes serve instead
  std::atomic<std::int64_t> certificates_expire{
      0};  // unix seconds of the first certificate to expire; 0 = there is none

 private:
  std::vector<std::unique_ptr<WorkerMetrics>> workers_;
  mutable std::mutex mutex_;
  std::vector<std::string> names_;
};

}  // namespace edgemux::core
