#pragma once
// CertificateStore: which certificate a server name gets. Built off the loops from files, then immutable and shared.
//
// Pairs are read, verified (key matches certificate) and indexed by the names in the certificate (SAN dNSName; the CN
// only where there is no SAN). Exact name before wildcard; a certificate wildcard covers exactly one label (RFC
// 6125 6.4.3). Of several pairs for one name that are valid now the one that expires last wins, per key type: an ECDSA
// and an RSA pair may stand side by side and the client's abilities choose. So the next pair may lie there early.
//
// A stored pair is DER, a few KiB; a worker decodes it in its own library context when the first handshake asks for it.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"

namespace edgemux::core {

// One pair as bytes. Immutable.
struct CertifiedKey {
  std::string cert_file;  // for messages
  std::string key_file;
  std::vector<std::string> names;      // normalised, "*.example.com" for wildcards
  std::vector<std::string> chain_der;  // leaf first
  std::string key_der;                 // PKCS#8
  bool ecdsa = false;
  std::int64_t not_before = 0;  // unix seconds
  std::int64_t not_after = 0;
  // SHA-256 of the chain and the key, hex: equal pairs share what a worker decoded.
  std::string fingerprint;
};
using CertifiedKeyPtr = std::shared_ptr<const CertifiedKey>;

// Up to one pair per key type for a name.
struct CertificateChoice {
  const CertifiedKeyPtr* ecdsa = nullptr;  // live as long as the store
  const CertifiedKeyPtr* rsa = nullptr;
  explicit operator bool() const { return ecdsa != nullptr || rsa != nullptr; }
};

// Of one pair's file. A client in Java takes ten.
inline constexpr int kMostCertificates = 16;
inline constexpr std::size_t kMostChain = 100UL * 1024;  // bytes of them all; what OpenSSL's clients take

struct PairFiles {
  std::string cert;
  std::string key;
  bool lone = false;  // no file of a key is beside the certificate: `key` is `cert`, and may hold one, or may not
};
// The order of a listing: by certificate, lone ones last.
inline bool listed_before(const PairFiles& a, const PairFiles& b) {
  return a.lone != b.lone ? b.lone : a.cert < b.cert;
}

// What stands in the two files. The key is wiped in the end.
struct PairText {
  PairFiles files;
  std::string cert;
  std::string key;
  bool open_to_others = false;  // every user can read the key

  PairText(PairFiles names, std::string cert_text, std::string key_text, bool open)
      : files(std::move(names)), cert(std::move(cert_text)), key(std::move(key_text)), open_to_others(open) {}
  PairText(PairText&&) = default;
  PairText& operator=(PairText&&) = delete;
  ~PairText();
  // SHA-256 of all but the names: with an equal one parse_pair() comes to the same.
  [[nodiscard]] std::string fingerprint() const;
};

// `open`: gives a descriptor to read from, or -1 and errno, EXDEV where a link leads out of the folder that the file
// must lie in; absent = open(2).
using FileOpener = std::function<int(const std::string& path)>;
// Errors: a file is missing or unreadable (says who lacks what), and retryable then; it is no file, empty or too large.
Result<PairText> read_pair(const PairFiles& files, const FileOpener& open = {});

// Verifies one pair. Errors, none of them retryable: no certificate or key in it, an encrypted key, a key that does not
// match or that the library would refuse, a chain that does not parse or is longer than kMostCertificates. Warnings:
// expired, not valid yet, no name in it, a chain out of order, a key file that others can read.
struct LoadedPair {
  CertifiedKeyPtr pair;
  std::vector<std::string> warnings;
  std::string unused_leaf;  // DER: the host's certificate that is not used, of which `warnings` tells
};
// A lone file without a key is no error: null, and a warning where it holds a certificate for a host name.
Result<LoadedPair> parse_pair(const PairText& text);
// Both.
Result<LoadedPair> load_pair(const std::string& cert_file, const std::string& key_file, const FileOpener& open = {});

// The pairs of a directory, in every layout: NAME.pem|crt + NAME.key, NAME/tls.crt + tls.key, NAME/fullchain.pem +
// privkey.pem (certbot), and the last two directly in the directory (a mounted Kubernetes secret). Files that begin
// with a dot are passed over, links are followed; a key without its certificate is listed, so that loading it says what
// is missing. NAME.pem|crt without a key beside it is listed as `lone`, but for what lies beside one of the last two
// (chain.pem, ca.crt). Lists names only, sorted, lone ones last; nothing is read.
// A directory with more than `most` names is an error.
Result<std::vector<PairFiles>> list_pairs(const std::string& directory, std::size_t most = SIZE_MAX);

// A pair that serves the names of one owner only, or of everybody where `scope` is empty.
struct ScopedPair {
  CertifiedKeyPtr pair;
  std::string scope;
};

class CertificateStore {
 public:
  CertificateStore() = default;
  explicit CertificateStore(std::vector<CertifiedKeyPtr> pairs);
  explicit CertificateStore(std::vector<ScopedPair> pairs);

  // `name` is normalised (lower case, no trailing dot) and belongs to `scope`: the pairs of that scope come first, then
  // those of everybody; those of other scopes never.
  // Of several pairs for a name, per key type: of those that are valid at `now` (unix seconds; 0 = at this time) the
  // one that expires last; where one key type has a valid pair and the other has none, that one alone.
  [[nodiscard]] CertificateChoice find(std::string_view name, std::string_view scope = {}, std::int64_t now = 0) const;
  // By scope, then as they were given.
  [[nodiscard]] const std::vector<CertifiedKeyPtr>& pairs() const { return pairs_; }

 private:
  struct Slot {
    std::string_view name;  // points into the pair
    std::uint32_t pair;     // index into pairs_
  };
  struct Scope {
    std::string name;
    std::size_t begin = 0;  // into slots_
    std::size_t end = 0;
  };
  [[nodiscard]] CertificateChoice find_in(std::string_view name, const Scope& scope, std::int64_t now) const;
  [[nodiscard]] const Scope* scope_of(std::string_view name) const;
  [[nodiscard]] std::span<const Slot> probe(std::string_view name, const Scope& scope) const;
  void add_scope(std::string name, std::size_t first_pair);

  std::vector<CertifiedKeyPtr> pairs_;
  std::vector<Slot> slots_;    // sorted by name and by who expires last, scope by scope
  std::vector<Scope> scopes_;  // sorted by name
};

}  // namespace edgemux::core
