#include "core/tls/records.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>

namespace edgemux::core {
namespace {

constexpr unsigned kFirstSuite = 0x1301;
constexpr std::size_t kSmall = 2 * 1024;  // copied beside its type, so that one call seals both

unsigned char* bytes(char* text) { return reinterpret_cast<unsigned char*>(text); }

}  // namespace

TrafficSecrets::~TrafficSecrets() {
  OPENSSL_cleanse(read.secret.data(), read.secret.size());
  OPENSSL_cleanse(write.secret.data(), write.secret.size());
}

bool RecordCiphers::fetch(OSSL_LIB_CTX* library) {
  struct Named {
    const char* cipher;
    const char* digest;
    std::size_t key_size;
  };
  constexpr std::array<Named, 3> kNames{
      {{"AES-128-GCM", "SHA256", 16}, {"AES-256-GCM", "SHA384", 32}, {"ChaCha20-Poly1305", "SHA256", 32}}};
  for (std::size_t i = 0; i < suites_.size(); ++i) {
    Suite& suite = suites_[i];
    suite.cipher.reset(EVP_CIPHER_fetch(library, kNames[i].cipher, nullptr));
    suite.key_size = kNames[i].key_size;
    if (!suite.cipher || !suite.hkdf.fetch(library, kNames[i].digest)) return false;
    if (suite.hkdf.hash_size() > TrafficSecrets::kMost) return false;
  }
  return true;
}

const RecordCiphers::Suite* RecordCiphers::find(unsigned protocol_id) const {
  const unsigned index = protocol_id - kFirstSuite;
  return index < suites_.size() ? &suites_[index] : nullptr;
}

std::unique_ptr<Records> Records::create(const RecordCiphers::Suite& suite, const TrafficSecrets& secrets,
                                         std::uint64_t rekey_after) {
  std::unique_ptr<Records> made(new Records(suite, rekey_after));
  if (!made->start(made->read_, secrets.read, false) || !made->start(made->write_, secrets.write, true)) return nullptr;
  return made;
}

Records::~Records() {
  OPENSSL_cleanse(read_.secret.data(), read_.secret.size());
  OPENSSL_cleanse(write_.secret.data(), write_.secret.size());
}

bool Records::start(Half& half, const TrafficSecrets::Direction& from, bool write) {
  half.context.reset(EVP_CIPHER_CTX_new());
  if (!half.context || from.size != suite_.hkdf.hash_size()) return false;
  half.secret = from.secret;
  if (!make_keys(half, write)) return false;
  half.records = from.records;
  return true;
}

// RFC 8446 7.3.
bool Records::make_keys(Half& half, bool write) {
  std::array<unsigned char, 32> key{};
  bool made = expand(half, "key", std::span(key).first(suite_.key_size)) && expand(half, "iv", half.iv);
  made = made &&
         EVP_CipherInit_ex(half.context.get(), suite_.cipher.get(), nullptr, key.data(), nullptr, write ? 1 : 0) == 1;
  OPENSSL_cleanse(key.data(), key.size());
  half.records = 0;
  return made;
}

bool Records::next(Half& half, bool write) {
  std::array<unsigned char, TrafficSecrets::kMost> secret{};
  if (!expand(half, "traffic upd", std::span(secret).first(suite_.hkdf.hash_size()))) return false;
  half.secret = secret;
  OPENSSL_cleanse(secret.data(), secret.size());
  return make_keys(half, write);
}

bool Records::expand(const Half& half, std::string_view label, std::span<unsigned char> out) const {
  constexpr std::string_view kPrefix = "tls13 ";
  const auto view = [](std::string_view text) { return Hkdf::Bytes(as_bytes(text), text.size()); };
  const auto secret = Hkdf::Bytes(half.secret).first(suite_.hkdf.hash_size());
  return suite_.hkdf.expand_label(secret, view(kPrefix), view(label), {}, out);
}

bool Records::begin(Half& half, std::span<const char, kHeader> header) {
  std::array<unsigned char, 12> nonce = half.iv;
  for (std::size_t i = 0; i < 8; ++i) nonce[11 - i] ^= static_cast<unsigned char>(half.records >> (8 * i));
  ++half.records;
  int size = 0;
  return EVP_CipherInit_ex(half.context.get(), nullptr, nullptr, nullptr, nonce.data(), -1) == 1 &&
         EVP_CipherUpdate(half.context.get(), nullptr, &size, reinterpret_cast<const unsigned char*>(header.data()),
                          kHeader) == 1;
}

std::size_t Records::seal(Type type, std::string_view plain, char* out) {
  const std::size_t sealed = plain.size() + 1 + kTag;
  const std::array<char, kHeader> header{static_cast<char>(Type::data), 3, 3, static_cast<char>(sealed >> 8U),
                                         static_cast<char>(sealed)};
  std::copy(header.begin(), header.end(), out);
  if (!begin(write_, header)) return 0;
  EVP_CIPHER_CTX* const context = write_.context.get();
  char* body = out + kHeader;
  int size = 0;
  std::size_t left = plain.size();
  if (left > kSmall) {
    if (EVP_CipherUpdate(context, bytes(body), &size, as_bytes(plain), static_cast<int>(left)) != 1) return 0;
    body += left;
    left = 0;
  } else {
    std::copy(plain.begin(), plain.end(), body);
  }
  body[left] = static_cast<char>(type);
  if (EVP_CipherUpdate(context, bytes(body), &size, bytes(body), static_cast<int>(left + 1)) != 1) return 0;
  body += left + 1;
  if (EVP_CipherFinal_ex(context, bytes(body), &size) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTag, body) != 1) {
    return 0;
  }
  return kHeader + sealed;
}

Records::Opened Records::open(std::span<const char> record, char* out) {
  if (record.size() < kHeader + 1 + kTag) return {Type::none, 0, SSL_AD_BAD_RECORD_MAC, "a record too short"};
  const std::size_t inside = record.size() - kHeader - kTag;
  EVP_CIPHER_CTX* const context = read_.context.get();
  const char* const body = record.data() + kHeader;
  const auto* const sealed = reinterpret_cast<const unsigned char*>(body);
  int size = 0;
  int rest = 0;
  const bool good = begin(read_, record.first<kHeader>()) &&
                    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTag, const_cast<char*>(body) + inside) == 1 &&
                    EVP_CipherUpdate(context, bytes(out), &size, sealed, static_cast<int>(inside)) == 1 &&
                    EVP_CipherFinal_ex(context, bytes(out) + size, &rest) == 1;
  if (!good) {
    ERR_clear_error();
    return {Type::none, 0, SSL_AD_BAD_RECORD_MAC, "decryption failed or bad record mac"};
  }
  std::size_t end = inside;  // the type is the last byte that is not zero; what follows is padding
  while (end > 0 && out[end - 1] == 0) --end;
  if (end == 0) return {Type::none, 0, SSL_AD_UNEXPECTED_MESSAGE, "a record without a type"};
  if (end > kPlain + 1) return {Type::none, 0, SSL_AD_RECORD_OVERFLOW, "a record too long"};
  const auto type = static_cast<std::uint8_t>(out[end - 1]);
  if (type < 21 || type > 23) return {Type::none, 0, SSL_AD_UNEXPECTED_MESSAGE, "a record of an unknown type"};
  return {static_cast<Type>(type), end - 1, 0, nullptr};
}

}  // namespace edgemux::core
