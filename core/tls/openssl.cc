#include "core/tls/openssl.h"

#include <fmt/core.h>
#include <openssl/pem.h>

#include <array>
#include <climits>

namespace edgemux::core {

std::string take_library_error() {
  const unsigned long code = ERR_peek_error();
  std::string text = "unknown";
  if (code != 0) {
    if (ERR_SYSTEM_ERROR(code)) {
      text = "system error";
    } else if (const char* reason = ERR_reason_error_string(code)) {
      text = reason;
    }
  }
  ERR_clear_error();
  return text;
}

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  std::string hex;
  hex.reserve(2 * static_cast<std::size_t>(size));
  for (unsigned i = 0; i < size; ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    hex += kDigits[digest[i] >> 4U];
    hex += kDigits[digest[i] & 15U];
  }
  return hex;
}

void append_field(std::string& to, std::string_view field) {
  to += std::to_string(field.size());
  to += ':';
  to += field;
}

void append_fields(std::string& to, const std::vector<std::string>& list) {
  append_field(to, std::to_string(list.size()));
  for (const std::string& field : list) append_field(to, field);
}

CertificateReader::CertificateReader(std::string_view pem, OSSL_LIB_CTX* library)
    : library_(library),
      bio_(pem.size() > INT_MAX ? nullptr : BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))) {}

Result<void> CertificateReader::read(STACK_OF(X509) & to, int most) {
  if (!bio_) return fail("too long");
  ERR_clear_error();
  while (sk_X509_num(&to) < most) {
    X509* slot = X509_new_ex(library_, nullptr);
    const bool got = PEM_read_bio_X509(bio_.get(), &slot, nullptr, nullptr) != nullptr;
    CertificatePtr certificate(slot);
    if (!got) {
      // PEM reads on until no BEGIN line is left: anything else is damage.
      const unsigned long code = ERR_peek_last_error();
      const bool ended = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
      if (!ended) {
        return fail(fmt::format("certificate {} does not parse: {}", sk_X509_num(&to) + 1, take_library_error()));
      }
      ERR_clear_error();
      return {};
    }
    if (sk_X509_push(&to, certificate.get()) == 0) return fail("out of memory");
    static_cast<void>(certificate.release());
  }
  return {};
}

Result<CertificatesPtr> read_certificates(std::string_view pem, OSSL_LIB_CTX* library) {
  CertificatesPtr chain(sk_X509_new_null());
  if (auto read = CertificateReader(pem, library).read(*chain, INT_MAX); !read) {
    return tl::unexpected<Error>(read.error());
  }
  if (sk_X509_num(chain.get()) == 0) return fail("no certificate in it");
  return chain;
}

}  // namespace edgemux::core
