#include "routing/table/cors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/routing/table/forwarded.h"

namespace edgemux::routing {
namespace {

using test::forwarded;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

core::FieldList preflight(std::string_view origin, std::string_view method = "PUT",
                          std::string_view headers = "x-a,x-b") {
  core::FieldList fields;
  if (!origin.empty()) fields.add({"origin", origin});
  if (!method.empty()) fields.add({"access-control-request-method", method});
  if (!headers.empty()) fields.add({"access-control-request-headers", headers});
  return fields;
}

std::vector<std::string> preflight_answer(const Cors& cors, std::string_view origin) {
  const auto request = preflight(origin);
  core::FieldList answer;
  answer_preflight(cors, request, answer);
  return forwarded(answer);
}

std::vector<std::string> shared(const Cors& cors, std::string_view origin) {
  core::FieldList answer;
  answer.add({"access-control-allow-origin", "https://the-upstreams-own"});
  answer.add({"x-kept", "1"});
  share_answer(cors, origin, answer);
  return forwarded(answer);
}

Cors listed() {
  Cors cors;
  cors.origins = {{"https://a.example", "", false}, {"https://", ".b.example:8443", true}};
  cors.methods = "GET, PUT";
  cors.headers = "x-a";
  cors.expose = "x-e";
  cors.max_age = "600";
  return cors;
}

TEST(Preflight, IsAnOptionsWithOriginAndRequestedMethod) {
  EXPECT_EQ(preflight_method(core::Method::options, preflight("https://a")), "PUT");
  EXPECT_EQ(preflight_method(core::Method::options, preflight("")), "");
  EXPECT_EQ(preflight_method(core::Method::options, preflight("https://a", "")), "");
  EXPECT_EQ(preflight_method(core::Method::get, preflight("https://a")), "");
}

TEST(Preflight, ListsWhatTheOriginMayDo) {
  EXPECT_THAT(preflight_answer(listed(), "https://a.example"),
              ElementsAre("vary: Origin", "access-control-allow-origin: https://a.example",
                          "access-control-allow-methods: GET, PUT", "access-control-allow-headers: x-a",
                          "access-control-max-age: 600"));
}

TEST(Preflight, ForOthersSaysNothing) {
  EXPECT_THAT(preflight_answer(listed(), "https://evil.example"), ElementsAre("vary: Origin"));
}

TEST(Preflight, StarsWithoutCredentialsAreForAll) {
  Cors cors;
  cors.any_origin = cors.any_method = cors.any_header = true;
  cors.methods = cors.headers = "*";
  EXPECT_THAT(preflight_answer(cors, "null"),
              ElementsAre("access-control-allow-origin: *", "access-control-allow-methods: *",
                          "access-control-allow-headers: *", "access-control-max-age: 5"));
}

// Fetch, "CORS non-wildcard request-header name".
TEST(Preflight, AStarDoesNotHideTheNamesBesideIt) {
  Cors cors;
  cors.any_origin = cors.any_header = true;
  cors.headers = "*, authorization";
  EXPECT_THAT(preflight_answer(cors, "https://x"),
              ElementsAre("access-control-allow-origin: *", "access-control-allow-headers: *, authorization",
                          "access-control-max-age: 5"));
}

// Browsers take '*' literally where credentials go along, so that it would admit nothing.
TEST(Preflight, StarsWithCredentialsAreSpelledOut) {
  Cors cors;
  cors.any_origin = cors.any_method = cors.any_header = cors.credentials = true;
  cors.methods = cors.headers = "*";
  EXPECT_THAT(preflight_answer(cors, "https://x"),
              ElementsAre("vary: Origin", "access-control-allow-origin: https://x",
                          "access-control-allow-credentials: true", "vary: access-control-request-method",
                          "vary: access-control-request-headers", "access-control-allow-methods: PUT",
                          "access-control-allow-headers: x-a,x-b", "access-control-max-age: 5"));
}

TEST(Origins, CompareWhole) {
  const Cors cors = listed();
  EXPECT_TRUE(admits_origin(cors, "https://a.example"));
  EXPECT_TRUE(admits_origin(cors, "https://A.example"));
  EXPECT_FALSE(admits_origin(cors, "http://a.example"));
  EXPECT_FALSE(admits_origin(cors, "https://a.example:443"));
  EXPECT_FALSE(admits_origin(cors, "https://a.example.evil.example"));
  EXPECT_FALSE(admits_origin(cors, "null"));
  EXPECT_FALSE(admits_origin(cors, ""));
}

TEST(Origins, AWildcardIsLabelsInFront) {
  const Cors cors = listed();
  EXPECT_TRUE(admits_origin(cors, "https://x.b.example:8443"));
  EXPECT_TRUE(admits_origin(cors, "https://x.y.b.example:8443"));
  EXPECT_FALSE(admits_origin(cors, "https://b.example:8443"));
  EXPECT_FALSE(admits_origin(cors, "https://.b.example:8443"));
  EXPECT_FALSE(admits_origin(cors, "https://x.b.example"));
  EXPECT_FALSE(admits_origin(cors, "https://evil/x.b.example:8443"));
  EXPECT_FALSE(admits_origin(cors, "https://evil:1@x.b.example:8443"));
}

TEST(Answer, IsSharedWithAdmittedOriginsOnly) {
  EXPECT_THAT(shared(listed(), "https://a.example"),
              ElementsAre("x-kept: 1", "vary: Origin", "access-control-allow-origin: https://a.example",
                          "access-control-expose-headers: x-e"));
  EXPECT_THAT(shared(listed(), "https://evil.example"), ElementsAre("x-kept: 1", "vary: Origin"));
  EXPECT_THAT(shared(listed(), ""), ElementsAre("x-kept: 1", "vary: Origin"));
}

TEST(Answer, WithoutRoomForWhatIsSharedIsNone) {
  const auto fits = [](const Cors& cors, std::size_t room) {
    core::FieldList answer;
    while (answer.size() < core::FieldList::kCapacity - room) answer.add({"x-kept", "1"});
    return share_answer(cors, "https://a.example", answer);
  };
  for (const std::size_t room : {0U, 1U, 2U}) EXPECT_FALSE(fits(listed(), room)) << room;
  EXPECT_TRUE(fits(listed(), 3));
  Cors all;
  all.any_origin = true;
  EXPECT_FALSE(fits(all, 0));
  EXPECT_TRUE(fits(all, 1));
}

TEST(Answer, ForAllNeedsNoVary) {
  Cors cors;
  cors.any_origin = true;
  EXPECT_THAT(shared(cors, "https://x"), ElementsAre("x-kept: 1", "access-control-allow-origin: *"));
  EXPECT_THAT(shared(cors, ""), ElementsAre("x-kept: 1", "access-control-allow-origin: *"))
      << "caches give it to others";
  cors.credentials = true;
  EXPECT_THAT(shared(cors, "https://x"),
              ElementsAre("x-kept: 1", "vary: Origin", "access-control-allow-origin: https://x",
                          "access-control-allow-credentials: true"));
}

}  // namespace
}  // namespace edgemux::routing
