// Any plaintext, padded in any way, comes out of a sealed record as RFC 8446 5.4 reads it; and a record in which
// anything was changed, or that nobody sealed, does not come out at all.
//
// Input: suite and where to spoil the record (one byte each), then what is sealed; the type is its last byte.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/tls/records.h"

using edgemux::core::RecordCiphers;
using edgemux::core::Records;
using edgemux::core::TrafficSecrets;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

std::unique_ptr<Records> make(const RecordCiphers::Suite& suite) {
  TrafficSecrets secrets;
  secrets.read.size = secrets.write.size = suite.hkdf.hash_size();
  return Records::create(suite, secrets, 1000);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static RecordCiphers ciphers;
  static const bool fetched = ciphers.fetch(nullptr);
  require(fetched);
  if (size < 3 || size > Records::kPlain + 300) return 0;
  const auto& suite = *ciphers.find(0x1301U + data[0] % 3U);
  const std::size_t spoilt = data[1];
  const std::string inside(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto sealer = make(suite);
  const auto opener = make(suite);
  require(sealer != nullptr && opener != nullptr);

  std::string record(inside.size() + Records::kOverhead - 1, '\0');
  const std::string_view plain(inside.data(), inside.size() - 1);
  require(sealer->seal(static_cast<Records::Type>(inside.back()), plain, record.data()) == record.size());
  std::string out(inside.size(), '\0');
  const Records::Opened opened = opener->open(record, out.data());
  const std::size_t last = inside.find_last_not_of('\0');
  const bool good = last != std::string::npos && inside[last] >= 21 && inside[last] <= 23 && last <= Records::kPlain;
  require(good == (opened.type != Records::Type::none));
  if (good) {
    require(static_cast<char>(opened.type) == inside[last]);
    require(opened.size == last && out.compare(0, last, inside, 0, last) == 0);
  } else {
    require(opened.alert != 0 && opened.reason != nullptr);
  }

  // The next record, spoilt.
  require(sealer->seal(static_cast<Records::Type>(inside.back()), plain, record.data()) == record.size());
  record[spoilt * record.size() / 256] ^= 1;
  require(opener->open(record, out.data()).type == Records::Type::none);

  // What nobody sealed. The header's length is the caller's to check.
  const Records::Opened foreign = opener->open(inside.size() >= Records::kHeader ? inside : record, record.data());
  require(foreign.type == Records::Type::none);
  return 0;
}
