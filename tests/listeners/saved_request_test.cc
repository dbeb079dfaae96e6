#include "listeners/saved_request.h"

#include <gtest/gtest.h>

#include <string>

namespace edgemux::listeners {
namespace {

using core::Field;
using core::FieldId;

std::string text_of(const core::OutgoingRequest& r) {
  std::string text = std::string(r.method) + " " + std::string(r.scheme) + "://" + std::string(r.authority) +
                     std::string(r.path) + (r.has_query ? "?" + std::string(r.query) : "") + " " +
                     std::string(r.upgrade_protocol) + " " + std::to_string(static_cast<int>(r.framing)) + " " +
                     std::to_string(r.content_length) + (r.has_content_length ? " length" : "") +
                     (r.te_trailers ? " te" : "") + (r.never_indexed ? " never indexed" : "");
  for (const auto list : {r.fields, r.added}) {
    for (const Field& field : list) {
      if (field.hop_by_hop) continue;
      text += " " + std::string(field.name) + "=" + std::string(field.value) + "/" +
              std::to_string(static_cast<int>(field.id)) + (field.never_indexed ? " never indexed" : "");
    }
  }
  return text;
}

class SavedRequestTest : public ::testing::Test {
 protected:
  SavedRequestTest() {
    out_.method = "POST";
    out_.kind = core::Method::post;
    out_.path = "/a";
    out_.has_query = true;
    out_.authority = "h.example";
    out_.scheme = "https";
    out_.fields = fields_;
    out_.added = added_;
    out_.framing = core::Framing::length;
    out_.content_length = 7;
    out_.has_content_length = true;
    out_.te_trailers = true;
    out_.never_indexed = fields_[0].never_indexed = true;
  }

  Field fields_[3] = {{"x-a", "b"}, {"x-b", "dropped", FieldId::other, true}, {"host", "", FieldId::host}};
  Field added_[1] = {{"x-request-id", "1", FieldId::x_request_id}};
  core::OutgoingRequest out_;
  SavedRequest saved_;
  std::vector<Field> into_;
};

TEST_F(SavedRequestTest, GivesBackWhatWasSaved) {
  saved_.save(out_);
  EXPECT_EQ(text_of(saved_.request(into_)), text_of(out_));
  EXPECT_EQ(saved_.request(into_).kind, core::Method::post);
  EXPECT_LT(saved_.size(), 100U);
  out_.upgrade_protocol = "websocket";
  out_.has_query = out_.never_indexed = false;
  out_.fields = {};
  saved_.save(out_);
  EXPECT_EQ(text_of(saved_.request(into_)), text_of(out_)) << "a later one leaves nothing of the one before";
}

TEST_F(SavedRequestTest, HasRoomForMoreFieldsThanAHeadMayBringAndOurs) {
  std::vector<Field> many(core::FieldList::kCapacity, {"n", "v"});
  out_.fields = many;
  saved_.save(out_);
  EXPECT_EQ(saved_.request(into_).fields.size(), core::FieldList::kCapacity + 1);
}

TEST_F(SavedRequestTest, SavingWhatItGaveChangesNothing) {
  saved_.save(out_);
  saved_.save(saved_.request(into_));
  EXPECT_EQ(text_of(saved_.request(into_)), text_of(out_));
}

TEST_F(SavedRequestTest, KeepsTheTrailersOfThisRequestOnly) {
  saved_.save(out_);
  EXPECT_FALSE(saved_.has_trailers());
  core::FieldList trailers;
  trailers.add({"x-sum", "abc"});
  trailers.add({"trailer", "x", FieldId::trailer, true});
  trailers.add({"x-empty", ""});
  trailers[2].never_indexed = true;
  const std::size_t before = saved_.size();
  saved_.save_trailers(trailers);
  EXPECT_EQ(saved_.size(), before + SavedRequest::size_of(trailers));
  saved_.save(saved_.request(into_));  // another try
  ASSERT_TRUE(saved_.has_trailers());
  core::FieldList back;
  back.add({"old", "1"});
  saved_.trailers(back);
  ASSERT_EQ(back.size(), 2U);
  EXPECT_EQ(std::string(back[0].name) + "=" + std::string(back[0].value), "x-sum=abc");
  EXPECT_EQ(std::string(back[1].name) + "=" + std::string(back[1].value), "x-empty=");
  EXPECT_TRUE(!back[0].never_indexed && back[1].never_indexed);
  EXPECT_EQ(text_of(saved_.request(into_)), text_of(out_));
  out_.path = "/b";
  saved_.save(out_);
  EXPECT_FALSE(saved_.has_trailers());
  saved_.save_trailers(trailers);
  saved_.clear();
  EXPECT_FALSE(saved_.has_trailers());
}

}  // namespace
}  // namespace edgemux::listeners
