#pragma once
// Whether a TCP peer is alive and merely does not read: it keeps its window closed, and confirms it as often as the
// kernel asks (RFC 9293 3.8.6.1: as long as it does, the connection stays). The kernel asks at growing intervals, up to
// two minutes, so that the time since the last answer tells nothing.

#include <cstdint>
#include <optional>

namespace edgemux::core {

// What the kernel knows of the sending side of a connection.
struct SendState {
  std::uint32_t unconfirmed = 0;  // segments that were sent
  std::uint32_t unsent = 0;       // bytes that wait in the socket
  std::uint32_t window = 0;       // bytes that the peer takes
  std::uint8_t probes = 0;        // of a closed window, since the last answer
};

// None: not a TCP connection.
std::optional<SendState> send_state(int fd);

// Something waits for a window that the peer keeps closed, or too small for a segment; and it answers. False once
// several probes in a row got no answer. May be true for a moment also while bytes are about to be sent.
bool keeps_window_closed(const SendState& state);

}  // namespace edgemux::core
