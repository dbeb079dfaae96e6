#include "core/io/relay.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace edgemux::core {

PipePool::~PipePool() {
  for (const auto& pipe : free_) close_pipe(pipe);
}

void PipePool::close_pipe(const Pipe& pipe) {
  close(pipe.read_end);
  close(pipe.write_end);
}

PipePool::Pipe PipePool::take() {
  if (out_ == kMost) return {};
  if (!free_.empty()) {
    const Pipe pipe = free_.back();
    free_.pop_back();
    ++out_;
    return pipe;
  }
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return {};
  // Pipe pages per user are limited; a smaller pipe still beats copying.
  int capacity = fcntl(ends[0], F_SETPIPE_SZ, kCapacity);
  if (capacity < 0) capacity = fcntl(ends[0], F_GETPIPE_SZ);
  ++out_;
  return {ends[0], ends[1], capacity};
}

void PipePool::give(Pipe pipe, bool dirty) {
  --out_;
  if (dirty || free_.size() == kKept) {
    close_pipe(pipe);
  } else {
    free_.push_back(pipe);
  }
}

void Relay::drop_pipe() {
  if (!pipe_.valid()) return;
  scratch_.pipes.give(pipe_, in_pipe_ > 0);
  pipe_ = {};
  in_pipe_ = 0;
}

Relay::Step Relay::lose(State state, int error) {
  state_ = state;
  error_ = error;
  drop_pipe();
  pending_.clear();
  return Step::ended;
}

Relay::Step Relay::flush(Stream& sink) {
  const IoResult result = pending_.flush(sink);
  bytes_ += result.bytes;
  if (result.status == IoStatus::error) return lose(State::sink_lost, result.error);
  return result.status == IoStatus::ok ? Step::more : Step::wait;
}

Relay::Step Relay::finish(Stream& sink) {
  if (!close_follows_) sink.shutdown_write();
  state_ = State::done;
  return Step::ended;
}

Relay::Step Relay::copy(Stream& source, Stream& sink, std::size_t& moved, std::size_t budget) {
  if (!pending_.empty()) {
    if (const Step step = flush(sink); step != Step::more) return step;
  }
  if (source_ended_) return finish(sink);
  // A stream that still holds bytes of ours is a stream that is full.
  if (sink.unsent() > 0) return Step::wait;
  if (!source.readable()) return Step::wait;
  const IoResult result = source.read(scratch_.buffer.first(std::min(scratch_.buffer.size(), budget - moved)));
  switch (result.status) {
    case IoStatus::ok: {
      full_reads_ =
          result.bytes == scratch_.buffer.size() ? static_cast<std::uint8_t>(full_reads_ + 1) : std::uint8_t{0};
      moved += result.bytes;
      pending_.borrow(scratch_.buffer.first(result.bytes));
      if (source.ended()) {
        source_ended_ = true;
        sink.end_follows();
      }
      return flush(sink);
    }
    case IoStatus::again:
      return Step::wait;
    case IoStatus::eof:
      source_ended_ = true;
      return finish(sink);
    case IoStatus::error:
      return lose(State::source_lost, result.error);
  }
  return Step::wait;
}

Relay::Step Relay::drain_pipe(TcpStream& sink) {
  while (in_pipe_ > 0) {
    if (!sink.writable()) return Step::wait;
    const ssize_t n = splice(pipe_.read_end, nullptr, sink.fd(), nullptr, in_pipe_, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
      in_pipe_ -= static_cast<std::uint32_t>(n);
      bytes_ += static_cast<std::size_t>(n);
    } else if (n < 0 && errno == EAGAIN) {
      sink.blocked();
      return Step::wait;
    } else if (n < 0 && errno != EINTR) {
      return lose(State::sink_lost, errno);
    }
  }
  return Step::more;
}

Relay::Step Relay::splice_once(TcpStream& source, TcpStream& sink, std::size_t& moved, std::size_t budget) {
  if (in_pipe_ > 0) {
    if (const Step step = drain_pipe(sink); step != Step::more) return step;
  }
  if (source_ended_) {
    drop_pipe();
    return finish(sink);
  }
  if (!source.readable()) return Step::wait;
  if (!pipe_.valid()) {
    pipe_ = scratch_.pipes.take();
    sink.send_at_once();
  }
  if (!pipe_.valid()) {
    full_reads_ = 0;
    return Step::more;  // by copying
  }
  const ssize_t n =
      splice(source.fd(), nullptr, pipe_.write_end, nullptr,
             std::min(static_cast<std::size_t>(pipe_.capacity), budget - moved), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (n > 0) {
    moved += static_cast<std::size_t>(n);
    in_pipe_ = static_cast<std::uint32_t>(n);
    // A trickle is cheaper to copy.
    if (n < 16 * 1024) full_reads_ = 0;
    return drain_pipe(sink);
  }
  if (n == 0) {
    if (source.urgent()) {
      full_reads_ = 0;  // a read tells whether that is the end
    } else {
      source_ended_ = true;
    }
    return Step::more;
  }
  if (errno == EINTR) return Step::more;
  if (errno == EAGAIN) {
    source.drained();
    if (source.readable()) {  // the end is near: let read() find it
      full_reads_ = 0;
      return Step::more;
    }
    return Step::wait;
  }
  return lose(State::source_lost, errno);
}

Relay::State Relay::pump(Stream& source, Stream& sink, bool& again, std::size_t budget) {
  std::size_t moved = 0;
  Step step = Step::more;
  while (state_ == State::open && step == Step::more && moved < budget) step = copy(source, sink, moved, budget);
  if (step == Step::more && state_ == State::open) again = true;
  return state_;
}

Relay::State Relay::pump(TcpStream& source, TcpStream& sink, bool& again, std::size_t budget) {
  std::size_t moved = 0;
  Step step = Step::more;
  // When the other direction has ended, what comes here is as a rule the end alone.
  if (close_follows_ && state_ == State::open && source.readable() && source.find_end()) source_ended_ = true;
  while (state_ == State::open && step == Step::more && moved < budget) {
    const bool in_kernel = in_pipe_ > 0 || (full_reads_ >= kFullReads && pending_.empty());
    if (in_kernel) {
      step = splice_once(source, sink, moved, budget);
    } else {
      step = copy(static_cast<Stream&>(source), static_cast<Stream&>(sink), moved, budget);
    }
  }
  if (in_pipe_ == 0) drop_pipe();
  if (step == Step::more && state_ == State::open) again = true;
  return state_;
}

}  // namespace edgemux::core
