#pragma once
// Bodies taken off an HTTP/1 connection: chunked coding (RFC 9112, 7.1) and the reader that hides which framing a
// message has. Pure and incremental: any cut of the input gives the same data.
//
//   while (!input.empty()) {
//     BodyStep step = body.next(input);
//     ...use step.data, a view into input...
//     input.remove_prefix(step.consumed);
//     if (step.state != BodyState::more) break;
//   }

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/http/message.h"

namespace edgemux::core {

enum class BodyState : std::uint8_t { more, done, error };

struct BodyStep {
  BodyState state = BodyState::more;
  std::size_t consumed = 0;      // bytes of the input that are dealt with; 0 only for empty input, done or error
  std::string_view data;         // payload within them; may be empty. Comes with `done` too.
  const char* reason = nullptr;  // error: static text. Close the connection.
};

// Strict: lines end in CRLF, a size is 1 to 16 hex digits below 2^63, blanks behind it (some servers pad it) and
// extensions are dropped and bounded to kMaxExtension bytes per chunk, trailers are checked, dropped and bounded to
// kMaxTrailers bytes in all.
class ChunkDecoder {
 public:
  static constexpr std::size_t kMaxExtension = 256;
  static constexpr std::size_t kMaxTrailers = 8192;

  // Takes at most one span of data per call. After `done`, the rest of the input belongs to the next message.
  BodyStep next(std::string_view input);
  [[nodiscard]] bool done() const { return place_ == Place::done; }

 private:
  enum class Place : std::uint8_t {
    size_first,
    size,
    size_blank,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,
    trailer_name,
    trailer_value,
    trailer_lf,
    final_lf,
    done,
    failed
  };
  BodyStep refuse(std::size_t consumed, const char* reason);

  std::uint64_t left_ = 0;     // of the current chunk; while its size is read, the size so far
  std::uint32_t counted_ = 0;  // extension bytes of this chunk, then trailer bytes in all
  std::uint8_t digits_ = 0;
  Place place_ = Place::size_first;
};

// The body of one message, whatever its framing. `none` and `length` 0 are done before any input.
class BodyReader {
 public:
  BodyReader() = default;
  BodyReader(Framing framing, std::uint64_t content_length);
  explicit BodyReader(const RequestHead& head) : BodyReader(head.framing, head.content_length) {}
  explicit BodyReader(const ResponseHead& head) : BodyReader(head.framing, head.content_length) {}

  BodyStep next(std::string_view input);
  // The connection ended: true when that is a proper end of this body (already done, or until_close).
  bool end_of_input();
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] Framing framing() const { return framing_; }
  // length: bytes still to come.
  [[nodiscard]] std::uint64_t remaining() const { return framing_ == Framing::length ? left_ : 0; }

 private:
  ChunkDecoder chunks_;
  std::uint64_t left_ = 0;
  Framing framing_ = Framing::none;
  bool done_ = true;
};

// Writing chunks: prefix, data, kChunkEnd ("\r\n"); at the end kLastChunk.
inline constexpr std::size_t kMaxChunkPrefix = 18;  // 16 hex digits and CRLF
inline constexpr std::string_view kChunkEnd = "\r\n";
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";
// Writes "1f4\r\n" and returns its length. `size` is not 0: that would end the body. `out` holds kMaxChunkPrefix bytes.
std::size_t write_chunk_prefix(std::uint64_t size, char* out);

}  // namespace edgemux::core
