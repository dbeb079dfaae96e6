// Http2Server, answers that are out before their requests are whole.
#include "tests/core/http/http2_conversation.h"

namespace edgemux::core {
namespace {

using namespace edgemux::test;  // NOLINT: frames read like text

constexpr BodyPlan kLengthUnknown = {BodyPlan::Kind::unknown, 0};

TEST(Http2Server, InterimAnswersTrailersAndEarlyAnswers) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, post("/u", {{"te", "trailers"}}), false) + data(1, "abc"));
  EXPECT_EQ(s.seen(), "<1 POST /u>abc");
  s.scratch.response.clear();
  s.scratch.response.status = 103;
  s.scratch.response.fields.add({"link", "</x>"});
  s.codec.send_informational(1, s.scratch.response);
  s.head(1, 200, kLengthUnknown);
  s.codec.send_body(1, {"ok", 2});
  FieldList trailers;
  trailers.add({"grpc-status", "0"});
  trailers.add({"content-length", "9", FieldId::content_length});
  s.codec.send_trailers(1, trailers);
  EXPECT_EQ(s.sent(),
            "HEADERS 1 {:status: 103, link: </x>}\nHEADERS 1 {:status: 200}\nDATA 1 ok\n"
            "HEADERS 1 . {grpc-status: 0}");
  s.client_sends(data(1, "late") + headers(3, get("/next")));
  EXPECT_EQ(s.seen(), "<2 GET /next.>") << "what comes late is nobody's";
  // The request is not whole and nobody wants the rest of it (RFC 9113 8.1). But first the client may read its answer.
  EXPECT_TRUE(s.codec.lingers());
  test_now_ms += MultiplexedServerCodec::kLinger - 1;
  s.codec.end_lingering();
  EXPECT_EQ(s.sent(), "");
  test_now_ms += 1;
  s.codec.end_lingering();
  EXPECT_EQ(s.sent(), "RST_STREAM 1 0");
  EXPECT_FALSE(s.codec.lingers());
}

TEST(Http2Server, ARequestThatEndsBehindItsAnswerIsNotReset) {
  Http2ServerTalk s;
  s.greet();
  s.client_sends(headers(1, post("/u"), false));
  s.answer(1, 200, "no");
  EXPECT_EQ(s.sent(), "HEADERS 1 {:status: 200, content-length: 2}\nDATA 1 no .");
  s.client_sends(data(1, "late", true));
  test_now_ms += MultiplexedServerCodec::kLinger;
  s.codec.end_lingering();
  EXPECT_EQ(s.sent(), "");
  EXPECT_EQ(s.seen(), "<1 POST /u>");
}

TEST(Http2Server, WhereMuchIsLeftOfARequestItIsResetUnlessItWasRefused) {
  const std::string piece(16'000, 'x');
  for (const auto status : {200, 413}) {
    for (const bool told : {true, false}) {
      Http2ServerTalk s;
      s.greet();
      auto fields = post("/u");
      if (told) fields.emplace_back("content-length", "1000000");
      s.client_sends(headers(1, fields, false));
      s.answer(1, static_cast<std::uint16_t>(status), "ok");
      EXPECT_EQ(s.sent().find("RST_STREAM 1 0") != std::string::npos, told && status == 200) << status;
      if (told && status == 200) continue;
      for (int i = 0; i < 4; ++i) s.client_sends(data(1, piece));
      EXPECT_EQ(s.sent().find("RST_STREAM"), std::string::npos) << status;
      s.client_sends(data(1, piece));
      EXPECT_EQ(s.sent().find("RST_STREAM 1 0") != std::string::npos, status == 200) << status;
    }
  }
}

TEST(Http2Server, RequestsThatWereAnsweredEarlyTakeNoPlace) {
  Http2ServerTalk s;
  s.greet();
  StreamId slot = 0;
  s.on_head = [&](StreamId stream, RequestHead&, bool) { slot = stream; };
  for (std::uint32_t n = 0; n < 40; ++n) {
    s.client_sends(headers(2 * n + 1, post("/u"), false));
    s.answer(slot, 200, "no");
  }
  // Of forty the first eight; whoever comes finds as many places as ever.
  std::string resets;
  const std::string sent = s.sent();
  for (int n = 0; n < 40; ++n) {
    const std::string reset = "RST_STREAM " + std::to_string(2 * n + 1) + " 0";
    EXPECT_EQ(sent.find(reset + "\n") != std::string::npos || sent.ends_with(reset), n < 8) << n;
  }
  // What is still sent is dropped, and its windows are given back.
  s.client_sends(data(79, std::string(16'000, 'x')) + data(79, std::string(16'000, 'x')) +
                 data(79, std::string(16'000, 'x')));
  const std::string given = s.sent();
  EXPECT_NE(given.find("WINDOW_UPDATE 0 "), std::string::npos) << given;
  EXPECT_NE(given.find("WINDOW_UPDATE 79 "), std::string::npos) << given;
}

}  // namespace
}  // namespace edgemux::core
