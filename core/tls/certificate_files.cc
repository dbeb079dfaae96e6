// Pairs from files: reading, checking, and finding them in a directory.

#include <fcntl.h>
#include <fmt/core.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <map>
#include <system_error>
#include <unordered_set>

#include "core/base/shortage.h"
#include "core/tls/certificate_store.h"
#include "core/tls/openssl.h"

namespace edgemux::core {
namespace {

constexpr std::size_t kMaxFile = 1024 * 1024;
constexpr int kSearched = 4;           // certificates of a file, for one that fits a key that does not fit the first
constexpr int kMinSecurityBits = 112;  // RSA 2048, P-224

std::string user_name(uid_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> buffer{};
  if (getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) return found->pw_name;
  return fmt::format("uid {}", uid);
}

tl::unexpected<Error> again(std::string message) { return fail(std::move(message), Side::internal, true); }

tl::unexpected<Error> cannot_read(const std::string& path, int error) {
  if (error == EXDEV) return again(path + " is a link that leads out of the folder that it must lie in");
  std::string text = fmt::format("{}: {}", path, std::generic_category().message(error));
  struct stat status {};
  if (error == EACCES) {
    text += fmt::format("; this process runs as {}", user_name(geteuid()));
    if (stat(path.c_str(), &status) == 0) {
      text += fmt::format(", the file belongs to {} and has mode {:04o}", user_name(status.st_uid),
                          status.st_mode & 07777U);
    }
  }
  auto failure = again(std::move(text));
  failure.value().shortage = may_pass(error);
  return failure;
}

struct FileText {
  std::string text;
  bool open_to_others = false;
};

Result<FileText> read_file(const std::string& path, const FileOpener& opener) {
  const int fd = opener ? opener(path) : open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return cannot_read(path, errno);
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } closer{fd};
  struct stat status {};
  if (fstat(fd, &status) != 0) return cannot_read(path, errno);
  if (!S_ISREG(status.st_mode)) return fail(path + ": not a regular file");
  if (static_cast<std::size_t>(status.st_size) > kMaxFile) return fail(path + ": larger than 1 MiB");
  FileText file;
  file.open_to_others = (status.st_mode & S_IROTH) != 0;
  file.text.resize(static_cast<std::size_t>(status.st_size));
  std::size_t filled = 0;
  while (filled < file.text.size()) {
    const ssize_t got = ::read(fd, file.text.data() + filled, file.text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot_read(path, errno);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  file.text.resize(filled);
  if (file.text.empty()) return fail(path + ": the file is empty");
  return file;
}

// One PEM block. Its bytes are a secret.
struct PemBlock {
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* data = nullptr;
  long size = 0;
  PemBlock() = default;
  PemBlock(const PemBlock&) = delete;
  PemBlock& operator=(const PemBlock&) = delete;
  ~PemBlock() {
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, static_cast<std::size_t>(size));
  }
};

std::string pkcs8_of(const EVP_PKEY& key) {
  PKCS8_PRIV_KEY_INFO* info = EVP_PKEY2PKCS8(&key);
  if (info == nullptr) return {};
  unsigned char* der = nullptr;
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
  PKCS8_PRIV_KEY_INFO_free(info);
  if (size <= 0) return {};
  std::string text(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_clear_free(der, static_cast<std::size_t>(size));
  return text;
}

struct PrivateKey {
  KeyPtr key;
  std::string der;  // PKCS#8
};

// Decoding without knowing the type takes three times as long; `likely` is the certificate's.
KeyPtr decode_key(const PemBlock& block, int likely) {
  const std::string_view name = block.name;
  if (name == "EC PRIVATE KEY") likely = EVP_PKEY_EC;
  if (name == "RSA PRIVATE KEY") likely = EVP_PKEY_RSA;
  const unsigned char* at = block.data;
  KeyPtr key(d2i_PrivateKey_ex(likely, nullptr, &at, block.size, nullptr, nullptr));
  if (key) return key;
  at = block.data;
  ERR_clear_error();
  return KeyPtr(d2i_AutoPrivateKey_ex(nullptr, &at, block.size, nullptr, nullptr));
}

Result<PrivateKey> parse_key(const std::string& path, const std::string& pem, int likely) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  while (true) {
    PemBlock block;
    ERR_clear_error();
    if (PEM_read_bio(bio.get(), &block.name, &block.header, &block.data, &block.size) != 1) {
      const bool none = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
      const std::string why = take_library_error();
      return fail(none ? path + ": no private key in it (PEM, \"BEGIN PRIVATE KEY\")"
                       : fmt::format("{}: the key does not parse: {}", path, why));
    }
    const std::string_view name = block.name;
    if (!name.ends_with("PRIVATE KEY")) continue;
    if (name.starts_with("ENCRYPTED") || std::string_view(block.header).find("ENCRYPTED") != std::string_view::npos) {
      return fail(path + ": the key is encrypted; store it without a passphrase, readable by this process alone");
    }
    PrivateKey parsed;
    const std::string_view der(reinterpret_cast<const char*>(block.data), static_cast<std::size_t>(block.size));
    parsed.key = decode_key(block, likely);
    if (!parsed.key) return fail(path + ": the key does not parse: " + take_library_error());
    parsed.der = name == "PRIVATE KEY" ? std::string(der) : pkcs8_of(*parsed.key);
    if (parsed.der.empty()) return fail(path + ": the key cannot be stored: " + take_library_error());
    return parsed;
  }
}

std::int64_t unix_seconds(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return timegm(&parts);
}

// Lower case, no trailing dot; empty if it is nothing that a server name can match.
std::string normalised(const ASN1_STRING* text) {
  std::string name(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                   static_cast<std::size_t>(ASN1_STRING_length(text)));
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (name.ends_with('.')) name.pop_back();
  const std::string_view fixed = std::string_view(name).substr(name.starts_with("*.") ? 2 : 0);
  const bool plain = std::all_of(fixed.begin(), fixed.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
  return plain && !fixed.empty() && name.size() <= 253 ? name : std::string();
}

// `subject`: where there are no alternative names, the common name counts.
std::vector<std::string> names_of(const X509& leaf, bool subject = true) {
  std::vector<std::string> names;
  const auto add = [&names](const ASN1_STRING* text) {
    std::string name = normalised(text);
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
  };
  auto* alternatives = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&leaf, NID_subject_alt_name, nullptr, nullptr));
  if (alternatives != nullptr) {
    for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); ++i) {
      const GENERAL_NAME* entry = sk_GENERAL_NAME_value(alternatives, i);
      if (entry->type == GEN_DNS) add(entry->d.dNSName);
    }
    GENERAL_NAMES_free(alternatives);
    return names;
  }
  if (!subject) return names;
  const X509_NAME* name = X509_get_subject_name(&leaf);
  const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (at >= 0) add(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  return names;
}

