#pragma once
// Resolver: names to addresses, on one event loop. Asks the servers of the system's resolv.conf (its search list and
// ndots apply) and, before them, /etc/hosts. Truncated answers are asked for again over TCP.
//
// Both families are asked for, unless one is named; an answer comes when both are known or given up, and c-ares does
// not tell which: who misses a family asks for it alone. IPv4 addresses stand before IPv6 ones, else the order is the
// server's. A name that is an IP address in text is its own answer.
//
// Ownership: the caller holds the Query; destroying it cancels, and its callback is not called any more. The callback
// is called once, never from inside resolve(), and may destroy its Query, start others, or destroy the Resolver. A
// Query may outlive its Resolver; it then never gets an answer.
//
// Threads: everything on the loop's thread, the constructor included unless the loop does not run yet.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/address.h"
#include "core/base/result.h"
#include "core/io/event_loop.h"

namespace edgemux::core {

class Resolver {
 public:
  struct Options {
    // "10.0.0.53:53,[fd00::53]:53": asked instead of those of resolv.conf; its search list applies all the same.
    std::string servers{};
    std::chrono::milliseconds timeout{2'000};  // of the first try; it doubles with every round over the servers
    int tries = 2;                             // rounds over the servers
    // Read again before the next query when it has changed; those under way go on with what they began with.
    std::string resolv_conf = "/etc/resolv.conf";
    bool hosts_file = true;  // false: /etc/hosts is not looked at
  };

  enum class Family : std::uint8_t { any, v4, v6 };
  // An SRV record (RFC 2782).
  struct Service {
    std::string host;
    std::uint16_t port = 0;
    std::uint16_t priority = 0;  // lower ones first
    std::uint16_t weight = 0;
    friend bool operator==(const Service&, const Service&) = default;
  };

  struct Answer {
    std::vector<SocketAddress> addresses;  // of resolve(): at least one, none twice, port 0; some thousands may come
    std::chrono::seconds ttl{0};           // the shortest of the records, aliases included; 0 for /etc/hosts
    std::vector<Service> services{};       // of resolve_service(): at least one. c-ares 1.18 tells no TTL of theirs
  };

  // An error is retryable() unless the name is known not to exist or cannot be a name.
  using Callback = std::function<void(Result<Answer>)>;

 private:
  class Channel;
  class Servers;
  struct Lookup;

 public:
  // An operation under way. Moving it moves the operation.
  class Query {
   public:
    Query() = default;
    Query(Query&& other) noexcept;
    Query& operator=(Query&& other) noexcept;
    ~Query() { cancel(); }
    void cancel();
    [[nodiscard]] bool active() const { return lookup_ != nullptr; }

   private:
    friend class Resolver;
    explicit Query(Lookup* lookup);
    Lookup* lookup_ = nullptr;
  };

  explicit Resolver(EventLoop& loop);
  Resolver(EventLoop& loop, Options options);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  [[nodiscard]] Query resolve(const std::string& name, Callback callback, Family family = Family::any);
  // The SRV records of "_http._tcp.app.svc". A service that is declared absent (target ".") is an error.
  [[nodiscard]] Query resolve_service(const std::string& name, Callback callback);

 private:
  std::unique_ptr<Channel> channel_;
};

}  // namespace edgemux::core
