#pragma once
// Chain: objects in the order in which they came, linked through a member of their own: adding, taking out and going
// from one to the next are a few stores each, and nothing is allocated.
//
//   struct Job { ChainLink<Job> queue; };
//   Chain<Job, &Job::queue> jobs;
//
// Owns nothing: an object is taken out before it goes, and is in at most one chain per link. Not thread safe.

#include <cstddef>

namespace edgemux::core {

template <class T>
struct ChainLink {
  T* before = nullptr;
  T* after = nullptr;
};

template <class T, ChainLink<T> T::*Link>
class Chain {
 public:
  [[nodiscard]] bool empty() const { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return size_; }
  // Null at the ends.
  [[nodiscard]] T* first() const { return first_; }
  [[nodiscard]] T* last() const { return last_; }
  [[nodiscard]] static T* after(const T& one) { return (one.*Link).after; }
  [[nodiscard]] static T* before(const T& one) { return (one.*Link).before; }

  void add(T& one) {
    one.*Link = {last_, nullptr};
    (last_ == nullptr ? first_ : (last_->*Link).after) = &one;
    last_ = &one;
    ++size_;
  }
  void take(T& one) {
    const ChainLink<T> link = one.*Link;
    (link.before == nullptr ? first_ : (link.before->*Link).after) = link.after;
    (link.after == nullptr ? last_ : (link.after->*Link).before) = link.before;
    one.*Link = {};
    --size_;
  }

 private:
  T* first_ = nullptr;
  T* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace edgemux::core