std::string der_of(const X509& certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(&certificate, &der);
  if (size <= 0) return {};
  std::string text(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return text;
}

bool matches(const X509& certificate, const EVP_PKEY& key) {
  return EVP_PKEY_eq(X509_get0_pubkey(&certificate), &key) == 1;
}

std::string why_no_match(const std::string& key_file, const std::string& cert_file, const STACK_OF(X509) * chain,
                         const EVP_PKEY& key) {
  for (int i = 1; i < sk_X509_num(chain); ++i) {
    if (matches(*sk_X509_value(chain, i), key)) {
      return fmt::format("{}: the key matches certificate {} of {}; the host's own certificate must come first",
                         key_file, i + 1, cert_file);
    }
  }
  return fmt::format(
      "{}: the key does not match the certificate {}; one of the two files is from another pair or not yet renewed",
      key_file, cert_file);
}

void find_warnings(LoadedPair& loaded, const CertifiedKey& pair, const STACK_OF(X509) * chain, bool open_to_others) {
  if (pair.names.empty())
    loaded.warnings.push_back(pair.cert_file + ": no host name in the certificate; it serves nobody");
  for (int i = 0; i + 1 < sk_X509_num(chain); ++i) {
    if (X509_NAME_cmp(X509_get_issuer_name(sk_X509_value(chain, i)),
                      X509_get_subject_name(sk_X509_value(chain, i + 1))) != 0) {
      loaded.warnings.push_back(
          fmt::format("{}: certificate {} did not issue certificate {}; clients may refuse the chain", pair.cert_file,
                      i + 2, i + 1));
      break;
    }
  }
  if (open_to_others) {
    loaded.warnings.push_back(fmt::format("{}: every user can read the key; chmod o-r it", pair.key_file));
  }
}

// Of a lone file: authorities' certificates, parameters and the like are nobody's pair, and have no alternative names.
// What has signed itself is trusted by somebody, as it stands.
LoadedPair without_key(const PairText& text) {
  LoadedPair none;
  CertificateReader certificates(text.cert);
  const CertificatesPtr chain(sk_X509_new_null());
  const bool read = static_cast<bool>(certificates.read(*chain, 1, nullptr));
  ERR_clear_error();
  if (!read || sk_X509_num(chain.get()) == 0) return none;
  X509* const first = sk_X509_value(chain.get(), 0);
  if (X509_NAME_cmp(X509_get_subject_name(first), X509_get_issuer_name(first)) == 0) return none;
  const auto names = names_of(*first, false);
  if (names.empty()) return none;
  const auto stem = std::filesystem::path(text.files.cert).stem().string();
  none.warnings.push_back(
      fmt::format("{}: the certificate for {} is not used: there is no key in it, and no {}.key beside it",
                  text.files.cert, names.front(), stem));
  none.unused_leaf = der_of(*first);
  return none;
}

}  // namespace

