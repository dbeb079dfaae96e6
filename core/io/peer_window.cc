#include "core/io/peer_window.h"

#include <linux/tcp.h>  // the C library's tcp_info lacks the windows; the two headers exclude each other
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

namespace edgemux::core {

namespace {

constexpr unsigned kLostProbes = 3;  // one, or the next, may get lost on the way

}  // namespace

std::optional<SendState> send_state(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  SendState state{info.tcpi_unacked, info.tcpi_notsent_bytes, info.tcpi_snd_wnd, info.tcpi_probes};
  // Kernels before 5.4 do not say.
  if (size < offsetof(tcp_info, tcpi_snd_wnd) + sizeof info.tcpi_snd_wnd) state.window = UINT32_MAX;
  return state;
}

bool keeps_window_closed(const SendState& state) {
  if (state.probes >= kLostProbes) return false;
  if (state.unconfirmed > 0) return state.window == 0;  // it closed over what was on its way
  return state.unsent > 0;
}

}  // namespace edgemux::core
