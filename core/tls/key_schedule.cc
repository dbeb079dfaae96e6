#include "core/tls/key_schedule.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace edgemux::core {

// What the library gives to a derivation; what is missing is null and empty.
struct KeySchedule::Input {
  int mode = -1;
  const char* digest = nullptr;
  Hkdf::Bytes key;
  Hkdf::Bytes salt;
  Hkdf::Bytes prefix;
  Hkdf::Bytes label;
  Hkdf::Bytes data;

  explicit Input(const OSSL_PARAM* parameters) {
    for (const OSSL_PARAM* p = parameters; p != nullptr && p->key != nullptr; ++p) {
      const std::string_view name(p->key);
      if (name == OSSL_KDF_PARAM_MODE) {
        if (OSSL_PARAM_get_int(p, &mode) != 1) mode = -1;
      } else if (name == OSSL_KDF_PARAM_DIGEST) {
        digest = p->data_type == OSSL_PARAM_UTF8_STRING ? static_cast<const char*>(p->data) : nullptr;
      } else if (p->data_type == OSSL_PARAM_OCTET_STRING) {
        const Hkdf::Bytes bytes(static_cast<const unsigned char*>(p->data), p->data == nullptr ? 0 : p->data_size);
        if (name == OSSL_KDF_PARAM_KEY) key = bytes;
        if (name == OSSL_KDF_PARAM_SALT) salt = bytes;
        if (name == OSSL_KDF_PARAM_PREFIX) prefix = bytes;
        if (name == OSSL_KDF_PARAM_LABEL) label = bytes;
        if (name == OSSL_KDF_PARAM_DATA) data = bytes;
      }
    }
  }
};

// The library's side: tables of functions (provider-kdf(7)).
struct KeySchedule::Provider {
  using Function = void (*)();
  static constexpr const char* kName = "edgemux";
  static inline thread_local KeySchedule* joining = nullptr;

  // A derivation brings all its input along, so it needs no state.
  static void* new_context(void* schedule) { return schedule; }
  static void free_context(void* /*schedule*/) {}
  static int derive(void* schedule, unsigned char* out, std::size_t size, const OSSL_PARAM* parameters) {
    return static_cast<const KeySchedule*>(schedule)->derive(Input(parameters), {out, size}) ? 1 : 0;
  }
  static const OSSL_ALGORITHM* query(void* /*schedule*/, int operation, int* no_cache) {
    static const std::array<OSSL_DISPATCH, 4> functions{
        {{OSSL_FUNC_KDF_NEWCTX, reinterpret_cast<Function>(new_context)},
         {OSSL_FUNC_KDF_FREECTX, reinterpret_cast<Function>(free_context)},
         {OSSL_FUNC_KDF_DERIVE, reinterpret_cast<Function>(derive)},
         {0, nullptr}}};
    static const std::array<OSSL_ALGORITHM, 2> algorithms{
        {{"TLS13-KDF", "provider=edgemux", functions.data(), nullptr}, {nullptr, nullptr, nullptr, nullptr}}};
    *no_cache = 0;
    return operation == OSSL_OP_KDF ? algorithms.data() : nullptr;
  }
  static int init(const OSSL_CORE_HANDLE* /*core*/, const OSSL_DISPATCH* /*from_core*/, const OSSL_DISPATCH** functions,
                  void** schedule) {
    static const std::array<OSSL_DISPATCH, 2> ours{
        {{OSSL_FUNC_PROVIDER_QUERY_OPERATION, reinterpret_cast<Function>(query)}, {0, nullptr}}};
    if (joining == nullptr) return 0;
    *functions = ours.data();
    *schedule = joining;
    return 1;
  }
};

bool KeySchedule::join(OSSL_LIB_CTX* library) {
  if (!sha256_.fetch(library, "SHA256") || !sha384_.fetch(library, "SHA384")) return false;
  if (OSSL_PROVIDER_add_builtin(library, Provider::kName, Provider::init) != 1) return false;
  Provider::joining = this;
  provider_.reset(OSSL_PROVIDER_load(library, Provider::kName));
  Provider::joining = nullptr;
  return provider_ != nullptr;
}

const Hkdf* KeySchedule::find(const char* digest) const {
  const std::string_view name(digest == nullptr ? "" : digest);
  if (name == "SHA2-256" || name == "SHA256") return &sha256_;
  if (name == "SHA2-384" || name == "SHA384") return &sha384_;
  return nullptr;  // no cipher suite of RFC 8446 has another
}

bool KeySchedule::derive(const Input& input, std::span<unsigned char> out) const {
  const Hkdf* const hkdf = find(input.digest);
  if (hkdf == nullptr) return false;
  if (input.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY) return generate(*hkdf, input, out);
  if (input.mode != EVP_KDF_HKDF_MODE_EXPAND_ONLY || input.key.empty()) return false;
  if (!hkdf->expand_label(input.key, input.prefix, input.label, input.data, out)) return false;

  if (wanted_ == nullptr || out.size() > TrafficSecrets::kMost) return true;
  const std::string_view label(reinterpret_cast<const char*>(input.label.data()), input.label.size());
  const bool ours = label == "s ap traffic";
  if (!ours && label != "c ap traffic") return true;
  if (*wanted_ == nullptr) *wanted_ = std::make_unique<TrafficSecrets>();
  TrafficSecrets::Direction& direction = ours ? (*wanted_)->write : (*wanted_)->read;
  std::copy(out.begin(), out.end(), direction.secret.begin());
  direction.size = out.size();
  return true;
}

// The next secret of the schedule, from the one before and what is new. What there is none of counts as zeros.
bool KeySchedule::generate(const Hkdf& hkdf, const Input& input, std::span<unsigned char> out) const {
  static constexpr std::array<unsigned char, Hkdf::kMostHash> kZeros{};
  const Hkdf::Bytes zeros = Hkdf::Bytes(kZeros).first(hkdf.hash_size());
  const Hkdf::Bytes fresh = input.key.empty() ? zeros : input.key;
  if (input.salt.empty()) return hkdf.extract(zeros, fresh, out);
  std::array<unsigned char, Hkdf::kMostHash> nothing{};
  std::array<unsigned char, Hkdf::kMostHash> derived{};
  const auto salt = std::span(derived).first(hkdf.hash_size());
  const auto messages = std::span(nothing).first(hkdf.hash_size());
  const bool made = hkdf.hash_of_nothing(messages) &&
                    hkdf.expand_label(input.salt, input.prefix, input.label, messages, salt) &&
                    hkdf.extract(salt, fresh, out);
  OPENSSL_cleanse(derived.data(), derived.size());
  return made;
}

}  // namespace edgemux::core
