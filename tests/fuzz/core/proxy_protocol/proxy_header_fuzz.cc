// The PROXY header on arbitrary bytes: stays inside them, says the same however it is asked, and what it reads can be
// written and read again.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/proxy_protocol/proxy_header.h"

using edgemux::core::parse_proxy_header;
using edgemux::core::ProxyHeader;
using edgemux::core::ProxyVersion;
using Verdict = ProxyHeader::Verdict;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

bool inside(std::string_view part, const std::vector<char>& whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<char> bytes(data, data + size);
  const ProxyHeader header = parse_proxy_header(bytes);
  require(inside(header.authority, bytes) && inside(header.alpn, bytes));
  if (header.verdict == Verdict::need_more) {
    require(header.bytes_needed > size && size < edgemux::core::kMaxProxyHeader);
  }
  if (header.verdict == Verdict::malformed) require(*header.reason != '\0');
  if (header.verdict == Verdict::header) {
    require(header.size > 0 && header.size <= size && header.size <= edgemux::core::kMaxProxyHeader);
    require(header.source.valid() == header.destination.valid());
    for (const ProxyVersion version : {ProxyVersion::v1, ProxyVersion::v2}) {
      std::array<char, edgemux::core::kMaxProxyWritten> out{};
      const std::size_t written =
          write_proxy_header(version, {header.source, header.destination, header.authority, header.alpn}, out);
      const ProxyHeader again = parse_proxy_header(std::string_view(out.data(), written));
      require(again.verdict == Verdict::header && again.size == written);
      require(again.source == header.source);
    }
  }
  // With less, never another answer than "more" or the same one.
  for (const std::size_t cut : {size / 2, size - (size > 0 ? 1 : 0)}) {
    const ProxyHeader early = parse_proxy_header(std::span(bytes).first(cut));
    if (early.verdict == Verdict::need_more) {
      if (header.verdict == Verdict::header) require(early.bytes_needed <= header.size);
    } else {
      require(early.verdict == header.verdict && early.size == header.size);
    }
  }
  return 0;
}