PairText::~PairText() { OPENSSL_cleanse(key.data(), key.size()); }

std::string PairText::fingerprint() const { return sha256_hex(cert) + sha256_hex(key) + (open_to_others ? "o" : "-"); }

Result<PairText> read_pair(const PairFiles& files, const FileOpener& open) {
  auto cert = read_file(files.cert, open);
  if (!cert) return tl::unexpected<Error>(cert.error());
  auto key = read_file(files.key, open);
  if (!key) return tl::unexpected<Error>(key.error());
  return PairText{files, std::move(cert->text), std::move(key->text), key->open_to_others};
}

Result<LoadedPair> parse_pair(const PairText& text) {
  constexpr std::string_view key_mark = "PRIVATE KEY-----";
  const auto& cert_file = text.files.cert;
  const auto& key_file = text.files.key;
  if (text.files.lone && text.key.find(key_mark) == std::string::npos) return without_key(text);
  CertificateReader certificates(text.cert);
  const CertificatesPtr chain(sk_X509_new_null());
  if (auto first = certificates.read(*chain, 1, nullptr); !first) {
    return fail(fmt::format("{}: {}", cert_file, first.error().message));
  }
  if (sk_X509_num(chain.get()) == 0) {
    if (text.files.lone) return LoadedPair{};  // a key, of a name that others gave it
    return fail(cert_file + ": no certificate in it");
  }
  const X509& leaf = *sk_X509_value(chain.get(), 0);
  const EVP_PKEY* public_key = X509_get0_pubkey(&leaf);
  auto key = parse_key(key_file, text.key, public_key != nullptr ? EVP_PKEY_get_base_id(public_key) : EVP_PKEY_EC);
  if (!key) return tl::unexpected<Error>(key.error());

  const int type = EVP_PKEY_get_base_id(key->key.get());
  if (type != EVP_PKEY_EC && type != EVP_PKEY_RSA) return fail(key_file + ": the key is neither RSA nor ECDSA");
  if (EVP_PKEY_get_security_bits(key->key.get()) < kMinSecurityBits) {
    return fail(
        fmt::format("{}: the key has {} bits, too few for any client", key_file, EVP_PKEY_get_bits(key->key.get())));
  }
  if (!matches(leaf, *key->key)) {
    static_cast<void>(certificates.read(*chain, kSearched, nullptr));
    return fail(why_no_match(key_file, cert_file, chain.get(), *key->key));
  }
  // Nobody here needs the keys of the others.
  if (auto rest = certificates.read(*chain, kMostCertificates + 1, no_algorithms()); !rest) {
    return fail(fmt::format("{}: {}", cert_file, rest.error().message));
  }
  if (sk_X509_num(chain.get()) > kMostCertificates) {
    return fail(fmt::format("{}: more than {} certificates; keep the host's own and those between it and its root",
                            cert_file, kMostCertificates));
  }

  auto pair = std::make_shared<CertifiedKey>();
  pair->cert_file = cert_file;
  pair->key_file = key_file;
  pair->names = names_of(leaf);
  std::string all;
  for (int i = 0; i < sk_X509_num(chain.get()); ++i) {
    pair->chain_der.push_back(der_of(*sk_X509_value(chain.get(), i)));
    if (pair->chain_der.back().empty())
      return fail(cert_file + ": a certificate cannot be stored: " + take_library_error());
    all += pair->chain_der.back();
  }
  if (all.size() > kMostChain) {
    return fail(
        fmt::format("{}: its certificates take {} KiB, and clients take no more than {}; keep the host's own and "
                    "those between it and its root",
                    cert_file, (all.size() + 1023) / 1024, kMostChain / 1024));
  }
  pair->key_der = std::move(key->der);
  all += pair->key_der;  // DER delimits itself
  pair->fingerprint = sha256_hex(all);
  OPENSSL_cleanse(all.data(), all.size());
  pair->ecdsa = type == EVP_PKEY_EC;
  pair->not_before = unix_seconds(X509_get0_notBefore(&leaf));
  pair->not_after = unix_seconds(X509_get0_notAfter(&leaf));

  LoadedPair loaded;
  find_warnings(loaded, *pair, chain.get(), text.open_to_others);
  loaded.pair = std::move(pair);
  return loaded;
}

