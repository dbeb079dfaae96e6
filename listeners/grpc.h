#pragma once
// What gRPC clients expect of a proxy that answers itself: HTTP status 200, and the failure in grpc-status and
// grpc-message of a head that is the whole answer ("Trailers-Only"). Pure.

#include <cstdint>
#include <string>
#include <string_view>

namespace edgemux::listeners {

// "application/grpc", with or without "+proto" and parameters; not "application/grpc-web".
bool is_grpc(std::string_view content_type);

// The code that gRPC's HTTP mapping gives a status: "14" (UNAVAILABLE) for 502 to 504.
std::string_view grpc_status(std::uint16_t http_status);

// Without a last line end, everything but printable ASCII percent-encoded.
std::string grpc_message(std::string_view text);

}  // namespace edgemux::listeners
