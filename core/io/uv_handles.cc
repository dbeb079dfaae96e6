// SignalWatch and DescriptorWatch of core/io/event_loop.h, over libuv. Closing a libuv handle is asynchronous: the
// handle lives on its own until libuv is done with it, and the function that it calls is gone with it, not before, so
// that a watch may be destroyed from inside its own call.
#include <uv.h>

#include <utility>

#include "core/io/event_loop.h"

namespace edgemux::core {

struct SignalWatch::Handle {
  uv_signal_t uv;
  std::function<void()> on_signal;
};

SignalWatch::SignalWatch(EventLoop& loop, int number, std::function<void()> on_signal)
    : handle_(new Handle{{}, std::move(on_signal)}) {
  uv_signal_init(loop.uv(), &handle_->uv);
  handle_->uv.data = handle_;
  uv_signal_start(
      &handle_->uv, [](uv_signal_t* uv, int) { static_cast<Handle*>(uv->data)->on_signal(); }, number);
  loop.touch_uv();
}

SignalWatch::~SignalWatch() {
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->uv),
           [](uv_handle_t* uv) { delete static_cast<Handle*>(uv->data); });
}

struct DescriptorWatch::Handle {
  uv_poll_t uv;
  EventLoop* loop;
  std::function<void(std::uint32_t)> on_ready;
};

namespace {

int uv_events(std::uint32_t interest) {
  return ((interest & kReadable) != 0 ? UV_READABLE : 0) | ((interest & kWritable) != 0 ? UV_WRITABLE : 0);
}

}  // namespace

DescriptorWatch::DescriptorWatch(EventLoop& loop, int fd, std::function<void(std::uint32_t)> on_ready)
    : handle_(new Handle{{}, &loop, std::move(on_ready)}) {
  handle_->uv.data = handle_;
  if (uv_poll_init(loop.uv(), &handle_->uv, fd) == 0) return;
  // The kernel does not take the descriptor.
  delete handle_;
  handle_ = nullptr;
}

DescriptorWatch::~DescriptorWatch() {
  if (handle_ == nullptr) return;
  handle_->loop->touch_uv();
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_->uv),
           [](uv_handle_t* uv) { delete static_cast<Handle*>(uv->data); });
}

void DescriptorWatch::update(std::uint32_t interest) {
  if (handle_ == nullptr) return;
  handle_->loop->touch_uv();
  const int events = uv_events(interest);
  if (events == 0) {
    uv_poll_stop(&handle_->uv);
    return;
  }
  uv_poll_start(&handle_->uv, events, [](uv_poll_t* uv, int status, int ready) {
    std::uint32_t bits = 0;
    if (status < 0) bits |= kReadable | kWritable | kBroken;
    if ((ready & UV_READABLE) != 0) bits |= kReadable;
    if ((ready & UV_WRITABLE) != 0) bits |= kWritable;
    static_cast<Handle*>(uv->data)->on_ready(bits);
  });
}

}  // namespace edgemux::core
