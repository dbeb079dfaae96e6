#pragma once
// TimerWheel: many deadlines, nearly none of which fire. Pure: time is what the caller says it is.
//
// Arming, moving and cancelling are O(1) and touch no memory but the timer. Moving a deadline later is one store: the
// timer stays in its slot and is put into the right one when that slot comes up (an idle deadline is moved with every
// byte). Deadlines fire never early, and at most one tick (8 ms) plus the loop's turn late.

#include <array>
#include <cstdint>

namespace edgemux::core {

class TimerWheel;

// A deadline in its owner. Not movable: the wheel points at it. Destroying it cancels it.
class Timer {
 public:
  using Callback = void (*)(void* owner);
  Timer(Callback callback, void* owner) : callback_(callback), owner_(owner) {}
  ~Timer() { cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void cancel();
  [[nodiscard]] bool armed() const { return armed_; }
  [[nodiscard]] std::uint64_t deadline() const { return deadline_; }

 private:
  friend class TimerWheel;
  Timer* next_ = nullptr;
  Timer** link_ = nullptr;  // what points at us; null = in no slot
  std::uint64_t deadline_ = 0;
  std::uint64_t slot_tick_ = 0;  // when our slot comes up
  Callback callback_;
  void* owner_;
  bool armed_ = false;
};

class TimerWheel {
 public:
  static constexpr std::uint64_t kTick = 8;  // ms

  explicit TimerWheel(std::uint64_t now = 0) : current_(now / kTick) {}

  // Arms or moves. `deadline` is in the milliseconds of advance(); one in the past fires at the next advance.
  void arm(Timer& timer, std::uint64_t deadline);

  // Fires everything due at `now`. Callbacks may arm, cancel and destroy timers, this one included.
  void advance(std::uint64_t now);

  // Milliseconds from `now` until advance() is worth calling; -1 = no timer at all. May be early, never late.
  [[nodiscard]] int timeout(std::uint64_t now);

 private:
  static constexpr unsigned kBits = 8;
  static constexpr unsigned kSlots = 1U << kBits;
  static constexpr unsigned kLevels = 4;

  static std::uint64_t tick_of(std::uint64_t deadline) { return (deadline + kTick - 1) / kTick; }
  void insert(Timer& timer, std::uint64_t tick);
  void cascade(unsigned level);
  void fire(std::uint64_t now);
  // Distance from slot `from` to the next slot of the level that holds a timer, 0..255; -1 = none. Forgets stale marks.
  int next_occupied(unsigned level, unsigned from);

  std::array<std::array<Timer*, kSlots>, kLevels> wheel_{};
  // A set bit: the slot may hold a timer. Cancelling does not clear it.
  std::array<std::array<std::uint64_t, kSlots / 64>, kLevels> occupied_{};
  std::uint64_t current_;  // the next tick to be looked at
};

}  // namespace edgemux::core
