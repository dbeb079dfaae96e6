#pragma once
// Connector: one connection to an upstream. Tries the endpoints one after the other, each with its own deadline,
// from `first` on and around, every one once; the first that stands wins. Where a name has addresses of both families,
// the other family is tried too when the first has not answered after kStagger, side by side (RFC 8305 5). When the
// other one stands first then, connections begin with it for the next kRemembered.
//
// Use: construct, start(), get exactly one of the observer's two calls (never from inside start()). Destroying it
// cancels. Who has to agree with the endpoint before it is of use (TLS) keeps the connector after on_connected(): if it
// comes to nothing by `attempt_ends()`, go_on() tries the next endpoint, and one of the two calls follows again.

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "core/base/metrics.h"
#include "core/io/event_loop.h"
#include "core/io/tcp_stream.h"
#include "routing/table/upstream.h"

namespace edgemux::routing {

struct ConnectFailure {
  // shortage: no descriptor or memory of our own; no endpoint was asked, nor would another one be.
  enum class Kind : std::uint8_t { no_endpoint, refused, timeout, tls, shortage };
  Kind kind = Kind::refused;  // of the last attempt
  std::string detail;         // every attempt: "10.0.0.7:80: Connection refused; 10.0.0.8:80: no answer within 3000 ms"
  unsigned attempts = 0;
  const Endpoint* last = nullptr;  // tried last; lives as long as the set
};

// Where a connection to endpoint `wanted` begins: there, or at the other family of its name while that is remembered to
// be the faster one. An empty set: `wanted`.
std::size_t first_choice(const EndpointSet& set, std::size_t wanted, std::uint64_t now);

class Connector final : private core::StreamObserver {
 public:
  class Observer {
   public:
    // `endpoint` lives as long as the set that the connector was given.
    virtual void on_connected(std::unique_ptr<core::TcpStream> stream, const Endpoint& endpoint, unsigned attempts) = 0;
    virtual void on_connect_failed(const ConnectFailure& failure) = 0;
    // One attempt failed; others may follow. Not to end the connector from.
    virtual void on_attempt_failed(const Endpoint& /*endpoint*/) {}
    // There is no descriptor or memory for an attempt: time to give away what can be done without. It is tried once
    // more in kSecondTry. Not to end the connector from.
    virtual void on_shortage() {}

   protected:
    ~Observer() = default;
  };

  Connector(core::EventLoop& loop, core::WorkerMetrics& metrics, Observer& observer,
            std::shared_ptr<const EndpointSet> endpoints, std::size_t first, std::chrono::milliseconds timeout,
            const std::optional<core::SocketAddress>& source = std::nullopt);
  ~Connector();
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;

  static constexpr std::uint64_t kStagger = 250;        // ms
  static constexpr std::uint64_t kRemembered = 60'000;  // ms
  static constexpr std::uint64_t kSecondTry = 20;       // ms

  // `speaks_first`: bytes of ours follow as soon as the connection stands.
  void start(bool speaks_first = true);
  // After on_connected(), whose connection has been given up: the endpoint counts as one that failed.
  void go_on(ConnectFailure::Kind kind, const std::string& why);
  // The endpoint that is asked for a connection, or has to be agreed with after on_connected(), and since when (loop
  // milliseconds). Null: none is.
  struct Aim {
    const Endpoint* endpoint = nullptr;
    std::uint64_t since = 0;
  };
  [[nodiscard]] Aim aim() const;
  // Loop milliseconds: when the time for the endpoint of on_connected() is over.
  [[nodiscard]] std::uint64_t attempt_ends() const { return standing_ends_; }
  [[nodiscard]] const std::shared_ptr<const EndpointSet>& endpoints() const { return endpoints_; }

 private:
  static constexpr std::size_t kMostAttempts = 8;
  // One connection in the making.
  struct Attempt {
    explicit Attempt(Connector& of)
        : owner(of), deadline([](void* self) { static_cast<Attempt*>(self)->timed_out(); }, this) {}
    void timed_out() { owner.timed_out(*this); }
    [[nodiscard]] bool running() const { return stream != nullptr; }
    Connector& owner;
    std::unique_ptr<core::TcpStream> stream;
    std::size_t endpoint = 0;  // its index
    std::uint64_t ends = 0;
    core::Timer deadline;
  };

  void on_ready(core::Stream& stream) override;
  void try_next();
  void try_other_family();
  enum class Begun : std::uint8_t { yes, failed, shortage };
  Begun begin(Attempt& attempt, std::size_t endpoint);
  Begun dial(Attempt& attempt, std::size_t endpoint);
  // What comes of an attempt of first_. False: the next endpoint is to be tried.
  [[nodiscard]] bool settle(Begun begun, std::size_t endpoint);
  void try_again();
  [[nodiscard]] bool tried(std::size_t endpoint) const;
  // Of the same name and the other family, and not tried yet; SIZE_MAX = none.
  [[nodiscard]] std::size_t other_family(std::size_t endpoint) const;
  void attempt_failed(std::size_t endpoint, core::ConnectResult result, const std::string& why);
  void note_failure(std::size_t endpoint, ConnectFailure::Kind kind, const std::string& why);
  void outpaced_by_other_family(const Endpoint& slow);
  void end(Attempt& attempt);
  void timed_out(Attempt& attempt);
  void report();

  core::EventLoop& loop_;
  core::WorkerMetrics& metrics_;
  Observer& observer_;
  std::shared_ptr<const EndpointSet> endpoints_;
  std::size_t next_;
  std::chrono::milliseconds timeout_;
  std::optional<core::SocketAddress> source_;
  std::array<std::size_t, kMostAttempts> tried_{};
  Attempt first_{*this};
  Attempt second_{*this};     // of the other family
  std::size_t standing_ = 0;  // the endpoint of on_connected()
  std::uint64_t standing_ends_ = 0;
  core::Timer stagger_;
  core::Timer second_try_;
  core::Deferred later_;
  ConnectFailure failure_;
  std::string shortage_;  // of the latest attempt
  bool speaks_first_ = true;
  bool tried_again_ = false;  // after a shortage
};

}  // namespace edgemux::routing
