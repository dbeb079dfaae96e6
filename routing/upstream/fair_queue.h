#pragma once
// FairQueue: whose turn it is where owners (tenants) share some places, and each has many items that want one. Owners
// have their turns one after the other, however many of their items wait; the items of one are served in order. No
// owner holds more places than it leaves free: one alone gets half of them, two a third each, so that who comes later
// finds a place at once. Pure.
//
// An item waits or holds a place once at a time, and leaves before it is destroyed.
//
// Threads: one at a time.

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

namespace edgemux::routing {

template <class Item>
class FairQueue {
 public:
  explicit FairQueue(std::size_t places) : free_(places) {}

  // Waits from now on; it must neither wait nor hold a place.
  void wait(std::string_view owner, Item& item) {
    Lane& lane = lanes_.try_emplace(std::string(owner)).first->second;
    lane.owner = owner;
    if (lane.waiting.empty()) lane.turn = turns_.insert(turns_.end(), &lane);
    entries_[&item] = {&lane, lane.waiting.insert(lane.waiting.end(), &item), false};
  }

  // The item whose turn it is; from now on it holds a place, until it leaves. Null: nobody may have one now.
  [[nodiscard]] Item* take() {
    for (Lane* lane : turns_) {
      if (lane->held >= free_) continue;  // each of these holds a place, so they are few
      Item* item = lane->waiting.front();
      entries_.at(item).holds = true;
      lane->waiting.pop_front();
      ++lane->held;
      --free_;
      turns_.erase(lane->turn);
      if (!lane->waiting.empty()) lane->turn = turns_.insert(turns_.end(), lane);
      return item;
    }
    return nullptr;
  }

  // Gives up its place or its turn, whichever it has, if any.
  void leave(const Item& item) {
    const auto entry = entries_.extract(&item);
    if (entry.empty()) return;
    auto& [lane, at, holds] = entry.mapped();
    if (holds) {
      --lane->held;
      ++free_;
    } else {
      lane->waiting.erase(at);
      if (lane->waiting.empty()) turns_.erase(lane->turn);
    }
    if (lane->held == 0 && lane->waiting.empty()) lanes_.erase(lane->owner);
  }

  [[nodiscard]] bool holds(const Item& item) const {
    const auto found = entries_.find(&item);
    return found != entries_.end() && found->second.holds;
  }

 private:
  struct Lane {
    std::string owner;
    std::list<Item*> waiting{};
    std::size_t held = 0;
    typename std::list<Lane*>::iterator turn{};  // while somebody waits
  };
  struct Entry {
    Lane* lane = nullptr;
    typename std::list<Item*>::iterator at{};  // while it waits
    bool holds = false;
  };

  std::size_t free_;
  std::unordered_map<std::string, Lane> lanes_;
  std::list<Lane*> turns_;  // those in which somebody waits
  std::unordered_map<const Item*, Entry> entries_;
};

}  // namespace edgemux::routing