Result<LoadedPair> load_pair(const std::string& cert_file, const std::string& key_file, const FileOpener& open) {
  const auto text = read_pair({cert_file, key_file}, open);
  if (!text) return tl::unexpected<Error>(text.error());
  return parse_pair(*text);
}

namespace {

namespace fs = std::filesystem;

// The fixed pairs of a folder: a Kubernetes secret's and certbot's.
void add_fixed(const fs::path& folder, std::vector<PairFiles>& pairs) {
  constexpr std::array<std::pair<const char*, const char*>, 2> kFixed{
      {{"tls.crt", "tls.key"}, {"fullchain.pem", "privkey.pem"}}};
  for (const auto& [cert, key] : kFixed) {
    std::error_code ignored;
    if (fs::exists(folder / key, ignored)) pairs.push_back({(folder / cert).string(), (folder / key).string(), false});
  }
}

// Those of `certificates` beside which no key stands, by the pairs of their folder.
void add_lone(const std::vector<fs::path>& certificates, std::vector<PairFiles>& pairs) {
  std::unordered_set<std::string> keys;
  for (const auto& pair : pairs) keys.insert(pair.key);
  std::error_code ignored;
  for (const auto& path : certificates) {
    if (keys.count(fs::path(path).replace_extension(".key").string()) != 0) continue;
    if (fs::is_regular_file(path, ignored)) pairs.push_back({path.string(), path.string(), true});
  }
}

}  // namespace

Result<std::vector<PairFiles>> list_pairs(const std::string& directory, std::size_t most) {
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error) return cannot_read(directory, error.value());
  std::vector<PairFiles> pairs;
  std::vector<fs::path> certificates;
  const fs::path folder(directory);
  for (std::size_t seen = 0; entries != fs::directory_iterator(); entries.increment(error)) {
    if (++seen > most) return fail(fmt::format("there are more than {} names in {}", most, directory));
    const fs::path& path = entries->path();
    const std::string name = path.filename().string();
    std::error_code ignored;
    if (name.starts_with('.')) {
      // hidden: an editor's file, or the folders behind a ConfigMap
    } else if (entries->is_directory(ignored)) {
      add_fixed(path, pairs);
    } else if (path.extension() == ".key" && name != "tls.key") {
      fs::path cert = fs::path(path).replace_extension(".pem");
      const fs::path other = fs::path(path).replace_extension(".crt");
      if (!fs::exists(cert, ignored) && fs::exists(other, ignored)) cert = other;
      pairs.push_back({cert.string(), path.string(), false});
    } else if (path.extension() == ".pem" || path.extension() == ".crt") {
      certificates.push_back(path);
    }
    if (error) break;
  }
  if (error) return cannot_read(directory, error.value());
  const std::size_t named = pairs.size();
  add_fixed(folder, pairs);
  if (pairs.size() == named) add_lone(certificates, pairs);
  std::sort(pairs.begin(), pairs.end(), listed_before);
  return pairs;
}

}  // namespace edgemux::core
