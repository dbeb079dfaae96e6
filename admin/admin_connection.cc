#include "admin/admin_connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "core/http/status.h"

namespace edgemux::admin {

AdminConnection::AdminConnection(core::EventLoop& loop, int fd, bool trusted, const Owner& owner, std::uint64_t number)
    : loop_(loop),
      fd_(fd),
      trusted_(trusted),
      owner_(owner),
      number_(number),
      deadline_(
          [](void* self) {
            auto& connection = *static_cast<AdminConnection*>(self);
            connection.owner_.gone(connection);
          },
          this) {}

AdminConnection::~AdminConnection() { close(); }

bool AdminConnection::start() {
  loop_.timers().arm(deadline_, loop_.now() + owner_.deadline_ms);
  return loop_.watch(fd_, *this, core::Trigger::level, core::kReadable).has_value();
}

void AdminConnection::close() {
  if (fd_ < 0) return;
  deadline_.cancel();
  loop_.unwatch(fd_, *this);
  ::close(fd_);
  fd_ = -1;
}

void AdminConnection::on_io(std::uint32_t) {
  auto step = Step::next;
  while (step == Step::next) {
    switch (stage_) {
      case Stage::reading:
        step = read();
        break;
      case Stage::writing:
        step = write();
        break;
      case Stage::lingering:
        step = linger();
        break;
    }
  }
  if (step == Step::end) owner_.gone(*this);
}

AdminConnection::Step AdminConnection::read() {
  std::array<char, 4096> buffer;
  const auto got = ::recv(fd_, buffer.data(), buffer.size(), 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? Step::wait : Step::end;
  if (got == 0) return Step::end;
  const std::string_view piece(buffer.data(), static_cast<std::size_t>(got));
  in_ += piece;
  switch (scanner_.feed(piece)) {
    case core::HeadScanner::State::need_more:
      return Step::wait;
    case core::HeadScanner::State::complete:
      return respond();
    case core::HeadScanner::State::error:
      break;
  }
  say({scanner_.status(), {}, std::string(scanner_.reason()) + "\n"}, false);
  return Step::next;
}

AdminConnection::Step AdminConnection::respond() {
  core::RequestHead head;
  const auto parsed = core::parse_request_head(in_, kMaxHead, head);
  const bool head_only = head.method == core::Method::head;
  if (parsed.state != core::ParseState::done) {
    say({parsed.status, {}, std::string(parsed.reason != nullptr ? parsed.reason : "incomplete") + "\n"}, false);
  } else if (head.method != core::Method::get && !head_only) {
    say({405, {}, "only GET and HEAD are allowed here\n"}, false);
  } else {
    say(owner_.answer(*this, head.path, head.query), head_only);
  }
  return Step::next;
}

void AdminConnection::say(const Answer& answer, bool head_only) {
  const int status = core::status_line(answer.status).empty() ? 500 : answer.status;
  out_ = core::status_line(status);
  out_ += "content-type: ";
  out_ += answer.type.empty() ? Answer{}.type : answer.type;
  out_ += "\r\ncontent-length: " + std::to_string(answer.body.size());
  if (status == 405) out_ += "\r\nallow: GET, HEAD";
  out_ += "\r\ncache-control: no-store\r\nconnection: close\r\n\r\n";
  if (!head_only) out_ += answer.body;
  stage_ = Stage::writing;
}

AdminConnection::Step AdminConnection::write() {
  while (sent_ < out_.size()) {
    const auto done = ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (done > 0) {
      sent_ += static_cast<std::size_t>(done);
    } else if (errno == EAGAIN) {
      return loop_.watch(fd_, *this, core::Trigger::level, core::kWritable) ? Step::wait : Step::end;
    } else if (errno != EINTR) {
      return Step::end;
    }
  }
  // What the client still sends must not turn into a reset that eats our answer.
  ::shutdown(fd_, SHUT_WR);
  stage_ = Stage::lingering;
  return loop_.watch(fd_, *this, core::Trigger::level, core::kReadable) ? Step::next : Step::end;
}

AdminConnection::Step AdminConnection::linger() {
  std::array<char, 4096> buffer;
  const auto got = ::recv(fd_, buffer.data(), buffer.size(), 0);
  if (got > 0) return Step::wait;  // level-triggered: we come back for more
  return got < 0 && (errno == EAGAIN || errno == EINTR) ? Step::wait : Step::end;
}

}  // namespace edgemux::admin
