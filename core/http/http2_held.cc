#include "core/http/http2_held.h"

#include <algorithm>
#include <cstdlib>

namespace edgemux::core {
namespace {

// Of a string: nghttp2's own words, and what the heap rounds up.
std::size_t size_of(nghttp2_rcbuf* buffer) {
  if (nghttp2_rcbuf_is_static(buffer) != 0) return 0;
  const std::size_t length = nghttp2_rcbuf_get_buf(buffer).len;
  return 64 + length + length / 4;
}

}  // namespace

HeldRequest::HeldRequest(const HeaderBlock& block, bool end)
    : count_(static_cast<std::uint32_t>(block.pairs().size())),
      bodyless_(end),
      ended_(end),
      never_indexed_(block.never_indexed()) {
  pairs_ = static_cast<HeaderBlock::Pair*>(take_http2_memory(block.pairs().size_bytes()));
  if (pairs_ == nullptr) std::abort();
  std::copy(block.pairs().begin(), block.pairs().end(), pairs_);
  for (const HeaderBlock::Pair& pair : block.pairs()) {
    nghttp2_rcbuf_incref(pair.name);
    nghttp2_rcbuf_incref(pair.value);
  }
}

HeldRequest::~HeldRequest() {
  for (std::uint32_t i = 0; i < count_; ++i) {
    nghttp2_rcbuf_decref(pairs_[i].name);
    nghttp2_rcbuf_decref(pairs_[i].value);
  }
  give_http2_memory(pairs_);
}

void HeldRequest::add_body(std::span<const char> data, bool end) {
  // Not twice as much as there is.
  if (const std::size_t size = body_.size() + data.size(); size > body_.capacity()) body_.reserve(size + size / 8);
  body_.insert(body_.end(), data.begin(), data.end());
  ended_ = end;
}

void HeldRequest::unpack(HeaderBlock& block) const {
  for (std::uint32_t i = 0; i < count_; ++i) block.add(pairs_[i].name, pairs_[i].value, never_indexed_[i]);
}

std::size_t HeldRequest::cost(const HeldRequest* beside) const {
  std::size_t size = sizeof(HeldRequest) + count_ * sizeof(HeaderBlock::Pair);
  for (std::uint32_t i = 0; i < count_; ++i) {
    const HeaderBlock::Pair* other = beside != nullptr && i < beside->count_ ? &beside->pairs_[i] : nullptr;
    if (other == nullptr || other->name != pairs_[i].name) size += size_of(pairs_[i].name);
    if (other == nullptr || other->value != pairs_[i].value) size += size_of(pairs_[i].value);
  }
  return size;
}

}  // namespace edgemux::core
