#pragma once
// Tenant: what a tenant may do, as an immutable value, and TenantState: what is known of it at run time, shared by all
// workers and kept over reloads by its name.
//
// A session holds the Tenant through its Route; neither holds certificates or tables.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/base/address.h"
#include "core/base/metrics.h"
#include "core/base/rate.h"
#include "routing/table/networks.h"

namespace edgemux::routing {

// Of the whole process; 0 = no limit.
struct TenantLimits {
  std::uint32_t connections = 0;  // open client connections
  std::uint32_t new_connections_per_second = 0;
  std::uint32_t requests_per_second = 0;
  std::uint64_t bandwidth = 0;                                  // bytes per second, both directions together
  std::uint64_t config_size = std::uint64_t{16} * 1024 * 1024;  // bytes of its configuration files together
  friend bool operator==(const TenantLimits&, const TenantLimits&) = default;
};

class OtherTenants;

// Thread safe.
class TenantState {
 public:
  // How many tenants have figures of their own; the others share those of `other`.
  static constexpr std::uint32_t kLabelled = 1000;

  // `others`: where its figures stay, if it has none of its own.
  TenantState(std::uint32_t number, std::shared_ptr<OtherTenants> others);
  explicit TenantState(std::uint32_t number);
  ~TenantState();
  TenantState(const TenantState&) = delete;
  TenantState& operator=(const TenantState&) = delete;

  // Small, unique among the tenants that exist at one time.
  [[nodiscard]] std::uint32_t number() const { return number_; }
  [[nodiscard]] bool labelled() const { return number_ < kLabelled; }

  // The limits of the table in force.
  void configure(const TenantLimits& limits) {
    most_connections_.store(limits.connections, std::memory_order_relaxed);
    new_connections_.set_rate(limits.new_connections_per_second);
    requests_.set_rate(limits.requests_per_second);
    // What is owed is time: under another rate it would be other bytes.
    if (limits.bandwidth != bandwidth()) bandwidth_.forget();
    bandwidth_.set_rate(limits.bandwidth);
  }

  // `now` in milliseconds of one clock for all workers. `fresh`: the connection is a new one, and has not come back to
  // this tenant only. True: it counts until leave().
  bool enter(std::uint64_t now, bool fresh = true) {
    const auto most = most_connections_.load(std::memory_order_relaxed);
    const auto before = connections_.fetch_add(1, std::memory_order_relaxed);
    if ((most != 0 && before >= most) || (fresh && !new_connections_.take(now * kMs))) {
      connections_.fetch_sub(1, std::memory_order_relaxed);
      return false;
    }
    return true;
  }
  void leave() { connections_.fetch_sub(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t connections() const { return connections_.load(std::memory_order_relaxed); }

  bool take_request(std::uint64_t now) { return requests_.take(now * kMs); }

  // Bytes a second; 0 = no limit.
  [[nodiscard]] std::uint64_t bandwidth() const { return bandwidth_.rate(); }
  [[nodiscard]] bool bandwidth_limited() const { return bandwidth() != 0; }
  // Milliseconds to wait before more bytes are moved; 0 = none.
  [[nodiscard]] std::uint64_t bandwidth_wait(std::uint64_t now) const {
    return (bandwidth_.wait(now * kMs) + kMs - 1) / kMs;
  }
  void charge_bandwidth(std::uint64_t bytes, std::uint64_t now) { bandwidth_.charge(bytes, now * kMs); }
  // Of what was charged and not used.
  void give_back_bandwidth(std::uint64_t bytes, std::uint64_t now) { bandwidth_.give_back(bytes, now * kMs); }

  // Figures, in some cells so that workers seldom meet.
  struct alignas(64) Figures {
    std::atomic<std::uint64_t> connections{0};
    std::array<std::atomic<std::uint64_t>, core::kStatusClasses.size()> requests{};
    std::atomic<std::uint64_t> received{0};             // bytes from clients
    std::atomic<std::uint64_t> sent{0};                 // bytes to clients
    std::atomic<std::uint64_t> refused_connections{0};  // by a limit
    std::atomic<std::uint64_t> refused_requests{0};
    void add(const Figures& more);
  };
  [[nodiscard]] const OtherTenants& others() const { return *others_; }
  [[nodiscard]] Figures& figures(unsigned worker) { return figures_[worker % figures_.size()]; }
  template <class Read>
  [[nodiscard]] std::uint64_t sum(Read read) const {
    std::uint64_t total = 0;
    for (const auto& cell : figures_) total += read(cell);
    return total;
  }

  // Its configuration files that are broken.
  std::atomic<std::uint32_t> files_set_aside{0};
  // When the first of its certificates that serve a host expires, unix seconds; 0 = it has none.
  std::atomic<std::int64_t> certificates_expire{0};

 private:
  friend class OtherTenants;
  static constexpr std::uint64_t kMs = 1'000'000;
  static constexpr std::uint64_t kBandwidthWindow = 50 * kMs;

  std::uint32_t number_;
  std::shared_ptr<OtherTenants> others_;
  std::atomic<std::uint32_t> connections_{0};
  std::atomic<std::uint32_t> most_connections_{0};
  core::RateBucket new_connections_;
  core::RateBucket requests_;
  core::RateBucket bandwidth_{kBandwidthWindow};
  std::array<Figures, 8> figures_;
};

// The figures of all tenants, past and present, that have none of their own: together they never get smaller. Thread
// safe.
class OtherTenants {
 public:
  [[nodiscard]] bool any() const {
    const std::lock_guard lock(mutex_);
    return any_;
  }
  template <class Read>
  [[nodiscard]] std::uint64_t sum(Read read) const {
    const std::lock_guard lock(mutex_);
    std::uint64_t total = read(gone_);
    for (const TenantState* state : present_) total += state->sum(read);
    return total;
  }

 private:
  friend class TenantState;
  void come(const TenantState& state);
  void go(const TenantState& state);

  TenantState::Figures gone_;  // of those that are no more
  mutable std::mutex mutex_;
  std::unordered_set<const TenantState*> present_;
  bool any_ = false;  // there was one
};

struct Tenant {
  std::string name;
  std::vector<core::Network> networks;      // where its endpoints may be; see networks.h
  std::shared_ptr<const OwnAddresses> own;  // may be null
  std::string tokens_dir;                   // absolute; empty = none
  std::string tokens_root;                  // tokens_dir lies below and no link leads out of it; empty = wherever
  TenantLimits limits;
  std::shared_ptr<TenantState> state;  // never null

  // Null: one of its endpoints may be there. Otherwise what speaks against it.
  [[nodiscard]] const char* refuses(const core::SocketAddress& address) const {
    return endpoint_refusal(address, networks, own != nullptr && own->hold(address));
  }
};

using TenantPtr = std::shared_ptr<const Tenant>;

}  // namespace edgemux::routing
