#include "listeners/saved_request.h"

#include <array>
#include <cstring>

namespace edgemux::listeners {
namespace {

using core::Field;
using core::OutgoingRequest;

// In front of the texts, in this order, and of the fields.
struct PackedHead {
  std::string_view scheme;  // lives for ever
  std::uint64_t content_length;
  std::array<std::uint32_t, 5> sizes;  // method, path, query, authority, upgrade_protocol
  std::uint32_t fields;
  core::Framing framing;
  core::Method kind;
  bool has_query;
  bool has_content_length;
  bool te_trailers;
};

// In front of a field's name and value.
struct PackedField {
  std::uint32_t name;
  std::uint32_t value;
  core::FieldId id;
};

std::array<std::string_view, 5> texts_of(const OutgoingRequest& request) {
  return {request.method, request.path, request.query, request.authority, request.upgrade_protocol};
}

}  // namespace

void SavedRequest::save(const OutgoingRequest& request) {
  if (&request == &request_) return;
  const auto texts = texts_of(request);
  std::size_t size = sizeof(PackedHead);
  for (const std::string_view text : texts) size += text.size();
  for (const auto list : {request.fields, request.added}) {
    for (const Field& field : list) size += sizeof(PackedField) + field.name.size() + field.value.size();
  }
  if (text_.size() < size) text_.resize(size);
  char* next = text_.data() + sizeof(PackedHead);
  const auto copy = [&next](const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(next, from, bytes);
    next += bytes;
  };
  PackedHead head{request.scheme,
                  request.content_length,
                  {},
                  0,
                  request.framing,
                  request.kind,
                  request.has_query,
                  request.has_content_length,
                  request.te_trailers};
  for (std::size_t i = 0; i < texts.size(); ++i) {
    head.sizes[i] = static_cast<std::uint32_t>(texts[i].size());
    copy(texts[i].data(), texts[i].size());
  }
  for (const auto list : {request.fields, request.added}) {
    for (const Field& field : list) {
      if (field.hop_by_hop) continue;
      const PackedField packed{static_cast<std::uint32_t>(field.name.size()),
                               static_cast<std::uint32_t>(field.value.size()), field.id};
      copy(&packed, sizeof packed);
      copy(field.name.data(), field.name.size());
      copy(field.value.data(), field.value.size());
      ++head.fields;
    }
  }
  std::memcpy(text_.data(), &head, sizeof head);
  packed_ = true;
}

const OutgoingRequest& SavedRequest::request() {
  if (packed_) unpack();
  return request_;
}

void SavedRequest::unpack() {
  packed_ = false;
  PackedHead head;
  std::memcpy(&head, text_.data(), sizeof head);
  const char* next = text_.data() + sizeof head;
  const auto take = [&next](std::size_t size) {
    const std::string_view text(next, size);
    next += size;
    return text;
  };
  request_ = {};
  request_.method = take(head.sizes[0]);
  request_.path = take(head.sizes[1]);
  request_.query = take(head.sizes[2]);
  request_.authority = take(head.sizes[3]);
  request_.upgrade_protocol = take(head.sizes[4]);
  request_.scheme = head.scheme;
  request_.content_length = head.content_length;
  request_.framing = head.framing;
  request_.kind = head.kind;
  request_.has_query = head.has_query;
  request_.has_content_length = head.has_content_length;
  request_.te_trailers = head.te_trailers;
  fields_.clear();
  fields_.reserve(head.fields);
  for (std::uint32_t i = 0; i < head.fields; ++i) {
    PackedField packed;
    std::memcpy(&packed, next, sizeof packed);
    next += sizeof packed;
    const std::string_view name = take(packed.name);
    const std::string_view value = take(packed.value);
    fields_.push_back({name, value, packed.id, false});
  }
  request_.fields = fields_;
}

}  // namespace edgemux::listeners
