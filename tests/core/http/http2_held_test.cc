// Requests beyond those at a time that a new connection may begin: held, started in order, and given up.
#include <gmock/gmock.h>

#include <algorithm>

#include "tests/core/http/http2_conversation.h"

namespace edgemux::core {
namespace {

using namespace edgemux::test;  // NOLINT: frames read like text

class HeldRequests : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kStarted = 48;
  // As many as may be handed out; the next one is 97.
  void begin() {
    s.greet();
    std::string frames;
    for (std::uint32_t i = 0; i < kStarted; ++i) frames += headers(2 * i + 1, get());
    s.client_sends(frames);
    (void)s.seen();
    (void)s.sent();
  }
  // GET / over https; `fields` are the others.
  static std::string indexed_head(std::uint32_t id, const std::string& fields) {
    return frame(kHeaders, kEndHeaders | kEndStream, id, "\x82\x87\x84" + fields);
  }
  void start() {
    while (s.codec.startable()) s.codec.start_next();
  }
  void start_all() {
    for (StreamId stream = 1; stream <= kStarted; ++stream) s.answer(stream, 204, "");
    (void)s.sent();
    start();
  }
  void nothing_is_left() {
    EXPECT_FALSE(s.codec.holds());
    EXPECT_EQ(s.codec.held_cost(), 0U);
    EXPECT_EQ(s.codec.received(), 0U);
  }
  Http2ServerTalk s;
};

TEST_F(HeldRequests, StartInOrderAsSoonAsThereIsAPlace) {
  begin();
  s.client_sends(headers(97, get("/a?b")) + headers(99, get("/c")));
  EXPECT_EQ(s.seen(), "");
  EXPECT_TRUE(s.codec.holds());
  EXPECT_FALSE(s.codec.startable());
  s.answer(7, 200, "x");
  EXPECT_EQ(s.sent(), "HEADERS 13 {:status: 200, content-length: 1}\nDATA 13 x .");
  EXPECT_TRUE(s.codec.startable());
  s.client_sends(headers(101, get("/e")));
  EXPECT_EQ(s.seen(), "") << "nobody is overtaken";
  start();
  EXPECT_EQ(s.seen(), "<49 GET /a?b.>");
  s.answer(49, 200, "y");
  EXPECT_EQ(s.sent(), "HEADERS 97 {:status: 200, content-length: 1}\nDATA 97 y .");
  start();
  EXPECT_EQ(s.seen(), "<50 GET /c.>");
  s.client_sends(rst_stream(3, 8));
  EXPECT_EQ(s.seen(), "<2 reset>");
  start();
  EXPECT_EQ(s.seen(), "<7 GET /e.>");
  nothing_is_left();
}

TEST_F(HeldRequests, AreToldWhenTheyAreRefused) {
  begin();
  s.client_sends(headers(97, get("/a?b")) + headers(99, post("/c"), false) +
                 headers(101, get("/x", {{"connection", "x"}})));
  EXPECT_EQ(s.refused, (std::vector<std::string>{"broken"}));
  s.codec.refuse_held();
  s.codec.refuse_held();
  EXPECT_EQ(s.refused, (std::vector<std::string>{"broken", "POST /c", "GET /a?b"}));
  s.flush();
  EXPECT_EQ(s.sent(), "RST_STREAM 101 7\nRST_STREAM 99 7\nRST_STREAM 97 7");
  EXPECT_EQ(s.seen(), "");
  nothing_is_left();
}

TEST_F(HeldRequests, AreAHundredWithThoseThatAreStarted) {
  begin();
  s.client_sends(indexed_head(97, "\x41" + hpack_string("h")));
  for (std::uint32_t i = kStarted + 1; i < 100; ++i) s.client_sends(indexed_head(2 * i + 1, "\xbe"));
  EXPECT_EQ(s.sent(), "") << "none is refused";
  start_all();
  EXPECT_EQ(std::ranges::count(s.seen(), '<'), 48) << "and four wait";
  EXPECT_TRUE(s.codec.holds());
}

TEST_F(HeldRequests, AreTheSameAsOthers) {
  s.with_fields = true;
  Fields head = get("/head", {{"cookie", "a=1"}, {"cookie", "b=2"}, {"te", "trailers"}, {"priority", "u=1"}});
  head[0].second = "HEAD";
  const auto requests = [&](std::uint32_t id) {
    return headers(id, head) + headers(id + 2, post("/p?q", {{"content-length", "5"}}), false) + data(id + 2, "ab") +
           data(id + 2, "cde", true) + headers(id + 4, post("/open"), false) + headers(id + 6, post("/none"), false) +
           data(id + 6, "", true) + headers(id + 8, post("/more"), false) + data(id + 8, "h") + data(id + 8, "i", true);
  };
  Http2ServerTalk plain;
  plain.with_fields = true;
  plain.greet();
  plain.client_sends(requests(1));
  begin();
  s.client_sends(requests(97));
  EXPECT_EQ(s.seen(), "");
  start_all();
  std::string expected = plain.seen();
  for (int i = 5; i >= 1; --i) {  // the numbers of the slots
    const std::string from = "<" + std::to_string(i) + " ";
    const std::string to = "<" + std::to_string(48 + i) + " ";
    for (std::size_t at = 0; (at = expected.find(from, at)) != std::string::npos; at += to.size()) {
      expected.replace(at, from.size(), to);
    }
  }
  EXPECT_EQ(s.seen(), expected);
  nothing_is_left();
  s.client_sends(data(101, "fg") + data(101, "hi", true));
  EXPECT_EQ(s.seen(), "fghi.") << "what comes later goes straight through";
  s.head(49, 200, {BodyPlan::Kind::length, 10});
  s.codec.send_end(49);
  EXPECT_EQ(s.sent(), "HEADERS 97 . {:status: 200, content-length: 10}");
}

TEST_F(HeldRequests, MayBeWebSockets) {
  begin();
  const Fields connect = {{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"},
                          {":authority", "h"},    {":path", "/chat"},         {"sec-websocket-version", "13"}};
  s.client_sends(headers(97, connect, false) + headers(99, connect, false) + data(99, "early"));
  EXPECT_EQ(s.sent(), "RST_STREAM 99 1");
  start_all();
  EXPECT_EQ(s.seen(), "<49 GET /chat upgrade websocket>");
  nothing_is_left();
}

TEST_F(HeldRequests, MayBeTakenBackAndMayBeBroken) {
  begin();
  s.client_sends(headers(97, post("/a"), false) + data(97, "abc") + headers(99, get("/b")) +
                 headers(101, post("/c", {{"content-length", "2"}}), false) + data(101, "abc") +
                 headers(103, post("/d"), false) + headers(103, {{"t", "trailer"}}) + headers(105, get("/e")) +
                 headers(107, get("/f", {{"connection", "x"}})));
  EXPECT_EQ(s.sent(), "RST_STREAM 101 1\nRST_STREAM 103 7\nRST_STREAM 107 7");
  s.client_sends(rst_stream(97, 8) + rst_stream(105, 8));
  EXPECT_EQ(s.seen(), "") << "nobody knew of them";
  EXPECT_EQ(s.codec.received(), 0U);
  start_all();
  EXPECT_EQ(s.seen(), "<50 GET /b.>");
  nothing_is_left();
}

TEST_F(HeldRequests, ThatAreTakenBackAllTheTimeAreAFlood) {
  begin();
  std::uint32_t sent = 0;
  for (; !s.codec.finished() && sent < 1000; ++sent) {
    s.client_sends(headers(97 + 2 * sent, get()) + rst_stream(97 + 2 * sent, 8));
    s.flush();
  }
  EXPECT_LE(sent, 100U);
  EXPECT_EQ(s.why, "too many stream resets");
}

// ---- those of a client that has taken back several

class DoubtedRequests : public HeldRequests {
 protected:
  static constexpr std::uint32_t kBelieved = 5;
  void SetUp() override {
    s.greet();
    for (; id < 2 * kBelieved; id += 2) s.client_sends(headers(id, get()) + rst_stream(id, 8));
    (void)s.seen();
    (void)s.sent();
  }
  std::uint32_t id = 1;
};

TEST_F(DoubtedRequests, AreNeverSeenWhenTheyAreTakenBackAtOnce) {
  std::string frames;
  for (int i = 0; i < 20; ++i, id += 2) frames += headers(id, get("/a")) + rst_stream(id, 8);
  s.client_sends(frames + headers(id, get("/b")));
  EXPECT_EQ(s.seen(), "");
  start();
  EXPECT_EQ(s.seen(), "<21 GET /b.>");
  nothing_is_left();
}

TEST_F(DoubtedRequests, AreNotRefusedForTheirSize) {
  const std::string large(10'000, 'x');
  s.client_sends(headers(11, get("/1", {{"x", large}})) + headers(13, get("/2", {{"y", large}})));
  EXPECT_EQ(s.seen(), "<2 GET /2.>") << "that was too large to wait";
  start();
  EXPECT_EQ(s.seen(), "<1 GET /1.>");
  s.client_sends(headers(15, post("/3"), false) + data(15, std::string(16'000, '1')) +
                 data(15, std::string(16'000, '2')) + headers(17, post("/4"), false) + headers(17, {{"t", "trailer"}}));
  const std::string seen = s.seen();
  EXPECT_EQ(std::ranges::count(seen, '1'), 16'000);
  EXPECT_EQ(std::ranges::count(seen, '2'), 16'000);
  EXPECT_THAT(seen, ::testing::StartsWith("<3 POST /3>1"));
  EXPECT_THAT(seen, ::testing::EndsWith("<4 trailers t=trailer>")) << "trailers too";
  EXPECT_EQ(s.sent(), "");
  EXPECT_EQ(s.codec.received(), 16'000U) << "what was held is borrowed until more comes";
  s.client_sends("");
  nothing_is_left();
}

TEST_F(DoubtedRequests, AreBelievedAgainWhenOthersWereWanted) {
  for (int i = 0; i < 4; ++i, id += 2) {
    s.client_sends(headers(id, get("/wanted")));
    start();
    const std::string seen = s.seen();
    s.answer(static_cast<StreamId>(std::stoul(seen.substr(1))), 204, "");
    (void)s.sent();
  }
  s.client_sends(headers(id, get("/a")));
  EXPECT_THAT(s.seen(), ::testing::HasSubstr("GET /a"));
}

TEST_F(DoubtedRequests, AreGivenUpWhenNothingMoreComes) {
  s.client_sends(headers(11, post("/1"), false) + data(11, "some") + headers(13, get("/2")));
  s.codec.end_of_input();
  EXPECT_EQ(s.sent(), "RST_STREAM 11 8");
  start();
  EXPECT_THAT(s.seen(), ::testing::EndsWith("GET /2.>"));
  nothing_is_left();
}

TEST_F(DoubtedRequests, AreRefusedWithAReasonWhenTheyAreBroken) {
  s.client_sends(headers(11, get("/1", {{"connection", "x"}})));
  EXPECT_THAT(s.seen(), ::testing::StartsWith("<1 malformed 400")) << "as those of others";
}

TEST_F(HeldRequests, MayTakeLittle) {
  begin();
  const auto with = [](std::uint32_t id, char what, std::size_t size) {
    return headers(id, get("/", {{"x", std::string(size, what)}}));
  };
  s.client_sends(with(97, 'a', 10'000) + with(99, 'b', 10'000) + with(101, 'c', 1000));
  EXPECT_EQ(s.sent(), "RST_STREAM 99 7");
  EXPECT_GT(s.codec.held_cost(), 11'000U);
  s.client_sends(rst_stream(97, 8) + with(103, 'd', 10'000));
  EXPECT_EQ(s.sent(), "") << "what is taken back makes room";
  start_all();
  nothing_is_left();
}

// HPACK's table has it once, and so do they.
TEST_F(HeldRequests, ShareWhatTheyAllSay) {
  begin();
  const std::string token(1500, 't');
  s.client_sends(indexed_head(97, "\x41" + hpack_string("h") + "\x40" + hpack_string("x") + hpack_string(token)));
  const std::size_t one = s.codec.held_cost();
  EXPECT_GT(one, 1500U);
  for (std::uint32_t id = 99; id < 199; id += 2) s.client_sends(indexed_head(id, "\xbf\xbe"));
  EXPECT_EQ(s.sent(), "");
  const std::size_t all = s.codec.held_cost();
  EXPECT_LT(all, one + std::size_t{50} * 1500);
  // Whoever of them goes, it stays and is counted, until the last one has gone.
  for (std::uint32_t id = 97; id < 197; id += 2) {
    s.client_sends(rst_stream(id, 8));
    EXPECT_GT(s.codec.held_cost(), 1500U);
  }
  s.client_sends(rst_stream(197, 8));
  nothing_is_left();
}

TEST_F(HeldRequests, LeaveMostOfTheWindowToThoseThatAreStarted) {
  s.take_all = false;
  begin();
  s.client_sends(headers(97, post("/a"), false) + headers(99, post("/b"), false) + data(97, std::string(16'000, 'x')) +
                 data(99, std::string(8'000, 'y')));
  EXPECT_EQ(s.sent(), "");
  EXPECT_EQ(s.codec.received(), 24'000U);
  s.client_sends(data(99, std::string(1000, 'y')));
  EXPECT_EQ(s.sent(), "RST_STREAM 99 7");
  EXPECT_EQ(s.codec.received(), 16'000U);
  start_all();
  EXPECT_EQ(s.seen(), "<49 POST /a>" + std::string(16'000, 'x'));
  s.codec.consumed(49, 16'000);
  EXPECT_EQ(s.codec.received(), 0U);
}

// However much the held ones have sent, a body that others take comes through whole.
TEST_F(HeldRequests, DoNotStopThoseThatAreStarted) {
  s.greet();
  std::string frames = headers(1, post("/"), false);
  for (std::uint32_t i = 1; i < kStarted; ++i) frames += headers(2 * i + 1, get());
  s.client_sends(frames + headers(97, post("/a"), false) + data(97, std::string(16'000, 'x')) +
                 data(97, std::string(8'000, 'x')));
  int window = 65'536 - 24'000;
  int sent = 0;
  (void)s.sent();
  while (sent < 1'000'000 && window > 0) {
    const int size = std::min(window, 16'000);
    s.client_sends(data(1, std::string(static_cast<std::size_t>(size), 'y')));
    window -= size;
    sent += size;
    const std::string given = s.sent();
    const std::string_view connection = "WINDOW_UPDATE 0 ";
    if (const std::size_t at = given.find(connection); at != std::string::npos) {
      window += std::stoi(given.substr(at + connection.size()));
    }
  }
  EXPECT_GE(sent, 1'000'000);
}

TEST_F(HeldRequests, AreRefusedWhenTheirTimeIsOver) {
  begin();
  s.client_sends(headers(97, get("/a")) + headers(99, post("/b"), false));
  s.codec.tell_limit();
  s.flush();
  s.client_sends(headers(101, get("/c")) + rst_stream(101, 8));
  s.codec.end_early();
  EXPECT_EQ(s.sent(), "") << "they still wait";
  s.client_sends(headers(103, get("/d")));
  EXPECT_EQ(s.sent(), "RST_STREAM 103 7") << "but nobody else";
  while (s.codec.holds()) s.codec.refuse_held();
  EXPECT_EQ(s.sent(), "RST_STREAM 99 7\nRST_STREAM 97 7");
  start_all();
  EXPECT_EQ(s.seen(), "");
  nothing_is_left();
}

TEST_F(HeldRequests, AreHeldUntilTheClientKnowsTheLimit) {
  s.frames.with_settings = true;
  begin();
  s.codec.tell_limit();
  EXPECT_EQ(s.sent(), "SETTINGS");
  s.client_sends(headers(97, get("/a")));
  EXPECT_EQ(s.sent(), "");
  s.client_sends(settings_ack());
  start_all();
  EXPECT_EQ(s.seen(), "<49 GET /a.>");
  // Nobody may say twice that he knows, and begin more for that.
  std::string frames = settings_ack();
  for (std::uint32_t i = 49; i < 99; ++i) frames += headers(2 * i + 1, get());
  s.client_sends(frames);
  EXPECT_EQ(std::ranges::count(s.seen(), '<'), 47);
  EXPECT_EQ(s.sent(), "RST_STREAM 193 7\nRST_STREAM 195 7\nRST_STREAM 197 7");
}

TEST_F(HeldRequests, AreAnsweredInADrain) {
  begin();
  s.client_sends(headers(97, get("/a")));
  s.codec.close_after();
  s.codec.close_after();
  EXPECT_EQ(s.sent(), "GOAWAY 2147483647 0\nGOAWAY 97 0");
  start_all();
  EXPECT_FALSE(s.codec.finished());
  EXPECT_EQ(s.seen(), "<49 GET /a.>");
  s.answer(49, 204, "");
  EXPECT_TRUE(s.codec.finished());
}

TEST_F(HeldRequests, AreForgottenWithTheirConnection) {
  begin();
  s.client_sends(headers(97, post("/a"), false) + data(97, "abc"));
  s.codec.stop();
  EXPECT_FALSE(s.codec.startable());
}

}  // namespace
}  // namespace edgemux::core
