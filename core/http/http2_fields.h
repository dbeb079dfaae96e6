#pragma once
// Heads of HTTP/2 messages as values and back (RFC 9113 8.2, 8.3). nghttp2 decodes HPACK; what the decoded fields may
// be is decided here and nowhere else. Pure.
//
//   HeaderBlock block(limit);
//   block.add(name, value)...                  as they are decoded; keeps references, copies nothing
//   block.request(end, head)                   after the last; views into `block`
//
// Refused with 400: upper case, a name that is no token, CR, LF, NUL and other controls, space around a value,
// connection-specific fields and TE other than "trailers", unknown, repeated, missing, late or misplaced pseudo fields,
// a scheme other than http and https, a path that HTTP/1 could not carry, no authority at all, or one that is not what
// Host says, more than one Content-Length, one that is no number, or one above 0 without a body. 405: CONNECT. 501:
// extended CONNECT (RFC 8441) of anything but "websocket". 431: more bytes or fields than may be.
// Names that alias a managed one by '_' are dropped, as in HTTP/1. Cookie fields are joined (RFC 9113 8.2.3).

#include <nghttp2/nghttp2.h>

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/http/codec.h"
#include "core/http/http2_memory.h"
#include "core/http/message.h"

namespace edgemux::core {

// What is wrong with a head; `reason` is null when nothing is.
struct HeadProblem {
  std::uint16_t status = 0;
  const char* reason = nullptr;
};

// One header block while it is decoded. At most kMost fields, cookie crumbs and pseudo fields included.
class HeaderBlock : public InHttp2Memory {
 public:
  static constexpr std::size_t kMost = 250;
  static constexpr std::size_t kOverhead = 32;  // counted per field, as SETTINGS_MAX_HEADER_LIST_SIZE does

  // `limit`: the most decoded bytes, overhead included. What is above it is counted, not kept; of what came before,
  // only content-type is then.
  explicit HeaderBlock(std::size_t limit) : limit_(limit) {}
  ~HeaderBlock() { clear(); }
  HeaderBlock(const HeaderBlock&) = delete;
  HeaderBlock& operator=(const HeaderBlock&) = delete;

  struct Pair {
    nghttp2_rcbuf* name;
    nghttp2_rcbuf* value;
  };

  void add(nghttp2_rcbuf* name, nghttp2_rcbuf* value, bool never_indexed);
  [[nodiscard]] std::size_t decoded_bytes() const { return bytes_; }
  // What was added and is kept, and which of it as never to be indexed.
  [[nodiscard]] std::span<const Pair> pairs() const { return {pairs_.data(), held_}; }
  [[nodiscard]] const auto& never_indexed() const { return never_indexed_; }
  // Empty where none is kept. As it came: nothing has checked it.
  [[nodiscard]] std::string_view content_type() const;

  // `end`: END_STREAM came with the block. Extended CONNECT comes out as GET with `upgrade`, so that nobody behind the
  // codec knows the difference.
  HeadProblem request(bool end, RequestHead& head);
  HeadProblem response(bool end, Method method, ResponseHead& head);
  // Managed fields are dropped (RFC 9110 6.5.1).
  HeadProblem trailers(FieldList& fields);

 private:
  struct Pseudo;
  void clear();
  // Of a block that is too large nothing else is of use.
  void keep_content_type();
  [[nodiscard]] HeadProblem too_large() const;
  // Checks one field; pseudo fields go to `pseudo`, ordinary ones to `fields`.
  const char* take(std::size_t index, bool& regular_seen, Pseudo* pseudo, FieldList& fields, Field& field);
  // All fields in order. Facts are what the head is made of.
  struct Facts;
  HeadProblem collect(Pseudo* pseudo, FieldList& fields, Facts& facts);
  [[nodiscard]] Field field_at(std::size_t index) const;
  const char* join_cookies(FieldList& fields, std::size_t first);

  std::size_t limit_;
  std::size_t bytes_ = 0;
  std::size_t seen_ = 0;
  std::size_t held_ = 0;
  char* cookies_ = nullptr;  // joined, when there were several
  std::array<char, 24> websocket_key_;
  std::array<Pair, kMost> pairs_;
  std::bitset<kMost> never_indexed_;
};

// A list of fields for nghttp2. Borrows every string: they must live until nghttp2 has copied them (submit). Fields
// with CR, LF or NUL are left out.
class Http2FieldList {
 public:
  Http2FieldList() {}  // NOLINT: the arrays stay uninitialised on purpose
  static constexpr std::size_t kCapacity = 2 * FieldList::kCapacity + 16;

  void add(std::string_view name, std::string_view value, bool never_indexed = false);
  // `name`: of static memory, so that it is not copied.
  void add_known(std::string_view name, std::string_view value, bool never_indexed = false);
  void add_number(std::string_view name, std::uint64_t value);  // the same; at most kNumbers of them
  // The end-to-end ones, without Host and Content-Length.
  void add_all(std::span<const Field> fields);

  [[nodiscard]] const nghttp2_nv* data() const { return pairs_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  // As SETTINGS_MAX_HEADER_LIST_SIZE counts (RFC 9113 6.5.2).
  [[nodiscard]] std::size_t counted_bytes() const;

 private:
  static constexpr std::size_t kNumbers = 2;
  void put(std::string_view name, std::string_view value, unsigned flags);
  std::size_t size_ = 0;
  std::size_t numbers_ = 0;
  char digits_[kNumbers][20];
  nghttp2_nv pairs_[kCapacity];
};

}  // namespace edgemux::core
