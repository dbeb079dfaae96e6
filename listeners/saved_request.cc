#include "listeners/saved_request.h"

#include <array>
#include <cstring>

namespace edgemux::listeners {
namespace {

struct FieldSizes {
  std::uint32_t name;
  std::uint32_t value;
  core::FieldId id;
};

}  // namespace

void SavedRequest::save(const core::OutgoingRequest& request) {
  if (!text_.empty() && request.method.data() == text_.data()) return;
  const std::array parts = {request.method, request.path, request.query, request.authority, request.upgrade_protocol};
  const std::array lists = {request.fields, request.added};
  std::size_t size = 0;
  for (const std::string_view part : parts) size += part.size();
  for (const auto list : lists) {
    for (const core::Field& field : list) {
      if (!field.hop_by_hop) size += sizeof(FieldSizes) + field.name.size() + field.value.size();
    }
  }
  text_.clear();  // nothing of it is to be copied
  text_.resize(size);
  char* out = text_.data();
  const auto put = [&out](std::string_view text) {
    if (!text.empty()) std::memcpy(out, text.data(), text.size());
    out += text.size();
  };
  for (std::size_t i = 0; i < parts.size(); ++i) {
    sizes_[i] = static_cast<std::uint32_t>(parts[i].size());
    put(parts[i]);
  }
  for (const auto list : lists) {
    for (const core::Field& field : list) {
      if (field.hop_by_hop) continue;
      const FieldSizes sizes = {static_cast<std::uint32_t>(field.name.size()),
                                static_cast<std::uint32_t>(field.value.size()), field.id};
      std::memcpy(out, &sizes, sizeof sizes);
      out += sizeof sizes;
      put(field.name);
      put(field.value);
    }
  }
  scheme_ = request.scheme;
  content_length_ = request.content_length;
  framing_ = request.framing;
  kind_ = request.kind;
  has_query_ = request.has_query;
  has_content_length_ = request.has_content_length;
  te_trailers_ = request.te_trailers;
}

void SavedRequest::clear() {
  constexpr std::size_t kWorthKeeping = 4096;
  text_.clear();
  if (text_.capacity() > kWorthKeeping) std::string().swap(text_);
}

core::OutgoingRequest SavedRequest::request(std::vector<core::Field>& fields) const {
  std::string_view rest = text_;
  const auto take = [&rest](std::size_t size) {
    const std::string_view text = rest.substr(0, size);
    rest.remove_prefix(size);
    return text;
  };
  core::OutgoingRequest request;
  request.method = take(sizes_[0]);
  request.path = take(sizes_[1]);
  request.query = take(sizes_[2]);
  request.authority = take(sizes_[3]);
  request.upgrade_protocol = take(sizes_[4]);
  fields.clear();
  while (!rest.empty()) {
    FieldSizes sizes{};
    std::memcpy(&sizes, take(sizeof sizes).data(), sizeof sizes);
    core::Field field;
    field.name = take(sizes.name);
    field.value = take(sizes.value);
    field.id = sizes.id;
    fields.push_back(field);
  }
  request.fields = fields;
  request.scheme = scheme_;
  request.content_length = content_length_;
  request.framing = framing_;
  request.kind = kind_;
  request.has_query = has_query_;
  request.has_content_length = has_content_length_;
  request.te_trailers = te_trailers_;
  return request;
}

}  // namespace edgemux::listeners
