#include "routing/table/rewrite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/routing/table/forwarded.h"

namespace edgemux::routing {
namespace {

using test::forwarded;
using ::testing::ElementsAre;

std::string replaced(const char* path, const char* matched, const char* replacement) {
  std::string out;
  replace_prefix(path, matched, replacement, out);
  return out;
}

// The table of HTTPPathModifier in the Gateway API, row by row. Rules keep their prefix without the '/' at its end, but
// either way gives the same.
TEST(ReplacePrefix, FollowsTheGatewayApiTable) {
  EXPECT_EQ(replaced("/foo/bar", "/foo", "/xyz"), "/xyz/bar");
  EXPECT_EQ(replaced("/foo/bar", "/foo", "/xyz/"), "/xyz/bar");
  EXPECT_EQ(replaced("/foo/bar", "/foo/", "/xyz"), "/xyz/bar");
  EXPECT_EQ(replaced("/foo/bar", "/foo/", "/xyz/"), "/xyz/bar");
  EXPECT_EQ(replaced("/foo", "/foo", "/xyz"), "/xyz");
  EXPECT_EQ(replaced("/foo/", "/foo", "/xyz"), "/xyz/");
  EXPECT_EQ(replaced("/foo/bar", "/foo", ""), "/bar");
  EXPECT_EQ(replaced("/foo/", "/foo", ""), "/");
  EXPECT_EQ(replaced("/foo", "/foo", ""), "/");
  EXPECT_EQ(replaced("/foo/", "/foo", "/"), "/");
  EXPECT_EQ(replaced("/foo", "/foo", "/"), "/");
}

TEST(ReplacePrefix, TheRootCoversEverything) {
  EXPECT_EQ(replaced("/a/b", "/", "/xyz"), "/xyz/a/b");
  EXPECT_EQ(replaced("/", "/", "/xyz"), "/xyz");
  EXPECT_EQ(replaced("/", "/", "/"), "/");
  EXPECT_EQ(replaced("/a/", "/", "/xyz/"), "/xyz/a/");
}

TEST(RewritePath, ReplacesWholeOrPartOrNothing) {
  const auto path = [](const Rewrite& rewrite) {
    std::string out;
    rewrite_path(rewrite, "/a/b", "/a", out);
    return out;
  };
  Rewrite rewrite;
  rewrite.host = "h";
  EXPECT_EQ(path(rewrite), "/a/b");
  rewrite.prefix = "/x";
  EXPECT_EQ(path(rewrite), "/x/b");
  rewrite.prefix.reset();
  rewrite.path = "/whole";
  EXPECT_EQ(path(rewrite), "/whole");
}

TEST(Modify, SetsAddsAndRemoves) {
  core::FieldList fields;
  for (const auto& [name, value] : {std::pair{"x-set", "old"},
                                    {"x-set", "older"},
                                    {"x-add", "1"},
                                    {"x-gone", "1"},
                                    {"x-kept", "1"},
                                    {"x-gone", "2"}}) {
    fields.add({name, value});
  }
  const HeaderModifier change{
      {{"x-set", "new"}, {"x-fresh", "f"}}, {{"x-add", "2"}, {"x-more", "m"}}, {"x-gone", "x-none"}};
  ASSERT_TRUE(modify(change, fields));
  EXPECT_THAT(forwarded(fields),
              ElementsAre("x-set: new", "x-add: 1", "x-kept: 1", "x-fresh: f", "x-add: 2", "x-more: m"));
}

// A client could otherwise take away what the operator sets, by listing it in Connection.
TEST(Modify, SetsWhatTheClientListedAway) {
  core::FieldList fields;
  fields.add({"x-env", "forged", core::FieldId::other, true});
  const HeaderModifier change{{{"x-env", "prod"}}, {}, {}};  // the list holds views of it
  ASSERT_TRUE(modify(change, fields));
  EXPECT_THAT(forwarded(fields), ElementsAre("x-env: prod"));
}

// CGI and WSGI make the same variable of both.
TEST(Modify, DropsWhatABackendWouldTakeForWhatIsSetOrRemoved) {
  const auto left = [](const HeaderModifier& change) {
    core::FieldList fields;
    for (const char* name : {"x_role", "x-role", "x_role_name", "x_debug", "x-debug-id", "my_own"})
      fields.add({name, "c"});
    fields.note_underscore();
    drop_aliases(change, fields);
    EXPECT_TRUE(modify(change, fields));
    return forwarded(fields);
  };
  const HeaderModifier dashes{{{"x-role", "r"}}, {{"my-own", "r"}}, {"x-debug"}};  // lists hold views of it
  EXPECT_THAT(left(dashes), ElementsAre("x-role: r", "x_role_name: c", "x-debug-id: c", "my_own: c", "my-own: r"));
  const HeaderModifier both{{{"x_role", "1"}, {"x-role", "2"}}, {}, {}, true};
  EXPECT_THAT(left(both),
              ElementsAre("x_role_name: c", "x_debug: c", "x-debug-id: c", "my_own: c", "x_role: 1", "x-role: 2"));
}

TEST(Modify, SaysThatTheListIsFull) {
  core::FieldList fields;
  for (std::size_t i = 0; i < core::FieldList::kCapacity; ++i) fields.add({"x", "1"});
  EXPECT_TRUE(modify({{{"x", "2"}}, {}, {}}, fields));
  EXPECT_FALSE(modify({{{"y", "2"}}, {}, {}}, fields));
  EXPECT_FALSE(modify({{}, {{"x", "2"}}, {}}, fields));
}

TEST(MayModify, KeepsFramingConnectionAndForwardingOut) {
  for (const char* name : {"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
                           "keep-alive", "expect", "x-forwarded-for", "forwarded", "x-request-id", "x_forwarded_for",
                           "transfer_encoding", "http2-settings", "proxy-connection"}) {
    EXPECT_FALSE(may_modify_request_field(name)) << name;
  }
  for (const char* name : {"x-env", "authorization", "cookie", "user-agent", "via", "x_env"}) {
    EXPECT_TRUE(may_modify_request_field(name)) << name;
  }
  for (const char* name : {"connection", "content-length", "transfer-encoding", "upgrade", "trailer", "keep-alive"}) {
    EXPECT_FALSE(may_modify_answer_field(name)) << name;
  }
  for (const char* name : {"server", "date", "location", "strict-transport-security", "x-request-id", "content-type"}) {
    EXPECT_TRUE(may_modify_answer_field(name)) << name;
  }
}

}  // namespace
}  // namespace edgemux::routing
