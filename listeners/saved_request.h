#pragma once
// SavedRequest: a copy of a request's head as it goes out, for a connection that does not stand yet, for another try,
// or for a mirror. It is packed into one piece of memory, since nearly every one is saved for a try that never comes;
// the memory stays from one request to the next.

#include <cstdint>
#include <string>
#include <vector>

#include "core/http/codec.h"

namespace edgemux::listeners {

class SavedRequest {
 public:
  SavedRequest() = default;
  SavedRequest(const SavedRequest&) = delete;
  SavedRequest& operator=(const SavedRequest&) = delete;

  // Hop-by-hop fields are left out. Saving what request() gave changes nothing.
  void save(const core::OutgoingRequest& request);
  // Valid until the next save() of another one.
  [[nodiscard]] const core::OutgoingRequest& request();

 private:
  void unpack();

  std::string text_;
  bool packed_ = false;  // request_ and fields_ do not yet say what text_ does
  std::vector<core::Field> fields_;
  core::OutgoingRequest request_;
};

}  // namespace edgemux::listeners
