#pragma once
// The text of an access-log line. Pure: a record in, bytes out; nothing is allocated and nothing fails.
//
// JSON is valid whatever a stranger sent: control characters are escaped, bytes that are not UTF-8 become U+FFFD. Text
// is name=value, the value in double quotes with the same escapes where it holds more than plain characters. A value of
// more than kMaxValue bytes as written (kMaxPath for the path) is cut and ends in "...".

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "listeners/access_record.h"
#include "routing/table/access_fields.h"
#include "routing/table/snapshot.h"

namespace edgemux::listeners {

inline constexpr std::size_t kMaxValue = 1024;
inline constexpr std::size_t kMaxPath = 8192;
// No line is longer.
inline constexpr std::size_t kMaxLine = 32 * 1024;

// What a line looks like, from the configuration. Immutable once made.
struct AccessLayout {
  explicit AccessLayout(const routing::AccessLogSpec& spec);

  struct Step {
    routing::AccessField field;
    std::string prefix;  // ',"host":' or ' host='
  };
  std::vector<Step> steps;
  bool json = true;
  bool off = false;
  std::uint32_t sample = 1;
};

// Turns records into lines, one at a time. One per worker: it keeps the text of the present second.
class AccessFormatter {
 public:
  // The line with its newline; valid until the next call. `now_ms` is Unix time, asked only where the record has none.
  std::string_view format(const AccessLayout& layout, const AccessRecord& record, std::int64_t (*now_ms)());

 private:
  void write_time(std::int64_t unix_ms);

  std::array<char, kMaxLine> line_;
  char* out_ = nullptr;
  bool json_ = true;
  std::int64_t second_ = -1;
  std::array<char, 20> second_text_{};

  friend struct FieldWriter;
};

}  // namespace edgemux::listeners
