#pragma once
// Header fields as values. Names are lower case always; a name that edgemux acts upon is known by its FieldId, so that
// nothing after the parser compares names.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace edgemux::core {

enum class FieldId : std::uint8_t {
  other,
  host,
  connection,
  content_length,
  transfer_encoding,
  te,
  trailer,
  upgrade,
  keep_alive,
  proxy_connection,
  http2_settings,
  expect,
  forwarded,
  x_forwarded_for,
  x_forwarded_proto,
  x_forwarded_host,
  x_forwarded_port,
  x_real_ip,
  x_request_id,
  // From here on: known, but not managed. A name that aliases one of these is an ordinary field.
  date,
  server,
  via,
  location,
  content_type,
  cookie,
  user_agent,
};

// The id of a lower-case name; `other` when edgemux does not act upon it.
FieldId classify_field(std::string_view lower_case_name);

// A managed field is one that edgemux itself interprets or writes. Clients may not smuggle it past under a name that
// a backend (CGI, WSGI) would fold into the same variable.
constexpr bool is_managed(FieldId id) { return id > FieldId::other && id < FieldId::date; }

// "x_forwarded-for": a name with '_' that becomes a managed one when every '_' is read as '-'.
bool aliases_managed_field(std::string_view lower_case_name);
// Two names that differ, but not once every '_' is read as '-'.
bool alias_each_other(std::string_view lower_case_name, std::string_view other);

// Fields about this connection only (RFC 9110, 7.6.1), whatever the Connection field lists. Never forwarded.
// Content-Length is not among them, but it is written from the parsed framing, never copied.
constexpr bool is_always_hop_by_hop(FieldId id) {
  switch (id) {
    case FieldId::connection:
    case FieldId::keep_alive:
    case FieldId::proxy_connection:
    case FieldId::te:
    case FieldId::trailer:
    case FieldId::transfer_encoding:
    case FieldId::upgrade:
    case FieldId::http2_settings:
      return true;
    default:
      return false;
  }
}

// Views into a head's bytes: valid as long as those bytes stay where they are.
struct Field {
  std::string_view name;   // lower case
  std::string_view value;  // without surrounding spaces and tabs; may hold tabs and bytes above 0x7f, no other control
  FieldId id = FieldId::other;
  bool hop_by_hop = false;  // by its id, or because the message's Connection field lists it: do not forward
  // The parser's word that it stands in the head's bytes as "name: value" CRLF, all of it valid. A field that is made
  // or copied otherwise does not have it.
  bool verbatim = false;
  // HPACK said so: whoever sends it on over HTTP/2 keeps it out of every table as well (RFC 7541 6.2.3).
  bool never_indexed = false;
};

// Fields in order of arrival, in place, no allocation; 11 KiB, so keep one per worker and reuse it. Copying copies the
// fields in use only.
class FieldList {
 public:
  static constexpr std::size_t kMostReceived = 128;  // of one message; parsers refuse more
  static constexpr std::size_t kMostAdded = 144;     // by its rule, and by edgemux itself
  static constexpr std::size_t kCapacity = kMostReceived + kMostAdded;

  FieldList() {}  // NOLINT: the array stays uninitialised on purpose
  FieldList(const FieldList& from) { *this = from; }
  FieldList& operator=(const FieldList& from) {
    if (this != &from) {
      size_ = 0;
      for (const Field& field : from) add(field);
      underscored_ = from.underscored_;
    }
    return *this;
  }

  // False when the list is full.
  bool add(const Field& field) {
    if (size_ == kCapacity) return false;
    std::construct_at(&fields_[size_++], field);
    return true;
  }
  // For parsers. False when there are as many as a message may bring.
  bool receive(const Field& field) { return size_ < kMostReceived && add(field); }
  void clear() {
    size_ = 0;
    underscored_ = false;
  }
  // Some name that was received has a '_'. The parsers say so.
  void note_underscore() { underscored_ = true; }
  [[nodiscard]] bool underscored() const { return underscored_; }
  void truncate(std::size_t size) { size_ = size; }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const Field* begin() const { return fields_; }
  [[nodiscard]] const Field* end() const { return fields_ + size_; }
  [[nodiscard]] Field* begin() { return fields_; }
  [[nodiscard]] Field* end() { return fields_ + size_; }
  const Field& operator[](std::size_t i) const { return fields_[i]; }
  Field& operator[](std::size_t i) { return fields_[i]; }

  // The first field of that id or lower-case name; null when there is none.
  [[nodiscard]] const Field* find(FieldId id) const {
    for (const Field& field : *this) {
      if (field.id == id) return &field;
    }
    return nullptr;
  }
  [[nodiscard]] const Field* find(std::string_view lower_case_name) const {
    for (const Field& field : *this) {
      if (field.name == lower_case_name) return &field;
    }
    return nullptr;
  }

 private:
  std::size_t size_ = 0;
  bool underscored_ = false;
  union {
    Field fields_[kCapacity];
  };
};

}  // namespace edgemux::core
