#pragma once
// PlaceTurn: a tunnel's turn in the queue for a place in limits.connections, among the requests that wait for a
// connection, in order and for timeouts.pending.
//
// Use: UpstreamPool::wait_for_place(turn); then exactly one of the observer's calls, never from inside it. Destroying
// the turn, or leave(), takes it out of the queue. The pool lives for as long as somebody waits.

#include <string>

#include "core/io/timer_wheel.h"

namespace edgemux::routing {

class UpstreamPool;

class PlaceTurn {
 public:
  class Observer {
   public:
    // The place is taken, as by take_place(). The last statement of whoever calls: the turn may be gone afterwards.
    virtual void on_place() = 0;
    virtual void on_no_place(const std::string& why) = 0;

   protected:
    ~Observer() = default;
  };

  explicit PlaceTurn(Observer& observer);
  ~PlaceTurn() { leave(); }
  PlaceTurn(const PlaceTurn&) = delete;
  PlaceTurn& operator=(const PlaceTurn&) = delete;

  void leave();

 private:
  friend class UpstreamPool;
  void begin(UpstreamPool& pool);
  // It is out of the queue. The last statement, as on_place().
  void got_place();
  void timed_out();

  Observer& observer_;
  UpstreamPool* pool_ = nullptr;  // while it waits
  core::Timer deadline_;
};

}  // namespace edgemux::routing
