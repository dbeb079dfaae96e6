#pragma once
// HeldRequest: a request that waits until others of its connection are over, in as little memory as may be. Its fields
// are references into what HPACK decoded: what a client says in all its heads is there once.

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/http/http2_fields.h"
#include "core/http/http2_memory.h"

namespace edgemux::core {

class HeldRequest : public InHttp2Memory {
 public:
  // `end`: END_STREAM came with the head.
  HeldRequest(const HeaderBlock& block, bool end);
  ~HeldRequest();
  HeldRequest(const HeldRequest&) = delete;
  HeldRequest& operator=(const HeldRequest&) = delete;

  void add_body(std::span<const char> data, bool end);
  // Adds all fields to an empty block.
  void unpack(HeaderBlock& block) const;

  // What the head takes beside another one's, which may be null: a field that is the very same is not counted.
  [[nodiscard]] std::size_t cost(const HeldRequest* beside) const;
  [[nodiscard]] std::span<const char> body() const { return body_; }
  // The bytes stay where they are.
  std::vector<char> take_body() { return std::move(body_); }
  [[nodiscard]] bool bodyless() const { return bodyless_; }
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  HeaderBlock::Pair* pairs_;
  std::uint32_t count_;
  bool bodyless_;
  bool ended_;
  std::bitset<HeaderBlock::kMost> never_indexed_;
  std::vector<char> body_;
};

}  // namespace edgemux::core
