#include "core/io/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace edgemux::core {

void Timer::cancel() {
  armed_ = false;
  if (link_ == nullptr) return;
  *link_ = next_;
  if (next_ != nullptr) next_->link_ = link_;
  link_ = nullptr;
  next_ = nullptr;
}

void TimerWheel::insert(Timer& timer, std::uint64_t tick) {
  tick = std::max(tick, current_);
  const std::uint64_t distance = tick - current_;
  unsigned level = 0;
  while (level + 1 < kLevels && distance >= (1ULL << (kBits * (level + 1)))) ++level;
  // Beyond the wheel's reach: as far as it goes; the timer is put on again from there.
  if (distance >= (1ULL << (kBits * kLevels))) tick = current_ + (1ULL << (kBits * kLevels)) - 1;
  const auto slot = static_cast<unsigned>(tick >> (kBits * level)) & (kSlots - 1);
  Timer*& head = wheel_[level][slot];
  timer.slot_tick_ = tick;
  timer.next_ = head;
  timer.link_ = &head;
  if (head != nullptr) head->link_ = &timer.next_;
  head = &timer;
  occupied_[level][slot / 64] |= 1ULL << (slot % 64);
}

void TimerWheel::arm(Timer& timer, std::uint64_t deadline) {
  timer.deadline_ = deadline;
  timer.armed_ = true;
  const std::uint64_t tick = tick_of(deadline);
  if (timer.link_ != nullptr) {
    if (tick >= timer.slot_tick_) return;  // the slot comes up first and moves it on
    timer.cancel();
    timer.armed_ = true;
  }
  insert(timer, tick);
}

void TimerWheel::cascade(unsigned level) {
  const auto slot = static_cast<unsigned>(current_ >> (kBits * level)) & (kSlots - 1);
  if (slot == 0 && level + 1 < kLevels) cascade(level + 1);
  Timer* list = wheel_[level][slot];
  wheel_[level][slot] = nullptr;
  occupied_[level][slot / 64] &= ~(1ULL << (slot % 64));
  while (list != nullptr) {
    Timer* timer = list;
    list = timer->next_;
    timer->link_ = nullptr;
    insert(*timer, tick_of(timer->deadline_));
  }
}

void TimerWheel::fire(std::uint64_t now) {
  const auto slot = static_cast<unsigned>(current_) & (kSlots - 1);
  Timer* due = wheel_[0][slot];
  if (due == nullptr) return;
  wheel_[0][slot] = nullptr;
  occupied_[0][slot / 64] &= ~(1ULL << (slot % 64));
  due->link_ = &due;  // callbacks may cancel what is still in this list
  // What is put on again while we fire belongs to a later tick, or it would be looked at in this very slot.
  ++current_;
  while (due != nullptr) {
    Timer* timer = due;
    due = timer->next_;
    if (due != nullptr) due->link_ = &due;
    timer->link_ = nullptr;
    timer->next_ = nullptr;
    if (timer->deadline_ > now) {
      insert(*timer, tick_of(timer->deadline_));
      continue;
    }
    timer->armed_ = false;
    timer->callback_(timer->owner_);
  }
  --current_;
}

void TimerWheel::advance(std::uint64_t now) {
  const std::uint64_t last = now / kTick;
  while (current_ <= last) {
    if ((current_ & (kSlots - 1)) == 0) cascade(1);
    // Jump over empty slots, up to the next cascade.
    const auto slot = static_cast<unsigned>(current_) & (kSlots - 1);
    const int distance = next_occupied(0, slot);
    const std::uint64_t boundary = (current_ | (kSlots - 1)) + 1;
    std::uint64_t next = distance < 0 ? boundary : std::min(current_ + static_cast<unsigned>(distance), boundary);
    next = std::min(next, last + 1);
    if (next > current_) {
      current_ = next;
      continue;
    }
    fire(now);
    ++current_;
  }
}

int TimerWheel::next_occupied(unsigned level, unsigned from) {
  auto& bits = occupied_[level];
  unsigned slot = from;
  for (unsigned seen = 0; seen < kSlots;) {
    const std::uint64_t word = bits[slot / 64] >> (slot % 64);
    if (word == 0) {
      const unsigned step = 64 - slot % 64;
      seen += step;
      slot = (slot + step) & (kSlots - 1);
      continue;
    }
    const auto skip = static_cast<unsigned>(std::countr_zero(word));
    seen += skip;
    slot += skip;
    if (seen >= kSlots) break;
    if (wheel_[level][slot] != nullptr) return static_cast<int>(seen);
    bits[slot / 64] &= ~(1ULL << (slot % 64));
  }
  return -1;
}

int TimerWheel::timeout(std::uint64_t now) {
  std::uint64_t best = UINT64_MAX;
  for (unsigned level = 0; level < kLevels; ++level) {
    const std::uint64_t base = current_ >> (kBits * level);
    // The slot that `current_` lies in has been cascaded, unless current_ is its very beginning.
    const bool at_start = level == 0 || (current_ & ((1ULL << (kBits * level)) - 1)) == 0;
    const std::uint64_t first = at_start ? base : base + 1;
    const int distance = next_occupied(level, static_cast<unsigned>(first) & (kSlots - 1));
    if (distance < 0) continue;
    best = std::min(best, (first + static_cast<unsigned>(distance)) << (kBits * level));
  }
  if (best == UINT64_MAX) return -1;
  const std::uint64_t at = best * kTick;
  if (at <= now) return 0;
  return static_cast<int>(std::min<std::uint64_t>(at - now, 60'000));
}

}  // namespace edgemux::core
