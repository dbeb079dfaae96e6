#pragma once
// Memory of the HTTP/2 codecs and of nghttp2: small blocks from free lists of the thread's own, so that streams, heads
// and frames that come and go cost no call of the heap in the steady state. Blocks may be freed by another thread than
// the one that took them.

#include <nghttp2/nghttp2.h>

#include <cstddef>
#include <cstdlib>

namespace edgemux::core {

void* take_http2_memory(std::size_t size);
void give_http2_memory(void* block) noexcept;

// For nghttp2_session_server_new3 and its like.
nghttp2_mem* http2_memory();

// Objects of such a class live in this memory.
struct InHttp2Memory {
  static void* operator new(std::size_t size) {
    void* block = take_http2_memory(size);
    if (block == nullptr) std::abort();
    return block;
  }
  static void operator delete(void* block) { give_http2_memory(block); }
};

}  // namespace edgemux::core
