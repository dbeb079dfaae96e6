#pragma once
// TcpStream: the Stream over a TCP socket, or a Unix socket that is dialled. One epoll_ctl for its life; a second one
// only if a write ever blocks.

#include <memory>
#include <string>

#include "core/base/address.h"
#include "core/io/event_loop.h"
#include "core/io/stream.h"

namespace edgemux::core {

struct TcpOptions {
  int keepalive_seconds = 0;     // 0 = off
  unsigned user_timeout_ms = 0;  // 0 = the kernel's
  // For a connection that is dialled: bytes of ours wait for it. The packet that ends the handshake carries them.
  bool speaks_first = false;
};

class TcpStream final : public Stream, private Watcher {
 public:
  enum class Connect : std::uint8_t { pending, done, failed };

  // Takes over an accepted, non-blocking descriptor. On failure the descriptor is closed.
  static Result<std::unique_ptr<TcpStream>> adopt(EventLoop& loop, int fd);

  // Begins to connect. on_ready says when connect_state() is worth asking. Nothing counts as sent before it is `done`.
  // `source`: the address to come from, of the same family; null = the kernel's choice.
  static Result<std::unique_ptr<TcpStream>> connect(EventLoop& loop, const SocketAddress& address,
                                                    const TcpOptions& options, const SocketAddress* source = nullptr);

  ~TcpStream() override;

  void set_observer(StreamObserver* observer) override { observer_ = observer; }
  IoResult read(std::span<char> buffer) override;
  [[nodiscard]] bool readable() const override { return readable_; }
  [[nodiscard]] bool ended() const override { return ended_; }
  // The same where the end probably came alone: asks the kernel, in place of a read that finds it.
  bool find_end();
  [[nodiscard]] bool broken() const override { return broken_; }
  IoResult write(std::span<const iovec> pieces) override;
  [[nodiscard]] std::size_t unsent() const override { return 0; }
  void end_follows() override { end_follows_ = true; }
  void shutdown_write() override;
  void keep_alive(int seconds) override;
  void abort() override;

  [[nodiscard]] Connect connect_state() const { return connect_; }
  // errno of the failure
  [[nodiscard]] int connect_error() const { return error_; }

  // Our end's address. Invalid: the kernel does not say.
  [[nodiscard]] SocketAddress local_address() const;

  // The peer's FIN has been seen by the loop (there may be data before it).
  [[nodiscard]] bool peer_closed() const { return peer_closed_; }

  // Calls on_ready later in this turn: for an owner that stopped before `again`.
  void wake() { loop_.wake(*this); }

  // Linux counts TCP_USER_TIMEOUT also against a peer that keeps its window closed and answers every probe. This lifts
  // it meanwhile and puts `user_timeout_ms` back after it; to be called at least twice within that time.
  void spare_closed_window(unsigned user_timeout_ms);

  // For relays that move bytes inside the kernel (splice). They report what they found:
  [[nodiscard]] int fd() const { return fd_; }
  // Splicing stops in front of urgent data for good; a read steps over it.
  void drained() { readable_ = peer_closed_ || urgent_; }
  // Some was seen: splicing finds an end where there is none.
  [[nodiscard]] bool urgent() const { return urgent_; }
  void blocked() { await_writable(); }
  void send_at_once();  // before anything is spliced into it
  [[nodiscard]] bool writable() const { return writable_; }

 private:
  // Nagle's algorithm never holds back a first write: only a second one needs it off.
  enum class NoDelay : std::uint8_t { on, off, off_but_written };
  TcpStream(EventLoop& loop, int fd, Connect state, NoDelay no_delay)
      : loop_(loop), fd_(fd), connect_(state), no_delay_(no_delay) {}
  void on_io(std::uint32_t ready) override;
  void prefetch() const override;
  void await_writable();

  EventLoop& loop_;
  StreamObserver* observer_ = nullptr;
  int fd_;
  int error_ = 0;
  Connect connect_;
  NoDelay no_delay_;
  bool readable_ = false;
  bool writable_ = true;
  bool watches_writable_ = false;
  bool peer_closed_ = false;
  bool complete_ = false;  // all that will ever come is in the socket
  bool ended_ = false;     // and has been read
  bool urgent_ = false;
  bool end_follows_ = false;
  bool broken_ = false;
  bool shut_ = false;
  bool window_spared_ = false;
};

// Accepted sockets inherit what the listening socket has; these are the options to put there and on dialled ones. What
// is 0 is switched off, so that they can be changed.
void apply_tcp_options(int fd, const TcpOptions& options);

}  // namespace edgemux::core
