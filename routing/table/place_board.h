#pragma once
// PlaceBoard: where the workers' pools of one upstream tell each other about places in limits.connections, which they
// share. A pool that finds none asks another one to give up a connection that idles; whoever gives up a place tells
// the one that has waited longest.
//
// Thread safe. The calls to a member come on any thread and under the board's lock: a member only posts to its own loop
// there.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace edgemux::routing {

class PlaceBoard {
 public:
  static constexpr std::uint64_t kNever = UINT64_MAX;

  class Member {
   public:
    virtual void on_place_freed() = 0;
    virtual void on_asked_for_place() = 0;

    std::atomic<std::uint64_t> waits_since{kNever};  // the first of those that wait, in ms of the loops' clock
    std::atomic<std::uint32_t> idle{0};              // connections

   protected:
    ~Member() = default;
  };

  void join(Member& member) {
    const std::lock_guard lock(mutex_);
    members_.push_back(&member);
  }
  // No call reaches the member afterwards.
  void leave(Member& member) {
    const std::lock_guard lock(mutex_);
    std::erase(members_, &member);
  }

  void place_freed() {
    const std::lock_guard lock(mutex_);
    const auto first = std::min_element(members_.begin(), members_.end(), [](const Member* a, const Member* b) {
      return a->waits_since.load() < b->waits_since.load();
    });
    if (first != members_.end() && (*first)->waits_since.load() != kNever) (*first)->on_place_freed();
  }
  // Somebody who is not with `asking` waits since before `then`.
  bool anyone_waits_since_before(std::uint64_t then, const Member& asking) {
    const std::lock_guard lock(mutex_);
    return std::any_of(members_.begin(), members_.end(),
                       [&](const Member* member) { return member != &asking && member->waits_since.load() < then; });
  }
  // True: another member than the one that asks has an idle connection and was asked to close it.
  bool ask_for_place(const Member& asking) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(members_.begin(), members_.end(), [&asking](const Member* member) {
      return member != &asking && member->idle.load(std::memory_order_relaxed) != 0;
    });
    if (found == members_.end()) return false;
    (*found)->on_asked_for_place();
    return true;
  }

 private:
  std::mutex mutex_;
  std::vector<Member*> members_;
};

}  // namespace edgemux::routing
