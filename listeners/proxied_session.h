#pragma once
// ProxiedSession: a connection from a sender that must say first whose it is (accept_proxy_protocol). Reads exactly the
// PROXY header and hands the connection on, with the client's address in the place of the sender's. Anything but a
// whole header in time ends the connection: a header is required or forbidden, never optional.
//
// The header is looked at where it lies, in the kernel, and taken only when it is whole, so that the next session finds
// the connection as if nothing had been in front of it.

#include <memory>
#include <string>

#include "core/io/tcp_stream.h"
#include "listeners/session.h"

namespace edgemux::listeners {

class ProxiedSession final : public Session, private core::StreamObserver {
 public:
  static void begin(Listener& listener, const core::SocketAddress& sender, std::unique_ptr<core::TcpStream> stream);
  ~ProxiedSession() override = default;

  void drain() override;
  void close(CloseReason reason) override;
  [[nodiscard]] core::TcpStream& socket() const override { return *stream_; }

 private:
  ProxiedSession(Listener& listener, const core::SocketAddress& sender, std::unique_ptr<core::TcpStream> stream);
  void on_ready(core::Stream& stream) override;
  void take(std::size_t header, const core::SocketAddress& client, const core::SocketAddress& destination);
  void timed_out();

  std::unique_ptr<core::TcpStream> stream_;
  core::Timer deadline_;
  core::SocketAddress sender_;
  core::SocketAddress client_;  // the sender, until a header says who
  std::string detail_;
  std::uint64_t began_us_;
  bool closed_ = false;
};

}  // namespace edgemux::listeners
