#pragma once
// The allocator of the TLS library. With SSL_MODE_RELEASE_BUFFERS an idle connection owns no record buffer, at the
// price of taking and giving back one of some 16 KiB for every read and every write; the heap treats that size as
// large. Here each thread keeps a few such blocks in a list of its own. What makes up a connection comes from Slabs.
// The rest goes to the heap as it is.

namespace edgemux::core {

// Before the first use of the library, once, at the start of the process; too late, it does nothing. A sanitizer build
// keeps the sanitizer's allocator.
void install_tls_allocator();

}  // namespace edgemux::core
