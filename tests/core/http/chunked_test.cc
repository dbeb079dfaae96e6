#include "core/http/chunked.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace edgemux::core {
namespace {

struct Outcome {
  std::string data;
  std::size_t consumed = 0;
  BodyState state = BodyState::more;
  std::string reason;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

// Feeds `input` in pieces of `piece` bytes; what is behind the body stays.
Outcome run(std::string_view input, std::size_t piece) {
  ChunkDecoder decoder;
  Outcome outcome;
  while (outcome.consumed < input.size()) {
    const BodyStep step = decoder.next(input.substr(outcome.consumed, piece));
    outcome.data += step.data;
    outcome.consumed += step.consumed;
    outcome.state = step.state;
    if (step.reason != nullptr) outcome.reason = step.reason;
    if (step.state != BodyState::more) break;
  }
  return outcome;
}

TEST(ChunkDecoder, GoodBodiesAtEveryCut) {
  const struct {
    std::string text, data;
  } table[] = {
      {"0\r\n\r\n", ""},
      {"5  \r\nhello\r\n0 \t\r\n\r\n", "hello"},
      {"5 ; a=b\r\nhello\r\n0\r\n\r\n", "hello"},
      {"5\r\nhello\r\n0\r\n\r\n", "hello"},
      {"5;a=b;c=\"d e\"\r\nhello\r\nA\r\n0123456789\r\n000\r\n\r\n", "hello0123456789"},
      {"1\r\n\n\r\n2\r\n\r\n\r\n0;x\r\nX-Trailer: v \xff\t\r\nB:\r\n\r\n", "\n\r\n"},
      {"0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n", "abc"},
  };
  for (const auto& c : table) {
    for (std::size_t piece = 1; piece <= c.text.size() + 4; ++piece) {
      const Outcome outcome = run(c.text + "next", piece);
      EXPECT_EQ(outcome.state, BodyState::done) << c.text << " " << outcome.reason;
      EXPECT_EQ(outcome.data, c.data) << c.text;
      EXPECT_EQ(outcome.consumed, c.text.size()) << c.text;
    }
  }
}

TEST(ChunkDecoder, RefusesByDutyAtEveryCut) {
  const struct {
    std::string text;
    const char* reason;
  } table[] = {
      {"5\nhello\r\n", "invalid chunk size"},
      {"5\rhello", "bare CR in a chunk line"},
      {"5\r\nhello\n0\r\n\r\n", "chunk longer than its size"},
      {"5\r\nhello\rX", "bare CR after a chunk"},
      {"5\r\nhelloX", "chunk longer than its size"},
      {"\r\n0\r\n\r\n", "invalid chunk size"},
      {";a\r\n", "invalid chunk size"},
      {" 5\r\n", "invalid chunk size"},
      {"5 5\r\n", "invalid chunk size"},
      {"5 \n", "invalid chunk size"},
      {"5" + std::string(300, ' ') + "\r\n", "chunk extension too long"},
      {"+5\r\n", "invalid chunk size"},
      {"-5\r\n", "invalid chunk size"},
      {"0x5\r\n", "invalid chunk size"},
      {"g\r\n", "invalid chunk size"},
      {"8000000000000000\r\n", "chunk size too large"},
      {"00000000000000005\r\n", "chunk size too large"},
      {"FFFFFFFFFFFFFFFFF\r\n", "chunk size too large"},
      {"5;a\nhello\r\n", "invalid chunk extension"},
      {std::string("5;\0\r\n", 5), "invalid chunk extension"},
      {"5;" + std::string(257, 'a') + "\r\n", "chunk extension too long"},
      {"0\r\n\n", "invalid trailer"},
      {"0\r\n\rX", "bare CR after the last chunk"},
      {"0\r\n: a\r\n\r\n", "invalid trailer"},
      {"0\r\nX : a\r\n\r\n", "invalid trailer"},
      {"0\r\nX\r\n\r\n", "invalid trailer"},
      {"0\r\nX: a\n\r\n", "invalid trailer"},
      {"0\r\nX: a\rb", "bare CR in a trailer"},
      {"0\r\nX: a\r\n b\r\n\r\n", "invalid trailer"},
      {"0\r\nX: " + std::string(8200, 'a') + "\r\n\r\n", "trailers too long"},
  };
  for (const auto& c : table) {
    const Outcome whole = run(c.text, c.text.size());
    EXPECT_EQ(whole.state, BodyState::error) << c.text;
    EXPECT_EQ(whole.reason, c.reason) << c.text;
    const std::size_t longest = c.text.size() < 40 ? c.text.size() : 3;
    for (std::size_t piece = 1; piece < longest; ++piece)
      EXPECT_EQ(run(c.text, piece), whole) << c.text << " " << piece;
  }
}

TEST(ChunkDecoder, BoundsAreNotCrossedByGoodBodies) {
  EXPECT_EQ(run("1;" + std::string(256, 'a') + "\r\nx\r\n1;" + std::string(256, 'b') + "\r\ny\r\n0\r\n\r\n", 7).data,
            "xy");
  std::string trailers;
  for (int i = 0; i < 100; ++i) trailers += "X-" + std::string(70, 'a') + ": b\r\n";
  EXPECT_EQ(run("0\r\n" + trailers + "\r\n", 64).state, BodyState::done);
  for (int i = 0; i < 20; ++i) trailers += "X-" + std::string(70, 'a') + ": b\r\n";
  EXPECT_EQ(run("0\r\n" + trailers + "\r\n", 64).reason, "trailers too long");
}

TEST(ChunkDecoder, LargestSizeIsTakenAsItIs) {
  ChunkDecoder decoder;
  EXPECT_EQ(decoder.next("7fffffffffffffff\r\n").state, BodyState::more);
  EXPECT_EQ(decoder.next("abc").data, "abc");
  EXPECT_FALSE(decoder.done());
}

TEST(ChunkDecoder, AfterAnErrorItStaysRefused) {
  ChunkDecoder decoder;
  EXPECT_EQ(decoder.next("x").state, BodyState::error);
  EXPECT_EQ(decoder.next("0\r\n\r\n").state, BodyState::error);
}

TEST(BodyReader, None) {
  BodyReader body(Framing::none, 0);
  EXPECT_TRUE(body.done());
  EXPECT_EQ(body.next("abc").consumed, 0U);
  EXPECT_EQ(body.next("abc").state, BodyState::done);
  EXPECT_TRUE(BodyReader(Framing::length, 0).done());
  EXPECT_TRUE(BodyReader().done());
}

TEST(BodyReader, Length) {
  BodyReader body(Framing::length, 5);
  BodyStep step = body.next("abc");
  EXPECT_EQ(step.state, BodyState::more);
  EXPECT_EQ(step.data, "abc");
  EXPECT_EQ(body.remaining(), 2U);
  EXPECT_FALSE(body.end_of_input());
  step = body.next("defg");
  EXPECT_EQ(step.state, BodyState::done);
  EXPECT_EQ(step.data, "de");
  EXPECT_EQ(step.consumed, 2U);
  EXPECT_TRUE(body.end_of_input());
}

TEST(BodyReader, Chunked) {
  BodyReader body(Framing::chunked, 0);
  EXPECT_EQ(body.next("3\r\nabc\r\n").data, "abc");
  EXPECT_FALSE(body.end_of_input());
  EXPECT_EQ(body.next("\r\n").state, BodyState::more);
  const BodyStep step = body.next("0\r\n\r\nGET");
  EXPECT_EQ(step.state, BodyState::done);
  EXPECT_EQ(step.consumed, 5U);
  EXPECT_TRUE(body.done());
}

TEST(BodyReader, UntilClose) {
  BodyReader body(Framing::until_close, 0);
  EXPECT_EQ(body.next("anything").data, "anything");
  EXPECT_FALSE(body.done());
  EXPECT_TRUE(body.end_of_input());
  EXPECT_TRUE(body.done());
}

TEST(ChunkPrefix, RoundTrip) {
  for (const std::uint64_t size :
       {std::uint64_t{1}, std::uint64_t{15}, std::uint64_t{16}, std::uint64_t{65536}, ~std::uint64_t{0}}) {
    char out[kMaxChunkPrefix];
    const std::size_t length = write_chunk_prefix(size, out);
    ASSERT_LE(length, sizeof out);
    const std::string line(out, length);
    EXPECT_TRUE(line.ends_with("\r\n"));
    EXPECT_EQ(std::stoull(line, nullptr, 16), size);
    EXPECT_NE(line.front(), '0');
  }
}

}  // namespace
}  // namespace edgemux::core
