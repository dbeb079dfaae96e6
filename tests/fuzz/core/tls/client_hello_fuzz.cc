// The ClientHello parser on arbitrary bytes: stays inside them, and says the same however it is asked.

#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/tls/client_hello.h"

using edgemux::core::ClientHello;
using edgemux::core::HelloVerdict;

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
  std::vector<char> scratch(size);
  const ClientHello hello = edgemux::core::parse_client_hello(bytes, scratch);
  require(inside(hello.server_name, bytes) || inside(hello.server_name, scratch));
  require(inside(hello.alpn, bytes) || inside(hello.alpn, scratch));
  if (hello.verdict != HelloVerdict::hello) require(hello.server_name.empty() && hello.alpn.empty());
  if (hello.verdict == HelloVerdict::need_more) require(hello.bytes_needed > size);

  // With less, never another answer than "more", and the promise holds; a bad verdict may come earlier, never a good
  // one.
  for (const std::size_t cut : {size / 2, size - (size > 0 ? 1 : 0)}) {
    const std::vector<char> part(data, data + cut);
    std::vector<char> part_scratch(cut);
    const ClientHello early = edgemux::core::parse_client_hello(part, part_scratch);
    if (early.verdict == HelloVerdict::need_more) {
      if (hello.verdict == HelloVerdict::hello) require(early.bytes_needed <= size);
    } else {
      require(early.verdict == hello.verdict);
      require(early.server_name == hello.server_name && early.alpn == hello.alpn);
    }
  }
  return 0;
}
