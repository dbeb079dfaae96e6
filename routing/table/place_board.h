#pragma once
// PlaceBoard: where the workers' pools of one upstream tell each other about places in limits.connections, which they
// share. A pool that finds none asks another one to give up a connection that idles; whoever gives up a place tells
// those that wait.
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
  class Member {
   public:
    virtual void on_place_freed() = 0;
    virtual void on_asked_for_place() = 0;

    std::atomic<std::uint32_t> waiting{0};  // requests
    std::atomic<std::uint32_t> idle{0};     // connections

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
    for (Member* member : members_) {
      if (member->waiting.load() != 0) member->on_place_freed();
    }
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
