#include "core/tls/ticket_keys.h"

#include <algorithm>
#include <chrono>

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include "core/tls/openssl.h"

namespace edgemux::core {

// Never more than two keys live, so the vector never moves and leaves copies behind.
TicketKeys::TicketKeys(Clock clock) : clock_(std::move(clock)) { keys_.reserve(4); }

TicketKeys::~TicketKeys() {
  for (Aged& aged : keys_) OPENSSL_cleanse(&aged.key, sizeof(aged.key));
}

std::int64_t TicketKeys::monotonic_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Result<TicketKey> TicketKeys::current() {
  const std::int64_t now = clock_();
  const std::scoped_lock lock(mutex_);
  drop_expired(now);
  if (keys_.empty() || now - keys_.back().since >= kRotation) {
    Aged fresh;
    fresh.since = now;
    for (auto [bytes, size] : {std::pair{fresh.key.name.data(), fresh.key.name.size()},
                               std::pair{fresh.key.cipher.data(), fresh.key.cipher.size()},
                               std::pair{fresh.key.mac.data(), fresh.key.mac.size()}}) {
      if (RAND_priv_bytes(bytes, static_cast<int>(size)) != 1)
        return fail("no randomness for a ticket key: " + take_library_error());
    }
    keys_.push_back(fresh);
    OPENSSL_cleanse(&fresh.key, sizeof(fresh.key));
  }
  return keys_.back().key;
}

std::optional<TicketKeys::Found> TicketKeys::find(std::span<const unsigned char, 16> name) {
  const std::int64_t now = clock_();
  const std::scoped_lock lock(mutex_);
  drop_expired(now);
  for (const Aged& aged : keys_) {
    if (std::equal(name.begin(), name.end(), aged.key.name.begin()))
      return Found{aged.key, now - aged.since >= kRotation};
  }
  return std::nullopt;
}

void TicketKeys::drop_expired(std::int64_t now) {
  const auto expired = [now](const Aged& aged) { return now - aged.since >= 2 * kRotation; };
  for (Aged& aged : keys_) {
    if (expired(aged)) OPENSSL_cleanse(&aged.key, sizeof(aged.key));
  }
  std::erase_if(keys_, expired);
}

}  // namespace edgemux::core
