#pragma once
// MemoryStream: one end of a connection that exists in memory only, with the readiness contract of core/io/stream.h.
// Made in pairs. Nothing happens by itself: deliver() makes the on_ready calls that are due.
//
//   MemoryLink link;
//   link.b->write(...); link.deliver();      // a's observer is told
//
// Knobs, per end: `read_chunk` and `write_chunk` cap what one call moves, `capacity` what lies in flight towards this
// end, `stutter` makes every other call say `again` first (and on_ready follow).

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>

#include "core/io/stream.h"

namespace edgemux::test {

class MemoryStream final : public core::Stream {
 public:
  // What both ends know of one end. Outlives the end.
  struct End {
    std::string arrived;  // sent by the other, not read yet
    std::size_t capacity = 1024 * 1024;
    std::size_t read_chunk = SIZE_MAX;
    std::size_t write_chunk = SIZE_MAX;
    bool stutter = false;
    bool fin = false;    // the other end sent its last byte
    bool reset = false;  // the other end is gone for good
    bool told_empty = false;
    bool told_full = false;
    bool due = false;  // an on_ready call
    bool closed = false;
    unsigned long reads = 0;  // calls that reached the "kernel"
    unsigned long writes = 0;
    MemoryStream* stream = nullptr;
  };

  MemoryStream(std::shared_ptr<End> own, std::shared_ptr<End> peer) : own_(std::move(own)), peer_(std::move(peer)) {
    own_->stream = this;
  }
  ~MemoryStream() override {
    own_->stream = nullptr;
    own_->closed = true;
    end_sending();
  }

  void set_observer(core::StreamObserver* observer) override { observer_ = observer; }

  core::IoResult read(std::span<char> buffer) override {
    ++own_->reads;
    if (own_->reset) return {core::IoStatus::error, 0, ECONNRESET};
    const bool pause = own_->stutter && !own_->arrived.empty() && (pause_read_ = !pause_read_);
    if (!own_->arrived.empty() && !pause) {
      const std::size_t count = std::min({buffer.size(), own_->arrived.size(), own_->read_chunk});
      std::copy_n(own_->arrived.begin(), count, buffer.begin());
      own_->arrived.erase(0, count);
      if (peer_->told_full) {
        peer_->told_full = false;
        peer_->due = true;
      }
      return {core::IoStatus::ok, count, 0};
    }
    if (own_->arrived.empty() && own_->fin) return {core::IoStatus::eof, 0, 0};
    own_->told_empty = true;
    if (pause) own_->due = true;
    return {core::IoStatus::again, 0, 0};
  }

  [[nodiscard]] bool ended() const override { return own_->arrived.empty() && own_->fin && !own_->reset; }
  [[nodiscard]] bool readable() const override { return !own_->arrived.empty() || own_->fin || own_->reset; }

  core::IoResult write(std::span<const iovec> pieces) override {
    ++own_->writes;
    if (own_->reset || peer_->closed || shut_) return {core::IoStatus::error, 0, EPIPE};
    const std::size_t room = peer_->capacity - std::min(peer_->capacity, peer_->arrived.size());
    const bool pause = own_->stutter && room > 0 && (pause_write_ = !pause_write_);
    std::size_t most = pause ? 0 : std::min(room, own_->write_chunk);
    std::size_t moved = 0;
    std::size_t offered = 0;
    for (const iovec& piece : pieces) {
      offered += piece.iov_len;
      const std::size_t count = std::min(most, piece.iov_len);
      peer_->arrived.append(static_cast<const char*>(piece.iov_base), count);
      most -= count;
      moved += count;
    }
    if (moved > 0) peer_->due = true;
    if (moved < offered) {
      if (moved < room || pause) {
        own_->due = true;  // stopped by a knob: there is room still
      } else {
        own_->told_full = true;
      }
    }
    return moved > 0 ? core::IoResult{core::IoStatus::ok, moved, 0} : core::IoResult{core::IoStatus::again, 0, 0};
  }

  [[nodiscard]] bool broken() const override { return false; }

  [[nodiscard]] std::size_t unsent() const override { return 0; }
  void shutdown_write() override {
    shut_ = true;
    end_sending();
  }
  void abort() override {
    peer_->reset = true;
    peer_->due = true;
  }

 private:
  friend class MemoryLink;
  void end_sending() {
    if (!peer_->fin) peer_->due = true;
    peer_->fin = true;
  }

  std::shared_ptr<End> own_;
  std::shared_ptr<End> peer_;
  core::StreamObserver* observer_ = nullptr;
  bool pause_read_ = false;
  bool pause_write_ = false;
  bool shut_ = false;
};

// A connected pair; take the ends out of it, keep it for the knobs and for deliver().
class MemoryLink {
 public:
  MemoryLink() : a_end(std::make_shared<MemoryStream::End>()), b_end(std::make_shared<MemoryStream::End>()) {
    a = std::make_unique<MemoryStream>(a_end, b_end);
    b = std::make_unique<MemoryStream>(b_end, a_end);
  }

  // Makes the calls that are due, and those that become due by them. True if there was any.
  bool deliver() {
    bool any = false;
    for (bool more = true; more;) {
      more = false;
      for (MemoryStream::End* end : {a_end.get(), b_end.get()}) {
        if (!end->due) continue;
        end->due = false;
        if (end->stream == nullptr || end->stream->observer_ == nullptr) continue;
        more = any = true;
        end->stream->observer_->on_ready(*end->stream);
      }
    }
    return any;
  }

  std::shared_ptr<MemoryStream::End> a_end;
  std::shared_ptr<MemoryStream::End> b_end;
  std::unique_ptr<MemoryStream> a;
  std::unique_ptr<MemoryStream> b;
};

}  // namespace edgemux::test
