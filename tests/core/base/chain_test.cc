#include "core/base/chain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

namespace edgemux::core {
namespace {

struct Job {
  ChainLink<Job> all;
  ChainLink<Job> some;
};
using All = Chain<Job, &Job::all>;
using Some = Chain<Job, &Job::some>;

template <class List>
std::vector<const Job*> forward(const List& list) {
  std::vector<const Job*> out;
  for (const Job* job = list.first(); job != nullptr; job = List::after(*job)) out.push_back(job);
  return out;
}

template <class List>
std::vector<const Job*> backward(const List& list) {
  std::vector<const Job*> out;
  for (const Job* job = list.last(); job != nullptr; job = List::before(*job)) out.push_back(job);
  return out;
}

// Against a vector, in two chains at once.
TEST(Chain, IsWhatAVectorWouldBe) {
  std::array<Job, 12> jobs;
  All all;
  Some some;
  std::vector<const Job*> in_all;
  std::vector<const Job*> in_some;
  std::minstd_rand random(7);
  const auto flip = [](auto& list, std::vector<const Job*>& known, Job& job) {
    if (const auto at = std::find(known.begin(), known.end(), &job); at != known.end()) {
      known.erase(at);
      list.take(job);
    } else {
      known.push_back(&job);
      list.add(job);
    }
  };
  for (int step = 0; step < 5'000; ++step) {
    Job& job = jobs.at(random() % jobs.size());
    (random() & 16) != 0 ? flip(all, in_all, job) : flip(some, in_some, job);
    ASSERT_EQ(forward(all), in_all);
    ASSERT_EQ(forward(some), in_some);
    std::vector<const Job*> reversed(in_all.rbegin(), in_all.rend());
    ASSERT_EQ(backward(all), reversed);
    ASSERT_EQ(all.size(), in_all.size());
    ASSERT_EQ(all.empty(), in_all.empty());
  }
}

}  // namespace
}  // namespace edgemux::core
