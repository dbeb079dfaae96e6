#include "core/io/event_loop.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <system_error>

namespace edgemux::core {

namespace {

std::uint64_t monotonic_ms() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1000 + static_cast<std::uint64_t>(t.tv_nsec) / 1'000'000;
}

std::uint32_t epoll_bits(Trigger trigger, std::uint32_t interest) {
  std::uint32_t bits = trigger == Trigger::edge ? static_cast<std::uint32_t>(EPOLLET) | EPOLLRDHUP | EPOLLPRI : 0U;
  if ((interest & kReadable) != 0) bits |= EPOLLIN;
  if ((interest & kWritable) != 0) bits |= EPOLLOUT;
  return bits;
}

std::uint32_t ready_bits(std::uint32_t events) {
  std::uint32_t ready = 0;
  if ((events & EPOLLIN) != 0) ready |= kReadable;
  if ((events & EPOLLOUT) != 0) ready |= kWritable;
  if ((events & EPOLLRDHUP) != 0) ready |= kReadable | kPeerClosed;
  if ((events & EPOLLPRI) != 0) ready |= kReadable | kUrgent;
  if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLPRI)) == EPOLLRDHUP) ready |= kComplete;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) ready |= kReadable | kWritable | kPeerClosed | kBroken;
  return ready;
}

// With many connections whatever belongs to one has left the nearer caches when its event comes. What the next events
// need is asked for while the kernel works for the present one, which takes longer than memory does.
void prefetch(std::span<const epoll_event> events) {
  if (events.size() > 2) __builtin_prefetch(events[2].data.ptr);
  if (events.size() > 1 && events[1].data.ptr != nullptr) static_cast<const Watcher*>(events[1].data.ptr)->prefetch();
}

// What keeps us from opening what a first loop opens, 0 if nothing does: libuv aborts where there is no pipe for
// signals.
int missing_descriptors() {
  std::array<int, 2> first{};
  std::array<int, 2> second{};
  if (pipe2(first.data(), O_CLOEXEC) != 0) return errno;
  const int missing = pipe2(second.data(), O_CLOEXEC) != 0 ? errno : 0;
  for (const int fd : first) close(fd);
  if (missing != 0) return missing;
  for (const int fd : second) close(fd);
  return 0;
}

}  // namespace

struct EventLoop::Wakeup {
  uv_async_t async;
};

EventLoop::EventLoop() : uv_(std::make_unique<uv_loop_s>()), wakeup_(std::make_unique<Wakeup>()) {
  const auto refuse = [](int error) {
    throw std::system_error(error, std::generic_category(), "cannot make an event loop");
  };
  if (const int missing = missing_descriptors(); missing != 0) refuse(missing);
  if (const int failed = uv_loop_init(uv_.get()); failed != 0) refuse(-failed);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // stands for libuv
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, uv_backend_fd(uv_.get()), &event) != 0) {
    const int error = errno;
    if (epoll_ >= 0) close(epoll_);
    uv_loop_close(uv_.get());
    refuse(error);
  }
  uv_async_init(uv_.get(), &wakeup_->async,
                [](uv_async_t* async) { static_cast<EventLoop*>(async->data)->run_posted(); });
  wakeup_->async.data = this;
  for (auto* list : {&ready_, &ready_now_}) list->reserve(kExpected);
  retired_.reserve(kExpected);
  now_ = monotonic_ms();
  timers_ = TimerWheel(now_);
}

EventLoop::~EventLoop() {
  free_retired();
  {
    std::vector<std::function<void()>> dropped;
    const std::lock_guard lock(posted_mutex_);
    dropped.swap(posted_);
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&wakeup_->async), nullptr);
  uv_run(uv_.get(), UV_RUN_NOWAIT);
  uv_run(uv_.get(), UV_RUN_NOWAIT);
  uv_loop_close(uv_.get());
  close(epoll_);
}

void EventLoop::post(std::function<void()> task) {
  bool first = false;
  {
    const std::lock_guard lock(posted_mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(task));
  }
  if (first) uv_async_send(&wakeup_->async);
}

void EventLoop::stop() {
  post([this] { stopping_ = true; });
}

void EventLoop::run_posted() {
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard lock(posted_mutex_);
    tasks.swap(posted_);
  }
  for (auto& task : tasks) task();
}

Result<void> EventLoop::watch(int fd, Watcher& watcher, Trigger trigger, std::uint32_t interest) {
  epoll_event event{};
  event.events = epoll_bits(trigger, interest);
  event.data.ptr = &watcher;
  const int operation = watcher.watching_ ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(epoll_, operation, fd, &event) != 0) {
    return fail("cannot watch a descriptor: " + std::string(std::strerror(errno)));
  }
  watcher.watching_ = true;
  return {};
}

void EventLoop::unwatch(int fd, Watcher& watcher) {
  forget(watcher);
  epoll_event event{};
  epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, &event);
}

void EventLoop::forget(Watcher& watcher) {
  watcher.watching_ = false;
  if (!watcher.queued_) return;
  watcher.queued_ = false;
  std::replace(ready_.begin(), ready_.end(), &watcher, static_cast<Watcher*>(nullptr));
  std::replace(ready_now_.begin(), ready_now_.end(), &watcher, static_cast<Watcher*>(nullptr));
}

void EventLoop::wake(Watcher& watcher) {
  if (watcher.queued_) return;
  watcher.queued_ = true;
  ready_.push_back(&watcher);
}

void EventLoop::run_ready() {
  ready_now_.swap(ready_);
  for (std::size_t i = 0; i < ready_now_.size(); ++i) {
    Watcher* watcher = ready_now_[i];
    if (watcher == nullptr) continue;
    watcher->queued_ = false;
    watcher->on_io(0);
  }
  ready_now_.clear();
}

void EventLoop::free_retired() {
  // Freeing may retire more.
  while (!retired_.empty()) {
    std::vector<std::unique_ptr<Retirable>> gone;
    gone.swap(retired_);
    gone.clear();
    if (retired_.empty()) retired_.swap(gone);  // keep the capacity
  }
}

int EventLoop::timeout() {
  if (stopping_ || !ready_.empty() || uv_touched_) return 0;
  const int wheel = timers_.timeout(now_);
  const int uv = uv_backend_timeout(uv_.get());
  // The async handle keeps the loop alive, so libuv's -1 means "no timer" and 0 "something to close".
  if (wheel < 0) return uv;
  return uv < 0 ? wheel : std::min(wheel, uv);
}

void EventLoop::turn() {
  std::array<epoll_event, 256> events;
  const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout());
  now_ = monotonic_ms();
  bool uv_ready = uv_touched_;
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    prefetch(std::span(events).subspan(static_cast<std::size_t>(i), static_cast<std::size_t>(count - i)));
    if (event.data.ptr == nullptr) {
      uv_ready = true;
      continue;
    }
    auto* watcher = static_cast<Watcher*>(event.data.ptr);
    if (watcher->watching_) watcher->on_io(ready_bits(event.events));
  }
  timers_.advance(now_);
  if (uv_ready || uv_backend_timeout(uv_.get()) == 0) {
    uv_touched_ = false;
    uv_run(uv_.get(), UV_RUN_NOWAIT);
  }
  if (!ready_.empty()) run_ready();
  if (!retired_.empty()) free_retired();
}

void EventLoop::run() {
  while (!stopping_) turn();
  free_retired();
}

}  // namespace edgemux::core
