#include "core/io/output.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace edgemux::core {
namespace {

// Takes as many bytes of each write as it is told.
class Sink final : public Stream {
 public:
  std::string got;
  std::size_t room = SIZE_MAX;  // left before `again`
  std::size_t most_pieces = 0;
  int error = 0;

  void set_observer(StreamObserver*) override {}
  IoResult read(std::span<char>) override { return {}; }
  [[nodiscard]] bool readable() const override { return false; }
  IoResult write(std::span<const iovec> pieces) override {
    most_pieces = std::max(most_pieces, pieces.size());
    if (error != 0) return {IoStatus::error, 0, error};
    std::size_t taken = 0;
    for (const auto& piece : pieces) {
      const std::size_t n = std::min(room, piece.iov_len);
      got.append(static_cast<const char*>(piece.iov_base), n);
      room -= n;
      taken += n;
    }
    return taken > 0 ? IoResult{IoStatus::ok, taken, 0} : IoResult{IoStatus::again, 0, 0};
  }
  [[nodiscard]] bool broken() const override { return false; }
  [[nodiscard]] std::size_t unsent() const override { return 0; }
  void shutdown_write() override {}
  void abort() override {}
};

TEST(Output, SendsComposedAndBorrowedBytesInOrderWithOneWrite) {
  BlockPool pool;
  Output output(pool);
  Sink sink;
  const std::string body(5000, 'b');
  output.append("head\r\n");
  std::memcpy(output.reserve(100), "more", 4);
  output.commit(4);
  output.borrow(body);
  output.append("\r\n");
  EXPECT_EQ(output.pending(), 6 + 4 + 5000 + 2U);
  const IoResult result = output.flush(sink);
  EXPECT_EQ(result.status, IoStatus::ok);
  EXPECT_EQ(result.bytes, 5012U);
  EXPECT_EQ(sink.got, "head\r\nmore" + body + "\r\n");
  EXPECT_EQ(sink.most_pieces, 3U);
  EXPECT_TRUE(output.empty());
}

TEST(Output, CopiesLittlePiecesIntoOneContiguousSend) {
  BlockPool pool;
  Output output(pool);
  Sink sink;
  output.append("head\r\n");
  output.borrow(std::string_view("the body"));
  output.append("\r\n");
  ASSERT_EQ(output.flush(sink).status, IoStatus::ok);
  EXPECT_EQ(sink.got, "head\r\nthe body\r\n");
  EXPECT_EQ(sink.most_pieces, 1U);
}

TEST(Output, BorrowedMemoryIsFreeWhenFlushReturns) {
  BlockPool pool;
  Output output(pool);
  Sink sink;
  sink.room = 5;
  {
    std::string body(5000, 'x');
    output.append("abc");
    output.borrow(body);
    output.append("xyz");
    EXPECT_EQ(output.flush(sink).status, IoStatus::again);
    body.assign(5000, '!');
  }
  EXPECT_EQ(output.pending(), 5006 - 5U);
  EXPECT_EQ(output.flush(sink).status, IoStatus::again);
  sink.room = SIZE_MAX;
  EXPECT_EQ(output.flush(sink).status, IoStatus::ok);
  EXPECT_EQ(sink.got, "abc" + std::string(5000, 'x') + "xyz");
}

TEST(Output, KeepCopiesWhatIsBorrowed) {
  BlockPool pool;
  Output output(pool);
  Sink sink;
  {
    std::string body(3 * BlockPool::kSize + 7, 'b');
    output.borrow(body);
    output.keep();
    body.assign(body.size(), '?');
  }
  ASSERT_EQ(output.flush(sink).status, IoStatus::ok);
  EXPECT_EQ(sink.got, std::string(3 * BlockPool::kSize + 7, 'b'));
}

TEST(Output, TakesHeadsLargerThanABlock) {
  BlockPool pool;
  Output output(pool);
  Sink sink;
  const std::string big(5 * BlockPool::kSize, 'h');
  output.append("first ");
  std::memcpy(output.reserve(big.size()), big.data(), big.size());
  output.commit(big.size());
  output.append(" last");
  ASSERT_EQ(output.flush(sink).status, IoStatus::ok);
  EXPECT_EQ(sink.got, "first " + big + " last");
}

TEST(Output, StealMovesEverything) {
  BlockPool pool;
  Output from(pool);
  Output to(pool);
  Sink sink;
  const std::string body = "borrowed";
  from.append("composed ");
  from.borrow(body);
  to.steal(from);
  EXPECT_TRUE(from.empty());
  from.append("other");
  ASSERT_EQ(to.flush(sink).status, IoStatus::ok);
  ASSERT_EQ(from.flush(sink).status, IoStatus::ok);
  EXPECT_EQ(sink.got, "composed borrowedother");
}

TEST(Output, SaysWhenTheStreamIsBroken) {
  BlockPool pool;
  Output output(pool);
  Sink sink;
  sink.error = EPIPE;
  output.append("bytes");
  const IoResult result = output.flush(sink);
  EXPECT_EQ(result.status, IoStatus::error);
  EXPECT_EQ(result.error, EPIPE);
}

TEST(Output, SendsMoreThanOneWriteTakesPieces) {
  BlockPool pool;
  Output output(pool);
  Sink sink;
  std::string expected;
  std::vector<std::string> bodies;
  for (int i = 0; i < 200; ++i) bodies.push_back("<" + std::to_string(i) + ">");
  for (const auto& body : bodies) {
    output.append("-");
    output.borrow(body);
    expected += "-" + body;
  }
  ASSERT_EQ(output.flush(sink).status, IoStatus::ok);
  EXPECT_EQ(sink.got, expected);
}

// Blocks that are not given back show: the pool hands the same few out again and again, and the address sanitizer
// counts what is lost; blocks given back twice show as two outputs writing into each other.
TEST(Output, AgreesWithAStringOverRandomOperations) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
    BlockPool pool;
    struct Side {
      explicit Side(BlockPool& blocks) : output(blocks) {}
      Output output;
      Sink sink;
      std::string expected;
    };
    Side a(pool);
    Side b(pool);
    for (int step = 0; step < 400; ++step) {
      Side& side = below(2) == 0 ? a : b;
      std::string bytes(below(5) == 0 ? below(200'000) : below(300), static_cast<char>('a' + below(26)));
      std::vector<std::string> borrowed;
      const std::size_t pieces = below(4);
      for (std::size_t i = 0; i < pieces; ++i) {
        switch (below(3)) {
          case 0:
            side.output.append(bytes);
            side.expected += bytes;
            break;
          case 1: {
            char* room = side.output.reserve(bytes.size() + below(100));
            std::memcpy(room, bytes.data(), bytes.size());
            const std::size_t used = bytes.size() - (bytes.empty() ? 0 : below(bytes.size()));
            side.output.commit(used);
            side.expected += bytes.substr(0, used);
            break;
          }
          default:
            borrowed.push_back(bytes);
            break;
        }
      }
      for (const auto& text : borrowed) {
        side.output.borrow(text);
        side.expected += text;
      }
      if (below(5) == 0) side.output.keep();
      if (below(40) == 0) {
        side.output.clear();
        side.expected.resize(side.sink.got.size());
      }
      side.sink.room = below(3) == 0 ? SIZE_MAX : below(100'000);
      const IoResult result = side.output.flush(side.sink);
      ASSERT_EQ(result.status == IoStatus::ok, side.output.empty());
      ASSERT_EQ(side.sink.got.size() + side.output.pending(), side.expected.size());
      borrowed.clear();
    }
    for (Side* side : {&a, &b}) {
      side->sink.room = SIZE_MAX;
      ASSERT_EQ(side->output.flush(side->sink).status, IoStatus::ok);
      ASSERT_TRUE(side->sink.got == side->expected) << "seed " << seed;
    }
  }
}

// At rest an output owns nothing: one block goes round among many outputs.
TEST(Output, GivesItsBlocksBack) {
  BlockPool pool;
  char* const only = pool.take();
  pool.give(only);
  std::vector<std::unique_ptr<Output>> outputs;
  for (int i = 0; i < 100; ++i) {
    outputs.push_back(std::make_unique<Output>(pool));
    Output& output = *outputs.back();
    Sink sink;
    sink.room = static_cast<std::size_t>(i);
    const std::string body(50, 'b');
    output.append("head");
    output.borrow(body);
    (void)output.flush(sink);
    sink.room = SIZE_MAX;
    ASSERT_EQ(output.flush(sink).status, IoStatus::ok);
    // keep() may take a second block while it copies, then both are back.
    char* one = pool.take();
    char* two = pool.take();
    EXPECT_TRUE(one == only || two == only) << i;
    pool.give(two);
    pool.give(one);
  }
}

}  // namespace
}  // namespace edgemux::core
