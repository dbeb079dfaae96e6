#include "core/http/field.h"

#include <gtest/gtest.h>

#include <string>

#include "core/http/connection_options.h"
#include "core/http/message.h"

namespace edgemux::core {
namespace {

const struct {
  const char* name;
  FieldId id;
} kNames[] = {
    {"host", FieldId::host},
    {"connection", FieldId::connection},
    {"content-length", FieldId::content_length},
    {"transfer-encoding", FieldId::transfer_encoding},
    {"te", FieldId::te},
    {"trailer", FieldId::trailer},
    {"upgrade", FieldId::upgrade},
    {"keep-alive", FieldId::keep_alive},
    {"proxy-connection", FieldId::proxy_connection},
    {"http2-settings", FieldId::http2_settings},
    {"expect", FieldId::expect},
    {"forwarded", FieldId::forwarded},
    {"x-forwarded-for", FieldId::x_forwarded_for},
    {"x-forwarded-proto", FieldId::x_forwarded_proto},
    {"x-forwarded-host", FieldId::x_forwarded_host},
    {"x-forwarded-port", FieldId::x_forwarded_port},
    {"x-real-ip", FieldId::x_real_ip},
    {"x-request-id", FieldId::x_request_id},
    {"date", FieldId::date},
    {"server", FieldId::server},
    {"via", FieldId::via},
    {"location", FieldId::location},
    {"content-type", FieldId::content_type},
    {"cookie", FieldId::cookie},
    {"user-agent", FieldId::user_agent},
};

TEST(Field, EveryKnownNameHasItsId) {
  EXPECT_EQ(std::size(kNames), static_cast<std::size_t>(FieldId::user_agent));
  for (const auto& entry : kNames) {
    EXPECT_EQ(classify_field(entry.name), entry.id) << entry.name;
    std::string near = entry.name;
    near.back() = 'q';
    EXPECT_EQ(classify_field(near), FieldId::other) << near;
    EXPECT_EQ(classify_field(near + "q"), FieldId::other) << near;
  }
  EXPECT_EQ(classify_field(""), FieldId::other);
}

TEST(Field, AliasesOfManagedNames) {
  for (const auto& entry : kNames) {
    std::string alias = entry.name;
    const std::size_t dash = alias.find('-');
    if (dash == std::string::npos) continue;
    alias[dash] = '_';
    EXPECT_EQ(aliases_managed_field(alias), is_managed(entry.id)) << alias;
    EXPECT_FALSE(aliases_managed_field(entry.name)) << entry.name;
  }
  EXPECT_FALSE(aliases_managed_field("my_header"));
  EXPECT_FALSE(aliases_managed_field("a_very_long_name_of_a_field"));
}

TEST(FieldList, WhatAMessageBringsLeavesRoomForRules) {
  FieldList list;
  for (std::size_t i = 0; i < FieldList::kMostReceived; ++i) ASSERT_TRUE(list.receive({"a", "b"}));
  EXPECT_FALSE(list.receive({"a", "b"}));
  for (std::size_t i = 0; i < FieldList::kMostAdded; ++i) ASSERT_TRUE(list.add({"a", "b"}));
}

TEST(FieldList, HoldsItsCapacityAndCopiesWhatIsUsed) {
  FieldList list;
  for (std::size_t i = 0; i < FieldList::kCapacity; ++i) ASSERT_TRUE(list.add({"a", "b"}));
  EXPECT_FALSE(list.add({"a", "b"}));
  list.clear();
  EXPECT_TRUE(list.empty());
  list.add({"host", "x", FieldId::host});
  const FieldList copy = list;
  ASSERT_EQ(copy.size(), 1U);
  EXPECT_EQ(copy.find(FieldId::host)->value, "x");
  EXPECT_EQ(copy.find("host"), &copy[0]);
  EXPECT_EQ(copy.find("nope"), nullptr);
  EXPECT_EQ(copy.find(FieldId::te), nullptr);
}

TEST(ConnectionOptions, Tokens) {
  ConnectionOptions options;
  EXPECT_TRUE(options.add("Keep-Alive ,\t, UPGRADE,close"));
  EXPECT_TRUE(options.keep_alive && options.upgrade && options.close);
  EXPECT_EQ(options.listed_count, 0U);
  EXPECT_TRUE(options.add("X-A"));
  EXPECT_TRUE(options.lists({"x-a", ""}));
  EXPECT_FALSE(options.lists({"x-b", ""}));
  EXPECT_FALSE(options.add("a b"));
  EXPECT_FALSE(options.add("\"x\""));
}

TEST(ConnectionOptions, BoundsWhatIsListed) {
  ConnectionOptions options;
  for (std::size_t i = 0; i < ConnectionOptions::kMaxListed; ++i) EXPECT_TRUE(options.add("x"));
  EXPECT_FALSE(options.add("x"));
}

TEST(ConnectionOptions, WhatTheMessageIsCannotBeListedAway) {
  ConnectionOptions options;
  EXPECT_TRUE(options.add("host, content-length, transfer-encoding"));
  EXPECT_FALSE(options.lists({"host", "", FieldId::host}));
  EXPECT_FALSE(options.lists({"content-length", "", FieldId::content_length}));
  EXPECT_FALSE(options.lists({"transfer-encoding", "", FieldId::transfer_encoding}));
}

TEST(Method, TextAndBack) {
  for (const Method method : {Method::get, Method::head, Method::post, Method::put, Method::delete_, Method::options,
                              Method::patch, Method::trace, Method::connect}) {
    EXPECT_EQ(method_of(method_text(method)), method);
  }
  EXPECT_EQ(method_of("get"), Method::other);
  EXPECT_EQ(method_of(""), Method::other);
  EXPECT_EQ(method_text(Method::other), "");
}

}  // namespace
}  // namespace edgemux::core
