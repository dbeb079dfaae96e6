#include "core/tls/ca_bundle.h"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/tls/openssl.h"

namespace edgemux::core {
namespace {

using NamePtr = std::unique_ptr<X509_NAME, FreeWith<X509_NAME_free>>;
using NamesPtr = std::unique_ptr<STACK_OF(X509_NAME), FreeWith<free_names>>;

struct TrustedCertificate {
  std::string der;
  NamePtr subject;
};

bool is_before(const TrustedCertificate& a, const TrustedCertificate& b) {
  return X509_NAME_cmp(a.subject.get(), b.subject.get()) < 0;
}

// What the library's look-ups in one store need.
struct TrustSource {
  CaBundlePtr bundle;
  OSSL_LIB_CTX* library;
};

}  // namespace

struct CaBundle::Contents {
  std::vector<TrustedCertificate> certificates;  // by subject
};

namespace {

// The library asks when the store has nobody of that subject: what is found goes into the store.
int find_trusted(X509_LOOKUP* lookup, X509_LOOKUP_TYPE type, const X509_NAME* name, X509_OBJECT* found) {
  if (type != X509_LU_X509 || name == nullptr) return 0;
  const auto& source = *static_cast<const TrustSource*>(X509_LOOKUP_get_method_data(lookup));
  const auto& all = source.bundle->contents().certificates;
  auto at = std::lower_bound(all.begin(), all.end(), name, [](const TrustedCertificate& one, const X509_NAME* wanted) {
    return X509_NAME_cmp(one.subject.get(), wanted) < 0;
  });
  CertificatePtr first;
  for (; at != all.end() && X509_NAME_cmp(at->subject.get(), name) == 0; ++at) {
    CertificatePtr certificate = decode_certificate(at->der, source.library);
    if (!certificate || X509_STORE_add_cert(X509_LOOKUP_get_store(lookup), certificate.get()) != 1) return 0;
    if (!first) first = std::move(certificate);
  }
  if (!first || X509_OBJECT_set1_X509(found, first.get()) != 1) return 0;
  X509_free(first.get());  // the library takes what is found for the store's own, which it is, and never frees it
  return 1;
}

void free_source(X509_LOOKUP* lookup) { delete static_cast<TrustSource*>(X509_LOOKUP_get_method_data(lookup)); }

// Lives as long as the process: stores may go late.
X509_LOOKUP_METHOD* trust_method() {
  static X509_LOOKUP_METHOD* const kMethod = [] {
    X509_LOOKUP_METHOD* method = X509_LOOKUP_meth_new("CaBundle");
    if (method != nullptr) {
      X509_LOOKUP_meth_set_get_by_subject(method, find_trusted);
      X509_LOOKUP_meth_set_free(method, free_source);
    }
    return method;
  }();
  return kMethod;
}

// `certificates`: by subject.
bool crowded(const std::vector<TrustedCertificate>& certificates) {
  for (std::size_t i = CaBundle::kMostOfOneSubject; i < certificates.size(); ++i) {
    const auto& first = certificates[i - CaBundle::kMostOfOneSubject];
    if (X509_NAME_cmp(first.subject.get(), certificates[i].subject.get()) == 0) return true;
  }
  return false;
}

}  // namespace

std::string CaBundle::fingerprint_of(std::string_view pem) { return sha256_hex(pem); }

std::size_t CaBundle::size() const { return contents_->certificates.size(); }

bool CaBundle::covers(const CaBundle& other) const {
  const auto& mine = contents_->certificates;
  const auto& others = other.contents_->certificates;
  return fingerprint_ == other.fingerprint_ || std::all_of(others.begin(), others.end(), [&](const auto& wanted) {
           const auto [from, to] = std::equal_range(mine.begin(), mine.end(), wanted, is_before);
           return std::any_of(from, to, [&](const auto& one) { return one.der == wanted.der; });
         });
}

Result<CaBundlePtr> CaBundle::parse(std::string_view pem) {
  auto contents = std::make_shared<Contents>();
  auto& certificates = contents->certificates;
  certificates.reserve(kMost);  // `known` points into them
  std::unordered_set<std::string_view> known;
  CertificateReader reader(pem);
  for (;;) {
    auto der = reader.next_der();
    if (!der) return tl::unexpected<Error>(der.error());
    if (der->empty()) break;
    if (known.count(*der) != 0) continue;
    if (certificates.size() == kMost) return fail(fmt::format("more than {} certificates", kMost));
    const CertificatePtr parsed = decode_certificate(*der, no_algorithms());
    if (!parsed) return reader.broken();
    NamePtr subject(X509_NAME_dup(X509_get_subject_name(parsed.get())));
    if (!subject) return fail("out of memory");
    certificates.push_back({std::move(*der), std::move(subject)});
    known.insert(certificates.back().der);
  }
  if (certificates.empty()) return fail("no certificate in it");
  std::stable_sort(certificates.begin(), certificates.end(), is_before);
  if (crowded(certificates)) return fail(fmt::format("more than {} certificates of one subject", kMostOfOneSubject));
  return CaBundlePtr(new CaBundle(fingerprint_of(pem), std::move(contents)));
}

Result<void> trust(SSL_CTX& context, const CaBundlePtr& bundle, OSSL_LIB_CTX* library) {
  X509_STORE* store = SSL_CTX_get_cert_store(&context);
  X509_LOOKUP_METHOD* method = trust_method();
  X509_LOOKUP* lookup = method == nullptr ? nullptr : X509_STORE_add_lookup(store, method);
  auto source = std::make_unique<TrustSource>(TrustSource{bundle, library});
  if (lookup == nullptr || X509_LOOKUP_set_method_data(lookup, source.get()) != 1) {
    return fail("the library refuses the bundle: " + take_library_error());
  }
  static_cast<void>(source.release());
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  return {};
}

Result<void> ask_for(SSL_CTX& context, const CaBundle& bundle) {
  NamesPtr names(sk_X509_NAME_new_null());
  const X509_NAME* before = nullptr;
  for (const auto& certificate : bundle.contents().certificates) {
    const X509_NAME* subject = certificate.subject.get();
    if (before != nullptr && X509_NAME_cmp(before, subject) == 0) continue;
    before = subject;
    NamePtr name(X509_NAME_dup(subject));
    if (!name || sk_X509_NAME_push(names.get(), name.get()) == 0) return fail("out of memory");
    static_cast<void>(name.release());
  }
  SSL_CTX_set_client_CA_list(&context, names.release());
  return {};
}

}  // namespace edgemux::core
