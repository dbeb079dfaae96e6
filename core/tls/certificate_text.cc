#include "core/tls/certificate_text.h"

#include <fmt/core.h>
#include <openssl/x509v3.h>

#include <ctime>

#include "core/base/address.h"

namespace edgemux::core {
namespace {

constexpr std::size_t kMostText = 120;
constexpr int kMostNames = 5;

std::string clean(std::string_view text) {
  std::string out(text.substr(0, kMostText));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  if (text.size() > kMostText) out += "...";
  return out;
}

std::string subject_text(const X509_NAME* name) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (name == nullptr || X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) < 0) return "?";
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return size > 0 ? clean({data, static_cast<std::size_t>(size)}) : "nobody";
}

std::string date_text(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable date";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string string_text(const ASN1_STRING* string) {
  return clean({reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
                static_cast<std::size_t>(ASN1_STRING_length(string))});
}

std::string address_text(const ASN1_STRING* bytes) {
  sockaddr_in6 v6{};
  sockaddr_in v4{};
  if (ASN1_STRING_length(bytes) == 4) {
    v4.sin_family = AF_INET;
    std::copy_n(ASN1_STRING_get0_data(bytes), 4, reinterpret_cast<unsigned char*>(&v4.sin_addr));
    return SocketAddress::from(reinterpret_cast<const sockaddr*>(&v4), sizeof v4).ip();
  }
  if (ASN1_STRING_length(bytes) == 16) {
    v6.sin6_family = AF_INET6;
    std::copy_n(ASN1_STRING_get0_data(bytes), 16, reinterpret_cast<unsigned char*>(&v6.sin6_addr));
    return SocketAddress::from(reinterpret_cast<const sockaddr*>(&v6), sizeof v6).ip();
  }
  return "?";
}

// "a.example, 10.0.0.7", at most kMostNames; empty = the certificate names nobody.
std::string names_of(const X509* certificate) {
  using Names = std::unique_ptr<GENERAL_NAMES, FreeWith<GENERAL_NAMES_free>>;
  const Names names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::string out;
  int listed = 0;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS && name->type != GEN_IPADD) continue;
    if (listed++ == kMostNames) return out + ", ...";
    if (!out.empty()) out += ", ";
    out += name->type == GEN_DNS ? string_text(name->d.dNSName) : address_text(name->d.iPAddress);
  }
  return out;
}

}  // namespace

std::string why_not_trusted(X509_STORE_CTX& store, std::string_view name, bool own_ca) {
  const int error = X509_STORE_CTX_get_error(&store);
  const X509* at = X509_STORE_CTX_get_current_cert(&store);
  if (at == nullptr) return fmt::format("server certificate: {}", X509_verify_cert_error_string(error));
  const std::string whose =
      X509_STORE_CTX_get_error_depth(&store) == 0
          ? "the server certificate"
          : "the certificate of " + subject_text(X509_get_subject_name(at)) + " above the server's";
  switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: {
      const std::string names = names_of(at);
      if (names.empty()) return fmt::format("the server certificate names no host (no SAN); {} was expected", name);
      return fmt::format("the server certificate is for {}, not for {}", names, name);
    }
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fmt::format("{} expired on {}", whose, date_text(X509_get0_notAfter(at)));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("{} is not valid before {}", whose, date_text(X509_get0_notBefore(at)));
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return fmt::format("the server certificate is signed by itself and not in {}",
                         own_ca ? "'ca'" : "the system's store");
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return fmt::format("{} is signed by {}, which is not in {}", whose, subject_text(X509_get_issuer_name(at)),
                         own_ca ? "'ca'" : "the system's store");
    default:
      return fmt::format("{}: {}", whose, X509_verify_cert_error_string(error));
  }
}

}  // namespace edgemux::core
