// FloodGuard by itself, and the floods against the server's codec: what is cut, after how much, and what is not.
#include "core/http/flood_guard.h"

#include "tests/core/http/http2_conversation.h"

namespace edgemux::core {
namespace {

using namespace edgemux::test;  // NOLINT: frames read like text
using Kind = FloodGuard::Kind;

// How many frames of a kind pass at one moment.
unsigned passes(FloodGuard& guard, Kind kind, std::uint64_t now) {
  unsigned count = 0;
  while (count < 100'000 && guard.note(kind, now) == nullptr) ++count;
  return count;
}

TEST(FloodGuard, EveryKindHasAnEndAndComesBackWithTime) {
  for (std::size_t i = 0; i < FloodGuard::kKinds; ++i) {
    const auto kind = static_cast<Kind>(i);
    FloodGuard guard(5000);
    const unsigned burst = passes(guard, kind, 5000);
    EXPECT_GE(burst, 20U);
    EXPECT_LE(burst, 200U);
    EXPECT_NE(guard.note(kind, 5000), nullptr);
    const unsigned later = passes(guard, kind, 7000);
    EXPECT_GT(later, 0U);
    EXPECT_LT(later, burst);
    EXPECT_EQ(passes(guard, kind, 100'000'000), burst) << "no more than the burst, however long the rest";
    EXPECT_EQ(passes(guard, kind, 99'000'000), 0U) << "a clock that goes back";
  }
}

TEST(FloodGuard, ResetsBothWaysAreOneBudgetThatAnswersEarn) {
  FloodGuard guard(0);
  for (int i = 0; i < 10'000; ++i) {
    guard.earn_answer();
    ASSERT_EQ(guard.note(Kind::reset, 0), nullptr) << "one reset for one answer is a way to work";
  }
  EXPECT_EQ(passes(guard, Kind::reset, 0), 95U);
}

TEST(FloodGuard, RefusalsAreABudgetOfTheirOwnThatAnswersEarn) {
  FloodGuard guard(0);
  const unsigned burst = passes(guard, Kind::refusal, 0);
  EXPECT_EQ(passes(guard, Kind::reset, 0), 96U);
  guard.earn_answer();
  EXPECT_EQ(passes(guard, Kind::refusal, 0), 4U);
  EXPECT_EQ(passes(guard, Kind::refusal, 1000), 50U);
  EXPECT_GT(burst, 52U + 52U) << "of a hundred requests before our SETTINGS come, and of each of them once more";
}

TEST(FloodGuard, WorkEarnsWhatGoesWithIt) {
  FloodGuard guard(0);
  for (const Kind kind : {Kind::window, Kind::control, Kind::priority, Kind::settings, Kind::tiny, Kind::empty}) {
    (void)passes(guard, kind, 0);
  }
  guard.earn_data(0);
  guard.earn_request();
  EXPECT_EQ(passes(guard, Kind::window, 0), 4U + 4U);
  EXPECT_EQ(passes(guard, Kind::control, 0), 1U);
  EXPECT_EQ(passes(guard, Kind::priority, 0), 4U);
  EXPECT_EQ(passes(guard, Kind::settings, 0), 0U);
  EXPECT_EQ(passes(guard, Kind::tiny, 0), 0U);
  EXPECT_EQ(passes(guard, Kind::empty, 0), 0U);
}

TEST(FloodGuard, ManyWindowsMayFollowMuchData) {
  FloodGuard guard(0);
  for (int i = 0; i < 1000; ++i) guard.earn_data(16 * 1024);
  EXPECT_EQ(passes(guard, Kind::window, 0), 150U + 1000 * (4 + 16))
      << "twice for each 2 KiB that the client reads, late";
  for (int i = 0; i < 100'000; ++i) guard.earn_data(16 * 1024);
  EXPECT_EQ(passes(guard, Kind::window, 0), FloodGuard::kMostWindows);
  EXPECT_EQ(passes(guard, Kind::window, 100'000'000), 150U) << "time gives no more than the burst";
}

TEST(FloodGuard, CrumbsMayLieBetweenGoodPieces) {
  FloodGuard guard(0);
  for (int i = 0; i < 10'000; ++i) {
    guard.earn_data(16 * 1024);
    ASSERT_EQ(guard.note(Kind::tiny, 0), nullptr);
  }
  EXPECT_EQ(passes(guard, Kind::tiny, 0), 49U);
  for (int i = 0; i < 10'000; ++i) guard.earn_data(FloodGuard::kBytesPerCrumb - 1);
  EXPECT_EQ(passes(guard, Kind::tiny, 0), 0U);
}

TEST(FloodGuard, MeasuresAStallFromTheLastProgress) {
  FloodGuard guard(0);
  EXPECT_EQ(guard.stalled_ms(100), 0U);
  guard.note_waiting(true, true, 100);
  guard.note_waiting(true, false, 400);
  EXPECT_EQ(guard.stalled_ms(600), 500U);
  guard.note_waiting(true, true, 700);
  EXPECT_EQ(guard.stalled_ms(800), 100U);
  guard.note_waiting(false, true, 900);
  EXPECT_EQ(guard.stalled_ms(10'000), 0U);
}

// ---- against the codec

struct Flood {
  const char* name;
  std::string once;                                   // behind the greeting
  std::function<std::string(std::uint32_t i)> frame;  // one or two frames per round
  unsigned frames = 1;                                // in a round
};

std::uint32_t odd(std::uint32_t i) { return 2 * i + 1; }

TEST(FloodGuard, CutsWithin200Frames) {
  const Flood floods[] = {
      {"rapid reset", "", [](std::uint32_t i) { return headers(odd(i), get()) + rst_stream(odd(i), kCancel); }, 2},
      {"MadeYouReset by windows", "",
       [](std::uint32_t i) { return headers(odd(i), get()) + window_update(odd(i), 0x7fffffff); }, 2},
      {"PING", "", [](std::uint32_t) { return ping(); }},
      {"PING acknowledged", "", [](std::uint32_t) { return ping("12345678", kAck); }},
      {"SETTINGS", "",
       [](std::uint32_t) {
         return settings({{4, 100}});
       }},
      {"empty SETTINGS", "", [](std::uint32_t) { return settings(); }},
      {"PRIORITY", "", [](std::uint32_t i) { return frame(kPriority, 0, odd(i), number(0, 4) + "x"); }},
      {"PRIORITY_UPDATE", "",
       [](std::uint32_t i) { return frame(kPriorityUpdate, 0, 0, number(odd(i % 20), 4) + "u=1"); }},
      {"empty DATA", headers(1, post(), false), [](std::uint32_t) { return data(1, ""); }},
      {"empty DATA in padding", headers(1, post(), false),
       [](std::uint32_t) { return frame(kData, kPadded, 1, std::string(1, '\x03') + std::string(3, '\0')); }},
      {"CONTINUATION", frame(kHeaders, kEndStream, 1, fields(get())),
       [](std::uint32_t) { return frame(kContinuation, 0, 1, field("a", "b")); }},
      {"empty CONTINUATION", frame(kHeaders, kEndStream, 1, fields(get())),
       [](std::uint32_t) { return frame(kContinuation, 0, 1, ""); }},
      {"WINDOW_UPDATE of the connection", "", [](std::uint32_t) { return window_update(0, 1); }},
      {"WINDOW_UPDATE of a stream", headers(1, get()), [](std::uint32_t) { return window_update(1, 1); }},
      {"unknown frames", "", [](std::uint32_t) { return frame(0xfe, 0, 0, "x"); }},
      {"GOAWAY", headers(1, get()), [](std::uint32_t) { return goaway(0, kNoError); }},
  };
  for (const Flood& flood : floods) {
    SCOPED_TRACE(flood.name);
    Http2ServerTalk s;
    s.greet();
    s.client_sends(flood.once);
    unsigned sent = 0;
    for (std::uint32_t i = 0; !s.codec.finished() && sent < 1000; ++i, sent += flood.frames) {
      s.client_sends(flood.frame(i));
      s.flush();
    }
    EXPECT_LE(sent, 200U);
    EXPECT_TRUE(s.seen().ends_with("<0 malformed 429>")) << s.why;
    const std::string last = s.sent();
    EXPECT_NE(last.find("GOAWAY"), std::string::npos);
    EXPECT_TRUE(last.ends_with(" 11")) << last;
    EXPECT_FALSE(s.why.empty());
  }
}

// CVE-2025-8671: the client never resets; it makes the server do it.
TEST(FloodGuard, CutsMalformedRequestsThatAreReset) {
  Http2ServerTalk s;
  s.when_malformed = [&s](StreamId stream, std::uint16_t) {
    if (stream != 0) s.codec.reset(stream, StreamError::protocol, Fault::client);
  };
  s.greet();
  unsigned sent = 0;
  for (std::uint32_t i = 0; !s.codec.finished() && i < 1000; ++i, ++sent) {
    s.client_sends(headers(odd(i), get("/", {{"Upper", "x"}})));
    s.flush();
  }
  EXPECT_LE(sent, 200U);
  EXPECT_TRUE(s.seen().ends_with("<0 malformed 429>"));
}

// Over HTTP/2 a refusal costs the client a little frame, and leaves the connection open.
TEST(FloodGuard, CutsMalformedRequestsThatAreAnswered) {
  for (const char* path : {"/", "x"}) {
    Http2ServerTalk s;
    s.when_malformed = [&s](StreamId stream, std::uint16_t status) {
      if (stream == 0) return;
      s.head(stream, status, {});
      s.codec.send_end(stream);
    };
    s.greet();
    unsigned sent = 0;
    for (std::uint32_t i = 0; !s.codec.finished() && i < 1000; ++i, ++sent) {
      s.client_sends(headers(odd(i), path[0] == '/' ? get("/", {{"a b", "x"}}) : get(path)));
      s.flush();
    }
    EXPECT_LE(sent, 200U);
    EXPECT_GE(sent, 50U);
    EXPECT_TRUE(s.seen().ends_with("<0 malformed 429>"));
  }
}

// How many answers, of which the client has got some, it breaks off at one moment before it is cut.
unsigned breaks_off(Http2ServerTalk& s, unsigned most) {
  std::vector<StreamId> asked;
  s.on_head = [&](StreamId stream, RequestHead&, bool) { asked.push_back(stream); };
  unsigned count = 0;
  while (count < most && !s.codec.finished()) {
    std::uint32_t first = count;
    for (; count < first + 40; ++count) s.client_sends(headers(odd(count), get()));
    while (s.codec.startable()) (void)s.codec.start_next();
    for (const StreamId stream : std::exchange(asked, {})) {
      s.head(stream, 200, {BodyPlan::Kind::length, 1000});
      s.codec.send_body(stream, {"x", 1});
    }
    s.flush();
    for (std::uint32_t i = first; i < count && !s.codec.finished(); ++i) s.client_sends(rst_stream(odd(i), kCancel));
  }
  return count;
}

// Whoever leaves a page full of pictures, four times in a row.
TEST(FloodGuard, LetsAGoodClientBreakOffWhatItHasGotSomeOf) {
  Http2ServerTalk s;
  s.greet();
  EXPECT_EQ(breaks_off(s, 160), 160U);
  ASSERT_FALSE(s.codec.finished()) << s.why;
  s.client_sends(headers(odd(160), get()) + rst_stream(odd(160), kCancel));
  EXPECT_FALSE(s.codec.finished()) << "they count apart from those that wait for no answer";
}

TEST(FloodGuard, CutsAClientThatAlwaysBreaksOffItsAnswers) {
  Http2ServerTalk s;
  s.greet();
  EXPECT_LE(breaks_off(s, 1000), 200U);
  EXPECT_EQ(s.why, "too many answers that are broken off");
  EXPECT_TRUE(s.sent().ends_with(" 11"));
}

// ---- requests beyond what is taken at a time

constexpr std::uint32_t kAtATime = 48;

// Before it has read our SETTINGS a client takes a hundred for granted (RFC 9113 6.5.2 recommends no fewer).
TEST(FloodGuard, LetsAGoodClientRepeatWhatWasRefusedBeforeItKnewTheLimit) {
  Http2ServerTalk s;
  s.client_sends(std::string(kPreface) + settings());
  s.codec.end_early();
  std::uint32_t id = 1;
  for (int i = 0; i < 100; ++i, id += 2) s.client_sends(headers(id, get()));
  s.flush();
  EXPECT_EQ(s.frames.read(s.wire.sent), [] {
    std::string text;
    for (std::uint32_t i = kAtATime; i < 100; ++i)
      text += (i > kAtATime ? "\n" : "") + ("RST_STREAM " + std::to_string(odd(i)) + " 7");
    return text;
  }());
  for (int i = 0; i < 52; ++i, id += 2) s.client_sends(headers(id, get()));
  s.flush();
  ASSERT_FALSE(s.codec.finished()) << s.why;
  s.client_sends(settings_ack());
  for (StreamId stream = 1; stream <= kAtATime; ++stream) s.answer(stream, 200, "x");
  for (std::uint32_t i = 0; i < kAtATime; ++i, id += 2) s.client_sends(headers(id, get()));
  s.flush();
  EXPECT_FALSE(s.codec.finished()) << s.why;
}

// Requests that its owner has no room for, again as soon as they come back, while one after the other gets through.
TEST(FloodGuard, LetsAGoodClientRepeatWhatIsRefusedUntilThereIsRoom) {
  Http2ServerTalk s;
  s.greet();
  StreamId taken = 0;
  s.on_head = [&](StreamId stream, RequestHead&, bool) {
    if (taken == 0) {
      taken = stream;
    } else {
      s.codec.reset(stream, StreamError::refused, Fault::client);
    }
  };
  std::uint32_t id = 1;
  for (int round = 0; round < 1000; ++round) {
    for (int i = 0; i < 5; ++i, id += 2) s.client_sends(headers(id, get()));
    s.flush();
    s.answer(std::exchange(taken, 0), 200, "x");
    ASSERT_FALSE(s.codec.finished()) << round << s.why;
    (void)s.sent();
  }
}

TEST(FloodGuard, CutsAClientThatAlwaysAsksForMoreThanIsTaken) {
  for (const bool knows : {false, true}) {
    SCOPED_TRACE(knows ? "what its owner has no room for" : "before our SETTINGS are acknowledged");
    Http2ServerTalk s;
    if (knows) {
      s.greet();
      s.on_head = [&](StreamId stream, RequestHead&, bool) {
        s.codec.reset(stream, StreamError::refused, Fault::client);
      };
    } else {
      s.client_sends(std::string(kPreface) + settings());
      s.codec.end_early();
    }
    unsigned sent = 0;
    for (; !s.codec.finished() && sent < 1000; ++sent) {
      s.client_sends(headers(odd(sent), get()));
      s.flush();
    }
    EXPECT_LE(sent, 200U);
    EXPECT_EQ(s.why, "too many requests beyond what is taken at a time");
    EXPECT_TRUE(s.sent().ends_with(" 11"));
  }
}

// An indexed field of 4 KiB costs one byte each time.
TEST(FloodGuard, CutsAnHpackBombBeforeItsBlockIsOver) {
  Http2ServerTalk s;
  s.greet();
  const std::string large(4000, 'x');
  const std::string enter = "\x40" + hpack_string("a") + hpack_string(large);
  s.client_sends(frame(kHeaders, kEndHeaders | kEndStream, 1, fields(get()) + enter));
  EXPECT_EQ(s.seen(), "<1 GET /.>");
  // Twice the limit is one refused request; sixty times is an attack.
  s.client_sends(frame(kHeaders, kEndHeaders | kEndStream, 3, fields(get()) + std::string(32, '\xbe')));
  EXPECT_EQ(s.seen(), "<2 malformed 431>");
  EXPECT_EQ(s.sent(), "");
  s.client_sends(frame(kHeaders, kEndHeaders | kEndStream, 5, fields(get()) + std::string(16'000, '\xbe')));
  EXPECT_EQ(s.seen(), "<0 malformed 429>");
  EXPECT_EQ(s.sent(), "GOAWAY 5 11");
}

TEST(FloodGuard, CutsWindowsThatAskForCrumbs) {
  Http2ServerTalk s;
  s.greet({{4, 0}});
  s.client_sends(headers(1, get()));
  s.head(1, 200, {BodyPlan::Kind::unknown, 0});
  const std::string body(60'000, 'x');
  s.codec.send_body(1, {body.data(), body.size()});
  s.flush();
  unsigned sent = 0;
  for (; !s.codec.finished() && sent < 1000; ++sent) s.client_sends(window_update(1, 1));
  EXPECT_LE(sent, 100U);
  EXPECT_EQ(s.why, "windows too small");
}

// A window of 65,535 bytes and frames of 16,384: who waits for it all the time, and gives back what came, gets single
// bytes between the frames.
TEST(FloodGuard, LetsAClientWorkWhoseWindowLeavesCrumbs) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, get()));
  s.head(1, 200, {BodyPlan::Kind::unknown, 0});
  const std::string body(60'000, 'x');
  for (std::uint32_t i = 0; i < 1000; ++i) {
    if (s.codec.pending(1) < 40'000) s.codec.send_body(1, {body.data(), body.size()});
    s.flush();
    const std::uint32_t size = i % 2 == 0 ? 1 : 16'384;
    s.client_sends(window_update(0, size) + window_update(1, size));
    ASSERT_FALSE(s.codec.finished()) << i << s.why;
  }
}

TEST(FloodGuard, TellsAPauseFromAnAttack) {
  const auto judged = [](std::uint32_t answers, bool taken, std::uint64_t ms) {
    Http2ServerTalk s;
    s.greet({{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}});
    for (std::uint32_t i = 0; i < answers; ++i) s.client_sends(headers(odd(i), get()));
    for (StreamId i = 1; i <= answers; ++i) s.answer(i, 200, "answer");
    s.flush();
    if (taken) s.client_sends(window_update(1, 1));
    s.flush();
    test_now_ms += ms;
    s.codec.judge_stall();
    return s.why;
  };
  EXPECT_EQ(judged(9, false, 1500), "asks for many answers and takes none");
  EXPECT_EQ(judged(9, false, 1400), "");
  EXPECT_EQ(judged(8, false, 60'000), "");
  EXPECT_EQ(judged(40, true, 60'000), "") << "who has taken a byte may pause";
}

TEST(FloodGuard, LetsABusyClientWork) {
  Http2ServerTalk s;
  s.greet();
  const std::string body(3000, 'x');
  for (std::uint32_t i = 0; i < 5000; ++i) {
    // A request, a PING for its answer, windows for both, a change of mind for every second one.
    s.client_sends(headers(odd(2 * i), get()) + frame(kPriorityUpdate, 0, 0, number(odd(2 * i), 4) + "u=1"));
    while (s.codec.startable()) s.codec.start_next();  // it takes back so much that it is not believed at once
    s.answer(1, 200, body);
    s.client_sends(ping() + window_update(0, 3000));
    s.client_sends(headers(odd(2 * i + 1), get()));
    s.client_sends(rst_stream(odd(2 * i + 1), kCancel));
    s.flush();
    ASSERT_FALSE(s.codec.finished()) << i << s.why;
    (void)s.sent();
  }
}

// As gRPC and Firefox do it, which have many calls to make and know nothing of the answers yet.
TEST(FloodGuard, EachRequestMayWidenItsWindow) {
  Http2ServerTalk s;
  s.greet();
  for (std::uint32_t i = 0; i < 100; ++i) {
    s.client_sends(headers(odd(i), get()) + window_update(odd(i), 65'536) + window_update(odd(i), 5) +
                   window_update(0, 5));
    ASSERT_FALSE(s.codec.finished()) << i << s.why;
  }
}

}  // namespace
}  // namespace edgemux::core
