#pragma once
// Records: what protects the data of a TLS 1.3 connection once its handshake is done (RFC 8446, 5.2 and 7). Private to
// core/tls.
//
// The handshake is the library's. Then the connection's traffic secrets move here, and the library's object, which is
// several times as large, is gone. A record costs half of what it costs through the library: it is sealed where it is
// sent from, and opened into the reader's buffer.
//
// No I/O: what is a whole record, what is answered and when a connection ends is TlsStream's. The ciphers are the
// library's.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "core/tls/hkdf.h"
#include "core/tls/openssl.h"

namespace edgemux::core {

// What the records of a worker's connections share. Not thread safe.
class RecordCiphers {
 public:
  struct Suite {
    CipherPtr cipher;
    std::size_t key_size = 0;
    Hkdf hkdf;
  };

  // False: the library lacks an algorithm.
  bool fetch(OSSL_LIB_CTX* library);
  // By the protocol's number of it; null for those that stay with the library.
  [[nodiscard]] const Suite* find(unsigned protocol_id) const;

 private:
  std::array<Suite, 3> suites_;  // 0x1301, 0x1302, 0x1303
};

// A connection's two traffic secrets, as the handshake made them, and how many records were protected with each since.
struct TrafficSecrets {
  static constexpr std::size_t kMost = 48;
  struct Direction {
    std::array<unsigned char, kMost> secret{};
    std::size_t size = 0;  // 0 = not known yet
    std::uint64_t records = 0;
  };
  Direction read;
  Direction write;
  ~TrafficSecrets();
};

class Records {
 public:
  static constexpr std::size_t kHeader = 5;
  static constexpr std::size_t kTag = 16;
  static constexpr std::size_t kOverhead = kHeader + 1 + kTag;  // without padding
  static constexpr std::size_t kPlain = 16 * 1024;
  static constexpr std::size_t kLargest = kHeader + kPlain + 256;  // 5.2: anything longer is an overflow

  enum class Type : std::uint8_t { none = 0, alert = 21, handshake = 22, data = 23 };
  struct Opened {
    Type type = Type::none;  // none: refused, and `alert` says how
    std::size_t size = 0;
    std::uint8_t alert = 0;
    const char* reason = nullptr;
  };

  // Null: the library refused. `suite` outlives the object; keys are replaced after `rekey_after` records (5.5).
  static std::unique_ptr<Records> create(const RecordCiphers::Suite& suite, const TrafficSecrets& secrets,
                                         std::uint64_t rekey_after);
  ~Records();
  Records(const Records&) = delete;
  Records& operator=(const Records&) = delete;

  // Writes a record with `plain` (at most kPlain) to `out`, which has room for kOverhead more. Returns its size; 0: the
  // library failed, and the connection is over.
  std::size_t seal(Type type, std::string_view plain, char* out);
  // `record` with its header, whose length is that of the span and at most kLargest. What was in it goes to `out`,
  // which has room for record.size() - kHeader - kTag bytes and may be record.data() + kHeader; bytes behind `size` are
  // garbage.
  Opened open(std::span<const char> record, char* out);

  // Enough was written with the present keys: send a KeyUpdate, then next_write_keys().
  [[nodiscard]] bool write_keys_are_old() const { return write_.records >= rekey_after_; }
  // 7.2; behind a KeyUpdate of that direction. False: the library refused, and the connection is over.
  bool next_read_keys() { return next(read_, false); }
  bool next_write_keys() { return next(write_, true); }

 private:
  struct Half {
    std::unique_ptr<EVP_CIPHER_CTX, FreeWith<EVP_CIPHER_CTX_free>> context;
    std::array<unsigned char, 12> iv{};
    std::array<unsigned char, TrafficSecrets::kMost> secret{};
    std::uint64_t records = 0;
  };
  Records(const RecordCiphers::Suite& suite, std::uint64_t rekey_after) : suite_(suite), rekey_after_(rekey_after) {}
  bool start(Half& half, const TrafficSecrets::Direction& from, bool write);
  bool make_keys(Half& half, bool write);
  bool next(Half& half, bool write);
  [[nodiscard]] bool expand(const Half& half, std::string_view label, std::span<unsigned char> out) const;
  // Begins the next record: its nonce (5.3), and the header as what is authenticated besides.
  static bool begin(Half& half, std::span<const char, kHeader> header);

  const RecordCiphers::Suite& suite_;
  Half read_;
  Half write_;
  std::uint64_t rekey_after_;
};

}  // namespace edgemux::core
