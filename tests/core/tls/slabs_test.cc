#include "core/tls/slabs.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace edgemux::core {
namespace {

// Each test in a thread of its own, which begins with what the one before it left.
template <class Body>
void in_a_thread(Body body) {
  std::thread(body).join();
}

TEST(Slabs, BlocksOfEverySizeHoldWhatIsWrittenIntoThem) {
  in_a_thread([] {
    struct Block {
      unsigned char* data;
      std::size_t size;
      unsigned char mark;
    };
    std::mt19937 random(7);
    std::vector<Block> blocks;
    for (int i = 0; i < 40'000; ++i) {
      if (!blocks.empty() && random() % 3 == 0) {
        std::swap(blocks[random() % blocks.size()], blocks.back());
        const Block gone = blocks.back();
        for (std::size_t k = 0; k < gone.size; ++k) ASSERT_EQ(gone.data[k], gone.mark);
        blocks.pop_back();
        Slabs::give(gone.data);
        continue;
      }
      const std::size_t size = random() % 8 == 0 ? Slabs::kLargeFrom + 1 + random() % 1024 : random() % 1025;
      ASSERT_TRUE(Slabs::holds(size));
      auto* data = static_cast<unsigned char*>(Slabs::take(size));
      ASSERT_NE(data, nullptr);
      ASSERT_TRUE(Slabs::owns(data));
      ASSERT_GE(Slabs::size_of(data), size);
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(data) % 16, 0U);
      const auto mark = static_cast<unsigned char>(random());
      std::memset(data, mark, size);
      blocks.push_back({data, size, mark});
    }
    for (const Block& block : blocks) {
      for (std::size_t k = 0; k < block.size; ++k) ASSERT_EQ(block.data[k], block.mark);
      Slabs::give(block.data);
    }
  });
}

TEST(Slabs, OwnNothingElse) {
  in_a_thread([] {
    int on_the_stack = 0;
    const auto on_the_heap = std::make_unique<int>(1);
    EXPECT_FALSE(Slabs::owns(&on_the_stack));
    EXPECT_FALSE(Slabs::owns(on_the_heap.get()));
    EXPECT_FALSE(Slabs::owns(nullptr));
    EXPECT_FALSE(Slabs::holds(Slabs::kSmall + 1));
    EXPECT_FALSE(Slabs::holds(Slabs::kLargeTo + 1));
  });
}

TEST(Slabs, LoseLittleToPadding) {
  in_a_thread([] {
    const std::size_t before = Slabs::slabs();
    std::vector<void*> blocks;
    std::size_t bytes = 0;
    for (int i = 0; i < 2000; ++i) {
      for (const std::size_t size : {112U, 960U, 7608U, 32U}) {
        blocks.push_back(Slabs::take(size));
        bytes += size;
      }
    }
    const std::size_t used = (Slabs::slabs() - before) * Slabs::kSlab;
    EXPECT_GE(used + 16 * Slabs::kSlab, bytes) << "counts nothing";
    EXPECT_LE(used, bytes + bytes / 10);
    for (void* block : blocks) Slabs::give(block);
    EXPECT_LE(Slabs::slabs(), before + 16) << "empty slabs go back";
  });
}

TEST(Slabs, ABlockThatAnotherThreadGivesBackIsUsedAgain) {
  in_a_thread([] {
    std::set<void*> taken;
    for (int i = 0; i < 1000; ++i) taken.insert(Slabs::take(500));
    const std::size_t before = Slabs::slabs();
    for (int round = 0; round < 10; ++round) {
      std::thread([&] {
        for (void* block : taken) Slabs::give(block);
      }).join();
      taken.clear();
      for (int i = 0; i < 1000; ++i) taken.insert(Slabs::take(500));
      EXPECT_EQ(taken.size(), 1000U) << "no block twice";
    }
    EXPECT_LE(Slabs::slabs(), before + 2);
    for (void* block : taken) Slabs::give(block);
  });
}

TEST(Slabs, ThreadsGiveEachOthersBlocksBackAtTheSameTime) {
  constexpr int kThreads = 4;
  constexpr int kBlocks = 5000;
  std::vector<std::vector<unsigned char*>> taken(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kBlocks; ++i) {
        taken[static_cast<std::size_t>(t)].push_back(static_cast<unsigned char*>(Slabs::take(64)));
        std::memset(taken[static_cast<std::size_t>(t)].back(), t, 64);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  threads.clear();
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      // A share of everybody's, while others give theirs back and new ones are taken.
      std::vector<void*> own;
      for (int from = 0; from < kThreads; ++from) {
        for (int i = t; i < kBlocks; i += kThreads) {
          unsigned char* block = taken[static_cast<std::size_t>(from)][static_cast<std::size_t>(i)];
          EXPECT_EQ(block[63], from);
          Slabs::give(block);
          own.push_back(Slabs::take(64));
        }
      }
      for (void* block : own) Slabs::give(block);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(Slabs, AThreadsLeavingsAreTakenOver) {
  std::size_t after_first = 0;
  for (int round = 0; round < 50; ++round) {
    in_a_thread([] {
      for (int i = 0; i < 100; ++i) Slabs::give(Slabs::take(256));
    });
    if (round == 0) after_first = Slabs::slabs();
  }
  EXPECT_LE(Slabs::slabs(), after_first + 1);
}

}  // namespace
}  // namespace edgemux::core
