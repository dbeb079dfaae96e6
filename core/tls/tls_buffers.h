#pragma once
// TlsBuffers: what the streams of one worker share, so that none of them needs buffers of its own. Private to core/tls.
//
// Input is lent: it belongs to `owner` until that stream has used it up, or another one needs it; then the owner copies
// the rest away (TlsStream::save_input). Output and plain are used within one call only; `active` is whose call it is.

#include <cstddef>
#include <memory>

namespace edgemux::core {

class TlsStream;

struct TlsBuffers {
  static constexpr std::size_t kRecord = 16 * 1024;  // plaintext of a full record, RFC 8446 5.1
  static constexpr std::size_t kInput = 32 * 1024;
  static constexpr std::size_t kBatch = 4 * kRecord;         // plaintext that is sealed for one send
  static constexpr std::size_t kOutput = kBatch + 4 * 1024;  // what becomes of it, and control records

  std::unique_ptr<char[]> input{new char[kInput]};
  std::unique_ptr<char[]> output{new char[kOutput]};
  std::unique_ptr<char[]> plain{new char[kRecord]};
  TlsStream* active = nullptr;
  TlsStream* owner = nullptr;
  std::size_t begin = 0;  // of the owner's input
  std::size_t end = 0;
  std::size_t sealed = 0;  // bytes in output
};

}  // namespace edgemux::core
