#include "listeners/saved_request.h"

#include <array>
#include <cstring>

namespace edgemux::listeners {
namespace {

struct FieldSizes {
  std::uint32_t name;
  std::uint32_t value;
  core::FieldId id;
  bool never_indexed;
};

using Fields = std::span<const core::Field>;

std::size_t size_of_fields(Fields fields) {
  std::size_t size = 0;
  for (const core::Field& field : fields) {
    if (!field.hop_by_hop) size += sizeof(FieldSizes) + field.name.size() + field.value.size();
  }
  return size;
}

char* put_bytes(char* out, std::string_view text) {
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

char* put_fields(char* out, Fields fields) {
  for (const core::Field& field : fields) {
    if (field.hop_by_hop) continue;
    const FieldSizes sizes = {static_cast<std::uint32_t>(field.name.size()),
                              static_cast<std::uint32_t>(field.value.size()), field.id, field.never_indexed};
    std::memcpy(out, &sizes, sizeof sizes);
    out = put_bytes(put_bytes(out + sizeof sizes, field.name), field.value);
  }
  return out;
}

std::string_view take(std::string_view& from, std::size_t size) {
  const std::string_view text = from.substr(0, size);
  from.remove_prefix(size);
  return text;
}

core::Field take_field(std::string_view& from) {
  FieldSizes sizes{};
  std::memcpy(&sizes, take(from, sizeof sizes).data(), sizeof sizes);
  core::Field field;
  field.name = take(from, sizes.name);
  field.value = take(from, sizes.value);
  field.id = sizes.id;
  field.never_indexed = sizes.never_indexed;
  return field;
}

}  // namespace

void SavedRequest::save(const core::OutgoingRequest& request) {
  if (!text_.empty() && request.method.data() == text_.data()) return;
  const std::array parts = {request.method, request.path, request.query, request.authority, request.upgrade_protocol};
  std::size_t size = size_of_fields(request.fields) + size_of_fields(request.added);
  for (const std::string_view part : parts) size += part.size();
  text_.clear();  // nothing of it is to be copied
  text_.resize(size);
  char* out = text_.data();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    sizes_[i] = static_cast<std::uint32_t>(parts[i].size());
    out = put_bytes(out, parts[i]);
  }
  put_fields(put_fields(out, request.fields), request.added);
  std::string().swap(trailers_);
  scheme_ = request.scheme;
  content_length_ = request.content_length;
  framing_ = request.framing;
  kind_ = request.kind;
  has_query_ = request.has_query;
  has_content_length_ = request.has_content_length;
  te_trailers_ = request.te_trailers;
  never_indexed_ = request.never_indexed;
}

void SavedRequest::clear() {
  constexpr std::size_t kWorthKeeping = 4096;
  text_.clear();
  if (text_.capacity() > kWorthKeeping) std::string().swap(text_);
  std::string().swap(trailers_);
}

std::size_t SavedRequest::size_of(const core::FieldList& trailers) {
  return size_of_fields({trailers.begin(), trailers.size()});
}

void SavedRequest::save_trailers(const core::FieldList& fields) {
  trailers_.resize(size_of(fields));
  put_fields(trailers_.data(), {fields.begin(), fields.size()});
}

void SavedRequest::trailers(core::FieldList& fields) const {
  fields.clear();
  for (std::string_view rest = trailers_; !rest.empty();) fields.add(take_field(rest));
}

core::OutgoingRequest SavedRequest::request(std::vector<core::Field>& fields) const {
  std::string_view rest = text_;
  core::OutgoingRequest request;
  request.method = take(rest, sizes_[0]);
  request.path = take(rest, sizes_[1]);
  request.query = take(rest, sizes_[2]);
  request.authority = take(rest, sizes_[3]);
  request.upgrade_protocol = take(rest, sizes_[4]);
  fields.clear();
  while (!rest.empty()) fields.push_back(take_field(rest));
  request.fields = fields;
  request.scheme = scheme_;
  request.content_length = content_length_;
  request.framing = framing_;
  request.kind = kind_;
  request.has_query = has_query_;
  request.has_content_length = has_content_length_;
  request.te_trailers = te_trailers_;
  request.never_indexed = never_indexed_;
  return request;
}

}  // namespace edgemux::listeners
