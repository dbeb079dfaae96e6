#pragma once
// ListeningSocket: bind and accept. Sockets of one address are opened once per worker with SO_REUSEPORT, so that
// workers share nothing; they outlive reloads, and may be handed over by descriptor.

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "core/base/address.h"
#include "core/io/event_loop.h"
#include "core/io/tcp_stream.h"

namespace edgemux::core {

struct ListenOptions {
  int backlog = 4096;
  bool dual_stack = false;
  TcpOptions tcp;  // inherited by accepted sockets
};

// An open listening descriptor; closed by the destructor. Errors say what to do: port in use, a privileged port without
// the capability, an address this machine does not have.
class ListeningDescriptor {
 public:
  // `first` checks that nobody else listens there: SO_REUSEPORT alone would silently share the port with another
  // process of the same user.
  static Result<ListeningDescriptor> open(const SocketAddress& address, const ListenOptions& options, bool first);
  ListeningDescriptor(ListeningDescriptor&& other) noexcept : fd_(other.fd_) {
    other.fd_ = -1;
  }  // not once it is shared
  ListeningDescriptor& operator=(ListeningDescriptor&& other) noexcept;
  ~ListeningDescriptor();
  [[nodiscard]] int fd() const { return fd_; }
  // For good: new clients find another socket that stands for their address, or none. Those whose handshake has begun
  // still come to this one. Thread safe, as is hidden().
  void hide() const;
  [[nodiscard]] bool hidden() const { return hidden_.load(std::memory_order_relaxed); }

 private:
  explicit ListeningDescriptor(int fd) : fd_(fd) {}
  int fd_;
  mutable std::atomic<bool> hidden_{false};
};

// Accepts on one loop. Every accepted descriptor is non-blocking, close-on-exec, and owned by the callee.
class Acceptor final : public Retirable, private Watcher {
 public:
  using OnAccept = std::function<void(int fd, const SocketAddress& peer)>;
  // A client could not be accepted (errno: is_shortage()). True: there is room now, to be tried at once. Otherwise it
  // is tried again in kRetryMs.
  using OnShortage = std::function<bool(int error)>;

  // The descriptor must live until stop() or the destructor.
  Acceptor(EventLoop& loop, int fd, OnAccept on_accept, OnShortage on_shortage = {});
  ~Acceptor() override;

  // Stops accepting for good; safe from inside on_accept.
  void stop();
  // Takes what the kernel has queued: before a socket is closed, or its clients are reset.
  void accept_queued();
  // For a while, when descriptors or connections have run out. The kernel's queue keeps clients waiting.
  void pause();
  void resume();

 private:
  static constexpr int kBatch = 16;
  static constexpr std::uint64_t kRetryMs = 100;
  void on_io(std::uint32_t ready) override;
  // `patient`: clients whom there is no descriptor for are tried again later. False: the queue was emptied before
  // `most`, or nobody can be accepted.
  bool accept_batch(int most, bool patient);

  EventLoop& loop_;
  int fd_;
  OnAccept on_accept_;
  OnShortage on_shortage_;
  Timer retry_;
  int batch_ = 1;
  bool active_ = false;
  bool stopped_ = false;
};

}  // namespace edgemux::core
