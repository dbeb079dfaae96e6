#pragma once
// UploadPace: whether a request's body comes in as fast as it must (timeouts.request_body_rate). Values in, a verdict
// out; times are milliseconds of one clock.
//
// What does not come because this request's own upstream takes nothing is not held against the client: the upstream has
// deadlines of its own. What does not come because other bodies have used up the window that they share (HTTP/2) is
// excused for a while only, or a client could win time for one body with another: at most `most_excused`, which the
// time in which the rate is kept earns back.
//
// Once the answer has begun the two sides talk, and may be silent: then only quiet() counts.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace edgemux::listeners {

class UploadPace {
 public:
  enum class Held : std::uint8_t { nothing, by_upstream, by_window };
  static constexpr std::uint64_t kLeastJudged = 1'000;  // ms: a first byte right before the question is no rate

  void begin(std::uint64_t now) {
    *this = {};
    since_ = now;
  }
  // The first bytes begin the body: what was before them was no part of it.
  void add(std::size_t bytes, std::uint64_t now) {
    if (!std::exchange(begun_, true)) since_ = now;
    bytes_ += bytes;
  }
  // What was before does not count.
  void restart(std::uint64_t now) {
    since_ = now;
    bytes_ = kept_ = 0;
  }

  // Asked now and then. `rate`: bytes per second; 0 = any will do. `held`: what has kept the client from sending.
  bool too_slow(std::uint64_t now, std::uint64_t rate, Held held, std::uint64_t most_excused) {
    if (held == Held::by_upstream) restart(now);
    const std::uint64_t passed = now - since_;
    if (bytes_ * 1000 >= rate * passed) {
      excused_ -= std::min(excused_, passed - kept_);
      kept_ = passed;
      return false;
    }
    if (held == Held::nothing) return passed >= kLeastJudged;
    excused_ += passed - kept_;
    restart(now);
    return excused_ > most_excused;
  }

  // `moved`: bytes of both directions so far. True: none for `most`, as far as the questions before this one tell.
  bool quiet(std::uint64_t now, std::uint64_t moved, std::uint64_t most) {
    if (moved != moved_ || quiet_since_ == 0) {
      moved_ = moved;
      quiet_since_ = now;
    }
    return now - quiet_since_ >= most;
  }

 private:
  std::uint64_t since_ = 0;
  std::uint64_t bytes_ = 0;    // since then
  std::uint64_t kept_ = 0;     // ms since then in which the rate was kept
  std::uint64_t excused_ = 0;  // ms by the window, not earned back
  std::uint64_t moved_ = 0;
  std::uint64_t quiet_since_ = 0;  // 0 = not asked yet
  bool begun_ = false;
};

}  // namespace edgemux::listeners
