#pragma once
// SavedRequest: a copy of a request's head as it goes out, for a connection that does not stand yet, for another try,
// or for a mirror; and of the trailers behind its body. A block of bytes for each, no larger than it must be: many
// requests may wait at a time. The head's keeps its capacity from one request to the next.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/http/codec.h"

namespace edgemux::listeners {

class SavedRequest {
 public:
  SavedRequest() = default;
  SavedRequest(const SavedRequest&) = delete;
  SavedRequest& operator=(const SavedRequest&) = delete;

  // Hop-by-hop fields are left out. Nothing happens with what request() gave.
  void save(const core::OutgoingRequest& request);
  // Valid until the next save(); its fields are put into `fields`, and are valid as long as that.
  [[nodiscard]] core::OutgoingRequest request(std::vector<core::Field>& fields) const;
  // What is hop by hop is left out. Forgotten with the next save().
  void save_trailers(const core::FieldList& fields);
  // Bytes that keeping them takes.
  [[nodiscard]] static std::size_t size_of(const core::FieldList& trailers);
  [[nodiscard]] bool has_trailers() const { return !trailers_.empty(); }
  // Valid until the next save().
  void trailers(core::FieldList& fields) const;
  [[nodiscard]] std::size_t size() const { return text_.size() + trailers_.size(); }
  void clear();

 private:
  std::string
      text_;  // method, path, query, authority, protocol of an upgrade; then for each field its sizes and itself
  std::string trailers_;  // for each field its sizes and itself
  std::uint64_t content_length_ = 0;
  std::uint32_t sizes_[5] = {};
  std::string_view scheme_;  // static
  core::Framing framing_ = core::Framing::none;
  core::Method kind_ = core::Method::other;
  bool has_query_ = false;
  bool has_content_length_ = false;
  bool te_trailers_ = false;
  bool never_indexed_ = false;
};

}  // namespace edgemux::listeners
