#pragma once
// SavedRequest: a copy of a request's head as it goes out, for a connection that does not stand yet, for another try,
// or for a mirror. Its strings keep their capacity from one request to the next.

#include <string>
#include <vector>

#include "core/http/codec.h"

namespace edgemux::listeners {

class SavedRequest {
 public:
  SavedRequest() = default;
  SavedRequest(const SavedRequest&) = delete;
  SavedRequest& operator=(const SavedRequest&) = delete;

  // Hop-by-hop fields are left out. Not from request() itself.
  void save(const core::OutgoingRequest& request);
  // Valid until the next save().
  [[nodiscard]] const core::OutgoingRequest& request() const { return request_; }

 private:
  std::string text_;
  std::vector<core::Field> fields_;
  core::OutgoingRequest request_;
};

}  // namespace edgemux::listeners
