#include "routing/upstream/fair_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace edgemux::routing {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Queue = FairQueue<const std::string>;
using Items = std::vector<std::string>;

void wait_all(Queue& queue, std::string_view owner, const Items& items) {
  for (const auto& item : items) queue.wait(owner, item);
}

// Those who get a place now, in order.
Items served(Queue& queue) {
  Items out;
  while (const std::string* item = queue.take()) out.push_back(*item);
  return out;
}

Items numbered(const std::string& prefix, int count) {
  Items out;
  for (int i = 0; i < count; ++i) out.push_back(prefix + std::to_string(i));
  return out;
}

TEST(FairQueue, OwnersTakeTurnsAndItemsOfOneAreServedInOrder) {
  Queue queue(100);
  const Items a{"a1", "a2", "a3"};
  const Items b{"b1"};
  const Items c{"c1", "c2"};
  wait_all(queue, "a", a);
  wait_all(queue, "b", b);
  wait_all(queue, "", c);
  EXPECT_THAT(served(queue), ElementsAre("a1", "b1", "c1", "a2", "c2", "a3"));
}

TEST(FairQueue, OneAloneHoldsHalfOfThePlaces) {
  Queue queue(8);
  const Items a = numbered("a", 20);
  wait_all(queue, "a", a);
  EXPECT_THAT(served(queue), ElementsAre("a0", "a1", "a2", "a3"));
  queue.leave(a[2]);
  EXPECT_THAT(served(queue), ElementsAre("a4"));
}

TEST(FairQueue, WhoComesLaterFindsAPlaceAtOnce) {
  Queue queue(8);
  const Items a = numbered("a", 20);
  const Items b = numbered("b", 20);
  wait_all(queue, "a", a);
  EXPECT_EQ(served(queue).size(), 4U);
  wait_all(queue, "b", b);
  EXPECT_THAT(served(queue), ElementsAre("b0", "b1"));
  // What the first gives up does not come back to it while it has more than its part.
  queue.leave(a[0]);
  EXPECT_THAT(served(queue), ElementsAre("b2"));
  queue.leave(a[1]);
  EXPECT_THAT(served(queue), ElementsAre("a4"));
  EXPECT_THAT(served(queue), IsEmpty());  // three each, and two that are free for others
  const Items c{"c0"};
  wait_all(queue, "c", c);
  EXPECT_THAT(served(queue), ElementsAre("c0"));
}

TEST(FairQueue, TheOnlyPlaceGoesRound) {
  Queue queue(1);
  const Items a{"a1", "a2"};
  const Items b{"b1"};
  wait_all(queue, "a", a);
  wait_all(queue, "b", b);
  EXPECT_THAT(served(queue), ElementsAre("a1"));
  queue.leave(a[0]);
  EXPECT_THAT(served(queue), ElementsAre("b1"));
  queue.leave(b[0]);
  EXPECT_THAT(served(queue), ElementsAre("a2"));
}

TEST(FairQueue, WhoLeavesIsNotServedAndMayComeAgain) {
  Queue queue(4);
  const Items a{"a1", "a2", "a3"};
  wait_all(queue, "a", a);
  queue.leave(a[0]);
  queue.leave(a[0]);
  EXPECT_THAT(served(queue), ElementsAre("a2", "a3"));
  EXPECT_TRUE(queue.holds(a[1]));
  EXPECT_FALSE(queue.holds(a[0]));
  queue.leave(a[1]);
  EXPECT_FALSE(queue.holds(a[1]));
  queue.wait("a", a[1]);
  EXPECT_FALSE(queue.holds(a[1]));
  EXPECT_THAT(served(queue), ElementsAre("a2"));
  for (const auto& item : a) queue.leave(item);
  wait_all(queue, "b", a);
  EXPECT_THAT(served(queue), ElementsAre("a1", "a2"));
}

}  // namespace
}  // namespace edgemux::routing
