#pragma once
// Relay: one direction of a tunnel. Moves bytes from a source to a sink under back-pressure, ends when the source has
// ended and everything is flushed.
//
// Adaptive: bytes are copied through the worker's scratch buffer; after a full read between two TCP streams they
// are moved inside the kernel (splice) through a pooled pipe, which is held only while there are bytes in it.
// At rest a relay owns nothing. What the sink does not take is bounded by one read or one pipe.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/io/output.h"
#include "core/io/stream.h"
#include "core/io/tcp_stream.h"

namespace edgemux::core {

// Pipes of one worker, last in, first out. Not thread safe.
class PipePool {
 public:
  struct Pipe {
    int read_end = -1;
    int write_end = -1;
    int capacity = 0;
    [[nodiscard]] bool valid() const { return read_end >= 0; }
  };
  static constexpr int kCapacity = 1024 * 1024;
  static constexpr std::size_t kKept = 16;
  static constexpr std::size_t kMost = 64;  // pipes out at once; beyond it relays copy

  PipePool() { free_.reserve(kKept); }
  ~PipePool();
  PipePool(const PipePool&) = delete;
  PipePool& operator=(const PipePool&) = delete;

  // An empty pipe, or an invalid one: then copy.
  Pipe take();
  // `dirty`: bytes may be left in it; it is closed.
  void give(Pipe pipe, bool dirty);

 private:
  static void close_pipe(const Pipe& pipe);
  std::vector<Pipe> free_;
  std::size_t out_ = 0;
};

// What the relays of a worker share.
struct RelayScratch {
  BlockPool& blocks;
  PipePool& pipes;
  std::span<char> buffer;
};

class Relay {
 public:
  static constexpr std::size_t kBudget = 4 * 1024 * 1024;  // bytes that one pump() moves at most, about

  enum class State : std::uint8_t {
    open,         // more may come
    done,         // the source has ended, everything is flushed, the sink's write half is shut
    source_lost,  // `error` says why
    sink_lost,
  };

  explicit Relay(RelayScratch& scratch) : scratch_(scratch), pending_(scratch.blocks) {}
  ~Relay() { drop_pipe(); }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Sent before anything from the source (bytes read earlier). Copied.
  void prepend(std::string_view bytes) { pending_.append(bytes); }
  // The same for what an Output still holds; call it first.
  void prepend(Output& output) {
    output.keep();
    pending_.steal(output);
  }

  // Moves what can be moved now; call it whenever either stream becomes ready. It stops after `budget` bytes, so that
  // one bulk transfer does not starve the others: then `again` is set, and the caller comes back by itself.
  State pump(Stream& source, Stream& sink, bool& again, std::size_t budget = kBudget);
  // The same with splice allowed.
  State pump(TcpStream& source, TcpStream& sink, bool& again, std::size_t budget = kBudget);

  // Both streams are closed as soon as this direction is done, and the sink is a plain TCP stream: no shutdown before
  // that.
  void close_follows() { close_follows_ = true; }

  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }  // taken by the sink
  // Read from the source, and not taken by the sink yet.
  [[nodiscard]] bool holds_bytes() const { return in_pipe_ > 0 || !pending_.empty(); }
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] State state() const { return state_; }

 private:
  enum class Step : std::uint8_t { more, wait, ended };
  static constexpr unsigned kFullReads = 1;  // more to copy first is dearer, even for bodies of 1 MiB

  Step copy(Stream& source, Stream& sink, std::size_t& moved, std::size_t budget);
  Step splice_once(TcpStream& source, TcpStream& sink, std::size_t& moved, std::size_t budget);
  Step flush(Stream& sink);
  Step drain_pipe(TcpStream& sink);
  Step finish(Stream& sink);
  Step lose(State state, int error);
  void drop_pipe();

  RelayScratch& scratch_;
  Output pending_;
  PipePool::Pipe pipe_;
  std::uint32_t in_pipe_ = 0;
  std::uint64_t bytes_ = 0;
  int error_ = 0;
  std::uint8_t full_reads_ = 0;
  bool source_ended_ = false;
  bool close_follows_ = false;
  State state_ = State::open;
};

}  // namespace edgemux::core
