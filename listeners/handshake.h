#pragma once
// The server's handshake, as every session begins whose TLS ends here.

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/io/tcp_stream.h"
#include "core/tls/tls_stream.h"
#include "routing/table/route.h"

namespace edgemux::listeners {

class Listener;

// `hello`: what was read already. `name`: the normalised server name, which `route` owns. Null: the connection is gone,
// and why is logged.
std::unique_ptr<core::TlsStream> accept_tls(const Listener& listener, std::unique_ptr<core::TcpStream> stream,
                                            std::span<const char> hello, const core::TlsPolicyPtr& policy,
                                            std::string_view name, const routing::Route& route);

// Why no handshake for that name can succeed, also logged. Empty: nothing is missing.
std::string missing_certificate(const Listener& listener, std::string_view name, const routing::Route& route);

// TlsStream::handshake(), and what it comes to is counted. After `failed` the alert is on its way: close.
core::HandshakeStatus go_on_with(core::TlsStream& tls, const Listener& listener);

}  // namespace edgemux::listeners
