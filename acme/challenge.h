#pragma once
// The path of an ACME HTTP-01 challenge (RFC 8555 8.3). Pure.
//
// The CA asks for exactly http://HOST/.well-known/acme-challenge/TOKEN: no query, nothing percent-encoded, no path
// below the token. So whatever else stands there is no challenge, and nothing but [A-Za-z0-9_-]{1,256} ever reaches the
// file system or a solver.

#include <optional>
#include <string_view>

namespace edgemux::acme {

constexpr std::string_view challenge_prefix = "/.well-known/acme-challenge/";
constexpr std::size_t max_token = 256;

// A whole token: 1 to 256 bytes of base64url (RFC 8555 8.3, RFC 4648 5; no padding).
[[nodiscard]] bool is_token(std::string_view text);

// The token of a request target as it was received (origin form, with the query if there is one), or nothing. The
// result points into `target`.
[[nodiscard]] std::optional<std::string_view> token_of(std::string_view target);

// Everything under the prefix, tokens or not: the part of port 80 that is answered here or with 404.
[[nodiscard]] bool is_challenge_path(std::string_view target);

}  // namespace edgemux::acme
