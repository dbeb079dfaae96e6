#pragma once
// RetryBudget: holds the retries of one upstream to a fifth of its requests, over the whole process, so that an
// upstream that fails is not buried by its own clients. Every request pays in a fifth of a retry; what was not used
// is kept up to `kMost` retries, which is also what a fresh upstream begins with.
//
// Pure and thread safe. While nothing is retried the balance is full and paying in is one load.

#include <atomic>
#include <cstdint>

namespace edgemux::routing {

class RetryBudget {
 public:
  static constexpr std::int64_t kRequestsPerRetry = 5;
  static constexpr std::int64_t kMost = 100;  // retries at once

  void request() {
    if (balance_.load(std::memory_order_relaxed) < kMost * kRequestsPerRetry) {
      balance_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  // True: one retry is paid for.
  [[nodiscard]] bool take() {
    std::int64_t balance = balance_.load(std::memory_order_relaxed);
    while (balance >= kRequestsPerRetry) {
      if (balance_.compare_exchange_weak(balance, balance - kRequestsPerRetry, std::memory_order_relaxed)) return true;
    }
    return false;
  }

 private:
  std::atomic<std::int64_t> balance_{kMost * kRequestsPerRetry};
};

}  // namespace edgemux::routing
