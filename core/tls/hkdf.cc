#include "core/tls/hkdf.h"

#include <openssl/crypto.h>

#include <algorithm>

namespace edgemux::core {

bool Hkdf::fetch(OSSL_LIB_CTX* library, const char* digest) {
  digest_.reset(EVP_MD_fetch(library, digest, nullptr));
  context_.reset(EVP_MD_CTX_new());
  if (!digest_ || !context_) return false;
  size_ = static_cast<std::size_t>(EVP_MD_get_size(digest_.get()));
  block_ = static_cast<std::size_t>(EVP_MD_get_block_size(digest_.get()));
  return size_ <= kMostHash && block_ <= kMostBlock;
}

// RFC 2104 2.
bool Hkdf::hmac(Bytes key, std::initializer_list<Bytes> texts, unsigned char* out) const {
  constexpr unsigned char kInner = 0x36;
  constexpr unsigned char kOuter = 0x5c;
  std::array<unsigned char, kMostHash> inner{};
  const bool made =
      keyed_hash(key, kInner, texts, inner.data()) && keyed_hash(key, kOuter, {Bytes(inner).first(size_)}, out);
  OPENSSL_cleanse(inner.data(), inner.size());
  return made;
}

bool Hkdf::keyed_hash(Bytes key, unsigned char pad, std::initializer_list<Bytes> texts, unsigned char* out) const {
  if (key.size() > block_) return false;
  std::array<unsigned char, kMostBlock> padded;  // NOLINT(*-member-init): written as far as it is read
  std::fill_n(padded.begin(), block_, pad);
  for (std::size_t i = 0; i < key.size(); ++i) padded[i] ^= key[i];
  EVP_MD_CTX* const context = context_.get();
  bool made =
      EVP_DigestInit_ex2(context, digest_.get(), nullptr) == 1 && EVP_DigestUpdate(context, padded.data(), block_) == 1;
  for (const Bytes text : texts) made = made && EVP_DigestUpdate(context, text.data(), text.size()) == 1;
  made = made && EVP_DigestFinal_ex(context, out, nullptr) == 1;
  OPENSSL_cleanse(padded.data(), padded.size());
  return made;
}

bool Hkdf::extract(Bytes salt, Bytes input, std::span<unsigned char> out) const {
  return out.size() == size_ && hmac(salt, {input}, out.data());
}

bool Hkdf::expand_label(Bytes secret, Bytes prefix, Bytes label, Bytes context, std::span<unsigned char> out) const {
  constexpr std::size_t kMost = 255;
  if (prefix.size() + label.size() > kMost || context.size() > kMost || out.size() > kMost * size_) return false;
  std::array<unsigned char, 2 + 1 + kMost + 1 + kMost> info;  // NOLINT(*-member-init): written as far as it is read
  auto* p = info.data();
  *p++ = static_cast<unsigned char>(out.size() >> 8U);
  *p++ = static_cast<unsigned char>(out.size());
  *p++ = static_cast<unsigned char>(prefix.size() + label.size());
  p = std::copy(prefix.begin(), prefix.end(), p);
  p = std::copy(label.begin(), label.end(), p);
  *p++ = static_cast<unsigned char>(context.size());
  p = std::copy(context.begin(), context.end(), p);

  // RFC 5869 2.3.
  std::array<unsigned char, kMostHash> block{};
  Bytes before;
  bool made = true;
  unsigned char number = 0;
  for (std::size_t at = 0; made && at < out.size(); at += size_) {
    ++number;
    made = hmac(secret, {before, Bytes(info.data(), p), Bytes(&number, 1)}, block.data());
    std::copy_n(block.begin(), std::min(size_, out.size() - at), out.begin() + static_cast<std::ptrdiff_t>(at));
    before = Bytes(block).first(size_);
  }
  OPENSSL_cleanse(block.data(), block.size());
  return made;
}

bool Hkdf::hash_of_nothing(std::span<unsigned char> out) const {
  return out.size() == size_ && EVP_DigestInit_ex2(context_.get(), digest_.get(), nullptr) == 1 &&
         EVP_DigestFinal_ex(context_.get(), out.data(), nullptr) == 1;
}

}  // namespace edgemux::core
