#pragma once
// TicketKeys: the keys that seal session tickets (RFC 5077 4, RFC 8446 4.6.1), one object for the whole process, so
// that a ticket of one worker is good at every other.
//
// A key seals tickets for `kRotation` and opens them for as long again: what it sealed last outlives it by a whole
// period. Keys live in memory only and are wiped when they go. Thread safe.

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "core/base/result.h"

namespace edgemux::core {

struct TicketKey {
  std::array<unsigned char, 16> name{};    // in clear in the ticket; finds the key again
  std::array<unsigned char, 32> cipher{};  // AES-256-CBC
  std::array<unsigned char, 32> mac{};     // HMAC-SHA-256
};

class TicketKeys {
 public:
  static constexpr std::int64_t kRotation = 12 * 60 * 60;  // seconds

  // `clock` gives seconds; only differences count. It is called from every worker's thread.
  using Clock = std::function<std::int64_t()>;
  explicit TicketKeys(Clock clock = monotonic_seconds);
  ~TicketKeys();
  TicketKeys(const TicketKeys&) = delete;
  TicketKeys& operator=(const TicketKeys&) = delete;

  // The key to seal with; makes a new one when the present one is older than kRotation. Fails only where the system
  // gives no randomness.
  [[nodiscard]] Result<TicketKey> current();

  // The key of that name, if it may still open tickets. `renew`: it seals no more, so the client should get a fresh
  // ticket.
  struct Found {
    TicketKey key;
    bool renew = false;
  };
  [[nodiscard]] std::optional<Found> find(std::span<const unsigned char, 16> name);

 private:
  struct Aged {
    TicketKey key;
    std::int64_t since = 0;
  };
  static std::int64_t monotonic_seconds();
  void drop_expired(std::int64_t now);

  Clock clock_;
  std::mutex mutex_;
  std::vector<Aged> keys_;  // newest last
};

}  // namespace edgemux::core
