#pragma once
// What is wrong with a server's certificate, in words for the log. Private to core/tls.

#include <string>
#include <string_view>

#include "core/tls/openssl.h"

namespace edgemux::core {

// Why the chain of `store` was not accepted just now. `name`: whom we wanted. `own_ca`: the trust anchors were
// configured. What comes from the certificate is cut, and cleaned of control characters.
std::string why_not_trusted(X509_STORE_CTX& store, std::string_view name, bool own_ca);

}  // namespace edgemux::core
