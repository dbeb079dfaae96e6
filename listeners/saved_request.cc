#include "listeners/saved_request.h"

#include <cstring>

namespace edgemux::listeners {

void SavedRequest::save(const core::OutgoingRequest& request) {
  std::size_t size = request.method.size() + request.path.size() + request.query.size() + request.authority.size() +
                     request.upgrade_protocol.size();
  for (const core::Field& field : request.fields) size += field.name.size() + field.value.size();
  for (const core::Field& field : request.added) size += field.name.size() + field.value.size();
  if (text_.size() < size) text_.resize(size);
  char* next = text_.data();
  const auto copy = [&next](std::string_view text) {
    char* begin = next;
    if (!text.empty()) std::memcpy(begin, text.data(), text.size());
    next += text.size();
    return std::string_view(begin, text.size());
  };
  request_ = request;
  request_.method = copy(request.method);
  request_.path = copy(request.path);
  request_.query = copy(request.query);
  request_.authority = copy(request.authority);
  request_.upgrade_protocol = copy(request.upgrade_protocol);
  fields_.clear();
  fields_.reserve(request.fields.size() + request.added.size());
  for (const auto list : {request.fields, request.added}) {
    for (const core::Field& field : list) {
      if (!field.hop_by_hop) fields_.push_back({copy(field.name), copy(field.value), field.id, false});
    }
  }
  request_.fields = fields_;
  request_.added = {};
}

}  // namespace edgemux::listeners
