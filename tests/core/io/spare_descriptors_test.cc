#include "core/io/spare_descriptors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/no_descriptors.h"

namespace edgemux::core {
namespace {

TEST(SpareDescriptors, AreThereWhenNoOtherIs) {
  SpareDescriptors spare(2);
  const test::NoDescriptors none;
  EXPECT_EQ(dup(0), -1);
  EXPECT_TRUE(spare.let_go());
  const int one = dup(0);
  EXPECT_GE(one, 0);
  EXPECT_TRUE(spare.let_go());
  const int two = dup(0);
  EXPECT_GE(two, 0);
  EXPECT_FALSE(spare.let_go());
  close(one);
  spare.refill();
  EXPECT_EQ(dup(0), -1);
  EXPECT_TRUE(spare.let_go());
  EXPECT_FALSE(spare.let_go()) << "the other one is still in use";
  close(two);
}

}  // namespace
}  // namespace edgemux::core
