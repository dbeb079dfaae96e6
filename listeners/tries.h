#pragma once
// Tries: how long one request may take under its rule, and whether a try that failed is followed by another one
// (`timeouts` and `retry` of a rule). It decides and keeps the deadlines; the exchange does the sending.
//
// Order of calls: begin(); then for each try try_begins(), and answered() or one of the two retry questions; where that
// says yes, pause(), which ends with on_next_try(). end() at any time. Without begin(), or with a rule that says
// nothing, nothing happens and no try follows.

#include <cstdint>
#include <memory>

#include "core/http/message.h"
#include "core/io/timer_wheel.h"
#include "routing/table/action.h"
#include "routing/upstream/stream.h"

namespace edgemux::listeners {

// Repeating such a request does no harm (RFC 9110 9.2.2).
bool idempotent(core::Method method);

class Tries {
 public:
  class Observer {
   public:
    virtual void on_request_timeout() = 0;
    virtual void on_try_timeout() = 0;
    virtual void on_next_try() = 0;

   protected:
    ~Observer() = default;
  };

  Tries(core::TimerWheel& timers, Observer& observer);

  // `now`: milliseconds of the wheel. `filters`: outlives the request; null = the rule says nothing.
  void begin(const routing::Filters* filters, core::Method method, std::uint64_t now);
  void try_begins(std::uint64_t now);
  // The final head of the answer has come and goes to the client: no further try follows.
  void answered() {
    left_ = 0;
    if (deadlines_ != nullptr) deadlines_->step.cancel();
  }
  // The request cannot be sent again (its body is too large to be kept).
  void give_up_retries() { left_ = 0; }
  void end();

  // A further try is possible: the request must be kept.
  [[nodiscard]] bool may_follow() const { return left_ > 0; }
  // None of those that the rule asks for has been made.
  [[nodiscard]] bool first() const { return made_ == 0; }
  [[nodiscard]] bool follows(const routing::UpstreamFailure& failure) const;
  [[nodiscard]] bool follows(std::uint16_t status) const;
  void pause(std::uint64_t now, std::uint64_t random);

 private:
  // Most rules say nothing of tries: such an exchange has none of these.
  struct Deadlines {
    explicit Deadlines(Tries& tries);
    core::Timer request;
    core::Timer step;  // a try's deadline, or the pause before the next one
  };

  void step();
  Deadlines& deadlines();

  core::TimerWheel& timers_;
  Observer& observer_;
  const routing::Filters* filters_ = nullptr;
  std::unique_ptr<Deadlines> deadlines_;
  std::uint32_t left_ = 0;
  std::uint32_t made_ = 0;  // retries
  bool idempotent_ = false;
  bool pausing_ = false;
};

}  // namespace edgemux::listeners
