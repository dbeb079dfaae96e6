#pragma once
// What tests of codecs share: where an Output's bytes go, and how received bytes are offered.

#include <string>
#include <string_view>

#include "core/io/stream.h"

namespace edgemux::core {

// Collects what an Output sends.
class Wire final : public Stream {
 public:
  std::string sent;
  void set_observer(StreamObserver*) override {}
  IoResult read(std::span<char>) override { return {}; }
  [[nodiscard]] bool readable() const override { return false; }
  IoResult write(std::span<const iovec> pieces) override {
    std::size_t size = 0;
    for (const auto& piece : pieces) {
      sent.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      size += piece.iov_len;
    }
    return {IoStatus::ok, size, 0};
  }
  [[nodiscard]] bool broken() const override { return false; }
  [[nodiscard]] std::size_t unsent() const override { return 0; }
  void shutdown_write() override {}
  void abort() override {}
};

// What an owner of a codec does: keeps what was not taken, offers it again in front of what comes next.
template <class Codec>
void offer(Codec& codec, std::string& kept, std::string_view piece) {
  kept += piece;
  kept.erase(0, codec.receive({kept.data(), kept.size()}));
}

}  // namespace edgemux::core
