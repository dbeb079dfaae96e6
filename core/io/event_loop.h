#pragma once
// EventLoop: one per thread. Readiness of descriptors, timers, tasks from other threads, and the one place where closed
// objects are freed.
//
// Connections are watched by an edge-triggered epoll set of our own: one epoll_ctl for the life of a connection, none
// to pause, resume or wait for writing. Everything that is not a connection (signals, wake-ups from other threads,
// resolver sockets) is libuv's, whose backend descriptor is a member of that set: libuv costs nothing while it has
// nothing to say.
//
// Threads: everything but post() and stop() is called on the loop's own thread. The data plane throws nothing.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/base/result.h"
#include "core/io/retirable.h"
#include "core/io/timer_wheel.h"

struct uv_loop_s;

namespace edgemux::core {

enum Ready : std::uint32_t {
  kReadable = 1,  // data, or the end of it
  kWritable = 2,
  kPeerClosed = 4,  // the peer sent FIN: read until `eof` even after a short read
  kBroken = 8,      // error or hang-up: read() and write() tell
  kUrgent = 16,     // urgent data is in between: a short read has not emptied the socket
  kComplete = 32,   // the peer closed in good order, and nothing is urgent: a short read is the last one
};

// Something that waits for a descriptor. A watcher is never called again once it has unwatched, not even for an event
// that was already fetched; the loop may still look at it until the turn ends, so it is freed through retire().
class Watcher {
 public:
  virtual void on_io(std::uint32_t ready) = 0;
  // Its turn comes soon: time to ask for the memory that on_io() will look at. Changes nothing.
  virtual void prefetch() const {}

 protected:
  ~Watcher() = default;

 private:
  friend class EventLoop;
  bool queued_ = false;
  bool watching_ = false;
};

enum class Trigger : std::uint8_t { edge, level };

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs until stop(). May be called once.
  void run();
  // Thread safe, idempotent: run() returns after the present turn.
  void stop();

  // Thread safe. The task runs on the loop's thread, in the order of posting. Tasks that are posted after run() has
  // returned are destroyed, not run, when the loop is.
  void post(std::function<void()> task);

  // Milliseconds of the monotonic clock, as of the start of this turn.
  [[nodiscard]] std::uint64_t now() const { return now_; }
  [[nodiscard]] TimerWheel& timers() { return timers_; }

  // Starts watching: for edge, reading and writing at once and for good; for level, only the `interest` (kReadable,
  // kWritable).
  [[nodiscard]] Result<void> watch(int fd, Watcher& watcher, Trigger trigger,
                                   std::uint32_t interest = kReadable | kWritable);
  // Stops it. Call before closing the descriptor.
  void unwatch(int fd, Watcher& watcher);
  // Calls watcher.on_io(0) later in this turn, or at once in the next: for an owner that stopped before `again`.
  void wake(Watcher& watcher);
  // Like unwatch() for a descriptor that is closed right after: the kernel drops it from the set by itself, if no
  // duplicate is open.
  void forget(Watcher& watcher);

  // Close now, free later: the object is freed when this turn's events are done.
  void retire(std::unique_ptr<Retirable> object) { retired_.push_back(std::move(object)); }
  // Frees what was retired, outside of run(): for an owner that ends there and takes along what such objects use.
  void free_retired();

  // For the wrappers of libuv handles in this folder. A new handle needs touch_uv() to be seen.
  [[nodiscard]] uv_loop_s* uv() { return uv_.get(); }
  void touch_uv() { uv_touched_ = true; }

 private:
  struct Wakeup;
  static constexpr std::size_t kExpected = 256;  // in one turn, without taking memory
  void turn();
  void run_ready();
  void run_posted();
  [[nodiscard]] int timeout();

  std::unique_ptr<uv_loop_s> uv_;
  std::unique_ptr<Wakeup> wakeup_;
  int epoll_ = -1;
  std::uint64_t now_ = 0;
  bool uv_touched_ = true;
  bool stopping_ = false;
  TimerWheel timers_;
  std::vector<Watcher*> ready_;
  std::vector<Watcher*> ready_now_;
  std::vector<std::unique_ptr<Retirable>> retired_;

  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

// Calls its owner back later in the turn (or at once in the next), however often it was asked: for work that must not
// happen on the present stack. Destroying it cancels.
class Deferred final : private Watcher {
 public:
  using Callback = void (*)(void* owner);
  Deferred(EventLoop& loop, Callback callback, void* owner) : loop_(loop), callback_(callback), owner_(owner) {}
  ~Deferred() { loop_.forget(*this); }
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;
  void request() { loop_.wake(*this); }
  void cancel() { loop_.forget(*this); }

 private:
  void on_io(std::uint32_t) override { callback_(owner_); }
  EventLoop& loop_;
  Callback callback_;
  void* owner_;
};

// Runs `on_signal` on the loop when the process gets `number`. Destroying it stops that.
class SignalWatch {
 public:
  SignalWatch(EventLoop& loop, int number, std::function<void()> on_signal);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

 private:
  struct Handle;
  Handle* handle_;
};

// Level-triggered readiness of a descriptor that somebody else owns (a resolver's socket, inotify). `on_ready` gets
// Ready bits; update() changes the interest. Destroying it stops the calls; the descriptor stays open and must outlive
// it.
class DescriptorWatch {
 public:
  DescriptorWatch(EventLoop& loop, int fd, std::function<void(std::uint32_t)> on_ready);
  ~DescriptorWatch();
  DescriptorWatch(const DescriptorWatch&) = delete;
  DescriptorWatch& operator=(const DescriptorWatch&) = delete;
  void update(std::uint32_t interest);

 private:
  struct Handle;
  Handle* handle_;
};

}  // namespace edgemux::core
