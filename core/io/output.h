#pragma once
// Output: the sending side of a connection. Collects what one event produces and sends it with one write.
//
// Bytes are either composed (copied into a block) or borrowed (a reference to the caller's buffer that must live until
// flush()). flush() offers everything to the stream in order; what the stream did not take is kept in blocks, so that
// borrowed memory is free again when flush() returns. At rest an Output owns nothing: blocks come from the worker's
// BlockPool and go back.
//
// Back-pressure is the caller's: while pending() is not zero, stop reading what feeds this output.

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "core/io/stream.h"

namespace edgemux::core {

// Fixed-size buffers of one worker, last in, first out. Not thread safe.
class BlockPool {
 public:
  static constexpr std::size_t kSize = 64 * 1024;
  static constexpr std::size_t kKept = 32;  // idle blocks that are not given back to the heap

  BlockPool() { free_.reserve(kKept); }
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  char* take();
  // Takes back a block from take(), or any larger array from new[].
  void give(char* block);

 private:
  std::vector<char*> free_;
};

class Output {
 public:
  explicit Output(BlockPool& pool) : pool_(pool) {}
  ~Output() { clear(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // At least `size` contiguous bytes to compose in; commit() says how many were used.
  char* reserve(std::size_t size);
  void commit(std::size_t used);
  void append(std::string_view bytes);
  // Little pieces are copied all the same: one contiguous send is cheaper than a gathered one.
  void borrow(std::span<const char> bytes);

  // Sends. `ok`: nothing is left. `again`: pending() bytes wait; flush again when the stream is writable. `error`:
  // broken.
  IoResult flush(Stream& stream);

  // Bytes that are composed, borrowed or waiting.
  [[nodiscard]] std::size_t pending() const { return pending_; }
  [[nodiscard]] bool empty() const { return pending_ == 0; }

  // Copies what is borrowed, so that the caller's buffer is free without a flush (a stream that is not connected yet).
  void keep();

  // Takes over everything that `other` holds (a request moves to another connection). This output must be empty.
  void steal(Output& other);
  void clear();

 private:
  struct Piece {
    const char* data;
    std::size_t size;
    char* block;  // the block the bytes live in; null = borrowed
  };
  static constexpr std::size_t kPiecesPerWrite = 32;
  static constexpr std::size_t kWorthBorrowing = 2048;

  void copy_in(const char* data, std::size_t size);
  void release_front(std::size_t count);

  BlockPool& pool_;
  std::vector<Piece> pieces_;
  char* block_ = nullptr;     // the block being composed; null = none
  std::size_t used_ = 0;      // bytes used of it
  std::size_t capacity_ = 0;  // its size: kSize, or more for one big head
  std::size_t pending_ = 0;
};

}  // namespace edgemux::core
