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

OSSL_LIB_CTX* no_algorithms() {
  struct Library {
    LibraryPtr context{OSSL_LIB_CTX_new()};
    // Without a provider the library would load its default one.
    ProviderPtr none{context ? OSSL_PROVIDER_load(context.get(), "null") : nullptr};
  };
  static const Library kLibrary;
  return kLibrary.context.get();
}

CertificatePtr decode_certificate(std::string_view der, OSSL_LIB_CTX* library) {
  X509* slot = X509_new_ex(library, nullptr);
  const unsigned char* at = as_bytes(der);
  // On failure d2i frees what it was given.
  return CertificatePtr(d2i_X509(&slot, &at, static_cast<long>(der.size())));
}

CertificateReader::CertificateReader(std::string_view pem)
    : bio_(pem.size() > INT_MAX ? nullptr : BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))) {}

Result<std::string> CertificateReader::next_der() {
  if (!bio_) return fail("too long");
  ERR_clear_error();
  unsigned char* data = nullptr;
  long size = 0;
  ++read_;
  if (PEM_bytes_read_bio(&data, &size, nullptr, PEM_STRING_X509, bio_.get(), nullptr, nullptr) != 1) {
    // PEM reads on until no BEGIN line is left: anything else is damage.
    const unsigned long code = ERR_peek_last_error();
    const bool ended = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    if (!ended) return broken();
    ERR_clear_error();
    return std::string();
  }
  std::string der(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
  OPENSSL_free(data);
  if (der.empty()) return broken();
  return der;
}

tl::unexpected<Error> CertificateReader::broken() const {
  return fail(fmt::format("certificate {} does not parse: {}", read_, take_library_error()));
}

Result<void> CertificateReader::read(STACK_OF(X509) & to, int most, OSSL_LIB_CTX* library) {
  while (sk_X509_num(&to) < most) {
    const auto der = next_der();
    if (!der) return tl::unexpected<Error>(der.error());
    if (der->empty()) return {};
    CertificatePtr certificate = decode_certificate(*der, library);
    if (!certificate) return broken();
    if (sk_X509_push(&to, certificate.get()) == 0) return fail("out of memory");
    static_cast<void>(certificate.release());
  }
  return {};
}

}  // namespace edgemux::core
