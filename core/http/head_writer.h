#pragma once
// HeadWriter: writes an HTTP/1 head into the caller's contiguous buffer. No allocation; it never writes past the end.
//
//   HeadWriter w(buffer, capacity);
//   w.request_line("GET", path, has_query, query);
//   w.field("host", authority);
//   w.fields(head.fields);                 // end-to-end ones, without Host and Content-Length
//   w.framing(head);
//   w.end();
//   if (!w.ok()) ...try again with a buffer of w.size() bytes...
//
// Nothing that could end a line gets out: a field with CR, LF or NUL in its name or value is left out as a whole and
// counted in dropped(). (Parsed fields cannot have them; those from configuration or HTTP/2 could.)

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "core/http/message.h"

namespace edgemux::core {

class HeadWriter {
 public:
  HeadWriter(char* out, std::size_t capacity) : out_(out), capacity_(capacity) {}

  // "GET /path?query HTTP/1.1". An unsafe method, path or query (space, control) makes the head not ok() for good.
  void request_line(std::string_view method, std::string_view path, bool has_query, std::string_view query);
  // "HTTP/1.1 200 OK": the registered phrase; `reason` only for a status that has none.
  void status_line(int status, std::string_view reason = {});
  void field(std::string_view name, std::string_view value);
  void field(std::string_view name, std::uint64_t value);
  // Every field that is not hop-by-hop, but Host and Content-Length, which are written by field() and framing().
  // Neighbours that are `verbatim` and still stand side by side are copied in one piece.
  void fields(std::span<const Field> list);
  void fields(const FieldList& list) { fields(std::span(list.begin(), list.size())); }
  // How the body of this message ends, when it leaves with the framing it came with. Keeps "content-length: 0", and the
  // length that an answer to HEAD or a 304 speaks of. Nothing for until_close: the caller chooses close or chunks.
  void framing(const RequestHead& head);
  void framing(const ResponseHead& head);
  // content-length for length, transfer-encoding: chunked for chunked, nothing for the others.
  void framing(Framing framing, std::uint64_t content_length);
  // The empty line.
  void end() { append("\r\n"); }
  // Bytes as they are: for precomputed lines such as "connection: close\r\n" and a short body.
  void append(std::string_view bytes) {
    if (bytes.empty()) return;
    if (bytes.size() <= capacity_ - used_ && size_ == used_) {
      std::memcpy(out_ + used_, bytes.data(), bytes.size());
      used_ += bytes.size();
    }
    size_ += bytes.size();
  }

  // All of it was written and may be sent.
  [[nodiscard]] bool ok() const { return size_ == used_ && !unsafe_; }
  [[nodiscard]] bool unsafe() const { return unsafe_; }
  // The bytes that the head needs, whether or not they fitted.
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t dropped() const { return dropped_; }
  [[nodiscard]] std::string_view text() const { return {out_, used_}; }

 private:
  char* out_;
  std::size_t capacity_;
  std::size_t used_ = 0;  // written
  std::size_t size_ = 0;  // wanted
  std::size_t dropped_ = 0;
  bool unsafe_ = false;
};

// CR, LF or NUL anywhere: such a field is never written.
bool breaks_line(std::string_view text);
// Whether the field's line stands in the head's bytes, all of it checked by the parser: somebody may have given a
// parsed field another value since.
bool stands_as_line(const Field& field);

// The Date field (RFC 9110, 5.6.7) of the second last given, so that it is made once per second and worker.
class DateCache {
 public:
  // `unix_seconds`: wall-clock time. Returns "Sun, 06 Nov 1994 08:49:37 GMT"; valid until the next call with another
  // second.
  std::string_view at(std::int64_t unix_seconds);

 private:
  std::int64_t second_ = -1;
  char text_[32] = {};
};

}  // namespace edgemux::core
