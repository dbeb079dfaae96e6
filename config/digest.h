#pragma once
// Digest: tells whether bytes have changed. 128 bits, fast, not for security: who can write the files needs no
// collision.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace edgemux::config {

class Digest {
 public:
  // Every call is a field of its own: add("a"), add("b") differs from add("ab").
  void add(std::string_view bytes) {
    mix(bytes.size());
    while (bytes.size() >= 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data(), 8);
      mix(word);
      bytes.remove_prefix(8);
    }
    std::uint64_t rest = 0;
    if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
    mix(rest);
  }
  [[nodiscard]] std::uint64_t number() const { return a_ ^ b_; }
  [[nodiscard]] std::string hex() const {
    constexpr char digits[] = "0123456789abcdef";
    std::string out;
    for (const auto half : {a_, b_}) {
      for (int shift = 60; shift >= 0; shift -= 4) out += digits[(half >> static_cast<unsigned>(shift)) & 15U];
    }
    return out;
  }

 private:
  void mix(std::uint64_t word) {
    a_ = (a_ ^ word) * 0x9E3779B97F4A7C15ULL;
    a_ ^= a_ >> 29U;
    b_ = (b_ + word) * 0xD6E8FEB86659FD93ULL;
    b_ ^= b_ >> 32U;
  }
  std::uint64_t a_ = 0x243F6A8885A308D3ULL;
  std::uint64_t b_ = 0x13198A2E03707344ULL;
};

}  // namespace edgemux::config
