#include "listeners/saved_request.h"

#include <gtest/gtest.h>

#include <array>

namespace edgemux::listeners {
namespace {

using core::Field;
using core::FieldId;
using core::OutgoingRequest;

TEST(SavedRequest, GivesBackEverythingButHopByHopFields) {
  std::string own = "GET/pathq=1a.example.comwebsocketx-onefirst";  // overwritten below
  const std::string_view all = own;
  std::array<Field, 2> fields{
      {{all.substr(33, 5), all.substr(38, 5), FieldId::other, false}, {"connection", "x", FieldId::connection, true}}};
  std::array<Field, 2> added{{{"x-request-id", "abc", FieldId::x_request_id}, {"empty", "", FieldId::other}}};
  OutgoingRequest request;
  request.method = all.substr(0, 3);
  request.path = all.substr(3, 5);
  request.query = all.substr(8, 3);
  request.authority = all.substr(11, 13);
  request.upgrade_protocol = all.substr(24, 9);
  request.scheme = "https";
  request.has_query = request.has_content_length = request.te_trailers = true;
  request.framing = core::Framing::length;
  request.content_length = 1ULL << 40;
  request.kind = core::Method::get;
  request.fields = fields;
  request.added = added;

  SavedRequest saved;
  saved.save(request);
  own.assign(own.size(), '?');
  fields = {};
  added = {};
  const OutgoingRequest& got = saved.request();
  EXPECT_EQ(got.method, "GET");
  EXPECT_EQ(got.path, "/path");
  EXPECT_EQ(got.query, "q=1");
  EXPECT_EQ(got.authority, "a.example.com");
  EXPECT_EQ(got.upgrade_protocol, "websocket");
  EXPECT_EQ(got.scheme, "https");
  EXPECT_TRUE(got.has_query && got.has_content_length && got.te_trailers);
  EXPECT_EQ(got.framing, core::Framing::length);
  EXPECT_EQ(got.content_length, 1ULL << 40);
  EXPECT_EQ(got.kind, core::Method::get);
  ASSERT_EQ(got.fields.size(), 3U);
  EXPECT_EQ(got.fields[0].name, "x-one");
  EXPECT_EQ(got.fields[0].value, "first");
  EXPECT_EQ(got.fields[1].id, FieldId::x_request_id);
  EXPECT_EQ(got.fields[1].value, "abc");
  EXPECT_EQ(got.fields[2].name, "empty");
  EXPECT_EQ(got.fields[2].value, "");
  EXPECT_TRUE(got.added.empty());
}

TEST(SavedRequest, SavingItsOwnRequestKeepsItAndTheNextReplacesIt) {
  SavedRequest saved;
  OutgoingRequest request;
  request.method = "DELETE";
  request.path = "/a/much/longer/path/than/the/next/one";
  const Field field{"x-a", "1", FieldId::other, false};
  request.fields = {&field, 1};
  saved.save(request);
  saved.save(saved.request());
  EXPECT_EQ(saved.request().method, "DELETE");
  ASSERT_EQ(saved.request().fields.size(), 1U);
  EXPECT_EQ(saved.request().fields[0].value, "1");
  OutgoingRequest next;
  next.method = "GET";
  next.path = "/";
  saved.save(next);
  EXPECT_EQ(saved.request().method, "GET");
  EXPECT_EQ(saved.request().path, "/");
  EXPECT_TRUE(saved.request().fields.empty());
  EXPECT_FALSE(saved.request().has_query);
}

}  // namespace
}  // namespace edgemux::listeners
