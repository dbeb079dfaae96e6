#include "core/io/output.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace edgemux::core {

BlockPool::~BlockPool() {
  for (char* block : free_) delete[] block;
}

char* BlockPool::take() {
  if (free_.empty()) return new char[kSize];
  char* block = free_.back();
  free_.pop_back();
  return block;
}

void BlockPool::give(char* block) {
  if (free_.size() < kKept) {
    free_.push_back(block);
  } else {
    delete[] block;
  }
}

char* Output::reserve(std::size_t size) {
  if (block_ == nullptr || capacity_ - used_ < size) {
    // A full block stays with its pieces; one without any goes back.
    const bool referenced =
        std::any_of(pieces_.begin(), pieces_.end(), [this](const Piece& p) { return p.block == block_; });
    if (block_ != nullptr && !referenced) pool_.give(block_);
    block_ = size <= BlockPool::kSize ? pool_.take() : new char[size];
    capacity_ = std::max(size, BlockPool::kSize);
    used_ = 0;
  }
  return block_ + used_;
}

void Output::commit(std::size_t used) {
  if (used == 0) return;
  const char* data = block_ + used_;
  if (!pieces_.empty() && pieces_.back().block == block_ && pieces_.back().data + pieces_.back().size == data) {
    pieces_.back().size += used;
  } else {
    pieces_.push_back({data, used, block_});
  }
  used_ += used;
  pending_ += used;
}

void Output::copy_in(const char* data, std::size_t size) {
  while (size > 0) {
    if (block_ == nullptr || used_ == capacity_) (void)reserve(1);
    const std::size_t n = std::min(size, capacity_ - used_);
    std::memcpy(block_ + used_, data, n);
    commit(n);
    data += n;
    size -= n;
  }
}

void Output::append(std::string_view bytes) { copy_in(bytes.data(), bytes.size()); }

void Output::borrow(std::span<const char> bytes) {
  if (bytes.empty()) return;
  if (bytes.size() < kWorthBorrowing && block_ != nullptr) {
    copy_in(bytes.data(), bytes.size());
    return;
  }
  pieces_.push_back({bytes.data(), bytes.size(), nullptr});
  pending_ += bytes.size();
}

void Output::release_front(std::size_t count) {
  pending_ -= count;
  std::size_t done = 0;
  while (count > 0) {
    Piece& piece = pieces_[done];
    if (piece.size > count) {
      piece.data += count;
      piece.size -= count;
      break;
    }
    count -= piece.size;
    ++done;
    if (piece.block == nullptr || piece.block == block_) continue;
    // Blocks are filled one after the other: the next piece that lives in a block tells whether this one is done.
    const auto next = std::find_if(pieces_.begin() + static_cast<std::ptrdiff_t>(done), pieces_.end(),
                                   [](const Piece& p) { return p.block != nullptr; });
    if (next == pieces_.end() || next->block != piece.block) pool_.give(piece.block);
  }
  pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(done));
  if (pending_ == 0 && block_ != nullptr) {
    pool_.give(block_);
    block_ = nullptr;
    used_ = 0;
  }
}

void Output::keep() {
  // As a rule what is borrowed is the last piece, or fits behind what is composed: then the list stays as it is. A
  // block may not be left and come back to (release_front).
  const auto keep_in_place = [this](Piece& piece) {
    const bool fits = block_ != nullptr && capacity_ - used_ >= piece.size;
    if (!fits && &piece != &pieces_.back()) return false;
    char* const to = reserve(piece.size);
    std::memcpy(to, piece.data, piece.size);
    used_ += piece.size;
    piece = {to, piece.size, block_};
    return true;
  };
  if (std::all_of(pieces_.begin(), pieces_.end(),
                  [&](Piece& piece) { return piece.block != nullptr || keep_in_place(piece); })) {
    return;
  }
  Output kept(pool_);
  for (const auto& piece : pieces_) kept.copy_in(piece.data, piece.size);
  clear();
  steal(kept);
}

void Output::steal(Output& other) {
  pieces_.swap(other.pieces_);
  std::swap(block_, other.block_);
  std::swap(used_, other.used_);
  std::swap(capacity_, other.capacity_);
  std::swap(pending_, other.pending_);
}

void Output::clear() {
  const char* last = nullptr;
  for (const auto& piece : pieces_) {
    if (piece.block != nullptr && piece.block != last && piece.block != block_) pool_.give(piece.block);
    if (piece.block != nullptr) last = piece.block;
  }
  pieces_.clear();
  if (block_ != nullptr) pool_.give(block_);
  block_ = nullptr;
  used_ = 0;
  pending_ = 0;
}

IoResult Output::flush(Stream& stream) {
  std::size_t sent = 0;
  while (pending_ > 0) {
    std::array<iovec, kPiecesPerWrite> vectors;
    std::size_t count = 0;
    std::size_t offered = 0;
    for (const auto& piece : pieces_) {
      if (count == vectors.size()) break;
      vectors[count++] = {const_cast<char*>(piece.data), piece.size};
      offered += piece.size;
    }
    const IoResult result = stream.write({vectors.data(), count});
    if (result.status == IoStatus::error) return {IoStatus::error, sent, result.error};
    if (result.status == IoStatus::again) break;
    release_front(result.bytes);
    sent += result.bytes;
    if (result.bytes < offered) break;
  }
  if (pending_ == 0) return {IoStatus::ok, sent, 0};
  keep();
  return {IoStatus::again, sent, 0};
}

}  // namespace edgemux::core
